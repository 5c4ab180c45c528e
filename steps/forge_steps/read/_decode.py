"""Strict decoding: the pixels of a file exactly as it stores them, or the name of what is wrong with it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PilImage
from PIL import ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from forge_pipeline.errors import DataError
from forge_steps._image import Image, check_image
from forge_steps._png_chunks import SIGNATURE, read_chunks, without_chunks
from forge_steps.read._header import Header
from forge_steps.read._jpeg_header import is_complete
from forge_steps.read._other_headers import open_with_pillow, pnm_tokens
from forge_steps.read._png_header import header_of_chunks, transparent_gray
from forge_steps.read._read_header import DAMAGE, read_header


@dataclass(frozen=True, slots=True)
class Stored:
    """The pixels of a file before any policy.

    Attributes:
        pixels: (H, W, C); C counts alpha; of a palette the colours that it stands for.
        header: what the file says of them.
        turned: the orientation was applied while decoding (libtiff does so unasked).
    """

    pixels: Image
    header: Header
    turned: bool = False


def full_header(data: bytes, name: str) -> Header:
    """Read the header of a file that is wholly in memory, with all checks that need no pixels.

    Raises:
        DataError: `empty_file`, `not_an_image`, `truncated` or `damaged`.
    """
    header = read_header(io.BytesIO(data), name)
    if header.format == "png":
        try:
            # Every CRC is checked here: Pillow skips those of the pixels. An eXIf may stand behind the pixels, too.
            return header_of_chunks(list(read_chunks(data)))
        except ValueError as error:
            reason = "truncated" if str(error).startswith("ends at") else "damaged"
            raise DataError(reason, f"{name}: {error}") from error
    if header.format == "jpeg" and not is_complete(data):
        raise DataError("truncated", f"{name}: jpeg file ends at byte {len(data)} without its end marker")
    if header.format == "webp" and int.from_bytes(data[4:8], "little") + 8 > len(data):
        missing = int.from_bytes(data[4:8], "little") + 8 - len(data)
        raise DataError("truncated", f"{name}: webp file ends {missing} bytes early")
    return header


def decode(data: bytes, header: Header, name: str) -> Stored:
    """Decode the first frame of a file strictly.

    Raises:
        DataError: `unsupported_mode`, `truncated`, `damaged`.
    """
    if header.unsupported:
        raise DataError("unsupported_mode", f"{name}: is {header.unsupported}, which would not be read exactly")
    return _strictly(lambda: _decoder(header)(data, header), header, name)


def decode_in_place(path: Path, header: Header, name: str) -> Stored:
    """Decode an RGB JPEG on disk as `decode` does, with neither its bytes nor a second copy of its pixels in memory.

    OpenCV copies what it decodes from bytes; what it decodes from a file it writes where we say.

    Raises:
        DataError: `truncated`, `damaged`.
    """
    return _strictly(lambda: (_as_promised(_in_place(path, header), header, np.uint8), False), header, name)


def _in_place(path: Path, header: Header) -> Image:
    pixels = np.empty((header.height, header.width, 3), np.uint8)
    untouched = (np.arange(3 * header.width) * 73 % 251).astype(np.uint8).reshape(-1, 3)
    pixels[-1] = untouched
    found = cv2.imread(str(path), pixels, _RGB)
    # Where it cannot open or decode a file it says nothing, and leaves the rows as they are from there on.
    if found is None or np.array_equal(found[-1], untouched):
        return _by_opencv(path.read_bytes(), _RGB)
    return found


def _strictly(run: Callable[[], tuple[Image, bool]], header: Header, name: str) -> Stored:
    """Decode, and name the file in what is wrong with it."""
    try:
        pixels, turned = run()
        return Stored(check_image(np.ascontiguousarray(pixels)), header, turned)
    except DataError as error:
        raise DataError(error.reason, f"{name}: {error.message}") from error
    except (EOFError, cv2.error, *DAMAGE) as error:
        if isinstance(error, cv2.error) and error.code == _NO_MEMORY:
            raise MemoryError(error.err) from error  # the machine's fault, not the file's
        text = (str(error) or type(error).__name__).splitlines()[0]
        cut = isinstance(error, EOFError) or any(word in text.lower() for word in _CUT)
        reason = "truncated" if cut else "damaged"
        raise DataError(reason, f"{name}: {header.format} pixels cannot be decoded ({text})") from error


_NO_MEMORY = -4  # OpenCV's StsNoMem
# Words in the messages of Pillow's decoders for bytes that end too soon.
_CUT = ("truncated", "not enough image data", "unexpected end", "buffer is not large enough")

_Decoder = Callable[[bytes, Header], tuple[Image, bool]]


def _decoder(header: Header) -> _Decoder:
    if header.format == "png":
        if header.bits == 16:
            return _png_16
        return _by_opencv_8 if header.bits == 8 and header.colour != "palette" and not header.keyed else _png_small
    if header.format == "jpeg" and header.colour != "cmyk":
        return _by_opencv_8
    if header.format == "tiff":
        return _deep_tiff if header.bits >= 16 else _turned_by_pillow
    if header.format == "pnm" and header.bits == 16:
        return _pnm_16
    return _by_pillow


# --- eight bits: Pillow ---------------------------------------------------------------------------


class _Jpeg(JpegImagePlugin.JpegImageFile):
    """A JPEG as such: no look for a second picture behind it, no warnings about an EXIF block that we read anyway."""

    def _read_dpi_from_exif(self) -> None:
        pass


def _by_pillow(data: bytes, header: Header) -> tuple[Image, bool]:
    plugins: dict[str, type[ImageFile.ImageFile]] = {
        "png": PngImagePlugin.PngImageFile,
        "jpeg": _Jpeg,
        "webp": WebPImagePlugin.WebPImageFile,
    }
    stream = io.BytesIO(data)
    kind = header.format
    return _pixels_of(plugins[kind](stream) if kind in plugins else open_with_pillow(kind, stream)), False


def _png_small(data: bytes, header: Header) -> tuple[Image, bool]:
    # Palettes, transparent colours and 1, 2, 4 bits. Pillow fills rows that are missing with zeros and says nothing.
    _by_opencv(data)
    pixels, _ = _by_pillow(data, header)
    if header.keyed and header.colour == "gray":  # Pillow compares with the value before it is spread over 0..255
        pixels = _with_transparent_gray(pixels[:, :, :1], data, 255 // ((1 << header.bits) - 1))
    return pixels, False


def _with_transparent_gray(pixels: Image, data: bytes, step: int) -> Image:
    value = transparent_gray(read_chunks(data))
    if value is None:
        raise ValueError("a transparent gray of other than two bytes")
    full = np.iinfo(pixels.dtype).max
    alpha = np.where(pixels == value * step, 0, full).astype(pixels.dtype)
    return np.concatenate([pixels, alpha], axis=2)


def _turned_by_pillow(data: bytes, header: Header) -> tuple[Image, bool]:
    return _pixels_of(open_with_pillow("tiff", io.BytesIO(data))), True


def _pixels_of(opened: PilImage.Image) -> Image:
    opened.load()
    mode, keyed = opened.mode, "transparency" in opened.info
    if mode in ("P", "PA"):
        opened = opened.convert("RGBA" if keyed or mode == "PA" or _has_alpha_palette(opened) else "RGB")
    elif mode == "1":
        opened = opened.convert("L")
    elif keyed and mode == "RGB":
        opened = opened.convert("RGBA")
    elif mode in ("RGBX", "YCbCr"):
        opened = opened.convert("RGB")
    elif mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        raise DataError("unsupported_mode", f"has Pillow's mode {mode}, which is not read")
    pixels = np.asarray(opened)
    return pixels.reshape(pixels.shape[0], pixels.shape[1], -1)


def _has_alpha_palette(opened: PilImage.Image) -> bool:
    return opened.palette is not None and opened.palette.mode == "RGBA"


# --- OpenCV: the plain kinds, for speed; sixteen bits and floats, which Pillow squeezes -------------


def _by_opencv_8(data: bytes, header: Header) -> tuple[Image, bool]:
    # On a 2048 x 1365 JPEG this takes 6 ms where Pillow takes 19, for the same pixels.
    if header.colour == "rgb" and not header.alpha:
        return _as_promised(_by_opencv(data, _RGB), header, np.uint8), False
    pixels = _by_opencv(data)
    if header.colour == "gray" and header.alpha:  # OpenCV has no gray with alpha: it repeats the gray
        pixels = pixels[:, :, [0, 3]]
    return _as_promised(pixels, header, np.uint8), False


_RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


# What these say changes no value that OpenCV gives; libpng tells of small faults in them on stderr, a line a file.
_SAYINGS = frozenset(b"bKGD cHRM cICP eXIf gAMA hIST iCCP iTXt oFFs pHYs sBIT sPLT sRGB tEXt tIME zTXt".split())


def _by_opencv(data: bytes, flags: int = cv2.IMREAD_UNCHANGED) -> Image:
    if data.startswith(SIGNATURE):
        data = without_chunks(data, _SAYINGS)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ValueError("OpenCV finds its pixels incomplete or damaged")
    if flags == cv2.IMREAD_UNCHANGED and pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return pixels.reshape(pixels.shape[0], pixels.shape[1], -1)


def _png_16(data: bytes, header: Header) -> tuple[Image, bool]:
    pixels = _by_opencv(data)
    if header.colour == "gray" and pixels.shape[2] == 4:
        pixels = pixels[:, :, [0, 3]]
    elif header.colour == "gray" and header.keyed:  # and it knows no transparent gray value
        pixels = _with_transparent_gray(pixels, data, 1)
    return _as_promised(pixels, header, np.uint16), False


def _deep_tiff(data: bytes, header: Header) -> tuple[Image, bool]:
    return _as_promised(_by_opencv(data), header, np.float32 if header.floating else np.uint16), True


def _as_promised(pixels: Image, header: Header, dtype: type) -> Image:
    if pixels.dtype != dtype or pixels.shape[2] != header.channels:
        found = f"{pixels.dtype} with {pixels.shape[2]} channels"
        raise ValueError(f"OpenCV gives {found}, expected {np.dtype(dtype)} with {header.channels}")
    return pixels


def _pnm_16(data: bytes, header: Header) -> tuple[Image, bool]:
    start = pnm_tokens(data)[-1][1] + 1
    count = header.width * header.height * header.channels
    if len(data) - start < 2 * count:
        raise EOFError(f"{2 * count - len(data) + start} bytes are missing")
    pixels = np.frombuffer(data, ">u2", count, start).astype(np.uint16)
    return pixels.reshape(header.height, header.width, header.channels), False
