"""Every change to files goes through one small object, so that a test can fail or stop the n-th of them."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from forge_pipeline.errors import EnvironmentFault

if sys.platform != "win32":
    import fcntl

_CHUNK_BYTES = 1 << 20
# From here on one syncfs beats an fsync each: for 10,000 files of 1 KB 0.10 s against 1.6 s (ext4). For fewer it could
# lose, since it also waits for what others wrote.
_MANY_FILES = 100
_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file (btrfs, xfs, bcachefs)


class Disk:
    """Changes to files, each announced to `about_to` first. OSErrors pass through: see `disk_fault`."""

    def about_to(self, operation: str, path: Path) -> None:
        """Do nothing. A test's subclass counts, raises, or kills the process here; `write` comes once a chunk."""

    def write_file(self, path: Path, data: bytes, *, sync: bool = True) -> None:
        """Write a file in place (created or overwritten): for names that nobody reads yet."""
        self.about_to("create", path)
        with open(path, "wb") as stream:
            self.about_to("write", path)
            stream.write(data)
            if sync:
                self._sync(stream, path)

    def write_atomic(self, path: Path, data: bytes, *, sync: bool = True) -> None:
        """Write a file so that readers see the old content or the new one, whenever the power goes.

        The temporary name is `.NAME.tmp` beside it: one writer at a time, and a leftover is overwritten.
        """
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            self.write_file(temporary, data, sync=sync)
            self.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        if sync:
            self.sync_folder(path.parent)

    def append(self, stream: BinaryIO, path: Path, data: bytes) -> None:
        """Write at the end of a file that is open without a buffer: a reader sees whole calls, a crash loses none."""
        self.about_to("write", path)
        left = memoryview(data)
        while left:  # a disk that fills up takes a part, and says so at the next write
            left = left[stream.write(left) :]

    def copy(self, source: Path, target: Path, seen: Callable[[bytes], object], *, sync: bool = True) -> None:
        """Copy a file, sharing its blocks where the file system can; never a hard link.

        Args:
            seen: called with each chunk of what the target holds, in order; a hasher's `update`.
        """
        with open(source, "rb") as origin:
            self.about_to("create", target)
            with open(target, "wb+") as stream:
                self.about_to("write", target)
                shared = _reflink(origin, stream)
                while chunk := (stream if shared else origin).read(_CHUNK_BYTES):
                    seen(chunk)
                    if not shared:
                        self.about_to("write", target)
                        stream.write(chunk)
                if sync:
                    self._sync(stream, target)

    def replace(self, source: Path, target: Path) -> None:
        """Rename a file over another one or to a new name."""
        self.about_to("replace", target)
        source.replace(target)

    def rename(self, source: Path, target: Path) -> None:
        """Rename a folder; fails where the target is a folder that holds anything."""
        self.about_to("rename", target)
        source.rename(target)

    def unlink(self, path: Path) -> None:
        """Delete a file; one that is not there is fine."""
        self.about_to("unlink", path)
        path.unlink(missing_ok=True)

    def mkdir(self, path: Path) -> None:
        """Create a folder and its parents; one that is there is fine."""
        self.about_to("mkdir", path)
        path.mkdir(parents=True, exist_ok=True)

    def rmdir(self, path: Path) -> None:
        """Delete an empty folder."""
        self.about_to("rmdir", path)
        path.rmdir()

    def remove_tree(self, path: Path) -> None:
        """Delete a folder and all in it, following no link; one that is not there is fine."""
        if not os.path.lexists(path):
            return
        with os.scandir(path) as listing:
            entries = list(listing)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                self.remove_tree(Path(entry.path))
            else:
                self.unlink(Path(entry.path))
        self.rmdir(path)

    def sync_file(self, path: Path) -> None:
        """Wait until a file's bytes are on the disk."""
        self.about_to("sync", path)
        with open(path, "rb+") as stream:
            os.fsync(stream.fileno())

    def sync_files(self, paths: Sequence[Path]) -> None:
        """Wait until the bytes of many files of one file system are on the disk."""
        if len(paths) < _MANY_FILES or not self._sync_all(paths[0]):
            for path in paths:
                self.sync_file(path)

    def sync_folder(self, path: Path) -> None:
        """Wait until a folder's names are on the disk."""
        self.about_to("sync_folder", path)
        if sys.platform == "win32":  # no such thing there
            return
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _sync_all(self, path: Path) -> bool:
        """Wait for a whole file system; False where that cannot be asked for."""
        if sys.platform != "linux":
            return False
        import ctypes

        self.about_to("sync", path)
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:
            return False
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if syncfs(descriptor):
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error), str(path))
        finally:
            os.close(descriptor)
        return True

    def _sync(self, stream: BinaryIO, path: Path) -> None:
        stream.flush()
        self.about_to("sync", path)
        os.fsync(stream.fileno())


DISK = Disk()
"""The real one."""


def disk_fault(error: OSError, path: Path, missing_bytes: int = 0) -> EnvironmentFault:
    """Say for a user what the machine refused.

    Args:
        error: what was raised.
        path: the folder or file that we wanted to write; named when the error names none.
        missing_bytes: how many more bytes a full disk needs, where that is known.
    """
    named = error.filename or path
    # Of a rename either folder may be the one that refuses.
    failed = f"{named} could not be {f'moved to {error.filename2}' if error.filename2 else 'written'}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        amount = f"{missing_bytes} bytes" if missing_bytes > 0 else "some space"
        return EnvironmentFault(f"disk full: {failed}", f"free {amount} and run again")
    if error.errno in (errno.EACCES, errno.EPERM):
        return EnvironmentFault(f"no permission: {failed}", f"ls -ld {path}")
    if error.errno == errno.EROFS:
        return EnvironmentFault(f"read-only file system: {failed}")
    return EnvironmentFault(f"{named}: {(error.strerror or str(error)).lower()}")


@contextlib.contextmanager
def held(path: Path, disk: Disk = DISK, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock file for the time of the block; it is deleted at the end, and a dead process holds nothing.

    Args:
        waiting: called once when another process or thread holds it, before we wait for it without end.
    """
    descriptor = _locked(path, disk, waiting)
    try:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                # While we hold it: whoever waits for this inode then sees that its name is gone, and asks anew.
                disk.unlink(path)
    finally:
        os.close(descriptor)


def _locked(path: Path, disk: Disk, waiting: Callable[[], None] | None) -> int:
    told = waiting is None
    while True:
        disk.about_to("lock", path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if sys.platform == "win32":
                return descriptor
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if told else fcntl.LOCK_NB))
            except BlockingIOError:
                told = True
                assert waiting is not None
                waiting()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Tell whether what was opened still lies there: it may have been removed, and made anew, before it was locked."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _reflink(source: BinaryIO, target: BinaryIO) -> bool:
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
    except OSError:
        return False
    return True
