"""How 8 x 8 DCT coefficients change from block to block, on the grid that begins at a given pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import kernel, kernel_or
from forge_steps.metrics._luma import Plane

Array = npt.NDArray[Any]

BLOCK = 8
# cos(k pi / 16) / 2, written out: the C library's cosine may differ in its last bit from machine to machine.
_C1, _C2, _C3 = 0.4903926402016152, 0.46193976625564337, 0.4157348061512726
_C4, _C5, _C6, _C7 = 0.35355339059327379, 0.27778511650980114, 0.19134171618254492, 0.09754516100806417
# Row v holds the first half of the v-th orthonormal DCT-II basis vector; the other half is its mirror image,
# with the sign turned for odd v.
_BASIS = np.array(
    [
        [_C4, _C4, _C4, _C4],
        [_C1, _C3, _C5, _C7],
        [_C2, _C6, -_C6, -_C2],
        [_C3, -_C7, -_C1, -_C5],
        [_C4, -_C4, -_C4, _C4],
        [_C5, -_C1, _C7, _C3],
        [_C6, -_C2, _C2, -_C6],
        [_C7, -_C5, _C3, -_C1],
    ]
)


def block_changes(plane: Plane, top: int, left: int, down: int, across: int, step: int = 1) -> Array:
    """Average how much each coefficient of a block differs from the blocks beside, above and below it.

    V(v, u) = mean of sqrt((L + R - 2C)^2 + (U + D - 2C)^2) over blocks 2 .. n - 2 each way, with the divisor
    (down - 2)(across - 2): Bhardwaj & Pankajakshan 2018, as DiverSeg-dataset's calc_blockiness.py counts it.

    Args:
        plane: luma.
        top, left: the pixel where the grid begins.
        down, across: how many blocks each way; at least 4.
        step: look at every so many block rows only (the divisor stays: compare sums of one step alone).

    Returns:
        (8, 8) float64, in units of the plane.
    """
    changes = np.zeros((BLOCK * BLOCK, across))
    ring = np.zeros((3, BLOCK * BLOCK, across))
    _accumulate(plane, top, left, down, across, step, _BASIS, ring, changes)
    return _row_totals(changes).reshape(BLOCK, BLOCK) / ((down - 2) * (across - 2))


def _row_totals_in_numpy(changes: Array) -> Array:
    totals: Array = np.cumsum(changes, axis=1)[:, -1]  # adds from left to right
    return totals


@kernel_or(_row_totals_in_numpy)
def _row_totals(changes: Array) -> Array:
    totals = np.zeros(changes.shape[0])
    for k in range(changes.shape[0]):
        for x in range(changes.shape[1]):
            totals[k] += changes[k, x]
    return totals


# Block rows that numpy transforms at once.
_BAND = 64


def _accumulate_in_numpy(
    plane: Plane, top: int, left: int, down: int, across: int, step: int, basis: Array, ring: Array, changes: Array
) -> None:
    middles = np.arange(2, down - 1, step)
    for first in range(0, middles.size, _BAND):
        band = middles[first : first + _BAND]
        rows, places = np.unique(np.stack([band - 1, band, band + 1]), return_inverse=True)
        found = _transformed_in_numpy(plane, top, left, rows, across, basis)
        for up, here, below in places.reshape(3, -1).T:
            twice = 2.0 * found[here, :, 2:-1]
            beside = found[here, :, 1:-2] + found[here, :, 3:] - twice
            over = found[up, :, 2:-1] + found[below, :, 2:-1] - twice
            changes[:, 2:-1] += np.sqrt(beside * beside + over * over)


def _transformed_in_numpy(plane: Plane, top: int, left: int, rows: Array, across: int, basis: Array) -> Array:
    """Return the coefficients of some block rows: [row, 8 v + u, block]."""
    lines = top + BLOCK * rows[:, None] + np.arange(BLOCK)
    blocks = plane[lines, left : left + BLOCK * across].reshape(rows.size, BLOCK, across, BLOCK)
    vertical = _half_by_half(blocks, basis, 1)
    return np.ascontiguousarray(_half_by_half(vertical, basis, 3).transpose(0, 1, 3, 2)).reshape(rows.size, -1, across)


def _half_by_half(values: Array, basis: Array, axis: int) -> Array:
    """Transform along an axis of 8: even basis vectors take the sums of mirrored values, odd ones the differences."""
    values = np.moveaxis(values, axis, 0)
    first, last = values[:4], values[:3:-1]
    out = np.empty(values.shape)
    for parity, folded in enumerate(((first + last).astype(np.float64), (first - last).astype(np.float64))):
        for v in range(parity, BLOCK, 2):
            terms = (basis[v, k] * folded[k] for k in range(4))
            total = next(terms)
            for term in terms:
                total = total + term
            out[v] = total
    return np.moveaxis(out, 0, axis)


@kernel_or(_accumulate_in_numpy)
def _accumulate(
    plane: Plane, top: int, left: int, down: int, across: int, step: int, basis: Array, ring: Array, changes: Array
) -> None:
    """Walk down the block rows with three of them transformed at a time. Loops run along the row, so they vectorise."""
    folded = np.empty((BLOCK, BLOCK * across))
    vertical = np.empty(BLOCK * across)
    phases = np.empty((BLOCK, across))
    ready = 0
    for middle in range(2, down - 1, step):
        for row in range(max(ready, middle - 1), middle + 2):
            _transform(plane, top + BLOCK * row, left, basis, folded, vertical, phases, ring[row % 3])
        ready = middle + 2
        up, here, below = ring[(middle - 1) % 3], ring[middle % 3], ring[(middle + 1) % 3]
        for k in range(BLOCK * BLOCK):
            for x in range(2, across - 1):
                twice = 2.0 * here[k, x]
                beside = here[k, x - 1] + here[k, x + 1] - twice
                over = up[k, x] + below[k, x] - twice
                changes[k, x] += np.sqrt(beside * beside + over * over)


@kernel
def _transform(
    plane: Plane, top: int, left: int, basis: Array, folded: Array, vertical: Array, phases: Array, out: Array
) -> None:
    """Write the coefficients of one block row: out[8 v + u, block]."""
    width = vertical.size
    for r in range(4):
        first, last = plane[top + r, left : left + width], plane[top + 7 - r, left : left + width]
        for x in range(width):
            folded[r, x] = np.float64(first[x] + last[x])
            folded[4 + r, x] = np.float64(first[x] - last[x])
    for v in range(BLOCK):
        half = 4 * (v % 2)
        for x in range(width):
            vertical[x] = (
                basis[v, 0] * folded[half, x]
                + basis[v, 1] * folded[half + 1, x]
                + basis[v, 2] * folded[half + 2, x]
                + basis[v, 3] * folded[half + 3, x]
            )
        for x in range(phases.shape[1]):
            for k in range(4):
                first_value, last_value = vertical[BLOCK * x + k], vertical[BLOCK * x + 7 - k]
                phases[k, x] = first_value + last_value
                phases[4 + k, x] = first_value - last_value
        for u in range(BLOCK):
            half = 4 * (u % 2)
            for x in range(phases.shape[1]):
                out[BLOCK * v + u, x] = (
                    basis[u, 0] * phases[half, x]
                    + basis[u, 1] * phases[half + 1, x]
                    + basis[u, 2] * phases[half + 2, x]
                    + basis[u, 3] * phases[half + 3, x]
                )
