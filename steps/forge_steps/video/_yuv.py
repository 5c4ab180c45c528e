"""From planar YUV to RGB in fixed-point integers: the same bytes on every CPU, which swscale does not promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import kernel_or

# (rows, columns or more) uint8 or uint16, C-contiguous: rows keep their padding, because a kernel over views that
# leave it out has no vector code (8 ms against 1.6 for 1080p).
Plane = npt.NDArray[Any]

FRACTION_BITS = 28
_TAP_BITS = 4  # chroma is a sum of taps that add up to 16, so that nothing is rounded before the end
_SHIFT = FRACTION_BITS + _TAP_BITS


def yuv_to_rgb_in_numpy(
    luma: Plane,
    blue: Plane,
    red: Plane,
    shift_x: int,
    shift_y: int,
    weights: npt.NDArray[np.int64],
    out: npt.NDArray[Any],
) -> None:
    """Do what `yuv_to_rgb` does."""
    height, width = out.shape[:2]
    columns = (width + (1 << shift_x) - 1) >> shift_x
    top = 255 if out.itemsize == 1 else 65535
    bias = (1 << (_SHIFT - 1)) - (int(weights[0]) << _TAP_BITS) * int(weights[2])
    in_y, red_in_r, blue_in_g, red_in_g, blue_in_b = weights[2:]
    blend = np.empty(columns + 1, np.int64)
    blue_row, red_row = np.empty((2, columns << shift_x), np.int64)
    for y in range(height):
        _chroma_row(blue, y, shift_x, shift_y, int(weights[1]), blend, blue_row)
        _chroma_row(red, y, shift_x, shift_y, int(weights[1]), blend, red_row)
        base = (luma[y, :width].astype(np.int64) << _TAP_BITS) * in_y + bias
        b, r = blue_row[:width], red_row[:width]
        mixed = (base + red_in_r * r, base + blue_in_g * b + red_in_g * r, base + blue_in_b * b)
        for c, total in enumerate(mixed):
            out[y, :, c] = np.clip(total >> _SHIFT, 0, top)


@kernel_or(yuv_to_rgb_in_numpy)
def yuv_to_rgb(
    luma: Plane,
    blue: Plane,
    red: Plane,
    shift_x: int,
    shift_y: int,
    weights: npt.NDArray[np.int64],
    out: npt.NDArray[Any],
) -> None:
    """Convert planes of any depth to RGB of 8 or 16 bits: one rounding at the end (half up), clipped.

    Chroma is interpolated linearly, sited as MPEG-2 and all later codecs do by default: horizontally on the left
    luma column, vertically half-way between two luma rows (ITU-T H.264 figure E-1, chroma_sample_loc_type 0).

    Args:
        luma: Y, (h, w or more).
        blue: Cb, (h, w) divided by 2**shift and rounded up, or wider.
        red: Cr, as Cb.
        shift_x: log2 of the horizontal subsampling, 0 to 2.
        shift_y: log2 of the vertical subsampling, 0 or 1.
        weights: [luma zero, chroma zero, Y, Cr in R, Cb in G, Cr in G, Cb in B]; all but the zeros with
            FRACTION_BITS fraction bits and scaled to the range of `out`.
        out: (h, w, 3) uint8 or uint16, written.
    """
    height, width = out.shape[0], out.shape[1]
    columns = (width + (1 << shift_x) - 1) >> shift_x
    top = 255 if out.itemsize == 1 else 65535
    # The constant part of every sum: half for rounding, and the zero point of luma.
    bias = (1 << (_SHIFT - 1)) - (weights[0] << _TAP_BITS) * weights[2]
    in_y, red_in_r, blue_in_g, red_in_g, blue_in_b = weights[2], weights[3], weights[4], weights[5], weights[6]
    blend = np.empty(columns + 1, np.int64)
    blue_row = np.empty(columns << shift_x, np.int64)
    red_row = np.empty(columns << shift_x, np.int64)
    # Rows of planes first, interleaved after: 1.2 ms for 1080p where writing pixel by pixel takes 6 (no vector code).
    r, g, b = np.empty(width, out.dtype), np.empty(width, out.dtype), np.empty(width, out.dtype)
    for y in range(height):
        _chroma_row(blue, y, shift_x, shift_y, weights[1], blend, blue_row)
        _chroma_row(red, y, shift_x, shift_y, weights[1], blend, red_row)
        row = luma[y]
        for x in range(width):
            base = (np.int64(row[x]) << _TAP_BITS) * in_y + bias
            r[x] = min(max((base + red_in_r * red_row[x]) >> _SHIFT, 0), top)
            g[x] = min(max((base + blue_in_g * blue_row[x] + red_in_g * red_row[x]) >> _SHIFT, 0), top)
            b[x] = min(max((base + blue_in_b * blue_row[x]) >> _SHIFT, 0), top)
        pixels = out[y]
        for x in range(width):
            pixels[x, 0] = r[x]
            pixels[x, 1] = g[x]
            pixels[x, 2] = b[x]


def _chroma_row_in_numpy(
    plane: Plane,
    y: int,
    shift_x: int,
    shift_y: int,
    zero: int,
    blend: npt.NDArray[np.int64],
    out: npt.NDArray[np.int64],
) -> None:
    columns = blend.size - 1
    near = far = y >> shift_y
    if shift_y == 1:
        far = min(max(near - 1 if y & 1 == 0 else near + 1, 0), plane.shape[0] - 1)
    blend[:columns] = 3 * plane[near, :columns].astype(np.int64) + plane[far, :columns]
    blend[columns] = blend[columns - 1]
    # Between two of them the taps of linear interpolation, which add up to 4.
    steps = 1 << shift_x
    for k in range(steps):
        out[k::steps] = (4 - 4 * k // steps) * blend[:-1] + 4 * k // steps * blend[1:] - (zero << _TAP_BITS)


@kernel_or(_chroma_row_in_numpy)
def _chroma_row(
    plane: Plane,
    y: int,
    shift_x: int,
    shift_y: int,
    zero: int,
    blend: npt.NDArray[np.int64],
    out: npt.NDArray[np.int64],
) -> None:
    """Interpolate the chroma of luma row `y`, times 16, with its zero point taken off."""
    rows, columns = plane.shape[0], blend.size - 1
    near = y >> shift_y
    far = near
    if shift_y == 1:
        far = min(max(near - 1 if y & 1 == 0 else near + 1, 0), rows - 1)
    near_row, far_row = plane[near], plane[far]
    for i in range(columns):
        blend[i] = 3 * np.int64(near_row[i]) + np.int64(far_row[i])
    blend[columns] = blend[columns - 1]
    offset = zero << _TAP_BITS
    if shift_x == 0:
        for i in range(columns):
            out[i] = 4 * blend[i] - offset
    elif shift_x == 1:
        for i in range(columns):
            out[2 * i] = 4 * blend[i] - offset
            out[2 * i + 1] = 2 * blend[i] + 2 * blend[i + 1] - offset
    else:
        for i in range(columns):
            for k in range(4):
                out[4 * i + k] = (4 - k) * blend[i] + k * blend[i + 1] - offset


def gray_to_full_in_numpy(luma: Plane, weights: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
    """Do what `gray_to_full` does."""
    top = 255 if out.itemsize == 1 else 65535
    bias = (1 << (_SHIFT - 1)) - (int(weights[0]) << _TAP_BITS) * int(weights[2])
    for y in range(out.shape[0]):
        base = (luma[y, : out.shape[1]].astype(np.int64) << _TAP_BITS) * weights[2] + bias
        out[y, :, 0] = np.clip(base >> _SHIFT, 0, top)


@kernel_or(gray_to_full_in_numpy)
def gray_to_full(luma: Plane, weights: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
    """Stretch a plane to the full range of `out` (h, w, 1): the luma part of `yuv_to_rgb`."""
    height, width = out.shape[0], out.shape[1]
    top = 255 if out.itemsize == 1 else 65535
    bias = (1 << (_SHIFT - 1)) - (weights[0] << _TAP_BITS) * weights[2]
    for y in range(height):
        for x in range(width):
            out[y, x, 0] = min(max(((np.int64(luma[y, x]) << _TAP_BITS) * weights[2] + bias) >> _SHIFT, 0), top)
