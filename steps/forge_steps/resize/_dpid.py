"""Detail-preserving downscaling of an image in memory: checks at the door, then the kernel."""

from __future__ import annotations

from typing import Literal

import numpy as np

from forge_steps.resize._axis import axis
from forge_steps.resize._dpid_kernel import BOX, DISTANCE, POWER, ROOT, SQUARE, downscale
from forge_steps.resize._reduce import TOP, Image, Size, check_finite, lend_rows

Boundary = Literal["replicate", "renormalize"]

MAX_LAMBDA = 8.0
"""Beyond it the weights of distances that an 8-bit image can hold leave float32."""

_KINDS = {0.0: BOX, 0.5: ROOT, 1.0: DISTANCE, 2.0: SQUARE}


def dpid(image: Image, height_px: int, width_px: int, lam: float = 0.5, boundary: Boundary = "replicate") -> Image:
    """Downscale an image so that pixels which stand out from their surroundings keep more weight.

    Args:
        image: (H, W) or (H, W, C) of gray, gray+alpha, RGB or RGBA; uint8, uint16 or float32; any memory layout. With
            alpha, colours weigh by it and alpha itself is averaged; colours of fully transparent pixels count nothing.
        height_px: height of the result, 1 to H.
        width_px: width of the result, 1 to W. The two ratios may differ, and need not be whole.
        lam: 0 (box mean) to 8; how much a difference from the surroundings weighs.
        boundary: `replicate` repeats the outermost row of the guidance beyond the border, as pepedpid does;
            `renormalize` leaves out what is not there, as the authors' CUDA code does. They differ in the border only.

    Returns:
        (height_px, width_px[, C]) of the image's type; integers rounded to nearest, half to even, once.

    Raises:
        DataError: `unsupported_mode`, or `not_finite` for NaN or infinity.
        ValueError: a size or lambda out of range.

    Source:
        Weber, Waechter, Amend, Guthe, Goesele: Rapid, Detail-Preserving Image Downscaling, SIGGRAPH Asia 2016,
        equations 2 to 5. Float32 in a fixed order of sums; within 1e-6 of pepedpid 0.1.2 on the range 0..1. Where
        nearly all pixels of a cell equal the guidance the weights are ill-conditioned and pepedpid, which rounds more
        often, is up to 6e-5 off; sums of an 8-bit image are exact here.
    """
    rows, columns = image.shape[:2] if image.ndim >= 2 else (0, 0)
    if not 1 <= height_px <= rows or not 1 <= width_px <= columns:
        raise ValueError(f"size is {width_px} x {height_px}, expected 1 x 1 to {columns} x {rows}")
    return reduce_by_dpid(image, Size(rows, columns, height_px, width_px), lam, boundary, "dpid")


def reduce_by_dpid(image: Image, size: Size, lam: float, boundary: Boundary, who: str) -> Image:
    """Downscale the used part of an image; `dpid` tells the rest."""
    if not 0 <= lam <= MAX_LAMBDA:
        raise ValueError(f"lambda is {lam}, expected 0 to {MAX_LAMBDA:g}")
    pixels, channels = lend_rows(image, who)
    top = TOP[image.dtype.name]
    out = np.empty((size.height, size.width * channels), image.dtype)
    ys, xs = axis(size.used_height, size.height), axis(size.used_width, size.width)
    # numpy would tell of every division by 0 and overflow that compiled loops pass in silence.
    with np.errstate(all="ignore"):
        downscale(
        pixels[: size.used_height], channels, ys.start, ys.stop, ys.area, xs.factor if ys.factor else 0, xs.first,
        xs.cell, xs.cover, xs.extra_pixel, xs.extra_cell, xs.extra_cover, xs.area, _KINDS.get(lam, POWER),
        np.float32(lam / 2), np.float32(1 / max(top, 1) ** 2), boundary == "replicate", np.float32(top), out,
    )  # fmt: skip
    check_finite(out, who)
    return out.reshape(size.height, size.width, *image.shape[2:])
