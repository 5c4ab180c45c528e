"""Reduce an image by a separable filter: columns first, then rows, sums in a fixed order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import kernel_or
from forge_steps.resize._reduce import TOP, Image, Size, check_finite, lend_rows
from forge_steps.resize._rows import add_scaled
from forge_steps.resize._taps import CUBIC, LANCZOS, Filter, taps

__all__ = ["CUBIC", "LANCZOS", "reduce_by_filter"]

Array = npt.NDArray[Any]

_ZERO = np.float32(0)


def reduce_by_filter(image: Image, size: Size, filter_: Filter, who: str) -> Image:
    """Downscale the used part of an image.

    With alpha, colours are filtered multiplied by it and divided by the filtered alpha; all are then clipped, as the
    filter's negative lobes make nonsense of colours that are hardly visible. Without it, floats are not clipped.

    Returns:
        (size.height, size.width, C) of the image's type; integers rounded to nearest, half to even, once, and clipped.

    Raises:
        DataError: `unsupported_mode`, or `not_finite` for NaN or infinity.
    """
    pixels, channels = lend_rows(image, who)
    top = np.float32(TOP[image.dtype.name])
    out = np.empty((size.height, size.width * channels), image.dtype)
    rows, columns = taps(filter_, size.used_height, size.height), taps(filter_, size.used_width, size.width)
    # numpy would tell of every overflow that compiled loops pass in silence.
    with np.errstate(all="ignore"):
        _filter(pixels, channels, size.used_width, rows.pixel, rows.weight, columns.pixel, columns.weight, top, out)
    check_finite(out, who)
    return out.reshape(size.height, size.width, *image.shape[2:])


def _filter_in_numpy(
    pixels: Array,
    channels: int,
    width: int,
    row_pixel: Array,
    row_weight: Array,
    column_pixel: Array,
    column_weight: Array,
    top: np.float32,
    out: Array,
) -> None:
    colours = channels - 1 + channels % 2
    for y in range(out.shape[0]):
        column = np.zeros(width * channels, np.float32)
        for pixel, weight in zip(row_pixel[y], row_weight[y], strict=True):
            if colours == channels:
                add_scaled(pixels[pixel], weight, column, column.size)
            else:
                _add_premultiplied(pixels[pixel], channels, weight, column, width)
        summed = np.zeros((column_pixel.shape[0], channels), np.float32)
        for k in range(column_pixel.shape[1]):
            summed += column_weight[:, k, None] * column.reshape(width, channels)[column_pixel[:, k]]
        line = summed.reshape(-1)
        if colours < channels:
            _divide_by_alpha(line, channels, top if top > _ZERO else np.float32(1))
        if top > _ZERO:
            line = np.rint(line)
            line = np.where(line > _ZERO, line, _ZERO)
            line = np.where(line < top, line, top)
        out[y] = line


@kernel_or(_filter_in_numpy)
def _filter(
    pixels: Array,
    channels: int,
    width: int,
    row_pixel: Array,
    row_weight: Array,
    column_pixel: Array,
    column_weight: Array,
    top: np.float32,
    out: Array,
) -> None:
    """Write the filtered image, one output row after the other.

    Args:
        pixels: (H, at least width * channels), any type.
        channels: 1 to 4; of 2 or 4 the last is alpha.
        width: how many pixels of a row are used.
        row_pixel, row_weight, column_pixel, column_weight: the taps of both axes.
        top: the largest integer value, 0 for floats.
        out: (h, w * channels), the type of `pixels`.
    """
    colours = channels - 1 + channels % 2
    column = np.empty(width * channels, np.float32)
    line = np.empty(out.shape[1], np.float32)
    for y in range(out.shape[0]):
        for i in range(column.size):
            column[i] = _ZERO
        for k in range(row_pixel.shape[1]):
            row, weight = pixels[row_pixel[y, k]], row_weight[y, k]
            if colours == channels:
                add_scaled(row, weight, column, column.size)
            else:
                _add_premultiplied(row, channels, weight, column, width)
        for x in range(column_pixel.shape[0]):
            for c in range(channels):
                total = _ZERO
                for k in range(column_pixel.shape[1]):
                    total += column_weight[x, k] * column[channels * column_pixel[x, k] + c]
                line[channels * x + c] = total
        if colours < channels:
            _divide_by_alpha(line, channels, top if top > _ZERO else np.float32(1))
        if top > _ZERO:
            for i in range(line.size):
                value = np.rint(line[i])
                value = value if value > _ZERO else _ZERO
                out[y, i] = value if value < top else top
        else:
            for i in range(line.size):
                out[y, i] = line[i]


def _add_premultiplied_in_numpy(row: Array, channels: int, weight: np.float32, out: Array, count: int) -> None:
    pixels = row[: count * channels].reshape(count, channels).astype(np.float32)
    alpha = pixels[:, -1:] * weight
    sums = out.reshape(count, channels)
    sums[:, :-1] += pixels[:, :-1] * alpha
    sums[:, -1:] += alpha


@kernel_or(_add_premultiplied_in_numpy)
def _add_premultiplied(row: Array, channels: int, weight: np.float32, out: Array, count: int) -> None:
    """Add the colours times alpha, and alpha, all times a weight."""
    for x in range(count):
        alpha = np.float32(row[channels * x + channels - 1]) * weight
        for c in range(channels - 1):
            out[channels * x + c] += np.float32(row[channels * x + c]) * alpha
        out[channels * x + channels - 1] += alpha


def _divide_by_alpha_in_numpy(line: Array, channels: int, top: np.float32) -> None:
    pixels = line.reshape(-1, channels)
    alpha = pixels[:, -1:]
    colour = np.where(alpha > _ZERO, pixels[:, :-1] / alpha, _ZERO)
    pixels[:, :-1] = np.minimum(np.maximum(colour, _ZERO), top)
    pixels[:, -1:] = np.minimum(np.maximum(alpha, _ZERO), top)


@kernel_or(_divide_by_alpha_in_numpy)
def _divide_by_alpha(line: Array, channels: int, top: np.float32) -> None:
    """Turn colours times alpha into colours; 0 where alpha is not above 0. All are clipped to 0..top."""
    for x in range(line.size // channels):
        alpha = line[channels * x + channels - 1]
        for c in range(channels - 1):
            colour = line[channels * x + c] / alpha if alpha > _ZERO else _ZERO
            line[channels * x + c] = min(max(colour, _ZERO), top)
        line[channels * x + channels - 1] = min(max(alpha, _ZERO), top)
