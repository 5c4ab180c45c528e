"""Turn an image and the values drawn for it into pixels: one float64 pipeline, one rounding at the end."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from forge_steps.augment import _render_in_numpy
from forge_steps.metrics._kernel import kernel, kernel_or

Array = npt.NDArray[Any]

DIHEDRAL = ("identity", "rot90", "rot180", "rot270", "flip", "rot90_flip", "rot180_flip", "rot270_flip")
"""The eight ways to lay a rectangle on itself: turned counter-clockwise first, then mirrored left to right."""

# Rows worked on at once: the float64 pixels and raw noise of a block stay small beside the image.
_BLOCK_ROWS = 64
# A footprint that ends this little outside still counts as inside: the kernel is below 1e-11 there.
_EDGE_PX = 1e-6
_MAX_TAPS = 32


class Warp(NamedTuple):
    """A turn about the centre by `rotation_deg` (counter-clockwise), magnified by `zoom`, cropped to width x height."""

    rotation_deg: float
    zoom: float
    width: int
    height: int


class Tone(NamedTuple):
    """Brightness factor, contrast factor, noise sigma (of the range 0..1) and the 128 bit key of the noise."""

    brightness: float
    contrast: float
    noise: float
    noise_key: int


def lay(image: Array, element: str) -> Array:
    """Return the image turned and mirrored as the element of DIHEDRAL says; the identity returns the array itself."""
    if element == DIHEDRAL[0]:
        return image
    index = DIHEDRAL.index(element)
    turned = np.rot90(image, index % 4)
    return np.ascontiguousarray(turned[:, ::-1] if index >= 4 else turned)


def valid_size(width: int, height: int, rotation_deg: float, zoom: float, align_px: int) -> tuple[int, int]:
    """Return width and height of the largest centred crop that needs no pixel from outside the image.

    The crop keeps the aspect ratio, is never larger than the image, and is rounded down to multiples of `align_px`.
    Inside means that the whole footprint of the kernel (radius 2 px, 2 / zoom px when shrinking) lies on the image.

    Returns:
        (width, height) in px; a 0 says that nothing fits.
    """
    sine, cosine = (abs(part) for part in sine_cosine(rotation_deg))
    radius = 2.0 * max(1.0, 1.0 / zoom)
    reach_x = zoom * ((width + 1) / 2.0 - radius + _EDGE_PX)
    reach_y = zoom * ((height + 1) / 2.0 - radius + _EDGE_PX)
    # A corner at half extents a, b lands at cosine*a + sine*b, sine*a + cosine*b; a is (share*width - 1) / 2.
    share = min(
        1.0,
        (2.0 * reach_x + cosine + sine) / (cosine * width + sine * height),
        (2.0 * reach_y + cosine + sine) / (sine * width + cosine * height),
    )
    if share <= 0.0:
        return 0, 0
    cropped = (int(share * width), int(share * height))
    return cropped[0] - cropped[0] % align_px, cropped[1] - cropped[1] % align_px


def render(image: Array, warp: Warp | None, tone: Tone | None) -> Array:
    """Return the warped and toned image, of the input's dtype and channels; the input is not changed.

    With x the colour in 0..1 (alpha is warped, never toned), in this order: bicubic warp, x = x * brightness,
    x = (x - 0.5) * contrast + 0.5, x = x + noise * z; then clipped to 0..1 and, for integers, rounded to the nearest
    (halves up). z is the sum of twelve 16-bit uniforms from Philox, centred, divided by 65536: mean 0, variance 1
    within 3e-10, within -6..6, made of exact integers, hence the same on any CPU.

    Args:
        image: (H, W, C), C 1 to 4, uint8, uint16 or float32.
        warp: geometry, or None for none.
        tone: tones and noise, or None for none.
    """
    height, width = (warp.height, warp.width) if warp else image.shape[:2]
    channels = image.shape[2]
    colours = channels if channels % 2 else channels - 1
    peak = 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)
    made = np.empty((height, width, channels), image.dtype)
    generator = np.random.Philox(key=tone.noise_key) if tone and tone.noise > 0.0 else None
    sine, cosine = sine_cosine(warp.rotation_deg) if warp else (0.0, 1.0)
    for first in range(0, height, _BLOCK_ROWS):
        rows = made[first : first + _BLOCK_ROWS]
        block = np.empty(rows.shape, np.float64)
        if warp:
            _warp_rows(image, block, first, height, sine, cosine, warp.zoom, peak)
        else:
            np.divide(image[first : first + _BLOCK_ROWS], peak, out=block)
        if tone:
            raw = generator.random_raw(3 * len(rows) * width * colours) if generator else np.empty(0, np.uint64)
            _tone_rows(block, raw, colours, tone.brightness, tone.contrast, tone.noise)
        _round_rows(block, rows, peak)
    return made


def sine_cosine(degrees: float) -> tuple[float, float]:
    """Return sine and cosine of an angle of -90..90 degrees by their Taylor series.

    The C library picks its own sin by CPU features; additions and products in a fixed order are the same everywhere.
    """
    angle = degrees * (math.pi / 180.0)
    sine, cosine = angle, 1.0
    power, order = angle, 1
    while order < 27:  # 1.58**27 / 27! is below 1e-22
        power = power * angle / (order + 1)
        cosine += power if (order + 1) % 4 == 0 else -power
        power = power * angle / (order + 2)
        sine += power if (order + 2) % 4 == 1 else -power
        order += 2
    return sine, cosine


@kernel
def _cubic(distance: float) -> float:
    """Keys' cubic convolution kernel with a = -0.5 (Keys 1981, equation 15)."""
    if distance < 1.0:
        return (1.5 * distance - 2.5) * distance * distance + 1.0
    if distance < 2.0:
        return ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    return 0.0


@kernel
def _taps(position: float, stretch: float, size: int, weights: Array) -> tuple[int, int]:
    """Fill the weights (sum 1) of the pixels around a position; return the first pixel and their count."""
    radius = 2.0 * stretch
    first = max(math.floor(position - radius) + 1, 0)
    last = min(math.ceil(position + radius) - 1, size - 1)
    total = 0.0
    for index in range(first, last + 1):
        weight = _cubic(abs(index - position) / stretch)
        weights[index - first] = weight
        total += weight
    for index in range(last - first + 1):
        weights[index] /= total
    return first, last - first + 1


@kernel_or(_render_in_numpy.warp_rows)
def _warp_rows(
    image: Array, block: Array, first_row: int, height: int, sine: float, cosine: float, zoom: float, peak: float
) -> None:
    """Resample rows first_row .. of the crop by cubic convolution, stretched by 1 / zoom where the image shrinks.

    Colours are weighted by alpha, so that what lies under transparent pixels does not bleed.
    """
    rows, width, channels = block.shape
    has_alpha = channels % 2 == 0
    stretch = max(1.0, 1.0 / zoom)
    weights_x = np.empty(_MAX_TAPS)
    weights_y = np.empty(_MAX_TAPS)
    plain = np.empty(channels)
    covered = np.empty(channels)
    for row in range(rows):
        down = first_row + row - (height - 1) / 2.0
        for column in range(width):
            right = column - (width - 1) / 2.0
            x = (right * cosine - down * sine) / zoom + (image.shape[1] - 1) / 2.0
            y = (right * sine + down * cosine) / zoom + (image.shape[0] - 1) / 2.0
            first_x, count_x = _taps(x, stretch, image.shape[1], weights_x)
            first_y, count_y = _taps(y, stretch, image.shape[0], weights_y)
            plain[:] = 0.0
            covered[:] = 0.0
            for j in range(count_y):
                for i in range(count_x):
                    weight = weights_y[j] * weights_x[i]
                    for c in range(channels):
                        plain[c] += weight * image[first_y + j, first_x + i, c]
                    if has_alpha:
                        weight *= image[first_y + j, first_x + i, channels - 1]
                        for c in range(channels - 1):
                            covered[c] += weight * image[first_y + j, first_x + i, c]
            for c in range(channels):
                value = plain[c]
                # Half a level of alpha: below it the pixel is transparent and the quotient would be noise.
                if has_alpha and c < channels - 1 and plain[channels - 1] > peak / 510.0:
                    value = covered[c] / plain[channels - 1]
                block[row, column, c] = value / peak


@kernel_or(_render_in_numpy.tone_rows)
def _tone_rows(block: Array, raw: Array, colours: int, brightness: float, contrast: float, noise: float) -> None:
    """Apply brightness, contrast and noise to the colours of a block, in place."""
    low = np.uint64(0xFFFF)
    used = 0
    for row in range(block.shape[0]):
        for column in range(block.shape[1]):
            for c in range(colours):
                value = block[row, column, c] * brightness
                value = (value - 0.5) * contrast + 0.5
                if raw.size:
                    total = np.int64(0)
                    for _ in range(3):
                        bits = raw[used]
                        used += 1
                        for shift in (0, 16, 32, 48):
                            total += np.int64((bits >> np.uint64(shift)) & low)
                    value += noise * ((total - 393210) / 65536.0)  # 12 * 65535 / 2
                block[row, column, c] = value


@kernel_or(_render_in_numpy.round_rows)
def _round_rows(block: Array, rows: Array, peak: float) -> None:
    """Clip to 0..1 and store: integers rounded to the nearest, floats as they are (peak 1)."""
    for row in range(block.shape[0]):
        for column in range(block.shape[1]):
            for c in range(block.shape[2]):
                value = min(max(block[row, column, c], 0.0), 1.0) * peak
                if peak > 1.0:
                    value = math.floor(value + 0.5)
                rows[row, column, c] = value
