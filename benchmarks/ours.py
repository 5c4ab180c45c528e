"""Our side of every comparison: the public kernels, and the few operators that are measured whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from forge_pipeline.step import Child, Context
from forge_steps.dedup._neighbours import star
from forge_steps.kernels import best_tiles, blockiness, dct_hash, dpa_parameters, dpid, encode_png, hamming_pairs
from forge_steps.video.frames import Frames

__all__ = [
    "LocalFile",
    "best_tiles",
    "blockiness",
    "dct_hash",
    "dpa_parameters",
    "dpid",
    "encode_png",
    "frames_of",
    "hamming_pairs",
    "star",
]


class LocalFile:
    """A file as operators are given one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.digest = ""

    def read(self) -> bytes:
        """Return all bytes."""
        return self.path.read_bytes()

    def open(self) -> BinaryIO:
        """Open it."""
        return BytesIO(self.read())

    @contextlib.contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Lend its path."""
        yield self.path


def frames_of(file: LocalFile, **params: Any) -> list[Child]:
    """Run `video.frames` on a file."""
    operator = Frames(Frames.Params.model_validate(params))
    return [item for item in operator.apply(file, Context({})) if isinstance(item, Child)]
