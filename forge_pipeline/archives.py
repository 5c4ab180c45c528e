"""Zip and tar archives read in place: a checked list of members, and the bytes of any member in any order."""

from __future__ import annotations

import io
import os
import re
import stat
import tarfile
import threading
import unicodedata
import weakref
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from forge_pipeline.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_MEMBER_BYTES = 1 << 31
"""A member that declares more is refused: one source file is held in memory whole."""
MAX_RATIO = 200
"""How many times its own size a `.tar.gz` may unpack to, beyond 1 GiB. Files of images stay under 20."""

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ENCRYPTED = 0x1
_BLOCK_BYTES = 1 << 18
# A resumption point holds a 32 KiB window and costs as much memory; 4 MiB of output are unpacked again in 15 ms.
_STRIDE_BYTES = 4 << 20
_MAX_POINTS = 1024
_MAX_IDLE = 16
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)


class Member(NamedTuple):
    """One file in an archive: its name as stored, its unpacked size, and why it must not be read (or nothing)."""

    name: str
    size: int
    problem: str


class Archive(Protocol):
    """An open archive; every method may be called from many threads at once."""

    members: tuple[Member, ...]

    def open(self, name: str) -> BinaryIO:
        """Open a member for reading; raises KeyError for a name that is not there or has a problem."""


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Tell an archive by its suffix."""
    return os.fspath(path).lower().endswith(SUFFIXES)


def open_archive(path: str) -> Archive:
    """Open an archive read-only and read its list of members.

    Raises:
        DataError: `damaged_archive`.
        OSError: it cannot be opened.
    """
    stored = _Stored(path)
    try:
        if path.lower().endswith(".zip"):
            return _Zip(stored)
        return _Tar(_Unpacked(stored) if path.lower().endswith(("gz", "tgz")) else stored)
    except _DAMAGED as error:
        raise DataError("damaged_archive", f"{path}: not a readable archive ({error})") from error


def read_member(archive: Archive, name: str) -> bytes:
    """Return all bytes of a member; raises DataError `damaged` where they cannot be unpacked."""
    try:
        with archive.open(name) as stream:
            return stream.read()
    except KeyError:
        raise
    except _DAMAGED as error:
        raise DataError("damaged", f"{name}: the archive's member cannot be unpacked ({error})") from error


# --- what a name may be ---------------------------------------------------------------------------


def plain_name(name: str) -> str:
    """Return a member's name without `./` and doubled slashes, in NFC: by this it must be unique."""
    return unicodedata.normalize("NFC", str(PurePosixPath(name)))


def name_problem(name: str) -> str:
    """Say why a name inside an archive is unsafe, or nothing."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is no valid UTF-8"
    if "\0" in name:
        return "its name holds a NUL"
    if "\\" in name:
        return "its name holds a backslash"
    if re.match(r"[A-Za-z]:", name):
        return "its name starts with a drive letter"
    if name.startswith("/"):
        return "its name is absolute"
    if ".." in name.split("/"):
        return "its name leaves the archive by '..'"
    return "" if name.strip("./") else "its name is empty"


def _checked(found: Iterable[tuple[str, int, str]]) -> tuple[Member, ...]:
    """Add the problems that a name or size alone shows; members of one name are refused together, as one."""
    first: dict[str, Member] = {}
    counts: Counter[str] = Counter()
    for name, size, problem in found:
        plain = plain_name(name)
        counts[plain] += 1
        if size > MAX_MEMBER_BYTES:
            problem = problem or f"it unpacks to {size} bytes, at most {MAX_MEMBER_BYTES} are read"
        first.setdefault(plain, Member(name, size, name_problem(name) or problem))
    return tuple(
        member._replace(problem=member.problem or f"{counts[plain]} members have this name")
        if counts[plain] > 1
        else member
        for plain, member in first.items()
    )


# --- zip ------------------------------------------------------------------------------------------


class _Zip:
    def __init__(self, stored: _Stored) -> None:
        # ZipFile shares one handle between readers under a lock of its own.
        self._file = zipfile.ZipFile(_Window(stored, 0, stored.size))
        infos = [info for info in self._file.infolist() if not info.is_dir()]
        self.members = _checked((info.orig_filename, info.file_size, _zip_problem(info)) for info in infos)
        safe = {member.name for member in self.members if not member.problem}
        self._infos = {info.orig_filename: info for info in infos if info.orig_filename in safe}

    def open(self, name: str) -> BinaryIO:
        return cast(BinaryIO, self._file.open(self._infos[name]))


def _zip_problem(info: zipfile.ZipInfo) -> str:
    mode = info.external_attr >> 16
    if info.flag_bits & _ENCRYPTED:
        return "it is encrypted"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "it is a symbolic link" if stat.S_ISLNK(mode) else "it is a device"
    if info.compress_type not in _METHODS:
        return f"its compression method {info.compress_type} is not supported"
    return ""


# --- tar ------------------------------------------------------------------------------------------


class _Tar:
    def __init__(self, unpacked: _Stored | _Unpacked) -> None:
        self._bytes = unpacked
        with tarfile.open(fileobj=_Window(unpacked, 0, None), mode="r:") as tar:
            infos = [info for info in tar if not info.isdir()]
        self.members = _checked((info.name, info.size, _tar_problem(info)) for info in infos)
        safe = {member.name for member in self.members if not member.problem}
        self._places = {info.name: (info.offset_data, info.size) for info in infos if info.name in safe}

    def open(self, name: str) -> BinaryIO:
        return cast(BinaryIO, _Window(self._bytes, *self._places[name]))


def _tar_problem(info: tarfile.TarInfo) -> str:
    if info.issym():
        return "it is a symbolic link"
    if info.islnk():
        return "it is a hard link"
    if info.issparse():
        return "it is a sparse file"
    return "" if info.isreg() else "it is a device"


# --- bytes at an offset, from many threads --------------------------------------------------------


class _Stored:
    """A file's bytes as they lie on disk."""

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._handle)
        self._lock = threading.Lock()
        self.size = os.fstat(self._handle).st_size

    def read_at(self, offset: int, size: int) -> bytes:
        parts = []
        while size > 0 and (part := self._read_once(offset, size)):
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_once(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._handle, size, offset)
        with self._lock:  # Windows: the handle has one position, which all threads share
            os.lseek(self._handle, offset, os.SEEK_SET)
            return os.read(self._handle, size)


@dataclass(slots=True)
class _Point:
    """A place from which a gzip stream can be unpacked further: `offset` counts unpacked bytes."""

    offset: int
    inflate: Any
    packed_at: int = 0
    packed: bytes = b""
    block: bytes = b""
    """Unpacked bytes that start at `offset`."""

    def copy(self) -> _Point:
        return _Point(self.offset, self.inflate.copy(), self.packed_at, self.packed, self.block)


class _Unpacked:
    """The unpacked bytes of a gzip file, at any offset.

    Points of resumption are remembered every few MiB, so that members can be read in name order, whatever the order
    in which they were packed, without unpacking all that lies before them each time.
    """

    def __init__(self, stored: _Stored) -> None:
        self._stored = stored
        self._limit = max(1 << 30, MAX_RATIO * stored.size)
        self._stride = _STRIDE_BYTES
        self._points = [_Point(0, zlib.decompressobj(16 + zlib.MAX_WBITS))]
        self._idle: list[_Point] = []
        self._lock = threading.Lock()

    def read_at(self, offset: int, size: int) -> bytes:
        cursor = self._nearest(offset)
        parts = []
        while size > 0:
            skipped = offset - cursor.offset
            if part := cursor.block[skipped : skipped + size]:
                parts.append(part)
                offset += len(part)
                size -= len(part)
            elif not self._advance(cursor):
                break
        with self._lock:
            self._idle = [*self._idle[1 - _MAX_IDLE :], cursor]
        return b"".join(parts)

    def _nearest(self, offset: int) -> _Point:
        with self._lock:
            point = max((p for p in self._points if p.offset <= offset), key=lambda p: p.offset)
            near = [cursor for cursor in self._idle if point.offset <= cursor.offset <= offset]
            if not near:
                return point.copy()
            cursor = max(near, key=lambda p: p.offset)
            self._idle = [other for other in self._idle if other is not cursor]
            return cursor

    def _advance(self, cursor: _Point) -> bool:
        """Unpack the next block; False at the end of the file."""
        cursor.offset += len(cursor.block)
        cursor.block = b""
        if cursor.offset > self._limit:
            raise ValueError(f"unpacks to more than {self._limit} bytes")
        while not cursor.block:
            if not cursor.packed:
                cursor.packed = self._stored.read_at(cursor.packed_at, _BLOCK_BYTES)
                cursor.packed_at += len(cursor.packed)
            if cursor.inflate.eof:  # gzip files may follow one another, and zeros may pad the last one
                cursor.packed = cursor.packed.lstrip(b"\0")
                if not cursor.packed:
                    return False
                cursor.inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
            at_end = not cursor.packed
            cursor.block = cursor.inflate.decompress(cursor.packed, _BLOCK_BYTES)
            cursor.packed = cursor.inflate.unused_data if cursor.inflate.eof else cursor.inflate.unconsumed_tail
            if at_end and not cursor.block and not cursor.inflate.eof:
                raise EOFError("the gzip stream ends early")
        self._remember(cursor)
        return True

    def _remember(self, cursor: _Point) -> None:
        with self._lock:
            if cursor.offset < self._points[-1].offset + self._stride:
                return
            self._points.append(cursor.copy())
            if len(self._points) > _MAX_POINTS:
                self._points = self._points[::2]
                self._stride *= 2


class _Window(io.RawIOBase):
    """A part of bytes as a seekable stream; without a size it ends where the bytes do."""

    def __init__(self, source: _Stored | _Unpacked, start: int, size: int | None) -> None:
        self._source, self._start, self._size, self._at = source, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END and self._size is None:
            raise io.UnsupportedOperation("the size of the stream is not known")
        bases: dict[int, Callable[[], int]] = {0: lambda: 0, 1: lambda: self._at, 2: lambda: self._size or 0}
        self._at = max(0, bases[whence]() + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        wanted = -1 if size is None else size
        if self._size is not None:
            left = max(0, self._size - self._at)
            wanted = left if wanted < 0 else min(wanted, left)
        data = self._source.read_at(self._start + self._at, wanted)
        if self._size is not None and len(data) < wanted:
            raise EOFError(f"ends {wanted - len(data)} bytes early")
        self._at += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
