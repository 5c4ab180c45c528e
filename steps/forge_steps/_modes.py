"""Turns pixels from one mode into another on purpose: depth, alpha, gray and orientation, rounded once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from forge_steps._image import Image

# What a conversion needs beside its result then fits in a cache.
_BAND_PX = 1 << 18
_UNDONE = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}


def oriented(image: Image, orientation: int) -> Image:
    """Return the image as its EXIF orientation (1 to 8) wants it seen; a permutation of pixels.

    Source: EXIF 2.32, 4.6.4, tag 274: where row 0 and column 0 of the stored image lie on the picture.
    """
    turned = image.transpose(1, 0, 2) if orientation >= 5 else image
    flipped_rows = orientation in (3, 4, 7, 8)
    flipped_columns = orientation in (2, 3, 6, 7)
    return turned[:: -1 if flipped_rows else 1, :: -1 if flipped_columns else 1]


def disoriented(image: Image, orientation: int) -> Image:
    """Undo `oriented`."""
    return oriented(image, _UNDONE[orientation])


def by_bands(convert: Callable[[Image], Image], image: Image) -> Image:
    """Convert an image band of rows by band of rows, so that a large one needs little beside its result.

    Args:
        convert: gives each pixel a new value, by nothing but its old one.
        image: (H, W, C).
    """
    height, rows = len(image), max(1, _BAND_PX // image.shape[1])
    first = convert(image[:rows])
    if height <= rows:
        return first
    made = np.empty((height, *first.shape[1:]), first.dtype)
    made[:rows] = first
    for top in range(rows, height, rows):
        made[top : top + rows] = convert(image[top : top + rows])
    return made


def full_value(image: Image) -> Any:
    """Return the value that stands for white and for opaque: 255, 65535 or 1.0."""
    return image.dtype.type(1.0 if image.dtype == np.float32 else np.iinfo(image.dtype).max)


def has_alpha(image: Image) -> bool:
    """Tell whether the last channel is alpha."""
    return image.shape[2] in (2, 4)


def is_opaque(image: Image) -> bool:
    """Tell whether every alpha value is the full one (an image without alpha is opaque)."""
    return not has_alpha(image) or bool((image[:, :, -1] == full_value(image)).all())


def over(image: Image, background: Literal["white", "black"]) -> Image:
    """Lay an image with alpha over white or black and drop the alpha.

    Integers are rounded to nearest, halves up, in exact arithmetic; floats are not rounded. Values are taken as they
    are stored (as browsers and editors do), not in linear light.
    """
    return by_bands(lambda part: _over(part, background), image)


def _over(image: Image, background: Literal["white", "black"]) -> Image:
    colour, alpha, full = image[:, :, :-1], image[:, :, -1:], full_value(image)
    if image.dtype == np.float32:
        laid: Image = colour * alpha + (full - alpha) * np.float32(background == "white")
        return laid
    wide, cover = colour.astype(np.uint64), alpha.astype(np.uint64)
    most = np.uint64(full)
    behind = (most - cover) * (most if background == "white" else np.uint64(0))
    return ((wide * cover + behind + most // np.uint64(2)) // most).astype(image.dtype)


def repeated_gray(image: Image) -> Image:
    """Make RGB of gray (RGBA of gray with alpha) by repeating it."""
    return image[:, :, [0, 0, 0, 1][: image.shape[2] + 2]]


def in_8_bits(image: Image) -> Image:
    """Scale uint16 or float32 (clipped to 0..1) to uint8, rounded to nearest, halves up."""
    return image if image.dtype == np.uint8 else by_bands(_in_8_bits, image)


def _in_8_bits(image: Image) -> Image:
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) * np.uint32(255) + np.uint32(32767)) // np.uint32(65535)).astype(np.uint8)
    return np.floor(np.clip(image, 0, 1).astype(np.float64) * 255 + 0.5).astype(np.uint8)
