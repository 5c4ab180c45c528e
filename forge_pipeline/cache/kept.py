"""What was read from a shared store or written to it, kept on this machine up to a size; safe to delete at any time."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from forge_pipeline.disk import DISK, Disk, disk_fault
from forge_pipeline.errors import EnvironmentFault

DEFAULT_KEEP_BYTES = 8 << 30
"""Of a shared store's payloads, this much is kept on a machine: the last 1,000 or so images of 2K as PNG."""

_FOLDERS_LOST_MAX = 100
# How much of the bound may be written before we look how much there is: several processes share the folder, so that
# no one of them knows.
_LOOKS = 16
# A file that was just asked for is about to be copied or read: never the one to go.
_YOUNG_S = 60.0


class Kept:
    """A folder of files by name, the least recently used of which go first. Safe for many threads and processes."""

    def __init__(self, root: Path, limit_bytes: int = 0, disk: Disk = DISK) -> None:
        self.root = root
        self.limit_bytes = limit_bytes or DEFAULT_KEEP_BYTES
        self._disk = disk
        self._serial = itertools.count()
        self._written = 0
        self._lock = threading.Lock()

    def path(self, name: str) -> Path:
        """Say where a file lies, or would lie."""
        return self.root / name[:2] / name

    def has(self, name: str, size: int) -> bool:
        """Tell whether a file is there with that size; if so it counts as used now."""
        path = self.path(name)
        try:
            if path.stat().st_size != size:
                return False
            os.utime(path)
        except OSError:
            return False
        return True

    def get(self, name: str) -> bytes | None:
        """Return a file's bytes where it is there and can be read."""
        path = self.path(name)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:  # it can be fetched again
            return None
        return data

    def put(self, name: str, data: bytes) -> None:
        """Keep a file; it appears whole or not at all.

        Raises:
            EnvironmentFault: the disk is full or not writable.
        """
        for _ in range(_FOLDERS_LOST_MAX):
            try:
                self._put(name, data)
                break
            except FileNotFoundError:  # someone deletes the folder while we run: that must be safe
                continue
            except OSError as error:
                raise disk_fault(error, self.root, len(data)) from error
        else:
            raise EnvironmentFault(f"cache: {self.root} keeps being deleted while it is written to")
        with self._lock:
            self._written += len(data)
            due = self._written * _LOOKS >= self.limit_bytes
            if due:
                self._written = 0
        if due:
            self.shrink()

    def forget(self, name: str) -> None:
        """Delete a file."""
        self.path(name).unlink(missing_ok=True)

    def shrink(self) -> None:
        """Let the least recently used files go until what is left fits the bound."""
        found = sorted(self._files())
        total = sum(size for _, size, _ in found)
        young = time.time() - _YOUNG_S
        for used, size, path in found:
            if total <= self.limit_bytes or used > young:
                return
            path.unlink(missing_ok=True)
            total -= size

    def size(self) -> int:
        """Return how many bytes are kept."""
        return sum(size for _, size, _ in self._files())

    def _put(self, name: str, data: bytes) -> None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{os.getpid()}-{threading.get_ident()}-{next(self._serial)}.tmp")
        try:
            self._disk.write_file(aside, data, sync=False)
            self._disk.replace(aside, path)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """List when each file was last used, its size and its path; what a killed process left counts too."""
        with contextlib.suppress(FileNotFoundError):
            for folder in self.root.iterdir():
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    for entry in os.scandir(folder):
                        with contextlib.suppress(FileNotFoundError):
                            status = entry.stat()
                            yield status.st_mtime, status.st_size, Path(entry.path)
