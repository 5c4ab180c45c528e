"""What the chunks of a PNG say of its pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from forge_steps._png_chunks import SIGNATURE
from forge_steps.read._header import Header
from forge_steps.read._tiff_header import exif_orientation

_COLOURS = {0: "gray", 2: "rgb", 3: "palette", 4: "gray", 6: "rgb"}
_MAX_CHUNK_BYTES = 1 << 24
_MAX_PROFILE_BYTES = 1 << 24

Chunk = tuple[bytes, bytes | memoryview]


def read(stream: BinaryIO) -> Header:
    """Read a PNG's chunks up to its pixels."""
    return header_of_chunks(_chunks_before_pixels(stream))


def header_of_chunks(chunks: Iterable[Chunk]) -> Header:
    """Make a header of chunks, of which the first must be IHDR."""
    iterator = iter(chunks)
    name, body = next(iterator, (b"", b""))
    if name != b"IHDR" or len(body) != 13:
        raise ValueError("its first chunk is no IHDR")
    width, height, bits, colour_type = struct.unpack_from(">IIBB", body)
    facts: dict[str, Any] = {"alpha": colour_type in (4, 6)}
    for name, body in iterator:
        if name in _CHUNKS and len(body) <= _MAX_CHUNK_BYTES:
            facts |= _CHUNKS[name](bytes(body))
    return Header(format="png", width=width, height=height, colour=_COLOURS[colour_type], bits=bits, **facts)


def transparent_gray(chunks: Iterable[Chunk]) -> int | None:
    """Return the gray value that a tRNS chunk makes transparent, where there is one."""
    return next((int.from_bytes(body[:2]) for name, body in chunks if name == b"tRNS" and len(body) == 2), None)


def _chunks_before_pixels(stream: BinaryIO) -> Iterator[Chunk]:
    if stream.read(8) != SIGNATURE:
        raise ValueError("no PNG signature")
    while True:
        head = stream.read(8)
        if len(head) < 8:
            raise EOFError("no pixels")
        length, name = struct.unpack(">I4s", head)
        if name in (b"IDAT", b"IEND"):
            return
        if name == b"IHDR" or (name in _CHUNKS and length <= _MAX_CHUNK_BYTES):
            body = stream.read(min(length, _MAX_CHUNK_BYTES))
            if len(body) < length:
                raise EOFError(f"inside its chunk {name.decode('latin-1')}")
            yield name, body
            stream.seek(4, 1)
        else:
            stream.seek(length + 4, 1)


def _profile(body: bytes) -> dict[str, Any]:
    name, _, packed = body.partition(b"\0")
    inflate = zlib.decompressobj()
    try:
        icc = inflate.decompress(packed[1:], _MAX_PROFILE_BYTES)
    except zlib.error:
        icc = b""
    if not icc or not inflate.eof:
        return {"damage": f"its ICC profile '{name.decode('latin-1')}' cannot be unpacked"}
    return {"icc": icc}


_CHUNKS: dict[bytes, Any] = {
    b"tRNS": lambda body: {"alpha": True, "keyed": True},
    b"iCCP": _profile,
    b"gAMA": lambda body: {"gamma": int.from_bytes(body[:4]) / 100_000},
    b"cICP": lambda body: {"cicp": tuple(body[:4])} if len(body) == 4 else {},
    b"eXIf": lambda body: {"orientation": exif_orientation(body)},
    b"acTL": lambda body: {"animated": int.from_bytes(body[:4]) > 1},
}
