"""DPID and imresize once more, cell by cell in float64: slow, and independent of the kernels under test."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def _cell(position: int, step: np.float32, pixels: int) -> tuple[Array, Array]:
    """Return the pixels of a cell and their covers; edges in float32, as the original computes them."""
    start = np.float32(position) * step
    stop = start + step
    index = np.arange(int(np.floor(start)), min(int(np.ceil(stop)), pixels))
    one, zero = np.float32(1), np.float32(0)
    begun = np.clip(one - np.maximum(start - index.astype(np.float32), zero), None, one)
    ended = np.clip(one - np.maximum((index + 1).astype(np.float32) - stop, zero), None, one)
    return index, (begun * ended).astype(np.float64)


def dpid_reference(image: Array, height: int, width: int, lam: float, boundary: str = "replicate") -> Array:
    """Return (height, width, C) float64 in the units of `image`, not rounded."""
    rows, columns, channels = image.shape
    has_alpha = channels % 2 == 0
    colours = image[..., : channels - has_alpha].astype(np.float64)
    alpha = image[..., -1].astype(np.float64) if has_alpha else np.ones((rows, columns))
    ys = [_cell(y, np.float32(rows) / np.float32(height), rows) for y in range(height)]
    xs = [_cell(x, np.float32(columns) / np.float32(width), columns) for x in range(width)]
    mean, seen = np.zeros((height, width, colours.shape[2])), np.zeros((height, width))
    for y, (row, row_cover) in enumerate(ys):
        for x, (column, column_cover) in enumerate(xs):
            cover = row_cover[:, None] * column_cover
            weight = cover * alpha[np.ix_(row, column)]
            mean[y, x] = (colours[np.ix_(row, column)] * weight[..., None]).sum((0, 1)) / cover.sum()
            seen[y, x] = weight.sum() / cover.sum()
    out = np.zeros((height, width, channels))
    if has_alpha:
        out[..., -1] = seen
    for y, (row, row_cover) in enumerate(ys):
        for x, (column, column_cover) in enumerate(xs):
            total, weights = np.zeros(colours.shape[2]), 0.0
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    near_y, near_x = y + dy, x + dx
                    if boundary == "renormalize" and not (0 <= near_y < height and 0 <= near_x < width):
                        continue
                    near_y, near_x = min(max(near_y, 0), height - 1), min(max(near_x, 0), width - 1)
                    kernel = (2 - abs(dy)) * (2 - abs(dx))
                    total = total + kernel * mean[near_y, near_x]
                    weights += kernel * seen[near_y, near_x]
            guidance = total / weights if weights > 0 else total * 0
            values = colours[np.ix_(row, column)]
            distance = np.sqrt(((values - guidance) ** 2).sum(-1))
            weight = row_cover[:, None] * column_cover * alpha[np.ix_(row, column)]
            weight = weight * (distance**lam if lam else 1.0)
            some = weight.sum() > 0
            result = (values * weight[..., None]).sum((0, 1)) / weight.sum() if some else guidance
            out[y, x, : colours.shape[2]] = result
    return out


def imresize_reference(image: Array, height: int, width: int) -> Array:
    """MATLAB's bicubic reduction in float64."""
    rows = _cubic_matrix(image.shape[0], height)
    columns = _cubic_matrix(image.shape[1], width)
    return np.einsum("yi,ijc,xj->yxc", rows, image.astype(np.float64), columns)


def _cubic_matrix(pixels: int, outputs: int) -> Array:
    scale = outputs / pixels
    matrix = np.zeros((outputs, pixels))
    for i in range(outputs):
        centre = (i + 0.5) / scale - 0.5
        for j in range(int(centre - 2 / scale) - 2, int(centre + 2 / scale) + 3):
            d = abs(centre - j) * scale
            near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
            mirrored = j % (2 * pixels)
            mirrored = mirrored if mirrored < pixels else 2 * pixels - 1 - mirrored
            matrix[i, mirrored] += near if d <= 1 else far if d <= 2 else 0.0
    return matrix / matrix.sum(axis=1, keepdims=True)
