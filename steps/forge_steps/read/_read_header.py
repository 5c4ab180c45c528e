"""Tells the format of an image file by its first bytes and reads its header, without decoding a pixel."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO

from PIL.Image import DecompressionBombError

from forge_pipeline.errors import DataError
from forge_steps.read import _jpeg_header, _other_headers, _png_header, _tiff_header, _webp_header
from forge_steps.read._header import Header

_HEAD_BYTES = 64
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    struct.error,
    IndexError,
    KeyError,
    TypeError,
    ArithmeticError,
    RuntimeError,
    DecompressionBombError,
)
"""What Pillow and our readers raise on damaged bytes."""


def read_header(stream: BinaryIO, name: str) -> Header:
    """Read the header of an image file from the start of a seekable stream.

    Args:
        stream: the file's bytes.
        name: its name; only a `.tga`, which has no signature, is told by it.

    Raises:
        DataError: `empty_file`, `not_an_image`, `truncated` or `damaged`.
    """
    head = stream.read(_HEAD_BYTES)
    if not head:
        raise DataError("empty_file", f"{name}: the file is empty, expected an image")
    kind = _sniff(head, name)
    if not kind:
        raise DataError("not_an_image", f"{name}: starts with {head[:8]!r}, which no known image format does")
    stream.seek(0)
    try:
        header = _READERS[kind](stream)
    except EOFError as error:
        raise DataError("truncated", f"{name}: {kind} file ends inside its header ({error})") from error
    except DAMAGE as error:
        raise DataError("damaged", f"{name}: {kind} header cannot be read ({error})") from error
    if header.width < 1 or header.height < 1:
        raise DataError("damaged", f"{name}: {kind} header says {header.width} x {header.height} pixels")
    return header


# --- formats --------------------------------------------------------------------------------------

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"qoif", "qoi"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
)


def _sniff(head: bytes, name: str) -> str:
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp" and (b"avif" in head[8:] or b"avis" in head[8:]):
        return "avif"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "pnm"
    return "tga" if name.lower().endswith(".tga") else ""


_READERS: dict[str, Callable[[BinaryIO], Header]] = {
    "png": _png_header.read,
    "jpeg": _jpeg_header.read,
    "webp": _webp_header.read,
    "tiff": _tiff_header.read,
    **_other_headers.READERS,
}
