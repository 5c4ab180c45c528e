"""The guidance of DPID: the mean of each cell, smoothed over its neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import kernel, kernel_or
from forge_steps.resize._rows import add_scaled, add_weighted, clear, multiply, sum_cells, sum_groups, take

Array = npt.NDArray[Any]

_ZERO = np.float32(0)
_ONE = np.float32(1)
_TWO = np.float32(2)


@kernel
def share_of(start: np.float32, stop: np.float32, pixel: int) -> np.float32:
    """Return the share of a pixel that lies in a cell which touches it."""
    begun = min(_ONE - max(start - np.float32(pixel), _ZERO), _ONE)
    ended = min(_ONE - max(np.float32(pixel + 1) - stop, _ZERO), _ONE)
    return begun * ended


def average_row_in_numpy(
    pixels: Array,
    channels: int,
    start: np.float32,
    stop: np.float32,
    area: np.float32,
    factor: int,
    first: Array,
    cover: Array,
    extra_pixel: Array,
    extra_cell: Array,
    extra_cover: Array,
    column_area: Array,
    totals: Array,
    spare: Array,
    means: Array,
) -> None:
    """Do what `average_row` does."""
    count, cells = cover.size, column_area.size
    colours = means.shape[0] - 1
    clear(totals[None], totals.size)
    summed = spare
    if colours == channels:
        for y in range(int(start), min(int(np.ceil(stop)), pixels.shape[0])):
            add_scaled(pixels[y], share_of(start, stop, y), totals, totals.size)
        take(totals, channels, spare, count)
    else:
        summed = totals.reshape((channels, count))
        for y in range(int(start), min(int(np.ceil(stop)), pixels.shape[0])):
            take(pixels[y], channels, spare, count)
            add_weighted(spare, spare[colours] * share_of(start, stop, y), colours, summed, count)
    for c in range(channels):
        row, mean = summed[c], means[c]
        if factor > 0:
            sum_groups(row, spare[channels], factor, cells, mean)
        else:
            extras = row[extra_pixel] * extra_cover
            multiply(row, cover, _ONE, count)
            sum_cells(row, first, cells, mean)
            np.add.at(mean, extra_cell, extras)
        mean /= column_area * area
    if colours == channels:
        means[colours] = _ONE


@kernel_or(average_row_in_numpy)
def average_row(
    pixels: Array,
    channels: int,
    start: np.float32,
    stop: np.float32,
    area: np.float32,
    factor: int,
    first: Array,
    cover: Array,
    extra_pixel: Array,
    extra_cell: Array,
    extra_cover: Array,
    column_area: Array,
    totals: Array,
    spare: Array,
    means: Array,
) -> None:
    """Average the cells of one output row: colours (times alpha), then alpha (1 where there is none)."""
    count = cover.size
    colours = means.shape[0] - 1
    for i in range(totals.size):
        totals[i] = _ZERO
    summed = spare
    if colours == channels:
        for y in range(int(start), min(int(np.ceil(stop)), pixels.shape[0])):
            add_scaled(pixels[y], share_of(start, stop, y), totals, totals.size)
        take(totals, channels, spare, count)
    else:
        summed = totals.reshape((channels, count))
        weight = spare[channels]
        for y in range(int(start), min(int(np.ceil(stop)), pixels.shape[0])):
            take(pixels[y], channels, spare, count)
            share = share_of(start, stop, y)
            for x in range(count):
                weight[x] = spare[colours, x] * share
            add_weighted(spare, weight, colours, summed, count)
    extras = spare[channels]
    for c in range(channels):
        row, mean = summed[c], means[c]
        if factor > 0:
            sum_groups(row, extras, factor, mean.size, mean)
        else:
            for j in range(extra_pixel.size):
                extras[j] = row[extra_pixel[j]] * extra_cover[j]
            multiply(row, cover, _ONE, count)
            sum_cells(row, first, mean.size, mean)
            for j in range(extra_pixel.size):
                mean[extra_cell[j]] += extras[j]
        for x in range(mean.size):
            mean[x] /= column_area[x] * area
    if colours == channels:
        for x in range(means.shape[1]):
            means[colours, x] = _ONE


def smooth_row_in_numpy(
    above: Array,
    mean: Array,
    below: Array,
    up: np.float32,
    down: np.float32,
    edge: np.float32,
    has_alpha: bool,
    spare: Array,
    guidance: Array,
) -> None:
    """Do what `smooth_row` does."""
    colours = guidance.shape[0]
    alpha = spare[1, : guidance.shape[1]]
    if has_alpha:
        _smooth(above[colours], mean[colours], below[colours], up, down, edge, spare[0], alpha)
    else:
        rows = _TWO + up + down
        alpha[:] = (_TWO + _TWO) * rows
        alpha[0] -= (_ONE - edge) * rows
        alpha[-1] -= (_ONE - edge) * rows
    for c in range(colours):
        smooth = guidance[c]
        _smooth(above[c], mean[c], below[c], up, down, edge, spare[0], smooth)
        smooth[:] = np.where(alpha > _ZERO, smooth / alpha, _ZERO)


@kernel_or(smooth_row_in_numpy)
def smooth_row(
    above: Array,
    mean: Array,
    below: Array,
    up: np.float32,
    down: np.float32,
    edge: np.float32,
    has_alpha: bool,
    spare: Array,
    guidance: Array,
) -> None:
    """Weigh each mean with its neighbours' by [1 2 1; 2 4 2; 1 2 1] and by alpha (equation 4 of the paper).

    What lies beyond the border counts `up`, `down` and `edge` times what lies on it: once or not at all.
    """
    colours, width = guidance.shape
    column, alpha = spare[0], spare[1]
    if has_alpha:
        _smooth(above[colours], mean[colours], below[colours], up, down, edge, column, alpha)
    else:
        rows = _TWO + up + down
        for x in range(width):
            alpha[x] = (_TWO + _TWO) * rows
        alpha[0] -= (_ONE - edge) * rows
        alpha[width - 1] -= (_ONE - edge) * rows
    for c in range(colours):
        smooth = guidance[c]
        _smooth(above[c], mean[c], below[c], up, down, edge, column, smooth)
        for x in range(width):
            smooth[x] = smooth[x] / alpha[x] if alpha[x] > _ZERO else _ZERO


def _smooth_in_numpy(
    above: Array,
    mean: Array,
    below: Array,
    up: np.float32,
    down: np.float32,
    edge: np.float32,
    column: Array,
    out: Array,
) -> None:
    width = mean.size
    column[:width] = (above * up + below * down) + _TWO * mean
    # One pixel more at either end. Sums of two do not hang on their order.
    padded = np.empty(width + 2, np.float32)
    padded[1:-1] = column[:width]
    padded[0], padded[-1] = padded[1] * edge, padded[-2] * edge
    out[:width] = (padded[:-2] + padded[2:]) + _TWO * padded[1:-1]


@kernel_or(_smooth_in_numpy)
def _smooth(
    above: Array,
    mean: Array,
    below: Array,
    up: np.float32,
    down: np.float32,
    edge: np.float32,
    column: Array,
    out: Array,
) -> None:
    last = mean.size - 1
    for x in range(last + 1):
        column[x] = (above[x] * up + below[x] * down) + _TWO * mean[x]
    for x in range(last - 1):
        out[x + 1] = (column[x] + column[x + 2]) + _TWO * column[x + 1]
    right = column[1] if last > 0 else column[0] * edge
    left = column[last - 1] if last > 0 else column[0] * edge
    out[0] = (column[0] * edge + right) + _TWO * column[0]
    out[last] = (left + column[last] * edge) + _TWO * column[last]
