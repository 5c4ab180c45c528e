"""Headers of the formats that Pillow reads for us, and of PNM; with the depths that Pillow would squeeze in silence."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    Jpeg2KImagePlugin,
    PpmImagePlugin,
    QoiImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
)

from forge_steps.read._header import Header
from forge_steps.read._tiff_header import exif_orientation

# Boxes of AVIF and JPEG 2000 that we look for lie in front of the pixels.
_BOXES_BYTES = 1 << 16


def open_with_pillow(kind: str, stream: BinaryIO) -> ImageFile.ImageFile:
    """Open a file as the format that it is: `Image.open` would try all of them and has a size limit of its own."""
    plugins: dict[str, Any] = {
        "tiff": TiffImagePlugin.TiffImageFile,
        "gif": GifImagePlugin.GifImageFile,
        "bmp": BmpImagePlugin.BmpImageFile,
        "pnm": PpmImagePlugin.PpmImageFile,
        "tga": TgaImagePlugin.TgaImageFile,
        "jpeg2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
        "qoi": QoiImagePlugin.QoiImageFile,
        "avif": AvifImagePlugin.AvifImageFile,
    }
    return plugins[kind](stream)  # type: ignore[no-any-return]


_COLOUR_OF_MODE = {
    "1": "gray",
    "L": "gray",
    "LA": "gray",
    "I;16": "gray",
    "I;16B": "gray",
    "I;16L": "gray",
    "I": "gray",
    "F": "gray",
    "RGB": "rgb",
    "RGBA": "rgb",
    "RGBX": "rgb",
    "YCbCr": "rgb",
    "P": "palette",
    "PA": "palette",
    "CMYK": "cmyk",
}


def _with_pillow(kind: str, stream: BinaryIO) -> Header:
    boxes = stream.read(_BOXES_BYTES)
    stream.seek(0)
    opened = open_with_pillow(kind, stream)
    bits, unsupported = _box_bits(kind, boxes)
    colour = _COLOUR_OF_MODE.get(opened.mode, opened.mode)
    return Header(
        format=kind,
        width=opened.size[0],
        height=opened.size[1],
        colour=colour,
        alpha=opened.mode in ("LA", "RGBA", "PA") or "transparency" in opened.info,
        bits=1 if opened.mode == "1" else bits,
        orientation=exif_orientation(opened.info.get("exif", b"")),
        icc=opened.info.get("icc_profile") or b"",
        animated=bool(getattr(opened, "is_animated", False)),
        cicp=_nclx(boxes) if kind == "avif" else None,
        unsupported=unsupported or ("" if colour in _COLOUR_OF_MODE.values() else f"Pillow's mode {opened.mode}"),
    )


def _box_bits(kind: str, boxes: bytes) -> tuple[int, str]:
    """Return bits per channel of formats that Pillow squeezes into 8 without a word."""
    bits, found = 8, -1
    if kind == "avif" and (found := boxes.find(b"av1C")) >= 0:
        # AV1 in ISOBMFF, 2.3.3: high_bitdepth and twelve_bit are bits 6 and 5 of the third byte.
        flags = boxes[found + 6]
        bits = 8 if not flags & 0x40 else 12 if flags & 0x20 else 10
    elif kind == "jpeg2000" and (found := boxes.find(b"\xff\x4f\xff\x51")) >= 0:
        # ITU T.800, A.5.1: Ssiz of the first component, bit depth less one, bit 7 for signed values.
        bits = (boxes[found + 42] & 0x7F) + 1
    return bits, "" if bits == 8 else f"{kind} of {bits} bits per channel"


def _nclx(boxes: bytes) -> tuple[int, int, int, int] | None:
    found = boxes.find(b"colrnclx")
    if found < 0:
        return None
    primaries, transfer, matrix, flags = struct.unpack_from(">HHHB", boxes, found + 8)
    return primaries, transfer, matrix, flags >> 7


def _pnm(stream: BinaryIO) -> Header:
    tokens = list(pnm_tokens(stream.read(1 << 12)))
    kind, numbers = tokens[0][0].decode(), [int(token) for token, _ in tokens[1:]]
    bilevel = kind in ("P1", "P4")
    most = 1 if bilevel else numbers[2]
    allowed = most in (1, 255) or (most == 65535 and kind in ("P5", "P6"))
    return Header(
        format="pnm",
        width=numbers[0],
        height=numbers[1],
        colour="rgb" if kind in ("P3", "P6") else "gray",
        bits=most.bit_length(),
        unsupported="" if allowed and (most != 1 or bilevel) else f"{kind} with values up to {most}",
    )


def pnm_tokens(data: bytes) -> list[tuple[bytes, int]]:
    """Return the tokens of a PNM header, each with the position behind it; the last is followed by one space."""
    tokens: list[tuple[bytes, int]] = []
    count = 3 if data[:2] in (b"P1", b"P4") else 4
    position = 0
    while len(tokens) < count:
        while data[position : position + 1].isspace() or data[position : position + 1] == b"#":
            position = data.index(b"\n", position) if data[position : position + 1] == b"#" else position + 1
        start = position
        while position < len(data) and not data[position : position + 1].isspace():
            position += 1
        if start == position:
            raise EOFError(f"{len(tokens)} of {count} header values")
        tokens.append((data[start:position], position))
    return tokens


READERS: dict[str, Callable[[BinaryIO], Header]] = {
    "pnm": _pnm,
    **{kind: functools.partial(_with_pillow, kind) for kind in ("gif", "bmp", "tga", "jpeg2000", "avif", "qoi")},
}
