"""The loops of DPID: each pixel of a cell weighs by its distance to the smoothed guidance."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import kernel, kernel_or
from forge_steps.resize._guidance import average_row, share_of, smooth_row
from forge_steps.resize._power import power, power_in_numpy
from forge_steps.resize._rows import (
    add_weighted,
    clear,
    multiply,
    pick,
    put,
    repeat_each,
    squared_distance,
    sum_cells,
    sum_groups,
    take,
    take_at,
)

Array = npt.NDArray[Any]

# How a squared distance becomes a weight. Square roots are exact and cost a fifth of a power.
BOX, ROOT, DISTANCE, SQUARE, POWER = range(5)

_ZERO = np.float32(0)
_ONE = np.float32(1)
# Pixels worked on at once: their rows of float32 (about 12) stay in 32 KB of first-level cache.
_BLOCK_PX = 1024


@kernel
def downscale(
    pixels: Array,
    channels: int,
    row_start: Array,
    row_stop: Array,
    row_area: Array,
    factor: int,
    first: Array,
    cell: Array,
    cover: Array,
    extra_pixel: Array,
    extra_cell: Array,
    extra_cover: Array,
    column_area: Array,
    weighing: int,
    exponent: np.float32,
    unit: np.float32,
    replicate: bool,
    top: np.float32,
    out: Array,
) -> None:
    """Write the downscaled image, one output row after the other.

    Everything comes as plain arrays: a tuple of them costs a reference count per member at every call inside.

    Args:
        pixels: (H, W * channels), any type; alpha is the last of 2 or 4 channels.
        channels: 1 to 4.
        row_start, row_stop, row_area: `start`, `stop`, `area` of the vertical Axis.
        factor: pixels per cell where both axes are whole, else 0.
        first, cell, cover, extra_pixel, extra_cell, extra_cover, column_area: of the horizontal Axis.
        weighing: how a squared distance becomes a weight: BOX, ROOT (lambda 1/2), DISTANCE (1), SQUARE (2) or POWER.
        exponent: lambda / 2, for POWER.
        unit: 1 / full scale squared, for POWER: no power of a 16-bit distance must leave float32.
        replicate: repeat the outermost guidance beyond the border, else leave out what is not there.
        top: the largest integer value, 0 for floats.
        out: (h, w * channels), the type of `pixels`.
    """
    height, width, count = row_start.size, column_area.size, cell.size
    colours = channels - 1 + channels % 2
    # Three rows of cell means are all that the 3 x 3 guidance needs: memory is O(width), no page is touched twice.
    ring = np.empty((3, colours + 1, width), np.float32)
    totals = np.empty(count * channels, np.float32)
    spare = np.empty((channels + 1, count), np.float32)
    guidance = np.empty((colours, width), np.float32)
    result = np.empty((colours + 1, width), np.float32)
    room = max(_BLOCK_PX, _reach(count, width))
    planes = np.empty((channels, room), np.float32)
    target = np.empty((colours, room), np.float32)
    weight = np.empty(room, np.float32)
    block = np.empty((colours + 1, room), np.float32)
    for row in range(-1, height):
        if row + 1 < height:
            mean = ring[(row + 1) % 3]
            average_row(
                pixels, channels, row_start[row + 1], row_stop[row + 1], row_area[row + 1], factor, first, cover,
                extra_pixel, extra_cell, extra_cover, column_area, totals, spare, mean,
            )  # fmt: skip
        if row < 0:
            continue
        mean = ring[row % 3]
        above = ring[max(row - 1, 0) % 3]
        below = ring[min(row + 1, height - 1) % 3]
        up = _ONE if row > 0 or replicate else _ZERO
        down = _ONE if row + 1 < height or replicate else _ZERO
        smooth_row(above, mean, below, up, down, _ONE if replicate else _ZERO, channels > colours, spare, guidance)
        if weighing != BOX:
            _weigh_row(
                pixels, channels, row_start[row], row_stop[row], factor, first, cell, cover, extra_pixel, extra_cell,
                extra_cover, weighing, exponent, unit, guidance, planes, target, weight, block, result,
            )  # fmt: skip
        sums = result if weighing != BOX else mean
        for c in range(colours):
            _divide(sums[c], sums[colours], guidance[c], result[c])
        for x in range(width):
            result[colours, x] = mean[colours, x]
        put(result, channels, top, width, out[row])


@kernel
def _reach(pixels: int, cells: int) -> int:
    """Return how many pixels a cell touches at most."""
    return (pixels + cells - 1) // cells + 1


@kernel
def _weigh_row(
    pixels: Array,
    channels: int,
    start: np.float32,
    stop: np.float32,
    factor: int,
    first: Array,
    cell: Array,
    cover: Array,
    extra_pixel: Array,
    extra_cell: Array,
    extra_cover: Array,
    weighing: int,
    exponent: np.float32,
    unit: np.float32,
    guidance: Array,
    planes: Array,
    target: Array,
    weight: Array,
    sums: Array,
    result: Array,
) -> None:
    """Sum each cell of one output row by cover, alpha and distance to the guidance (equation 5 of the paper)."""
    colours, width = guidance.shape
    top, bottom = int(start), min(int(np.ceil(stop)), pixels.shape[0])
    block = max(1, _BLOCK_PX // _reach(cell.size, width))
    fused = factor > 0 and channels == 3 and weighing in (ROOT, DISTANCE)
    for left in range(0, width, block):
        cells = min(block, width - left)
        begin, end = first[left], first[left + cells]
        count = end - begin
        if factor > 0:
            for c in range(colours):
                repeat_each(guidance[c, left:], factor, cells, target[c])
        else:
            pick(guidance, cell[begin:end], colours, target, count)
        shares = cover[begin:end]
        clear(sums, count)
        for y in range(top, bottom):
            line = pixels[y, begin * channels :]
            if fused:
                if weighing == ROOT:
                    _add_by_root(line, target, sums, count)
                else:
                    _add_by_distance(line, target, sums, count)
                continue
            take(line, channels, planes, count)
            squared_distance(planes, target, colours, weight, count)
            _weigh(weight, weighing, exponent, unit, count)
            if factor == 0:
                multiply(weight, shares, share_of(start, stop, y), count)
            if colours < channels:
                multiply(weight, planes[colours], _ONE, count)
            add_weighted(planes, weight, colours, sums, count)
        for c in range(colours + 1):
            if factor > 0:
                sum_groups(sums[c], weight, factor, cells, result[c, left:])
            else:
                sum_cells(sums[c], first[left:], cells, result[c, left:])
    for left in range(0, extra_pixel.size, weight.size):
        count = min(weight.size, extra_pixel.size - left)
        places, owners = extra_pixel[left : left + count], extra_cell[left : left + count]
        shares = extra_cover[left : left + count]
        pick(guidance, owners, colours, target, count)
        clear(sums, count)
        for y in range(top, bottom):
            take_at(pixels[y], channels, places, planes, count)
            squared_distance(planes, target, colours, weight, count)
            _weigh(weight, weighing, exponent, unit, count)
            multiply(weight, shares, share_of(start, stop, y), count)
            if colours < channels:
                multiply(weight, planes[colours], _ONE, count)
            add_weighted(planes, weight, colours, sums, count)
        for c in range(colours + 1):
            for j in range(count):
                result[c, owners[j]] += sums[c, j]


def _add_by_root_in_numpy(line: Array, target: Array, sums: Array, count: int) -> None:
    _add_apart_in_numpy(line, target, ROOT, sums, count)


def _add_by_distance_in_numpy(line: Array, target: Array, sums: Array, count: int) -> None:
    _add_apart_in_numpy(line, target, DISTANCE, sums, count)


def _add_apart_in_numpy(line: Array, target: Array, weighing: int, sums: Array, count: int) -> None:
    """Take the way of all other images: the same sums in the same order."""
    planes, weight = np.empty((3, count), np.float32), np.empty(count, np.float32)
    take(line, 3, planes, count)
    squared_distance(planes, target, 3, weight, count)
    _weigh(weight, weighing, _ONE, _ONE, count)
    add_weighted(planes, weight, 3, sums, count)


@kernel_or(_add_by_root_in_numpy)
def _add_by_root(line: Array, target: Array, sums: Array, count: int) -> None:
    """Do the whole of lambda 1/2 for opaque RGB in one loop: the same sums in the same order, in half the time."""
    for x in range(count):
        red, green, blue = np.float32(line[3 * x]), np.float32(line[3 * x + 1]), np.float32(line[3 * x + 2])
        d0, d1, d2 = red - target[0, x], green - target[1, x], blue - target[2, x]
        weight = np.sqrt(np.sqrt((d0 * d0 + d1 * d1) + d2 * d2))
        sums[0, x] += red * weight
        sums[1, x] += green * weight
        sums[2, x] += blue * weight
        sums[3, x] += weight


@kernel_or(_add_by_distance_in_numpy)
def _add_by_distance(line: Array, target: Array, sums: Array, count: int) -> None:
    """Do the whole of lambda 1 for opaque RGB in one loop."""
    for x in range(count):
        red, green, blue = np.float32(line[3 * x]), np.float32(line[3 * x + 1]), np.float32(line[3 * x + 2])
        d0, d1, d2 = red - target[0, x], green - target[1, x], blue - target[2, x]
        weight = np.sqrt((d0 * d0 + d1 * d1) + d2 * d2)
        sums[0, x] += red * weight
        sums[1, x] += green * weight
        sums[2, x] += blue * weight
        sums[3, x] += weight


def _weigh_in_numpy(weight: Array, weighing: int, exponent: np.float32, unit: np.float32, count: int) -> None:
    used = weight[:count]
    if weighing == ROOT:
        used[:] = np.sqrt(np.sqrt(used))
    elif weighing == DISTANCE:
        used[:] = np.sqrt(used)
    elif weighing == POWER:
        used[:] = power_in_numpy(used * unit, exponent)


@kernel_or(_weigh_in_numpy)
def _weigh(weight: Array, weighing: int, exponent: np.float32, unit: np.float32, count: int) -> None:
    """Turn squared distances into distances to the power of lambda."""
    if weighing == ROOT:
        for x in range(count):
            weight[x] = np.sqrt(np.sqrt(weight[x]))
    elif weighing == DISTANCE:
        for x in range(count):
            weight[x] = np.sqrt(weight[x])
    elif weighing == POWER:
        for x in range(count):
            weight[x] = power(weight[x] * unit, exponent)


def _divide_in_numpy(total: Array, weight: Array, otherwise: Array, out: Array) -> None:
    out[:] = np.where(weight > _ZERO, total / weight, otherwise)


@kernel_or(_divide_in_numpy)
def _divide(total: Array, weight: Array, otherwise: Array, out: Array) -> None:
    """Divide; where the weight is 0 take the third."""
    for x in range(total.size):
        out[x] = total[x] / weight[x] if weight[x] > _ZERO else otherwise[x]
