"""The outer form of a PNG file: its signature and its chunks, each with a length and a CRC."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Walk the chunks of a PNG file to IEND, checking every length and CRC; raises ValueError."""
    if data[:8] != SIGNATURE:
        raise ValueError("no PNG signature")
    view = memoryview(data)
    position, name = 8, b""
    while name != b"IEND":
        if position + 12 > len(data):
            raise ValueError(f"ends at byte {len(data)} before its IEND chunk")
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise ValueError(f"ends at byte {len(data)} inside a chunk {name.decode('latin-1')} of {length} bytes")
        if name == b"IHDR" and length != 13:
            raise ValueError(f"an IHDR chunk of {length} bytes, expected 13")
        if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ValueError(f"a chunk {name.decode('latin-1')} at byte {position} does not match its CRC")
        yield name, view[position + 8 : end - 4]
        position = end


def without_chunks(data: bytes, names: Collection[bytes]) -> bytes:
    """Return a PNG file, whose form has been checked, less its chunks of some names."""
    view, kept, position = memoryview(data), [memoryview(SIGNATURE)], 8
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if name not in names:
            kept.append(view[position : position + 12 + length])
        position = len(data) if name == b"IEND" else position + 12 + length
    return b"".join(kept)


def write_chunk(name: bytes, body: bytes | memoryview) -> list[bytes | memoryview]:
    """Return the parts of a chunk: length, name, body, CRC."""
    return [struct.pack(">I", len(body)), name, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))]
