"""Where the bytes of a source file lie, on disk or inside an archive, and how they are read without touching them."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple, TypeAlias

from forge_pipeline.archives import Archive, Members, open_archive, read_member
from forge_pipeline.digest import digest_bytes, digest_stream
from forge_pipeline.errors import EnvironmentFault
from forge_pipeline.sample import Location

NAMELESS = "this file"
"""What an operator is told as a file's name: a result is recorded under the content, which may have many names."""

_MAX_OPEN_ARCHIVES = 16
# For so long a look at an archive stands for its members that are named one after the other.
_LOOKED_AT_NS = 20_000_000
# What the scheduler reads ahead of two or three workers; of larger files the disk's own cache must do.
_KEPT_BYTES, _KEPT_FILE_BYTES = 32 << 20, 8 << 20
# A list of members is read once and then held; beyond so many bytes only that of the archive used last.
_MAX_HELD_BYTES = 32 << 20
# A file whose time stamp is not clearly older than the moment we read it may have changed since within one tick of
# the file system's clock ("racily clean", as git says); 20 ms covers Linux' 4 to 10 ms. File systems that stamp whole
# seconds (FAT: every two) show it by a zero fraction.
_TICK_NS = 20_000_000
_COARSE_TICK_NS = 2_000_000_000


Identity: TypeAlias = tuple[int, int, int, int]
"""What tells a changed file without reading it: size, mtime_ns, ctime_ns, inode."""


@dataclass(slots=True)
class SourceFile:
    """A source file that an operator may read: `step.File` over a place. Never changed.

    Attributes:
        name: relative path with suffix.
        digest: BLAKE3 of the bytes.
        location: where they lie.
        data: the bytes, where somebody has just read them.
    """

    name: str
    digest: str
    location: Location
    data: bytes | None = None

    def read(self) -> bytes:
        """Return all bytes. Raises DataError `damaged` for a member that cannot be unpacked, EnvironmentFault."""
        return read_location(self.location) if self.data is None else self.data

    def open(self) -> BinaryIO:
        """Open the bytes for reading from the start; seekable. A header costs no more than itself."""
        return open_location(self.location) if self.data is None else io.BytesIO(self.data)

    @contextlib.contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Lend a path: the file itself, or a copy of the archive's member for the time of the block."""
        if self.location.member is None:
            yield Path(self.location.path)
            return
        with tempfile.TemporaryDirectory(prefix="forge-") as folder:
            path = Path(folder, "member" + PurePosixPath(self.name).suffix)
            path.write_bytes(self.read())
            yield path


def read_location(location: Location) -> bytes:
    """Return all bytes that lie at a place.

    Raises:
        DataError: `damaged`, `damaged_archive`.
        EnvironmentFault: the file or member is not there or cannot be read.
    """
    with _told(location):
        if location.member is None:
            with open(location.path, "rb") as stream:
                return stream.read()
        return read_member(_OPEN.archive(location.path), location.member)


def open_location(location: Location) -> BinaryIO:
    """Open the bytes that lie at a place; raises as `read_location`."""
    with _told(location):
        if location.member is None:
            return open(location.path, "rb")
        return _OPEN.archive(location.path).open(location.member)


class Identified(NamedTuple):
    """What a place was found to hold.

    Attributes:
        digest: of the bytes.
        identity: what told the file apart before they were read.
        seen_ns: when (nanoseconds since 1970) that was looked at.
        data: the bytes, where they are few enough to be kept for whoever reads them next.
    """

    digest: str
    identity: Identity
    seen_ns: int
    data: bytes | None = None


class Identifier:
    """Names bytes by where they lie, place after place.

    Of members of one archive that are named shortly one after the other, the archive is looked at once: to ask a file
    system takes longer than to read a small member. Whatever changes after that look, the next run sees.
    """

    def __init__(self) -> None:
        self._path = ""
        self._opened: tuple[Identity, Archive] | None = None
        self._seen_ns = 0

    def identify(self, location: Location) -> Identified:
        """Name the bytes that lie at a place, and say what the file was then; raises as `read_location`."""
        with _told(location):
            if location.member is not None:
                identity, archive = self._archive(location.path)
                data = read_member(archive, location.member)
                seen_ns = self._seen_ns
            else:
                seen_ns = time.time_ns()
                with open(location.path, "rb") as stream:
                    identity = _identity(os.fstat(stream.fileno()))
                    if identity[0] > _KEPT_FILE_BYTES:
                        return Identified(digest_stream(stream), identity, seen_ns)
                    data = stream.read()
            return Identified(digest_bytes(data), identity, seen_ns, data if len(data) <= _KEPT_FILE_BYTES else None)

    def _archive(self, path: str) -> tuple[Identity, Archive]:
        now_ns = time.time_ns()
        if path != self._path or self._opened is None or not 0 <= now_ns - self._seen_ns < _LOOKED_AT_NS:
            self._opened = _OPEN.identified(path)
            self._path, self._seen_ns = path, now_ns
        return self._opened


class ReadAhead:
    """Bytes that were read to name them, until whoever takes them apart comes: so that a file is read once.

    Safe for many threads. Where they are too many already, no more are kept: those that came first are wanted first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, bytes] = {}
        self._size = 0

    def keep(self, digest: str, data: bytes) -> None:
        """Keep the bytes of that digest."""
        with self._lock:
            if digest not in self._kept and self._size + len(data) <= _KEPT_BYTES:
                self._kept[digest] = data
                self._size += len(data)

    def take(self, digest: str) -> bytes | None:
        """Return the bytes of that digest, and keep them no longer; None where they are not here."""
        with self._lock:
            data = self._kept.pop(digest, None)
            self._size -= len(data or b"")
            return data


def stat_identity(path: Path | str) -> Identity:
    """Return what tells a changed file without reading it."""
    return _identity(os.stat(path))  # noqa: PTH116 - for every source of an unchanged run; a Path doubles its cost


def _identity(found: os.stat_result) -> Identity:
    # SQLite's integers have 63 bits and a sign; some file systems number inodes beyond.
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino & (2**63 - 1))


def is_settled(mtime_ns: int, ctime_ns: int, seen_ns: int) -> bool:
    """Tell whether the times of a file are old enough, at the moment when it was read, for any later change to show."""
    tick = _COARSE_TICK_NS if mtime_ns % 1_000_000_000 == 0 and ctime_ns % 1_000_000_000 == 0 else _TICK_NS
    return max(mtime_ns, ctime_ns) + tick < seen_ns


def list_members(path: Path | str) -> Members:
    """List the files of an archive in its own order: (name, size, problem); a problem says why it must not be read.

    Raises:
        DataError: `damaged_archive`.
        EnvironmentFault: it cannot be read.
    """
    with _told(Location(os.fspath(path))):
        return _OPEN.archive(os.fspath(path)).members


class _told:  # noqa: N801 - read as a function; a generator takes three times as long, for every file
    """Say for a user what the machine refused within the block."""

    __slots__ = ("_location",)

    def __init__(self, location: Location) -> None:
        self._location = location

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, io.UnsupportedOperation):
            return
        if isinstance(error, OSError):
            why = (error.strerror or str(error)).lower()
            raise EnvironmentFault(f"{self._location}: cannot be read ({why})") from error
        if isinstance(error, KeyError):
            raise EnvironmentFault(f"{self._location}: the archive has no such member that is safe to read") from error


class _Slot:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.archive: Archive | None = None


class _OpenArchives:
    """Archives of this process that are open, least recently used first: a list of members is read once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[tuple[object, ...], _Slot] = {}

    def archive(self, path: str) -> Archive:
        return self.identified(path)[1]

    def identified(self, path: str) -> tuple[Identity, Archive]:
        """Return an archive with what told the file apart when it was opened."""
        identity = stat_identity(path)
        # What was read of one that may still change within a tick of its times must not stand for it later.
        settled = is_settled(identity[1], identity[2], time.time_ns())
        # The process id, because a forked child shares the file position of its parent's handles.
        key = (os.getpid(), path, identity, settled)
        with self._lock:
            slot = self._slots.pop(key, None) or _Slot()
            self._slots[key] = slot
        with slot.lock:
            if slot.archive is None:
                try:
                    slot.archive = open_archive(path)
                finally:
                    self._let_go()
            return identity, slot.archive

    def _let_go(self) -> None:
        with self._lock:
            held = [slot.archive.held_bytes if slot.archive is not None else 0 for slot in self._slots.values()]
            while len(self._slots) > _MAX_OPEN_ARCHIVES or (len(held) > 1 and sum(held) > _MAX_HELD_BYTES):
                del self._slots[next(iter(self._slots))], held[0]


_OPEN = _OpenArchives()
