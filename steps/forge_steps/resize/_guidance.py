"""The guidance of DPID: the mean of each cell, smoothed over its neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import kernel
from forge_steps.resize._rows import add_scaled, add_weighted, multiply, sum_cells, sum_groups, take

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


@kernel
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


@kernel
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


@kernel
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
