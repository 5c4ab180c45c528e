"""What the engine asks of an image: its digest, its header, and its lossless encoding."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from forge_pipeline.digest import digest_bytes
from forge_pipeline.errors import DataError
from forge_pipeline.sample import Fields
from forge_steps._image import DTYPES, MODES, Image, check_image
from forge_steps._png import decode_png, encode_png
from forge_steps._png_chunks import SIGNATURE
from forge_steps._tiff import decode_tiff, encode_tiff


class _Described(NamedTuple):
    """What is the same for all images of one shape and dtype."""

    little: np.dtype[Any]
    head: bytes
    header: Fields


@lru_cache(maxsize=1024)  # tiles come in a few shapes; to describe one takes as long as to name a small one
def _described(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> _Described:
    little = dtype.newbyteorder("<")
    height, width, channels = shape
    head = f"{MODES[channels]} {little.str[1:]} {height} {width} {channels}\n".encode()
    header = {"width": width, "height": height, "channels": channels, "dtype": DTYPES[dtype]}
    return _Described(little, head, header)


class ImageCodec:
    """Names, describes, keeps and reads back images: the engine's `Codec` for the kind `image`."""

    kind = "image"
    version = 2

    def digest(self, value: Image) -> str:
        """Name the pixels: shape, channels and dtype count, memory layout does not."""
        shape = _described(value.shape, value.dtype)
        pixels = np.ascontiguousarray(value, shape.little)
        if pixels.itemsize == 1:  # BLAKE3 takes it as it is; a view of it takes longer than to hash a small one
            return digest_bytes(shape.head, pixels)  # type: ignore[arg-type]
        return digest_bytes(shape.head, pixels.data.cast("B"))

    def header(self, value: Image) -> Fields:
        """Return width and height in pixels, channels, and the dtype's name."""
        return _described(value.shape, value.dtype).header

    def size_bytes(self, value: Image) -> int:
        """Return the bytes of its pixels in memory."""
        return int(value.nbytes)

    def suffix(self, value: Image) -> str:
        """Return `.png` for integers, `.tif` for floats, which PNG cannot hold."""
        return ".tif" if value.dtype == np.float32 else ".png"

    def encode(self, value: Image) -> bytes:
        """Encode without loss and always to the same bytes: integers as PNG, floats as uncompressed TIFF."""
        if value.dtype != np.float32:
            return encode_png(value)
        try:
            return encode_tiff(value)
        except ValueError as error:
            raise DataError("too_large", f"float image cannot be kept: {error}") from error

    def decode(self, data: bytes) -> Image:
        """Decode what `encode` gave, to a fresh read-only array; raises DataError `damaged` for other bytes."""
        try:
            value: Image = decode_png(data) if data[:8] == SIGNATURE else decode_tiff(data)
        except ValueError as error:
            raise DataError("damaged", f"not an image payload of forge: {error}") from error
        return self.freeze(value)

    def freeze(self, value: Any) -> Image:
        """Check the value and return a C-contiguous read-only view of it (a copy where it was not contiguous)."""
        frozen = np.ascontiguousarray(check_image(value)).view()
        frozen.flags.writeable = False
        return frozen
