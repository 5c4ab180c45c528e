"""Folders for what was sent to a cluster's worker: in use while it holds their lock, swept when nobody does."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from forge_pipeline.disk import is_at

if sys.platform != "win32":
    import fcntl

_PREFIX = "forge-ray-"


def new_scratch() -> Path:
    """Name a folder of this process among the temporary ones; nothing is made yet."""
    return Path(tempfile.gettempdir(), f"{_PREFIX}{os.getpid()}-{uuid.uuid4().hex}")


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Have a folder for the time of the block.

    A process that is killed within the block leaves it behind, unlocked. A lock tells that, and a process number does
    not: containers that share a folder for temporary files count processes each for itself.

    Raises:
        OSError: the disk does not take it.
    """
    lock = _made(folder)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def sweep_scratches() -> None:
    """Remove the folders on this machine whose processes are gone; what cannot be told or removed stays."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            _sweep(folder)


if sys.platform == "win32":

    def _made(folder: Path) -> int | None:
        folder.mkdir(exist_ok=True)
        return None

    def _sweep(folder: Path) -> None:
        """Leave it: here a folder cannot be locked."""

else:

    def _made(folder: Path) -> int | None:
        """Make a folder and lock it, anew where it was swept between the two."""
        while True:
            folder.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                with contextlib.suppress(OSError):  # no locks there: then nobody gets one, to sweep it
                    fcntl.flock(lock, fcntl.LOCK_EX)
                if is_at(lock, folder):
                    return lock
                os.close(lock)

    def _sweep(folder: Path) -> None:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_at(lock, folder):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
