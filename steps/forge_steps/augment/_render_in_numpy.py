"""What the loops of `_render` do to a block of rows, by whole arrays of numpy: the same float64 sums in their order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def warp_rows(
    image: Array, block: Array, first_row: int, height: int, sine: float, cosine: float, zoom: float, peak: float
) -> None:
    """Resample rows first_row .. of the crop by cubic convolution, tap by tap, for all pixels at once."""
    rows, width, channels = block.shape
    stretch = max(1.0, 1.0 / zoom)
    down = (first_row + np.arange(rows))[:, None] - (height - 1) / 2.0
    right = np.arange(width) - (width - 1) / 2.0
    x = (right * cosine - down * sine) / zoom + (image.shape[1] - 1) / 2.0
    y = (right * sine + down * cosine) / zoom + (image.shape[0] - 1) / 2.0
    columns, weights_x = _taps(x, stretch, image.shape[1])
    lines, weights_y = _taps(y, stretch, image.shape[0])
    plain, covered = np.zeros(block.shape), np.zeros((rows, width, channels - 1))
    for line, weight_y in zip(lines, weights_y, strict=True):
        for column, weight_x in zip(columns, weights_x, strict=True):
            # Numbers under 0 say that a pixel has fewer taps.
            there = ((line >= 0) & (column >= 0))[:, :, None]
            pixel = image[line, column]
            weight = (weight_y * weight_x)[:, :, None]
            np.add(plain, weight * pixel, out=plain, where=there)
            if channels % 2 == 0:
                np.add(covered, weight * pixel[:, :, -1:] * pixel[:, :, :-1], out=covered, where=there)
    if channels % 2 == 0:
        alpha = plain[:, :, -1:]
        np.divide(covered, alpha, out=plain[:, :, :-1], where=alpha > peak / 510.0)
    block[:] = plain / peak


def _taps(position: Array, stretch: float, size: int) -> tuple[Array, Array]:
    """Return the pixels around each position and their weights (sum 1), tap by tap; -1 where there is none."""
    radius = 2.0 * stretch
    first = np.maximum(np.floor(position - radius).astype(np.int64) + 1, 0)
    last = np.minimum(np.ceil(position + radius).astype(np.int64) - 1, size - 1)
    index = first + np.arange(int((last - first).max()) + 1)[:, None, None]
    there = index <= last
    weights = _cubic(np.abs(index - position) / stretch)
    total = np.zeros(position.shape)
    for weight, counts in zip(weights, there, strict=True):
        np.add(total, weight, out=total, where=counts)
    return np.where(there, index, -1), weights / total


def _cubic(distance: Array) -> Array:
    near = (1.5 * distance - 2.5) * distance * distance + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    return np.where(distance < 1.0, near, np.where(distance < 2.0, far, 0.0))


def tone_rows(block: Array, raw: Array, colours: int, brightness: float, contrast: float, noise: float) -> None:
    """Apply brightness, contrast and noise to the colours of a block, in place."""
    value = block[:, :, :colours] * brightness
    value = (value - 0.5) * contrast + 0.5
    if raw.size:
        # Three words of four uniforms of 16 bits each.
        uniforms = raw.reshape(*value.shape, 3).astype("<u8").view("<u2")
        value += noise * ((uniforms.sum(axis=3, dtype=np.int64) - 393210) / 65536.0)  # 12 * 65535 / 2
    block[:, :, :colours] = value


def round_rows(block: Array, rows: Array, peak: float) -> None:
    """Clip to 0..1 and store: integers rounded to the nearest, floats as they are (peak 1)."""
    # Python's min and max, which leave -0.0 as it is.
    value = np.where(block < 0.0, 0.0, np.where(block > 1.0, 1.0, block)) * peak
    rows[:] = np.floor(value + 0.5) if peak > 1.0 else value
