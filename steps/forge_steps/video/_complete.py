"""How many bytes a container promises beyond the end of its file: what a cut-off download lacks."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_SEGMENT = b"\x18\x53\x80\x67"
_EBML = b"\x1a\x45\xdf\xa3"


def missing_bytes(path: Path) -> int:
    """Return the bytes that outermost lengths of MP4/MOV, Matroska/WebM or AVI promise and the file does not hold.

    0 for a whole file, and for containers that state no length (MPEG-TS, live Matroska): there only the decoder can
    notice a cut. FFmpeg itself ends such a file quietly: a Matroska file cut at 60 % gives 60 % of the frames and no
    error.
    """
    size = path.stat().st_size
    with open(path, "rb") as stream:
        head = stream.read(12)
        stream.seek(0)
        if head[:4] == _EBML:
            end = _matroska_end(stream)
        elif head[:4] == b"RIFF":
            end = _riff_end(stream, size)
        elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            end = _boxes_end(stream, size)
        else:
            end = 0
    return max(0, end - size)


def _boxes_end(stream: BinaryIO, size: int) -> int:
    """Walk the outermost boxes (ISO/IEC 14496-12, 4.2); the last one may say 0: up to the end of the file."""
    at = 0
    while at + 8 <= size:
        stream.seek(at)
        head = stream.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length < 8:
            return size
        at += length
    return at


def _riff_end(stream: BinaryIO, size: int) -> int:
    """Walk the outermost chunks: files above 1 GB hold several RIFF chunks, one after the other (OpenDML)."""
    at = 0
    while at + 8 <= size:
        stream.seek(at)
        head = stream.read(8)
        if head[:4] != b"RIFF":
            return size
        length = int.from_bytes(head[4:], "little")
        at += 8 + length + (length & 1)
    return at


def _matroska_end(stream: BinaryIO) -> int:
    """Read the length of the Segment, which holds all the rest (RFC 8794, 5 and 6)."""
    stream.seek(4)
    length = _ebml_length(stream)
    if length is None:
        return 0
    stream.seek(length, 1)
    if stream.read(4) != _SEGMENT:
        return 0
    length = _ebml_length(stream)
    return 0 if length is None else stream.tell() + length


def _ebml_length(stream: BinaryIO) -> int | None:
    """Read a length of 1 to 8 bytes; None where all its bits are set: unknown, as live recordings write."""
    first = stream.read(1)
    if not first or first[0] == 0:
        return None
    octets = 9 - first[0].bit_length()
    value = int.from_bytes(first + stream.read(octets - 1), "big")
    value &= (1 << (7 * octets)) - 1
    return None if value == (1 << (7 * octets)) - 1 else value
