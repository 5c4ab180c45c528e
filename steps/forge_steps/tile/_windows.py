"""Find the windows with the largest sum of |Laplacian|, exactly, among all positions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import kernel, kernel_or
from forge_steps.metrics._laplacian import next_luma, replace_abs_laplacian_row
from forge_steps.metrics._luma import Image, full_scale, luma_dtype, readable

Array = npt.NDArray[Any]
Window = tuple[int, int, float]  # y, x, mean |Laplacian| of luma in 0..1

MAX_SIZE_PX = 8192
"""Side of a window: sums over larger ones, of float images, need not fit in 64 bits."""

# Neighbouring positions share one stored maximum, those of so many pixels of a row: a placed tile spoils few of them,
# and only these are summed again.
_SEGMENT_PX = 64


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
    if max_tiles == 1:
        found = [_best(lent, size_px, align_px, *_room(lent, size_px))]
    else:
        # The largest common area in pixels that is still allowed.
        shared_px = int(Fraction(str(max_overlap)) * size_px * size_px)
        search = _Search(lent, size_px, align_px)
        found = [(y * align_px, x * align_px, total) for y, x, total in _greedy(search, max_tiles, shared_px)]
    area = size_px * size_px * full_scale(lent)
    return [(int(y), int(x), int(total) / area) for y, x, total in found]


def _room(image: Image, size_px: int) -> tuple[Array, Array, Array]:
    """Return room for three rows of luma, for the last `size_px` rows of |Laplacian|, and for the sums of its columns.

    For a 2K photograph and tiles of 512 that is 4 MB. A full-size map costs three times the search in page faults.
    """
    width, kind = image.shape[1], luma_dtype(image)
    return np.empty((3, width), kind), np.zeros((size_px, width), kind), np.zeros(width, np.int64)


class _Search(NamedTuple):
    """An image, and what is looked for in it."""

    image: Image
    size_px: int
    align_px: int

    @property
    def segment(self) -> int:
        """How many positions of a row share a maximum."""
        return max(1, _SEGMENT_PX // self.align_px)

    @property
    def down(self) -> int:
        """How many positions there are from top to bottom."""
        return int(self.image.shape[0] - self.size_px) // self.align_px + 1

    @property
    def across(self) -> int:
        """How many positions there are from left to right."""
        return int(self.image.shape[1] - self.size_px) // self.align_px + 1

    def sums(self, first: int, last: int, segment: int) -> Array:
        """Sum the windows of one segment in rows of positions `first` to `last`: (rows, positions) int64."""
        left = segment * self.segment
        sums = np.empty((last - first + 1, min(self.segment, self.across - left)), np.int64)
        size, align = self.size_px, self.align_px
        # With a pixel more on each side, where the image has one: what is mirrored at its border is mirrored here.
        top, bottom = max(0, first * align - 1), last * align + size + 1
        begin, end = max(0, left * align - 1), (left + sums.shape[1] - 1) * align + size + 1
        part = np.ascontiguousarray(self.image[top:bottom, begin:end])
        part.flags.writeable = False
        _sum_part(part, size, align, *_room(part, size), first * align - top, left * align - begin, sums)
        return sums


# --- many windows, each the best that those before it allow ---------------------------------------


def _greedy(search: _Search, max_tiles: int, shared_px: int) -> list[tuple[int, int, int]]:
    """Take the largest allowed sum again and again: (y, x, sum), in positions.

    What is held are the largest sums of segments. A map of all sums takes 8 bytes a pixel, 2.7 times an RGB image, and
    writing it costs as much as the search; summing again around those few tiles that are placed costs less.
    """
    peaks = np.empty((search.down, -(-search.across // search.segment)), np.int64)
    room = _room(search.image, search.size_px)
    _score(*search, *room, search.segment, np.empty(search.across, np.int64), peaks)
    del room
    # A tile spoils a part of this segment: its peak is the most that is left, until the sums are known again.
    stale = np.zeros(peaks.shape, np.bool_)
    chosen: list[tuple[int, int, int]] = []
    places = np.empty((max_tiles, 2), np.int64)  # y, x of the chosen: there may be thousands to look through
    while len(chosen) < max_tiles:
        y, segment = divmod(int(peaks.argmax()), peaks.shape[1])  # the first of equal ones
        if peaks[y, segment] < 0:
            break
        if stale[y, segment]:
            _refresh(search, peaks, stale, y, segment, places[: len(chosen)], shared_px)
            continue
        sums = _allowed(search, y, y, segment, places[: len(chosen)], shared_px)
        x = segment * search.segment + int(sums[0].argmax())
        places[len(chosen)] = y, x
        chosen.append((y, x, int(peaks[y, segment])))
        _spoil(search, peaks, stale, y, x, shared_px)
    return chosen


def _refresh(
    search: _Search,
    peaks: Array,
    stale: Array,
    y: int,
    segment: int,
    places: Array,
    shared_px: int,
) -> None:
    """Sum again what is stale above and below a stale segment: its neighbours are as likely to be asked for next."""
    fresh = np.flatnonzero(~stale[:, segment])
    after = int(np.searchsorted(fresh, y))
    first = int(fresh[after - 1]) + 1 if after > 0 else 0
    last = int(fresh[after]) - 1 if after < fresh.size else len(stale) - 1
    peaks[first : last + 1, segment] = _allowed(search, first, last, segment, places, shared_px).max(axis=1)
    stale[first : last + 1, segment] = False


def _allowed(search: _Search, first: int, last: int, segment: int, places: Array, shared_px: int) -> Array:
    """Sum a segment in some rows, -1 where a window shares more than is allowed with one of those at `places`."""
    sums = search.sums(first, last, segment)
    size, align = search.size_px, search.align_px
    ys = np.arange(first, last + 1)[:, None]
    xs = segment * search.segment + np.arange(sums.shape[1])
    apart_y = np.maximum(first - places[:, 0], places[:, 0] - last)
    apart_x = np.maximum(xs[0] - places[:, 1], places[:, 1] - xs[-1])
    for y, x in places[np.maximum(apart_y, apart_x) * align < size]:
        high, wide = size - np.abs(ys - y) * align, size - np.abs(xs - x) * align
        sums[(high > 0) & (wide > 0) & (high * wide > shared_px)] = -1
    return sums


def _spoil(search: _Search, peaks: Array, stale: Array, y: int, x: int, shared_px: int) -> None:
    """Strike out the segments that a placed tile spoils whole, and mark those that it spoils in part."""
    size, align = search.size_px, search.align_px
    reach = (size - 1) // align
    top, bottom = max(0, y - reach), min(search.down, y + reach + 1)
    high = size - np.abs(np.arange(top, bottom) - y)[:, None] * align
    # (size - dx) * high > shared  <=>  dx < size - shared / high
    half_px = size - 1 - shared_px // high
    half = half_px // align
    left, right = max(0, x - reach) // search.segment, min(search.across - 1, x + reach) // search.segment + 1
    begin = np.arange(left, right) * search.segment
    end = np.minimum(begin + search.segment, search.across) - 1
    touched = (half_px >= 0) & (x - half <= end) & (begin <= x + half)
    whole = touched & (x - half <= begin) & (end <= x + half)
    near = peaks[top:bottom, left:right]
    near[whole] = -1
    stale[top:bottom, left:right] = (stale[top:bottom, left:right] | touched) & (near >= 0)


# --- sums -----------------------------------------------------------------------------------------


@kernel
def _advance(image: Image, y: int, size_px: int, luma: Array, ring: Array, columns: Array) -> None:
    """Let the column sums cover rows y - size_px + 1 .. y."""
    next_luma(image, y, luma)
    replace_abs_laplacian_row(luma, y, image.shape[0], ring[y % size_px], columns)


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
    best: Any = np.int64(-1)
    best_y, best_x = 0, 0
    for y in range(image.shape[0]):
        _advance(image, y, size_px, luma, ring, columns)
        top = y - size_px + 1
        if top < 0 or top % align_px != 0:
            continue
        found, x = _best_of_row(columns, size_px, align_px, best)
        if x >= 0:
            best, best_y, best_x = found, top, x
    return best_y, best_x, int(best)


@kernel
def _best_of_row(columns: Array, size_px: int, align_px: int, best: Any) -> tuple[Any, int]:
    """Return the largest sum of a row's windows and where the first such one begins; -1 where none exceeds `best`."""
    best_x = -1
    total: Any = np.int64(0)
    for x in range(size_px):
        total += columns[x]
    if total > best:
        best, best_x = total, 0
    enters = columns[size_px:]
    if align_px > 1:
        for x in range(enters.size):
            total += enters[x] - columns[x]
            if total > best and (x + 1) % align_px == 0:
                best, best_x = total, x + 1
        return best, best_x
    # Eight at once: each sum waits for the one before it, but what eight add up to needs to wait only once.
    whole = enters.size - enters.size % 8
    for x in range(0, whole, 8):
        change, rise = _eight(columns, enters, x)
        if total + rise > best:
            here = total
            for i in range(x, x + 8):
                here += enters[i] - columns[i]
                if here > best:
                    best, best_x = here, i + 1
        total += change
    for x in range(whole, enters.size):
        total += enters[x] - columns[x]
        if total > best:
            best, best_x = total, x + 1
    return best, best_x


@kernel
def _eight(columns: Array, enters: Array, x: int) -> tuple[Any, Any]:
    """Return how much the sum of a window changes over the next eight positions, and how much it rises at most."""
    a = enters[x] - columns[x]
    b = a + (enters[x + 1] - columns[x + 1])
    c = b + (enters[x + 2] - columns[x + 2])
    d = c + (enters[x + 3] - columns[x + 3])
    e = enters[x + 4] - columns[x + 4]
    f = e + (enters[x + 5] - columns[x + 5])
    g = f + (enters[x + 6] - columns[x + 6])
    h = g + (enters[x + 7] - columns[x + 7])
    return d + h, max(a, b, c, d, d + max(e, f, g, h))


def _score_in_numpy(
    image: Image,
    size_px: int,
    align_px: int,
    luma: Array,
    ring: Array,
    columns: Array,
    segment: int,
    sums: Array,
    peaks: Array,
) -> None:
    for y in range(image.shape[0]):
        _advance(image, y, size_px, luma, ring, columns)
        top = y - size_px + 1
        if top < 0 or top % align_px != 0:
            continue
        sums[:] = _sums_in_numpy(columns, size_px, align_px)
        peaks[top // align_px] = np.maximum.reduceat(sums, np.arange(0, sums.size, segment))


@kernel_or(_score_in_numpy)
def _score(
    image: Image,
    size_px: int,
    align_px: int,
    luma: Array,
    ring: Array,
    columns: Array,
    segment: int,
    sums: Array,
    peaks: Array,
) -> None:
    """Write the largest sum of each segment; `sums` has room for those of one row."""
    for y in range(image.shape[0]):
        _advance(image, y, size_px, luma, ring, columns)
        top = y - size_px + 1
        if top < 0 or top % align_px != 0:
            continue
        if align_px == 1:
            _peaks_of_row(columns, size_px, segment, peaks[top])
            continue
        _sum_row(columns, 0, size_px, align_px, sums)
        for k in range(peaks.shape[1]):
            peak = np.int64(-1)
            for i in range(k * segment, min(sums.size, (k + 1) * segment)):
                peak = max(peak, sums[i])
            peaks[top // align_px, k] = peak


@kernel
def _peaks_of_row(columns: Array, size_px: int, segment: int, peaks: Array) -> None:
    """Write the largest sum of each segment of a row, where every position is one."""
    total: Any = np.int64(0)
    for x in range(size_px):
        total += columns[x]
    enters = columns[size_px:]
    for k in range(peaks.size):
        peak = total
        begin, end = k * segment, min(enters.size, (k + 1) * segment)
        # The last step of a segment leads to the first position of the next one.
        eights = begin + max(0, min(segment - 1, end - begin)) // 8 * 8
        for x in range(begin, eights, 8):
            change, rise = _eight(columns, enters, x)
            peak = max(peak, total + rise)
            total += change
        for x in range(eights, end):
            total += enters[x] - columns[x]
            if x + 1 < (k + 1) * segment:
                peak = max(peak, total)
        peaks[k] = peak


@kernel
def _sum_row(columns: Array, begin: int, size_px: int, align_px: int, sums: Array) -> None:
    """Write the sums of the windows of one row, the first of which begins at column `begin`."""
    total = np.int64(0)
    for x in range(begin, begin + size_px):
        total += columns[x]
    sums[0] = total
    if align_px == 1:
        for x in range(1, sums.size):
            total += columns[begin + x + size_px - 1] - columns[begin + x - 1]
            sums[x] = total
    else:
        for x in range(1, (sums.size - 1) * align_px + 1):
            total += columns[begin + x + size_px - 1] - columns[begin + x - 1]
            if x % align_px == 0:
                sums[x // align_px] = total


def _sum_part_in_numpy(
    part: Image,
    size_px: int,
    align_px: int,
    luma: Array,
    ring: Array,
    columns: Array,
    down: int,
    right: int,
    out: Array,
) -> None:
    for y in range(down + (len(out) - 1) * align_px + size_px):
        _advance(part, y, size_px, luma, ring, columns)
        top = y - size_px + 1 - down
        if top >= 0 and top % align_px == 0:
            out[top // align_px] = _sums_in_numpy(columns[right:], size_px, align_px)[: out.shape[1]]


@kernel_or(_sum_part_in_numpy)
def _sum_part(
    part: Image,
    size_px: int,
    align_px: int,
    luma: Array,
    ring: Array,
    columns: Array,
    down: int,
    right: int,
    out: Array,
) -> None:
    """Write the sums of the windows of a part of an image, the first of which begins at row `down`, column `right`."""
    for y in range(down + (out.shape[0] - 1) * align_px + size_px):
        _advance(part, y, size_px, luma, ring, columns)
        top = y - size_px + 1 - down
        if top >= 0 and top % align_px == 0:
            _sum_row(columns, right, size_px, align_px, out[top // align_px])
