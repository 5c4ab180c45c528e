"""The absolute Laplacian of integer luma, row by row: what `laplacian` averages and `tile.best` searches."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import kernel, kernel_or
from forge_steps.metrics._luma import Image, full_scale, luma_dtype, luma_row, readable

Rows = npt.NDArray[Any]


def mean_abs_laplacian(image: Image, who: str) -> float:
    """Return the mean of |luma * [0 1 0; 1 -4 1; 0 1 0]|, luma on 0..1, mirrored at the border without its edge row.

    The sum is exact in integers and divided once.

    Args:
        image: gray or RGB, alpha ignored; uint8, uint16 or float32.
        who: named in errors.

    Returns:
        0 (flat) .. 4 (a chessboard of single pixels).
    """
    lent = readable(image, who)
    height, width = lent.shape[:2]
    rows = np.empty(height, np.int64)
    kind = luma_dtype(lent)
    _row_sums(lent, np.empty((3, width), kind), np.empty(width, kind), rows)
    # Python integers: no image is too large for the total.
    total: int = sum(rows.tolist())
    return float(total / (height * width * full_scale(lent)))


@kernel
def next_luma(image: Image, y: int, luma: Rows) -> None:
    """Hold the luma of rows y - 1, y, y + 1 in a ring of three (row % 3), given that it held those of y - 1."""
    height = image.shape[0]
    if y == 0:
        luma_row(image, 0, luma[0])
    if y + 1 < height:
        luma_row(image, y + 1, luma[(y + 1) % 3])


def abs_laplacian_row_in_numpy(luma: Rows, y: int, height: int, out: Rows) -> None:
    """Do what `abs_laplacian_row` does."""
    above = y - 1 if y > 0 else min(1, height - 1)
    below = y + 1 if y + 1 < height else max(height - 2, 0)
    # One pixel more at either end, mirrored as above and below. Four times white fits in the type.
    here = np.pad(luma[y % 3], 1, mode="reflect" if luma.shape[1] > 1 else "edge")
    out[:] = np.abs(luma[above % 3] + luma[below % 3] + here[:-2] + here[2:] - 4 * here[1:-1])


@kernel_or(abs_laplacian_row_in_numpy)
def abs_laplacian_row(luma: Rows, y: int, height: int, out: Rows) -> None:
    """Write |Laplacian| of row y. Border: reflect101, as cv2.Laplacian's default (row -1 is row 1)."""
    width = luma.shape[1]
    above, below = y - 1, y + 1
    if above < 0:
        above = min(1, height - 1)
    if below >= height:
        below = max(height - 2, 0)
    up, here, down = luma[above % 3], luma[y % 3], luma[below % 3]
    for x in range(1, width - 1):
        out[x] = abs(up[x] + down[x] + here[x - 1] + here[x + 1] - 4 * here[x])
    right, left = min(1, width - 1), max(width - 2, 0)
    out[0] = abs(up[0] + down[0] + 2 * here[right] - 4 * here[0])
    last = width - 1
    out[last] = abs(up[last] + down[last] + 2 * here[left] - 4 * here[last])


def replace_abs_laplacian_row_in_numpy(luma: Rows, y: int, height: int, row: Rows, columns: Rows) -> None:
    """Do what `replace_abs_laplacian_row` does."""
    columns -= row
    abs_laplacian_row(luma, y, height, row)
    columns += row


@kernel_or(replace_abs_laplacian_row_in_numpy)
def replace_abs_laplacian_row(luma: Rows, y: int, height: int, row: Rows, columns: Rows) -> None:
    """Write |Laplacian| of row y over what stands in `row`, and let the sums in `columns` follow: in one loop."""
    width = luma.shape[1]
    above, below = y - 1, y + 1
    if above < 0:
        above = min(1, height - 1)
    if below >= height:
        below = max(height - 2, 0)
    up, here, down = luma[above % 3], luma[y % 3], luma[below % 3]
    right, left, last = min(1, width - 1), max(width - 2, 0), width - 1
    first = abs(up[0] + down[0] + 2 * here[right] - 4 * here[0])
    columns[0] += first - row[0]
    row[0] = first
    for x in range(1, width - 1):
        now = abs(up[x] + down[x] + here[x - 1] + here[x + 1] - 4 * here[x])
        columns[x] += now - row[x]
        row[x] = now
    if last > 0:
        final = abs(up[last] + down[last] + 2 * here[left] - 4 * here[last])
        columns[last] += final - row[last]
        row[last] = final


def _row_sums_in_numpy(image: Image, luma: Rows, absolute: Rows, sums: Rows) -> None:
    for y in range(image.shape[0]):
        next_luma(image, y, luma)
        abs_laplacian_row(luma, y, image.shape[0], absolute)
        sums[y] = absolute.sum(dtype=np.int64)


@kernel_or(_row_sums_in_numpy)
def _row_sums(image: Image, luma: Rows, absolute: Rows, sums: Rows) -> None:
    height, width = image.shape[0], image.shape[1]
    for y in range(height):
        next_luma(image, y, luma)
        abs_laplacian_row(luma, y, height, absolute)
        total = np.int64(0)
        for x in range(width):
            total += absolute[x]
        sums[y] = total
