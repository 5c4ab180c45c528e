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
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from forge_pipeline.errors import DataError
from forge_pipeline.names import Names

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_MEMBER_BYTES = 1 << 31
"""A member that declares more is refused: one source file is held in memory whole."""
MAX_RATIO = 200
"""How many times its own size a `.tar.gz` may unpack to, beyond 1 GiB. Files of images stay under 20."""

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ENCRYPTED = 0x1
_BLOCK_BYTES = 1 << 18
# Headers of small members, and the members, lie close together: so many bytes at once, where one is this close.
_NEAR_BYTES, _AHEAD_BYTES = 1 << 14, 1 << 16
# A resumption point holds a 32 KiB window and costs as much memory; 4 MiB of output are unpacked again in 15 ms.
_STRIDE_BYTES = 4 << 20
_MAX_POINTS = 1024
_ADLER_MODULUS = 65521
_MAX_IDLE = 16
_ZIP_INFO_BYTES = 800  # what zipfile holds of a member, measured: a record, its name twice, a place in two tables
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)


class Member(NamedTuple):
    """One file in an archive: its name as stored, its unpacked size, and why it must not be read (or nothing)."""

    name: str
    size: int
    problem: str


class Archive(Protocol):
    """An open archive; every method may be called from many threads at once."""

    members: Members
    held_bytes: int
    """What the list of its members takes in memory."""

    def read(self, name: str) -> bytes:
        """Return all bytes of a member. Raises KeyError where there is none that may be read."""

    def open(self, name: str) -> BinaryIO:
        """Open a member for reading; raises KeyError for a name that is not there or has a problem."""


class Members:
    """The members of an archive in its own order, held as bytes: a tar may have a million."""

    def __init__(self, found: Iterable[tuple[str, int, str]]) -> None:
        """Hold the files that an archive lists, and find what names and sizes alone show to be wrong.

        Args:
            found: name as stored, unpacked size, and a problem if there is one. Of those with one name only the first
                is a member, and must not be read.
        """
        self._plain = Names()
        self._sizes = array("Q")
        self._named: dict[int, str] = {}
        """Names that are not stored in the plain way."""
        self._problems: dict[int, str] = {}
        for row, (name, size, problem) in enumerate(found):
            plain = plain_name(name)
            if plain != name:
                self._named[row] = name
            if size > MAX_MEMBER_BYTES:
                problem = problem or f"it unpacks to {size} bytes, at most {MAX_MEMBER_BYTES} are read"
            if problem := name_problem(name) or problem:
                self._problems[row] = problem
            self._plain.append(_spelled(plain))
            self._sizes.append(size)
        self._by_name = self._plain.in_order()
        self._again = self._refuse_doubled()
        self._near = 0
        """Where the member after the one that was found last stands: they are mostly read in name order."""

    def __iter__(self) -> Iterator[Member]:
        for row, size in enumerate(self._sizes):
            if row not in self._again:
                yield Member(self._name(row), size, self._problems.get(row, ""))

    def find(self, name: str) -> tuple[int, int]:
        """Return which of the files found a member is that may be read, and its size. Raises KeyError."""
        at = self._plain.find(_spelled(plain_name(name)), self._by_name, self._near)
        self._near = at + 1
        row = self._by_name[at]
        if row in self._problems or self._name(row) != name:
            raise KeyError(name)
        return row, self._sizes[row]

    @property
    def size_bytes(self) -> int:
        """How much they take in memory, beside those few that are not plain."""
        ordered = 0 if isinstance(self._by_name, range) else 8 * len(self._sizes)
        return self._plain.size_bytes + 8 * len(self._sizes) + ordered

    def _name(self, row: int) -> str:
        return self._named.get(row) or self._plain[row].decode("utf-8", "surrogatepass")

    def _refuse_doubled(self) -> set[int]:
        """Refuse members of one name together; return all but the first of each."""
        first: dict[int, int] = {}
        for one, other in self._plain.doubled(self._by_name):
            first[other] = first.get(one, one)
        for row, count in Counter(first.values()).items():
            self._problems.setdefault(row, f"{count + 1} members have this name")
        return set(first)


def _spelled(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


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
        return archive.read(name)
    except KeyError:
        raise
    except _DAMAGED as error:
        raise DataError("damaged", f"{name}: the archive's member cannot be unpacked ({error})") from error


# --- what a name may be ---------------------------------------------------------------------------


# As nearly all are: nothing to spell anew, and nothing to refuse.
_SIMPLE = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)*", re.ASCII)


def plain_name(name: str) -> str:
    """Return a member's name without `./` and doubled slashes, in NFC: by this it must be unique."""
    if _SIMPLE.fullmatch(name):
        return name
    parts = name.split("/")
    # A path is made only where it says something else: it interns all of its parts, for a million members too.
    return unicodedata.normalize("NFC", str(PurePosixPath(name)) if "" in parts or "." in parts else name)


def name_problem(name: str) -> str:
    """Say why a name inside an archive is unsafe, or nothing."""
    if _SIMPLE.fullmatch(name):
        return ""
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


# --- zip ------------------------------------------------------------------------------------------


class _Zip:
    def __init__(self, stored: _Stored) -> None:
        # ZipFile shares one handle between readers under a lock of its own.
        self._file = zipfile.ZipFile(_Window(stored, 0, stored.size))
        self._infos = [info for info in self._file.infolist() if not info.is_dir()]
        self.members = Members((info.orig_filename, info.file_size, _zip_problem(info)) for info in self._infos)
        self.held_bytes = self.members.size_bytes + _ZIP_INFO_BYTES * len(self._infos)

    def read(self, name: str) -> bytes:
        row, _ = self.members.find(name)
        return self._file.read(self._infos[row])

    def open(self, name: str) -> BinaryIO:
        row, _ = self.members.find(name)
        return cast(BinaryIO, self._file.open(self._infos[row]))


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
        self._offsets = array("Q")
        with tarfile.open(fileobj=_Window(unpacked, 0, None), mode="r:") as tar:
            self.members = Members(self._files(tar))
        self.held_bytes = self.members.size_bytes + self._offsets.itemsize * len(self._offsets)

    def read(self, name: str) -> bytes:
        row, size = self.members.find(name)
        data = self._bytes.read_at(self._offsets[row], size)
        if len(data) < size:
            raise _ends_early(size - len(data))
        return data

    def open(self, name: str) -> BinaryIO:
        row, size = self.members.find(name)
        return cast(BinaryIO, _Window(self._bytes, self._offsets[row], size))

    def _files(self, tar: tarfile.TarFile) -> Iterator[tuple[str, int, str]]:
        """List the files. `tarfile` takes 30 us for a header; a shard has tens of thousands, nearly all plain."""
        at = 0
        while True:
            # What a header for all files says may change the names of those that follow; git's is a comment.
            plain = None
            if not tar.pax_headers.keys() - {"comment"}:
                plain = _plain_file(self._bytes.read_at(at, tarfile.BLOCKSIZE))
            if plain is not None:
                name, size = plain
                at += tarfile.BLOCKSIZE
                self._offsets.append(at)
                yield name, size, ""
                at += -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                continue
            tar.members = []  # type: ignore[attr-defined]  # else it remembers a kilobyte of each
            if at:  # it has read the first one when it was opened
                tar.firstmember = None  # type: ignore[attr-defined]
                tar.offset = at
            if (info := tar.next()) is None:
                return
            at = tar.offset
            if not info.isdir():
                self._offsets.append(info.offset_data)
                yield info.name, info.size, _tar_problem(info)


def _plain_file(block: bytes) -> tuple[str, int] | None:
    """Return name and size of a header that says no more than that; None for any other, and for one that is damaged."""
    if len(block) != tarfile.BLOCKSIZE or block[156:157] != tarfile.REGTYPE:
        return None
    try:
        size, told = int(block[124:136].rstrip(b"\0 "), 8), int(block[148:156].rstrip(b"\0 "), 8)
    except ValueError:  # a number that is not octal: of a huge file
        return None
    # Adler-32 begins with the sum of all bytes, and 1; the sum that a header tells takes its own eight as spaces.
    summed = zlib.adler32(b"%b%b%b" % (block[:148], b" " * 8, block[156:])) & 0xFFFF
    if size < 0 or summed != (told + 1) % _ADLER_MODULUS:
        return None
    name, prefix = (
        part.partition(b"\0")[0].decode("utf-8", "surrogateescape") for part in (block[:100], block[345:500])
    )
    return (f"{prefix}/{name}" if prefix else name), size


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
        self._end = 0
        """Where what was read last ends."""
        self._ahead = (0, b"")
        """Bytes that were read with those before them, and where they begin."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Read bytes; where few are asked for, close behind the last, many at once: a read has its price."""
        start, ahead = self._ahead
        near, self._end = 0 <= offset - self._end <= _NEAR_BYTES, offset + size
        if not (start <= offset and offset + size <= start + len(ahead)):
            if not near or size > _NEAR_BYTES:
                return self._read(offset, size)
            start, ahead = self._ahead = offset, self._read(offset, _AHEAD_BYTES)
        return ahead[offset - start : offset - start + size]

    def _read(self, offset: int, size: int) -> bytes:
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
            # Not what it has read and unpacked: that takes fifteen times as much, and is read again.
            end, unread = cursor.offset + len(cursor.block), cursor.packed_at - len(cursor.packed)
            self._points.append(_Point(end, cursor.inflate.copy(), unread))
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
            raise _ends_early(wanted - len(data))
        self._at += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _ends_early(missing_bytes: int) -> EOFError:
    return EOFError(f"ends {missing_bytes} bytes early")
