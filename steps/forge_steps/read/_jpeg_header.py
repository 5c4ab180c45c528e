"""What the markers of a JPEG say of its pixels, and the quality that its quantisation tables stand for."""

from __future__ import annotations

import functools
import re
import struct
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from forge_steps.read._header import Header
from forge_steps.read._tiff_header import exif_orientation

_START_OF_SCAN, _END, _TABLES, _EXIF, _ICC, _ADOBE = 0xDA, 0xD9, 0xDB, 0xE1, 0xE2, 0xEE
# All SOFn but the Huffman tables, the reserved JPG and the arithmetic conditioning that share their range.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
# In coded data 0xFF is followed by 0x00, and restart markers stand alone.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})

# ITU T.81, Annex K, tables K.1 and K.2.
_LUMINANCE = """
16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99
"""
_CHROMINANCE = """
17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99
"""


def read(stream: BinaryIO) -> Header:
    """Read a JPEG's markers up to its pixels."""
    stream.seek(2)
    frame: tuple[int, int, int, int] | None = None
    orientation = 1
    progressive = False
    profile: dict[int, bytes] = {}
    tables: dict[int, list[int]] = {}
    table_of_luma = 0
    while (marker := _next_marker(stream)) not in (_START_OF_SCAN, _END):
        if marker in _WITHOUT_LENGTH:
            continue
        length = int.from_bytes(_exactly(stream, 2)) - 2
        if marker in _FRAMES:
            body = _exactly(stream, length)
            frame = struct.unpack_from(">BHHB", body)
            table_of_luma = body[8]
            progressive = marker in _PROGRESSIVE
        elif marker == _TABLES:
            tables |= _quantisation_tables(_exactly(stream, length))
        elif marker == _EXIF and (body := _exactly(stream, length)).startswith(b"Exif\0\0"):
            orientation = exif_orientation(body)
        elif marker == _ICC and (body := _exactly(stream, length)).startswith(b"ICC_PROFILE\0"):
            profile[body[12]] = body[14:]
        elif marker not in (_EXIF, _ICC):
            stream.seek(length, 1)
    if frame is None:
        raise ValueError("no frame before its first scan")
    bits, height, width, components = frame
    # One scan of a sequential file may hold fewer components than the frame: then libjpeg keeps coefficients as well.
    components_in_scan = stream.read(3)[2:]
    luma = tables.get(table_of_luma)
    chroma = next((table for key, table in tables.items() if key != table_of_luma), None)
    legible = bits == 8 and components in (1, 3, 4)
    return Header(
        format="jpeg",
        width=width,
        height=height,
        colour={1: "gray", 3: "rgb", 4: "cmyk"}.get(components, f"{components} channels"),
        bits=bits,
        orientation=orientation,
        icc=b"".join(profile[part] for part in sorted(profile)),
        progressive=progressive or b"" < components_in_scan < bytes([components]),
        jpeg_quality=ijg_quality(luma, chroma) if luma else None,
        unsupported="" if legible else f"a JPEG of {components} channels with {bits} bits",
    )


def is_complete(data: bytes) -> bool:
    """Tell whether a JPEG in memory goes on to its end marker, through all its scans; its coded data is not read."""
    position = 2
    while found := _MARKER.search(data, position):
        position = found.end()
        marker = data[position - 1]
        if marker == _END:
            return True
        if marker not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2])
    return False


def ijg_quality(luma: list[int], chroma: list[int] | None = None) -> int:
    """Return the quality (1 to 100) whose IJG tables are nearest to those of a file.

    Libjpeg scales the tables of Annex K by S = 5000 / q below 50, else 200 - 2 q, as (table * S + 50) / 100, cut to
    1..255. The answer is exact for files that libjpeg and its kin wrote, and a best fit (least sum of absolute
    differences, the lower quality on a tie) for tables of other makers, such as cameras and Photoshop.

    Args:
        luma: 64 values in zigzag order.
        chroma: the same, where the file has a second table.

    Source: libjpeg, jcparam.c, `jpeg_quality_scaling` and `jpeg_add_quant_table`; ITU T.81, Annex K.1.
    """
    found = np.array([*luma, *(chroma or [])], np.int64)
    distances = np.abs(_ijg_tables()[:, : found.size] - found).sum(axis=1)
    return int(distances.argmin()) + 1


@functools.cache
def _ijg_tables() -> npt.NDArray[np.int64]:
    """Return 100 rows: luminance and chrominance at qualities 1 to 100, in zigzag order."""
    order = sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8))
    base = [np.array([int(value) for value in text.split()])[order] for text in (_LUMINANCE, _CHROMINANCE)]
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    tables: npt.NDArray[np.int64] = (np.concatenate(base)[None, :] * scale + 50) // 100
    return np.clip(tables, 1, 255)


def _quantisation_tables(body: bytes) -> dict[int, list[int]]:
    tables, position = {}, 0
    while position < len(body):
        wide, key = body[position] >> 4, body[position] & 15
        values = struct.unpack_from(">64H" if wide else ">64B", body, position + 1)
        tables[key] = list(values)
        position += 65 + 64 * bool(wide)
    return tables


def _next_marker(stream: BinaryIO) -> int:
    # Junk between segments is skipped as libjpeg does, and 0xFF may be repeated as filling.
    while (byte := _exactly(stream, 1)) != b"\xff":
        pass
    while (byte := _exactly(stream, 1)) == b"\xff":
        pass
    return byte[0]


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError(f"{size - len(data)} bytes are missing")
    return data
