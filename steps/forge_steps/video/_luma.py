"""Small luma pictures of frames, in integers, from the Y plane as it was decoded: what selectors compare."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import kernel_or
from forge_steps.video._planes import luma_plane

# A 1080p frame becomes 64 x 36: coarse enough that a picture moved by a few pixels is still the same picture.
_LONG_SIDE_PX = 64


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """Sums of luma over square blocks; columns and rows that fill no block are left out.

    Attributes:
        sums: (rows, columns) int64.
        black: the sum of a block that is black.
        span: how much more the sum of a white block is.
    """

    sums: npt.NDArray[np.int64]
    black: int
    span: int

    def difference(self, other: Thumbnail) -> float:
        """Return the mean absolute difference, 0 to 1; 1 where the sizes differ."""
        if self.sums.shape != other.sums.shape or self.span != other.span:
            return 1.0
        # One division of two exact integers: correctly rounded, the same everywhere.
        return min(1.0, int(_absolute_difference(self.sums, other.sums)) / (self.sums.size * self.span))

    def dark(self, luma: float, share: float) -> bool:
        """Tell whether at least `share` of the blocks are no lighter than `luma` (0 black to 1 white)."""
        limit = _darkest(luma, self.black, self.span)
        return int(np.count_nonzero(self.sums <= limit)) >= share * self.sums.size


@lru_cache(maxsize=64)  # the same for all frames of a video
def _darkest(luma: float, black: int, span: int) -> int:
    """Return the sum of a block of that luma, exactly, rounded down."""
    return int(black + Fraction(luma) * span)


def thumbnail_of(frame: av.VideoFrame, full_range: bool) -> Thumbnail:
    """Sum the luma of a frame over blocks.

    Args:
        frame: any frame that `to_rgb` takes; of RGB the green plane stands for luma.
        full_range: how its luma is to be read.
    """
    plane, zero, span = luma_plane(frame, full_range)
    height, width = frame.height, frame.width
    side = min(-(-max(width, height) // _LONG_SIDE_PX), height, width)
    sums = np.empty((height // side, width // side), np.int64)
    _sum_blocks(plane, side, sums)
    return Thumbnail(sums, zero * side * side, span * side * side)


def _sum_blocks_in_numpy(plane: npt.NDArray[Any], side: int, out: npt.NDArray[np.int64]) -> None:
    rows, columns = out.shape
    for j in range(rows):
        lines = plane[j * side : (j + 1) * side, : columns * side].sum(axis=0, dtype=np.int64)
        out[j] = lines.reshape(columns, side).sum(axis=1)


@kernel_or(_sum_blocks_in_numpy)
def _sum_blocks(plane: npt.NDArray[Any], side: int, out: npt.NDArray[np.int64]) -> None:
    rows, columns = out.shape
    column_sums = np.empty(columns * side, np.uint32)
    for j in range(rows):
        column_sums[:] = 0
        for k in range(side):
            row = plane[j * side + k]
            for x in range(columns * side):
                column_sums[x] += row[x]
        for i in range(columns):
            total = np.int64(0)
            for k in range(side):
                total += column_sums[i * side + k]
            out[j, i] = total


def _absolute_difference_in_numpy(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> int:
    return int(np.abs(a - b).sum())


@kernel_or(_absolute_difference_in_numpy)
def _absolute_difference(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> int:
    total = np.int64(0)
    for j in range(a.shape[0]):
        for i in range(a.shape[1]):
            total += abs(a[j, i] - b[j, i])
    return total  # type: ignore[return-value]
