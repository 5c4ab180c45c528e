"""The kernels behind the operators, as plain functions on arrays: for notebooks, other programs and measurements."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forge_pipeline.errors import DataError
from forge_steps._image import Image
from forge_steps._png import encode_png as _encode_png
from forge_steps.augment.dpa import parameter_arrays
from forge_steps.dedup._hash import dct_hash
from forge_steps.dedup._neighbours import hamming_pairs
from forge_steps.metrics.blockiness import blockiness as _blockiness
from forge_steps.resize._dpid import dpid
from forge_steps.tile._windows import MAX_SIZE_PX, best_windows

__all__ = ["best_tiles", "blockiness", "dct_hash", "dpa_parameters", "dpid", "encode_png", "hamming_pairs"]

_PNG_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16))


def best_tiles(image: Image, size_px: int, max_tiles: int = 1) -> list[tuple[int, int, float]]:
    """Find the square windows with the most detail, none of which overlap, as `tile.best` does.

    The score of a window is the mean over its pixels of |Y * [0 1 0; 1 -4 1; 0 1 0]|, Y being luma on 0..1 (BT.601 in
    14-bit fixed point), the image mirrored at its border without the edge row. Sums are exact integers over all
    positions: the first window is the best of all, the next the best of all that are left.

    Args:
        image: (H, W) or (H, W, C), gray or RGB, alpha ignored; uint8, uint16 or float32 in 0..1; any memory layout.
        size_px: side of the windows, 1 to the shorter side of the image, at most 8192.
        max_tiles: how many windows at most, 1 or more.

    Returns:
        Up to `max_tiles` of (y, x, score), best first; y and x are the upper left corner in pixels. Of equal windows
        the smallest y, then the smallest x wins.

    Raises:
        DataError: `unsupported_mode`, or `not_finite` for NaN or infinity.
        ValueError: `size_px` or `max_tiles` is out of range.

    Source:
        Laplacian focus measure, Pech-Pacheco et al. 2000, as absolute mean (PepeDP's LaplacianComplexity).
    """
    if image.ndim >= 2 and not 1 <= size_px <= min(image.shape[:2]):
        raise ValueError(f"size_px is {size_px}, expected 1 to {min(image.shape[:2])}, the shorter side of the image")
    if size_px > MAX_SIZE_PX:
        raise ValueError(f"size_px is {size_px}, expected at most {MAX_SIZE_PX}: sums over more pixels may overflow")
    if max_tiles < 1:
        raise ValueError(f"max_tiles is {max_tiles}, expected 1 or more")
    return best_windows(image, size_px, max_tiles, who="best_tiles")


def blockiness(gray: Image, grid_search: bool = True) -> float:
    """Measure how strongly an image bears the 8 x 8 block grid of JPEG, as the metric `blockiness` does.

    Args:
        gray: (H, W) or (H, W, C), gray or RGB (of which luma is taken), alpha ignored; uint8, uint16 or float32 in
            0..1; each side at least 43 pixels.
        grid_search: look for the place where the grid begins; else take it to begin at pixel (0, 0).

    Returns:
        0 (no grid; flat images too) upwards; under 30 counts as clean (BHI filtering).

    Raises:
        DataError: `small`, `unsupported_mode`, or `not_finite` for NaN or infinity.

    Source:
        Bhardwaj & Pankajakshan, A JPEG blocking artifact detector for image forensics, Signal Processing: Image
        Communication 68 (2018); Ohtani et al., ECCV 2024 (DiverSeg).
    """
    return _blockiness(gray, grid_search)


def dpa_parameters(start: int, stop: int, preset: str = "moderate", depth: int = 10) -> dict[str, npt.NDArray[Any]]:
    """Compute the augmentation parameters that the DPA library gives to a range of ids, to the bit.

    Args:
        start: first id, at least 0.
        stop: end of the range, not included, at least `start`, at most 2**63 - 1.
        preset: `mild`, `moderate` or `aggressive`.
        depth: links of the seed chain, 1 to 10,000.

    Returns:
        Arrays of n = stop - start: `id` int64; `rotation` in degrees, `brightness`, `noise`, `scale` and `contrast`
        float64; `hash`, text of 64 hex digits. They take 304 bytes an id.

    Raises:
        ValueError: an argument is out of its range.

    Source:
        The DPA library's chain of SHA-256 over Fibonacci numbers; CPython's random.seed (MT19937) and random.uniform.
    """
    return parameter_arrays(preset, depth, start, stop)


def encode_png(image: Image) -> bytes:
    """Encode pixels as PNG: losslessly, without ancillary chunks, always to the same bytes.

    Each band of rows gets the best of the five filters, judged by the entropy of a sample, and a Huffman code of its
    own; the only matches are repeated bytes. No CPU feature, thread count or version of zlib changes a byte.

    Args:
        image: (H, W) or (H, W, C) of gray, gray+alpha, RGB or RGBA; uint8 or uint16; any memory layout.

    Returns:
        A whole PNG file.

    Raises:
        DataError: `unsupported_mode` for another type or shape.

    Source:
        PNG specification, third edition (W3C 2025); RFC 1950 and 1951 (zlib and deflate).
    """
    channels = 1 if image.ndim == 2 else image.shape[2] if image.ndim == 3 else 0
    if image.dtype not in _PNG_DTYPES or not 1 <= channels <= 4 or image.size == 0:
        raise DataError(
            "unsupported_mode",
            f"encode_png: found {image.dtype} of shape {image.shape}, expected (height, width, 1 to 4 channels) "
            "of uint8 or uint16",
        )
    return _encode_png(image.reshape(*image.shape[:2], channels))
