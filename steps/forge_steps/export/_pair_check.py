"""Does an LR image show what its HR shows, at zero shift? Exact integer sums, the same on every machine."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import kernel_or

Array = npt.NDArray[Any]

# All bounds: docs/explanation/pair-check.md has the measurements that they come from.
SHIFT_RADIUS_PX = 2
TIE_MARGIN = 0.01
FLAT_VARIANCE = 0.5
HR_TO_LR_VARIANCE = 16.0
SMALLEST_SIDE_PX = 16

_UNITS_PER_LEVEL = 16  # of luma maps
_DETAIL_WEIGHT = 9  # of detail maps: nine times the pixel less the sum of its 3 x 3


class Verdict(NamedTuple):
    """What the check found.

    Attributes:
        judged_by: `detail`, `tone`, or why it was not judged: `flat`, `small`.
        correlation: at zero shift, -1..1; None where it was not judged.
        best_shift: (x, y) in LR pixels of the highest correlation; (0, 0) for ties within TIE_MARGIN.
        best_correlation: the correlation there.
    """

    judged_by: Literal["detail", "tone", "flat", "small"]
    correlation: float | None = None
    best_shift: tuple[int, int] = (0, 0)
    best_correlation: float | None = None


class _Moments(NamedTuple):
    """Correlation of two windows, and their variances in squared units."""

    correlation: float
    hr_variance: float
    lr_variance: float


def check_pair(hr: Array, lr: Array, scale: int) -> Verdict:
    """Compare the LR's luma with the box mean of the HR's, after taking the 3 x 3 mean from both.

    Args:
        hr: (scale * h, scale * w, 3) uint8.
        lr: (h, w, 3) uint8.
        scale: HR pixels per LR pixel, at least 1.
    """
    if min(lr.shape[:2]) < SMALLEST_SIDE_PX:
        return Verdict("small")
    hr_luma, lr_luma = _luma(hr, scale), _luma(lr, 1)
    hr_detail, lr_detail = _detail(hr_luma), _detail(lr_luma)
    at_zero = _compare(hr_detail, lr_detail, 0, 0)
    if _flat(at_zero, _DETAIL_WEIGHT * _UNITS_PER_LEVEL):
        tone = _compare(hr_luma, lr_luma, 0, 0)
        if _flat(tone, _UNITS_PER_LEVEL):
            return Verdict("flat")
        return Verdict("tone", tone.correlation, (0, 0), tone.correlation)
    shift, best = (0, 0), at_zero.correlation
    for y in range(-SHIFT_RADIUS_PX, SHIFT_RADIUS_PX + 1):
        for x in range(-SHIFT_RADIUS_PX, SHIFT_RADIUS_PX + 1):
            found = _compare(hr_detail, lr_detail, x, y).correlation
            if found > best and found > at_zero.correlation + TIE_MARGIN:
                shift, best = (x, y), found
    return Verdict("detail", at_zero.correlation, shift, best)


def _flat(moments: _Moments, units_per_level: int) -> bool:
    """Say whether neither side holds more than rounding noise; an LR that lost all of its HR's detail is not flat."""
    bound = FLAT_VARIANCE * units_per_level * units_per_level
    return moments.lr_variance < bound and moments.hr_variance < HR_TO_LR_VARIANCE * bound


def _compare(hr: Array, lr: Array, x: int, y: int) -> _Moments:
    """Correlate the LR map's middle with the HR map moved by (x, y); a side without variance correlates 0."""
    sums = np.empty(5, np.int64)
    _sum_products(hr, lr, x, y, SHIFT_RADIUS_PX, sums)
    count = (lr.shape[0] - 2 * SHIFT_RADIUS_PX) * (lr.shape[1] - 2 * SHIFT_RADIUS_PX)
    hr_sum, lr_sum, hr_squares, lr_squares, products = (int(value) for value in sums)
    # Python's integers are exact at any size; floats enter with the last quotient only.
    hr_spread = count * hr_squares - hr_sum * hr_sum
    lr_spread = count * lr_squares - lr_sum * lr_sum
    shared = count * products - hr_sum * lr_sum
    root = math.sqrt(hr_spread * lr_spread)
    correlation = max(-1.0, min(1.0, shared / root)) if root else 0.0
    return _Moments(correlation, hr_spread / count**2, lr_spread / count**2)


def _luma_in_numpy(image: Array, scale: int) -> Array:
    height, width = image.shape[0] // scale, image.shape[1] // scale
    luma = np.empty((height, width), np.int64)
    parts = 16 * scale * scale
    for row in range(height):
        lines = image[row * scale : (row + 1) * scale, : width * scale].sum(axis=0, dtype=np.int64)
        boxes = lines.reshape(width, scale, 3).sum(axis=1)
        luma[row] = (boxes @ np.array([77, 150, 29]) + parts // 2) // parts
    return luma


@kernel_or(_luma_in_numpy)
def _luma(image: Array, scale: int) -> Array:
    """Return luma (77 R + 150 G + 29 B) / 256 of each scale x scale box in sixteenths of a level, (h, w) int64."""
    height, width = image.shape[0] // scale, image.shape[1] // scale
    luma = np.empty((height, width), np.int64)
    parts = 16 * scale * scale
    for row in range(height):
        for column in range(width):
            total = np.int64(parts // 2)
            for y in range(row * scale, row * scale + scale):
                for x in range(column * scale, column * scale + scale):
                    total += np.int64(77) * image[y, x, 0]
                    total += np.int64(150) * image[y, x, 1]
                    total += np.int64(29) * image[y, x, 2]
            luma[row, column] = total // parts
    return luma


def _detail_in_numpy(luma: Array) -> Array:
    columns = luma[:-2] + luma[1:-1] + luma[2:]
    detail: Array = 9 * luma[1:-1, 1:-1] - (columns[:, :-2] + columns[:, 1:-1] + columns[:, 2:])
    return detail


@kernel_or(_detail_in_numpy)
def _detail(luma: Array) -> Array:
    """Return nine times each pixel less the sum of its 3 x 3, without the border: (h - 2, w - 2) int64."""
    detail = np.empty((luma.shape[0] - 2, luma.shape[1] - 2), np.int64)
    for row in range(detail.shape[0]):
        for column in range(detail.shape[1]):
            total = np.int64(0)
            for y in range(3):
                for x in range(3):
                    total += luma[row + y, column + x]
            detail[row, column] = 9 * luma[row + 1, column + 1] - total
    return detail


def _sum_products_in_numpy(hr: Array, lr: Array, x: int, y: int, margin: int, sums: Array) -> None:
    rows, columns = lr.shape
    a = hr[margin + y : rows - margin + y, margin + x : columns - margin + x]
    b = lr[margin : rows - margin, margin : columns - margin]
    sums[:] = a.sum(), b.sum(), (a * a).sum(), (b * b).sum(), (a * b).sum()


@kernel_or(_sum_products_in_numpy)
def _sum_products(hr: Array, lr: Array, x: int, y: int, margin: int, sums: Array) -> None:
    """Fill the sums, sums of squares, and of products, over the LR map less its margin.

    Detail stays within 36,720 units, so that the sums hold for any image under 6.8e9 pixels.
    """
    hr_sum = np.int64(0)
    lr_sum = np.int64(0)
    hr_squares = np.int64(0)
    lr_squares = np.int64(0)
    products = np.int64(0)
    for row in range(margin, lr.shape[0] - margin):
        for column in range(margin, lr.shape[1] - margin):
            a = hr[row + y, column + x]
            b = lr[row, column]
            hr_sum += a
            lr_sum += b
            hr_squares += a * a
            lr_squares += b * b
            products += a * b
    sums[0] = hr_sum
    sums[1] = lr_sum
    sums[2] = hr_squares
    sums[3] = lr_squares
    sums[4] = products
