"""Hold every library to one thread, so that ratios compare the work and not the number of cores."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TQDM_DISABLE",  # no threads, but PepeDP's progress bars would stand between our lines
)


def pin_by_environment() -> None:
    """Pin what reads the environment once; call it before any other import."""
    for name in _VARIABLES:
        os.environ[name] = "1"


def pin_imported() -> None:
    """Pin the libraries that are asked by a call, as far as they are imported."""
    with contextlib.suppress(ImportError):
        importlib.import_module("cv2").setNumThreads(1)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
