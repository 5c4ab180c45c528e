"""Loops over one row of pixels, written so that the compiler vectorises each of them.

What it takes: array indices that are visibly not negative, strides and plane numbers that are constants (a stride held
in a variable costs 7 times as much), and no slices inside (each costs about 15 ns in reference counts).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import kernel, kernel_or
from forge_steps.resize import _rows_in_numpy

Row = npt.NDArray[Any]  # (count,)
Planes = npt.NDArray[Any]  # (channels, count) float32, one row a channel

_ZERO = np.float32(0)


@kernel_or(_rows_in_numpy.take)
def take(pixels: Row, channels: int, planes: Planes, count: int) -> None:
    """Split `count` interleaved pixels of any type into planes."""
    if channels == 1:
        for x in range(count):
            planes[0, x] = np.float32(pixels[x])
    elif channels == 2:
        for x in range(count):
            planes[0, x] = np.float32(pixels[2 * x])
            planes[1, x] = np.float32(pixels[2 * x + 1])
    elif channels == 3:
        for x in range(count):
            planes[0, x] = np.float32(pixels[3 * x])
            planes[1, x] = np.float32(pixels[3 * x + 1])
            planes[2, x] = np.float32(pixels[3 * x + 2])
    else:
        for x in range(count):
            planes[0, x] = np.float32(pixels[4 * x])
            planes[1, x] = np.float32(pixels[4 * x + 1])
            planes[2, x] = np.float32(pixels[4 * x + 2])
            planes[3, x] = np.float32(pixels[4 * x + 3])


@kernel_or(_rows_in_numpy.take_at)
def take_at(pixels: Row, channels: int, places: Row, planes: Planes, count: int) -> None:
    """Split the interleaved pixels at the given places into planes."""
    if channels == 3:
        for x in range(count):
            at = 3 * places[x]
            planes[0, x] = np.float32(pixels[at])
            planes[1, x] = np.float32(pixels[at + 1])
            planes[2, x] = np.float32(pixels[at + 2])
    else:
        for x in range(count):
            for c in range(channels):
                planes[c, x] = np.float32(pixels[channels * places[x] + c])


@kernel_or(_rows_in_numpy.put)
def put(planes: Planes, channels: int, top: np.float32, count: int, pixels: Row) -> None:
    """Join planes into interleaved pixels.

    `top` above 0 says that pixels are integers up to it: the planes are first rounded in place to nearest, half to
    even, and clipped.
    """
    if top > _ZERO:
        for c in range(channels):
            for x in range(count):
                value = np.rint(planes[c, x])
                value = value if value > _ZERO else _ZERO
                planes[c, x] = value if value < top else top
    if channels == 1:
        for x in range(count):
            pixels[x] = planes[0, x]
    elif channels == 2:
        for x in range(count):
            pixels[2 * x] = planes[0, x]
            pixels[2 * x + 1] = planes[1, x]
    elif channels == 3:
        for x in range(count):
            pixels[3 * x] = planes[0, x]
            pixels[3 * x + 1] = planes[1, x]
            pixels[3 * x + 2] = planes[2, x]
    else:
        for x in range(count):
            pixels[4 * x] = planes[0, x]
            pixels[4 * x + 1] = planes[1, x]
            pixels[4 * x + 2] = planes[2, x]
            pixels[4 * x + 3] = planes[3, x]


@kernel_or(_rows_in_numpy.clear)
def clear(planes: Planes, count: int) -> None:
    """Set the first `count` columns to 0."""
    for c in range(planes.shape[0]):
        for x in range(count):
            planes[c, x] = _ZERO


@kernel_or(_rows_in_numpy.add_scaled)
def add_scaled(row: Row, scale: np.float32, out: Row, count: int) -> None:
    """Add a row of any type times a number."""
    for x in range(count):
        out[x] += np.float32(row[x]) * scale


@kernel_or(_rows_in_numpy.multiply)
def multiply(row: Row, by: Row, scale: np.float32, count: int) -> None:
    """Multiply a row in place by another and by a number."""
    for x in range(count):
        row[x] *= by[x] * scale


@kernel_or(_rows_in_numpy.squared_distance)
def squared_distance(a: Planes, b: Planes, colours: int, out: Row, count: int) -> None:
    """Write |a - b| ** 2 over the first 1 or 3 planes."""
    if colours == 1:
        for x in range(count):
            d0 = a[0, x] - b[0, x]
            out[x] = d0 * d0
    else:
        for x in range(count):
            d0 = a[0, x] - b[0, x]
            d1 = a[1, x] - b[1, x]
            d2 = a[2, x] - b[2, x]
            out[x] = (d0 * d0 + d1 * d1) + d2 * d2


@kernel_or(_rows_in_numpy.add_weighted)
def add_weighted(planes: Planes, weight: Row, colours: int, sums: Planes, count: int) -> None:
    """Add the first 1 or 3 planes times the weights, and the weights themselves as the plane after them."""
    if colours == 1:
        for x in range(count):
            sums[0, x] += planes[0, x] * weight[x]
            sums[1, x] += weight[x]
    else:
        for x in range(count):
            w = weight[x]
            sums[0, x] += planes[0, x] * w
            sums[1, x] += planes[1, x] * w
            sums[2, x] += planes[2, x] * w
            sums[3, x] += w


@kernel_or(_rows_in_numpy.pick)
def pick(planes: Planes, places: Row, colours: int, out: Planes, count: int) -> None:
    """Gather the columns at the given places."""
    for c in range(colours):
        for x in range(count):
            out[c, x] = planes[c, places[x]]


@kernel_or(_rows_in_numpy.repeat_each)
def repeat_each(row: Row, factor: int, groups: int, out: Row) -> None:
    """Repeat each of `groups` values `factor` times."""
    if factor == 2:
        for x in range(groups):
            value = row[x]
            out[2 * x] = value
            out[2 * x + 1] = value
    elif factor == 4:
        for x in range(groups):
            value = row[x]
            out[4 * x] = value
            out[4 * x + 1] = value
            out[4 * x + 2] = value
            out[4 * x + 3] = value
    else:
        for x in range(groups):
            for k in range(factor):
                out[factor * x + k] = row[x]


@kernel_or(_rows_in_numpy.sum_groups)
def sum_groups(row: Row, spare: Row, factor: int, groups: int, out: Row) -> None:
    """Sum each `factor` neighbours: as pairs for 2, pairs of pairs for 4 and 8, else from left to right."""
    if factor == 2:
        _sum_twos(row, groups, out)
    elif factor == 4:
        _sum_fours(row, groups, out)
    elif factor == 8:
        _sum_twos(row, 4 * groups, spare)
        _sum_fours(spare, groups, out)
    elif factor == 3:
        for x in range(groups):
            out[x] = (row[3 * x] + row[3 * x + 1]) + row[3 * x + 2]
    else:
        for x in range(groups):
            total = row[factor * x]
            for k in range(1, factor):
                total += row[factor * x + k]
            out[x] = total


@kernel
def _sum_twos(row: Row, groups: int, out: Row) -> None:
    for x in range(groups):
        out[x] = row[2 * x] + row[2 * x + 1]


@kernel
def _sum_fours(row: Row, groups: int, out: Row) -> None:
    for x in range(groups):
        out[x] = (row[4 * x] + row[4 * x + 1]) + (row[4 * x + 2] + row[4 * x + 3])


@kernel_or(_rows_in_numpy.sum_cells)
def sum_cells(row: Row, first: Row, cells: int, out: Row) -> None:
    """Sum the values of each cell: `first[i]` .. `first[i + 1] - 1`, `row[0]` being number `first[0]`."""
    least = first[cells] - first[0]
    for i in range(cells):
        least = min(least, first[i + 1] - first[i])
    for i in range(cells):
        out[i] = _ZERO
    # All cells at once, one value of each after the other: twice as fast as cell by cell, whose ends mispredict.
    for k in range(least):
        for i in range(cells):
            out[i] += row[first[i] - first[0] + k]
    for i in range(cells):
        for x in range(first[i] - first[0] + least, first[i + 1] - first[0]):
            out[i] += row[x]
