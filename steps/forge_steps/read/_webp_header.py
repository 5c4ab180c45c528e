"""What the chunks of a WebP file say of its pixels."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

from forge_steps.read._header import Header
from forge_steps.read._tiff_header import exif_orientation

# WebP container specification, extended format: flags in the first byte of VP8X.
_ANIMATED, _EXIF, _ALPHA = 0x02, 0x08, 0x10


def read(stream: BinaryIO) -> Header:
    """Read a WebP's chunk list; the bodies of its pixels are skipped."""
    stream.seek(12)
    facts: dict[str, Any] = {}
    wanted = {b"VP8X", b"VP8 ", b"VP8L"}
    while wanted and len(head := stream.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        body = stream.read(min(length, 32 if name[:3] == b"VP8" else length if name in wanted else 0))
        stream.seek(length + (length & 1) - len(body), 1)
        if name == b"VP8X":
            facts = _extended(body)
            wanted = {b"ICCP"} | ({b"EXIF"} if body[0] & _EXIF else set())
            if not body[0] & 0x20:
                wanted.discard(b"ICCP")
        elif name in (b"VP8 ", b"VP8L") and not facts:
            facts = _lossy(body) if name == b"VP8 " else _lossless(body)
            wanted = set()
        elif name in wanted:
            facts |= {"icc": body} if name == b"ICCP" else {"orientation": exif_orientation(body)}
            wanted.discard(name)
    if not facts:
        raise EOFError("no chunk that names its size")
    return Header(format="webp", colour="rgb", **facts)


def _extended(body: bytes) -> dict[str, Any]:
    width, height = int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    return {
        "width": width,
        "height": height,
        "alpha": bool(body[0] & _ALPHA),
        "animated": bool(body[0] & _ANIMATED),
    }


def _lossy(body: bytes) -> dict[str, Any]:
    # RFC 6386, 9.1: frame tag, start code, then 14 bits each.
    if body[3:6] != b"\x9d\x01\x2a":
        raise ValueError("no VP8 start code")
    width, height = struct.unpack_from("<HH", body, 6)
    return {"width": width & 0x3FFF, "height": height & 0x3FFF}


def _lossless(body: bytes) -> dict[str, Any]:
    # RFC 9649, 3.4: signature, 14 bits of width less one, 14 of height less one, one of alpha.
    if body[0] != 0x2F:
        raise ValueError("no VP8L signature")
    bits = int.from_bytes(body[1:5], "little")
    return {"width": (bits & 0x3FFF) + 1, "height": ((bits >> 14) & 0x3FFF) + 1, "alpha": bool((bits >> 28) & 1)}
