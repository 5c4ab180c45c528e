"""The cases of every kernel, one file a kernel."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from benchmarks.case import Case

NAMES = ("dpid", "best_tile", "blockiness", "dct_hash", "hamming_pairs", "dpa_parameters", "encode_png", "video")


def cases_of(kernel: str) -> Iterator[Case]:
    """Build the cases of a kernel, one by one."""
    yield from importlib.import_module(f"benchmarks.kernels.{kernel}").cases()
