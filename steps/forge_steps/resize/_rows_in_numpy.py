"""What `_rows` does to a row of pixels, by whole arrays of numpy: the same float32 sums and products in their order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[Any]
Planes = npt.NDArray[Any]

_ZERO = np.float32(0)


def take(pixels: Row, channels: int, planes: Planes, count: int) -> None:
    """Split `count` interleaved pixels of any type into planes."""
    planes[:channels, :count] = pixels[: channels * count].reshape(count, channels).T


def take_at(pixels: Row, channels: int, places: Row, planes: Planes, count: int) -> None:
    """Split the interleaved pixels at the given places into planes."""
    planes[:channels, :count] = pixels.reshape(-1, channels)[places[:count]].T


def put(planes: Planes, channels: int, top: np.float32, count: int, pixels: Row) -> None:
    """Join planes into interleaved pixels; integers are rounded and clipped in place before."""
    if top > _ZERO:
        values = np.rint(planes[:channels, :count])
        values = np.where(values > _ZERO, values, _ZERO)
        planes[:channels, :count] = np.where(values < top, values, top)
    pixels[: channels * count].reshape(count, channels)[:] = planes[:channels, :count].T


def clear(planes: Planes, count: int) -> None:
    """Set the first `count` columns to 0."""
    planes[:, :count] = _ZERO


def add_scaled(row: Row, scale: np.float32, out: Row, count: int) -> None:
    """Add a row of any type times a number."""
    out[:count] += row[:count].astype(np.float32) * scale


def multiply(row: Row, by: Row, scale: np.float32, count: int) -> None:
    """Multiply a row in place by another and by a number."""
    row[:count] *= by[:count] * scale


def squared_distance(a: Planes, b: Planes, colours: int, out: Row, count: int) -> None:
    """Write |a - b| ** 2 over the first 1 or 3 planes."""
    squares = np.square(a[:colours, :count] - b[:colours, :count])
    out[:count] = squares[0] if colours == 1 else (squares[0] + squares[1]) + squares[2]


def add_weighted(planes: Planes, weight: Row, colours: int, sums: Planes, count: int) -> None:
    """Add the first 1 or 3 planes times the weights, and the weights themselves as the plane after them."""
    sums[:colours, :count] += planes[:colours, :count] * weight[:count]
    sums[colours, :count] += weight[:count]


def pick(planes: Planes, places: Row, colours: int, out: Planes, count: int) -> None:
    """Gather the columns at the given places."""
    out[:colours, :count] = planes[:colours, places[:count]]


def repeat_each(row: Row, factor: int, groups: int, out: Row) -> None:
    """Repeat each of `groups` values `factor` times."""
    out[: factor * groups] = np.repeat(row[:groups], factor)


def sum_groups(row: Row, spare: Row, factor: int, groups: int, out: Row) -> None:
    """Sum each `factor` neighbours: as pairs for 2, pairs of pairs for 4 and 8, else from left to right."""
    values = row[: factor * groups].reshape(groups, factor)
    if factor in (2, 4, 8):
        while values.shape[1] > 1:
            values = values[:, 0::2] + values[:, 1::2]
        out[:groups] = values[:, 0]
    else:
        total = values[:, 0].copy()
        for k in range(1, factor):
            total += values[:, k]
        out[:groups] = total


def sum_cells(row: Row, first: Row, cells: int, out: Row) -> None:
    """Sum the values of each cell: `first[i]` .. `first[i + 1] - 1`, `row[0]` being number `first[0]`."""
    starts, sizes = first[:cells] - first[0], np.diff(first[: cells + 1])
    totals = np.zeros(cells, np.float32)
    for k in range(int(sizes.max())):
        there = sizes > k
        totals[there] += row[starts[there] + k]
    out[:cells] = totals
