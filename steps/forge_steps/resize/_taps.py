"""Which input pixels a filter looks at for each output pixel, and their weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Filter(NamedTuple):
    """An interpolation kernel, symmetric about 0."""

    name: str
    radius: float
    weigh: Callable[[Array], Array]


class Taps(NamedTuple):
    """The taps of one axis; both (outputs, taps)."""

    pixel: Array
    """int32: input pixels, the image being mirrored with its edge pixel beyond the border."""
    weight: Array
    """float32; those of an output sum to 1."""


def cubic(x: Array) -> Array:
    """Return Keys' cubic with a = -0.5 (Keys 1981, equation 15)."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def lanczos(x: Array) -> Array:
    """Return sinc(x) sinc(x / 3) for |x| < 3."""
    return np.where(np.abs(x) < 3, _sinc(x) * _sinc(x / 3), 0.0)


CUBIC = Filter("cubic", 2.0, cubic)
LANCZOS = Filter("lanczos", 3.0, lanczos)


@lru_cache(maxsize=64)
def taps(filter_: Filter, pixels: int, outputs: int) -> Taps:
    """Lay a filter over an axis for a reduction, as MATLAB's imresize does with antialiasing.

    Args:
        filter_: the kernel; it is widened by pixels / outputs, and its area stays 1.
        pixels: length of the axis.
        outputs: length of the result, at most `pixels`.
    """
    scale = outputs / pixels
    width = 2 * filter_.radius / scale
    centre = (np.arange(outputs) + 0.5) / scale - 0.5
    left = np.floor(centre + 1 - width / 2).astype(np.int64) - 1
    index = left[:, None] + np.arange(int(np.ceil(width)) + 2)
    weight = filter_.weigh((centre[:, None] - index) * scale)
    weight = weight / _sum_of_columns(weight)
    used = np.flatnonzero((weight != 0).any(axis=0))
    index, weight = index[:, used], weight[:, used]
    mirrored = index % (2 * pixels)
    mirrored = np.where(mirrored < pixels, mirrored, 2 * pixels - 1 - mirrored)
    found = Taps(np.ascontiguousarray(mirrored, np.int32), np.ascontiguousarray(weight, np.float32))
    for array in found:
        array.flags.writeable = False
    return found


def _sum_of_columns(weight: Array) -> Array:
    """Sum from left to right: the order of numpy's own sum hangs on the CPU's vector width."""
    total = np.zeros((weight.shape[0], 1))
    for k in range(weight.shape[1]):
        total[:, 0] += weight[:, k]
    return total


def _sinc(x: Array) -> Array:
    """Return sin(pi x) / (pi x) by products and sums: the sine of a C library or of numpy differs between CPUs."""
    turns = np.rint(x)
    t = (x - turns) * np.pi
    square = t * t
    series = np.ones_like(t)
    # Taylor: |t| <= pi / 2, the first term left out is below 1e-17.
    for k in range(10, 0, -1):
        series = 1 - square * series / ((2 * k) * (2 * k + 1))
    sine = np.where(turns % 2 == 0, t, -t) * series
    return np.where(x == 0, 1.0, sine / np.where(x == 0, 1.0, x * np.pi))
