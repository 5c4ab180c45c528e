"""Find the windows with the largest sum of |Laplacian|, exactly, among all positions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import kernel, kernel_or
from forge_steps.metrics._laplacian import abs_laplacian_row, next_luma
from forge_steps.metrics._luma import Image, full_scale, luma_dtype, readable

Array = npt.NDArray[Any]
Window = tuple[int, int, float]  # y, x, mean |Laplacian| of luma in 0..1

# Positions of a row share one stored maximum: a placed tile spoils few of them, and only those are looked at again.
_SEGMENT = 64


def best_windows(
    image: Image, size_px: int, max_tiles: int = 1, align_px: int = 1, max_overlap: float = 0.0, who: str = "tile.best"
) -> list[Window]:
    """Choose windows greedily: each is the best of all positions that the windows before it leave allowed.

    The score of a window is the mean of |luma * [0 1 0; 1 -4 1; 0 1 0]| over its pixels, luma on 0..1 (14-bit BT.601
    weights, not rounded), the image mirrored at its border without the edge row (reflect101). Sums are exact integers;
    of equal ones the smallest y, then the smallest x wins.

    Args:
        image: gray or RGB, alpha ignored; uint8, uint16 or float32 in 0..1; no side shorter than `size_px`.
        size_px: side of the square windows, 1 to 8192.
        max_tiles: how many windows at most.
        align_px: positions are multiples of it.
        max_overlap: the share of a window's area that it may have in common with each other one.
        who: named in errors.

    Returns:
        Up to `max_tiles` of (y, x, score), best first.

    Raises:
        DataError: a mode that is not supported, or NaN.
    """
    lent = readable(image, who)
    height, width = lent.shape[:2]
    kind = luma_dtype(lent)
    luma = np.empty((3, width), kind)
    # The last `size_px` rows of |Laplacian|: 4 MB for a 2K photograph and tiles of 512. A full-size map of it
    # costs three times the whole search in page faults.
    ring = np.zeros((size_px, width), kind)
    columns = np.zeros(width, np.int64)
    if max_tiles == 1:
        found = [_best(lent, size_px, align_px, luma, ring, columns)]
    else:
        down, across = (height - size_px) // align_px + 1, (width - size_px) // align_px + 1
        scores = np.empty((down, across), np.int64)
        peaks = np.empty((down, -(-across // _SEGMENT)), np.int64)
        _score(lent, size_px, align_px, luma, ring, columns, scores, peaks)
        # The largest common area in pixels that is still allowed.
        shared_px = int(Fraction(str(max_overlap)) * size_px * size_px)
        chosen = np.empty((max_tiles, 2), np.int64)
        sums = np.empty(max_tiles, np.int64)
        count = _choose(scores, peaks, size_px, align_px, shared_px, chosen, sums)
        found = [
            (y * align_px, x * align_px, total) for (y, x), total in zip(chosen[:count], sums[:count], strict=True)
        ]
    area = size_px * size_px * full_scale(lent)
    return [(int(y), int(x), int(total) / area) for y, x, total in found]


def _advance_in_numpy(image: Image, y: int, size_px: int, luma: Array, ring: Array, columns: Array) -> None:
    next_luma(image, y, luma)
    columns -= ring[y % size_px]
    abs_laplacian_row(luma, y, image.shape[0], ring[y % size_px])
    columns += ring[y % size_px]


@kernel_or(_advance_in_numpy)
def _advance(image: Image, y: int, size_px: int, luma: Array, ring: Array, columns: Array) -> None:
    """Let the column sums cover rows y - size_px + 1 .. y."""
    next_luma(image, y, luma)
    row = ring[y % size_px]
    for x in range(columns.size):
        columns[x] -= row[x]
    abs_laplacian_row(luma, y, image.shape[0], row)
    for x in range(columns.size):
        columns[x] += row[x]


def _sums_in_numpy(columns: Array, size_px: int, align_px: int) -> Array:
    """Return the sums of the windows of one row."""
    ends = np.cumsum(columns)
    sums = ends[size_px - 1 :].copy()
    sums[1:] -= ends[:-size_px]
    return sums[::align_px]


def _best_in_numpy(
    image: Image, size_px: int, align_px: int, luma: Array, ring: Array, columns: Array
) -> tuple[int, int, int]:
    best, best_y, best_x = -1, 0, 0
    for y in range(image.shape[0]):
        _advance(image, y, size_px, luma, ring, columns)
        top = y - size_px + 1
        if top < 0 or top % align_px != 0:
            continue
        sums = _sums_in_numpy(columns, size_px, align_px)
        at = int(sums.argmax())  # the first of equal ones
        if sums[at] > best:
            best, best_y, best_x = int(sums[at]), top, at * align_px
    return best_y, best_x, best


@kernel_or(_best_in_numpy)
def _best(image: Image, size_px: int, align_px: int, luma: Array, ring: Array, columns: Array) -> tuple[int, int, int]:
    height, width = image.shape[0], image.shape[1]
    best, best_y, best_x = np.int64(-1), 0, 0
    for y in range(height):
        _advance(image, y, size_px, luma, ring, columns)
        top = y - size_px + 1
        if top < 0 or top % align_px != 0:
            continue
        total = np.int64(0)
        for x in range(size_px):
            total += columns[x]
        if total > best:
            best, best_y, best_x = total, top, 0
        for x in range(1, width - size_px + 1):
            total += columns[x + size_px - 1] - columns[x - 1]
            if total > best and x % align_px == 0:
                best, best_y, best_x = total, top, x
    return best_y, best_x, int(best)


def _score_in_numpy(
    image: Image, size_px: int, align_px: int, luma: Array, ring: Array, columns: Array, scores: Array, peaks: Array
) -> None:
    for y in range(image.shape[0]):
        _advance(image, y, size_px, luma, ring, columns)
        top = y - size_px + 1
        if top < 0 or top % align_px != 0:
            continue
        row = scores[top // align_px]
        row[:] = _sums_in_numpy(columns, size_px, align_px)
        peaks[top // align_px] = np.maximum.reduceat(row, np.arange(0, row.size, _SEGMENT))


@kernel_or(_score_in_numpy)
def _score(
    image: Image, size_px: int, align_px: int, luma: Array, ring: Array, columns: Array, scores: Array, peaks: Array
) -> None:
    """Write the sum of every aligned window, and the largest one of each segment of a row."""
    for y in range(image.shape[0]):
        _advance(image, y, size_px, luma, ring, columns)
        top = y - size_px + 1
        if top < 0 or top % align_px != 0:
            continue
        row = scores[top // align_px]
        total = np.int64(0)
        for x in range(size_px):
            total += columns[x]
        row[0] = total
        if align_px == 1:
            for x in range(1, row.size):
                total += columns[x + size_px - 1] - columns[x - 1]
                row[x] = total
        else:
            for x in range(1, (row.size - 1) * align_px + 1):
                total += columns[x + size_px - 1] - columns[x - 1]
                if x % align_px == 0:
                    row[x // align_px] = total
        for segment in range(peaks.shape[1]):
            peak = np.int64(-1)
            for i in range(segment * _SEGMENT, min(row.size, (segment + 1) * _SEGMENT)):
                peak = max(peak, row[i])
            peaks[top // align_px, segment] = peak


def _choose_in_numpy(
    scores: Array, peaks: Array, size_px: int, align_px: int, shared_px: int, chosen: Array, sums: Array
) -> int:
    """Do what `_choose` does; windows that are spoilt lose their scores."""
    best = peaks.max(axis=1)
    reach = (size_px - 1) // align_px
    for count in range(chosen.shape[0]):
        y = int(best.argmax())
        if best[y] < 0:
            return count
        x = int(scores[y].argmax())
        chosen[count] = y, x
        sums[count] = best[y]
        for row in range(max(0, y - reach), min(len(scores), y + reach + 1)):
            # As in `_spoil`.
            half_px = size_px - 1 - shared_px // (size_px - abs(row - y) * align_px)
            if half_px >= 0:
                scores[row, max(0, x - half_px // align_px) : x + half_px // align_px + 1] = -1
                best[row] = scores[row].max()
    return len(sums)


@kernel_or(_choose_in_numpy)
def _choose(
    scores: Array, peaks: Array, size_px: int, align_px: int, shared_px: int, chosen: Array, sums: Array
) -> int:
    """Take the largest allowed sum again and again. Positions here count in steps of `align_px`."""
    for count in range(chosen.shape[0]):
        best, best_y, best_segment = np.int64(-1), 0, 0
        for y in range(peaks.shape[0]):
            for segment in range(peaks.shape[1]):
                if peaks[y, segment] > best:
                    best, best_y, best_segment = peaks[y, segment], y, segment
        if best < 0:
            return count
        best_x = best_segment * _SEGMENT
        while scores[best_y, best_x] != best or _spoilt(best_y, best_x, chosen, count, size_px, align_px, shared_px):
            best_x += 1
        chosen[count, 0], chosen[count, 1] = best_y, best_x
        sums[count] = best
        _spoil(scores, peaks, size_px, align_px, shared_px, chosen, count + 1)
    return len(sums)


@kernel
def _spoilt(y: int, x: int, chosen: Array, count: int, size_px: int, align_px: int, shared_px: int) -> bool:
    """Tell whether a window shares more than is allowed with one of the chosen."""
    for k in range(count):
        high = size_px - abs(y - chosen[k, 0]) * align_px
        wide = size_px - abs(x - chosen[k, 1]) * align_px
        if high > 0 and wide > 0 and high * wide > shared_px:
            return True
    return False


@kernel
def _spoil(scores: Array, peaks: Array, size_px: int, align_px: int, shared_px: int, chosen: Array, count: int) -> None:
    """Bring the segments' maxima up to date after the last of the chosen was placed."""
    placed_y, placed_x = chosen[count - 1, 0], chosen[count - 1, 1]
    reach = (size_px - 1) // align_px
    for y in range(max(0, placed_y - reach), min(scores.shape[0], placed_y + reach + 1)):
        high = size_px - abs(y - placed_y) * align_px
        # (size - dx) * high > shared  <=>  dx < size - shared / high
        half_px = size_px - 1 - shared_px // high
        if half_px < 0:
            continue
        half = half_px // align_px
        first, last = max(0, placed_x - half), min(scores.shape[1] - 1, placed_x + half)
        for segment in range(first // _SEGMENT, last // _SEGMENT + 1):
            begin, end = segment * _SEGMENT, min(scores.shape[1], (segment + 1) * _SEGMENT)
            peak = np.int64(-1)
            if not (first <= begin and end - 1 <= last):
                for x in range(begin, end):
                    if scores[y, x] > peak and not _spoilt(y, x, chosen, count, size_px, align_px, shared_px):
                        peak = scores[y, x]
            peaks[y, segment] = peak
