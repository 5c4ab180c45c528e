"""What all downscaling operators share: the scale, what to do with sizes that it does not divide, and the door."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from forge_pipeline.step import Child, Context, DataError, Params, Transform
from forge_steps._libraries import KERNELS

Image = npt.NDArray[Any]  # (H, W, C): gray, gray+alpha, RGB, RGBA; uint8, uint16 or float32 in 0..1

TOP = {"uint8": 255, "uint16": 65535, "float32": 0}
"""The largest value of each integer type; 0 for floats, which are neither rounded nor clipped."""


class ReduceParams(Params):
    """By how much, and what to do where that leaves a rest."""

    scale: float = Field(ge=1, le=256, description="How many input pixels become one, on each axis. 1 changes nothing.")
    on_mismatch: Literal["crop", "error", "fit"] = Field(
        default="crop",
        description=(
            "For a width or height that is no multiple of the scale. `crop`: leave out pixels at the right and bottom, "
            "so that the ratio stays exact (an export of pairs can crop its HR in the same way). `error`: refuse the "
            "image. `fit`: round the output size; the ratio is then not exact and the result is no half of a pair."
        ),
    )


class Size(NamedTuple):
    """How much of an image is used, from its top left corner, and what becomes of it; all in pixels."""

    used_height: int
    used_width: int
    height: int
    width: int


class Reduce(Transform):
    """Makes one smaller image of one image."""

    Params = ReduceParams
    params: ReduceParams
    libraries = KERNELS
    # A few rows of float32, beside the result.
    memory_expansion = 1.2

    def child_share(self) -> float:
        """Say the share of the pixels that is left."""
        return 1 / self.params.scale**2

    def apply(self, value: Image, context: Context) -> Iterator[Child]:
        """Yield the smaller image."""
        if self.params.scale == 1:
            yield Child(value)
            return
        size = reduced_size(value.shape[0], value.shape[1], self.params, self.name)
        yield Child(self.reduce(value, size))

    @abstractmethod
    def reduce(self, image: Image, size: Size) -> Image:
        """Return (size.height, size.width, C), the type of `image`."""


def reduced_size(height: int, width: int, params: ReduceParams, who: str) -> Size:
    """Decide how much of an image is used and how large the result is.

    The scale is taken as the decimal that was written: 3.3 is 33/10, so 33 pixels become 10.

    Raises:
        DataError: `size_mismatch` where `on_mismatch` is `error`; `too_small` for less than one whole output pixel.
    """
    ratio = Fraction(str(params.scale))
    step = ratio.numerator
    if params.on_mismatch == "fit":
        # Half a pixel rounds up. The result is never larger than the input, as the ratio is 1 or more.
        return Size(
            height, width, max(1, int(height / ratio + Fraction(1, 2))), max(1, int(width / ratio + Fraction(1, 2)))
        )
    rows, columns = height // step, width // step
    if params.on_mismatch == "error" and (height % step or width % step):
        raise DataError(
            "size_mismatch",
            f"{who}: image is {width} x {height}, expected multiples of {step} for scale {params.scale:g}",
            "set `on_mismatch: crop`",
        )
    if not rows or not columns:
        raise DataError(
            "too_small",
            f"{who}: image is {width} x {height}, expected at least {step} x {step} for scale {params.scale:g}",
            "set `on_mismatch: fit`",
        )
    return Size(rows * step, columns * step, rows * ratio.denominator, columns * ratio.denominator)


def lend_rows(image: Image, who: str) -> tuple[Image, int]:
    """Check an image at the door and lend it to kernels as read-only, C-contiguous rows.

    NaN is looked for in the result, not here: a sixteenth of the pixels, and every NaN reaches it.

    Returns:
        (H, W * channels), and the number of channels.

    Raises:
        DataError: `unsupported_mode` for another type or shape.
    """
    channels = 1 if image.ndim == 2 else image.shape[2] if image.ndim == 3 else 0
    if image.dtype.name not in TOP or not 1 <= channels <= 4 or image.size == 0:
        raise DataError(
            "unsupported_mode",
            f"{who}: found {image.dtype} of shape {image.shape}, expected (height, width, 1 to 4 channels) "
            "of uint8, uint16 or float32",
        )
    # One read-only type for all callers: numba compiles read-only and writable arrays apart.
    rows = np.ascontiguousarray(image).reshape(image.shape[0], -1).view()
    rows.flags.writeable = False
    return rows, channels


def check_finite(image: Image, who: str) -> None:
    """Refuse a result that NaN or infinity has reached. Raises DataError `not_finite`."""
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise DataError("not_finite", f"{who}: found NaN or infinity among the pixels, expected numbers in 0..1")
