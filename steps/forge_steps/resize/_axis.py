"""Which input pixels each output pixel covers along one axis, and by how much."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Axis(NamedTuple):
    """The cells of one axis. A cell is the stretch of input that an output pixel covers.

    Every input pixel belongs to the first cell that touches it. Where it reaches into a second one, that is listed
    apart as an extra: so all arithmetic runs over whole rows, and the few shared pixels are added after.
    """

    factor: int
    """Input pixels per cell where that is whole, else 0."""
    first: Array
    """(cells + 1,) int64: the pixels first[i] .. first[i + 1] - 1 belong to cell i."""
    cell: Array
    """(pixels,) int32: the cell that a pixel belongs to."""
    cover: Array
    """(pixels,) float32, 0..1: the share of the pixel that lies in its cell."""
    extra_first: Array
    """(cells + 1,) int64: the extras extra_first[i] .. extra_first[i + 1] - 1 reach into cell i."""
    extra_pixel: Array
    """(extras,) int32."""
    extra_cell: Array
    """(extras,) int32, ascending."""
    extra_cover: Array
    """(extras,) float32."""
    start: Array
    """(cells,) float32: the left edge of a cell, in input pixels."""
    stop: Array
    """(cells,) float32: its right edge."""
    area: Array
    """(cells,) float32: the sum of all covers of a cell."""


@lru_cache(maxsize=64)
def axis(pixels: int, cells: int) -> Axis:
    """Lay `cells` equal cells over `pixels` pixels, `cells <= pixels`.

    Edges are computed in float32 as pepedpid does, so that fractional ratios give its arrays too: against exact edges
    they are off by at most half a unit in the last place (0.0001 px at 4,096 px).
    """
    step = np.float32(pixels) / np.float32(cells)
    start = np.arange(cells, dtype=np.float32) * step
    stop = start + step
    low = np.floor(start).astype(np.int64)
    high = np.minimum(np.ceil(stop), np.float32(pixels)).astype(np.int64)
    cell = np.repeat(np.arange(cells), high - low)
    pixel = np.arange(cell.size) - np.repeat(np.cumsum(high - low) - high, high - low)
    one = np.float32(1)
    begun = np.clip(one - np.maximum(start[cell] - pixel.astype(np.float32), np.float32(0)), None, one)
    ended = np.clip(one - np.maximum((pixel + 1).astype(np.float32) - stop[cell], np.float32(0)), None, one)
    cover = begun * ended
    own = np.diff(np.maximum.accumulate(pixel), prepend=-1) > 0
    area = np.zeros(cells, np.float32)
    np.add.at(area, cell, cover)
    described = Axis(
        factor=pixels // cells if pixels % cells == 0 else 0,
        first=np.searchsorted(cell[own], np.arange(cells + 1)),
        cell=cell[own].astype(np.int32),
        cover=cover[own],
        extra_first=np.searchsorted(cell[~own], np.arange(cells + 1)),
        extra_pixel=pixel[~own].astype(np.int32),
        extra_cell=cell[~own].astype(np.int32),
        extra_cover=cover[~own],
        start=start,
        stop=stop,
        area=area,
    )
    for array in described[1:]:
        array.flags.writeable = False
    return described
