"""Cut an image into a regular grid of windows, the last of each row and column snapped to the border."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import numpy.typing as npt
from pydantic import Field

from forge_pipeline.step import Child, Context, DataError, Params, Partial, Reject, Transform, operator

Image: TypeAlias = npt.NDArray[Any]  # (H, W, C), any dtype: pixels are only copied


class GridParams(Params):
    """Parameters of `tile.grid`."""

    size_px: int = Field(ge=1, le=65535, description="side of the square tiles, in pixels")
    stride_px: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="distance from one tile to the next, in pixels; null is size_px (tiles side by side)",
    )
    small: Literal["skip", "keep"] = Field(
        default="skip",
        description="an image with a side under size_px is dropped as `small` (skip), or passed on whole (keep)",
    )


@operator("tile.grid", version=1)
class Grid(Transform):
    """Cut windows at 0, stride, 2 x stride, ... in row-major order.

    Where the last window does not end at the border, one more is added that does: every pixel is in some tile as
    long as the stride is not larger than the tile, and no tile comes twice.
    """

    Params = GridParams
    params: GridParams
    many = True
    libraries = ("numpy",)
    work = "cpu"
    memory_expansion = 1.1

    def child_px_max(self) -> int | None:
        """Say the pixels of a tile."""
        return self.params.size_px**2 if self.params.small == "skip" else None

    def apply(self, value: Image, context: Context) -> Iterator[Child | Partial]:
        """Yield tiles row by row. Raises Reject `small`, DataError for an array that is no (H, W, C) image."""
        if value.ndim != 3:
            raise DataError("unsupported_mode", f"tile.grid: found shape {value.shape}, expected (height, width, C)")
        height, width = value.shape[:2]
        size = self.params.size_px
        stride = self.params.stride_px or size
        if min(height, width) < size:
            if self.params.small == "skip":
                raise Reject("small", {"width": width, "height": height, "size_px": size})
            yield _child(value, 0, 0, height, width)
            return
        for y in starts(height, size, stride):
            for x in starts(width, size, stride):
                yield _child(value, y, x, size, size)


def starts(length_px: int, size_px: int, stride_px: int) -> list[int]:
    """Return where windows begin along one side: multiples of the stride, and the last one snapped to the border.

    >>> starts(10, 4, 4)
    [0, 4, 6]
    >>> starts(8, 4, 4)
    [0, 4]
    """
    last = length_px - size_px
    regular = list(range(0, last + 1, stride_px))
    return regular if regular[-1] == last else [*regular, last]


def _child(image: Image, y: int, x: int, height: int, width: int) -> Child:
    return Child(
        image[y : y + height, x : x + width].copy(),
        suffix=f"y{y:05d}x{x:05d}",
        fields={"crop": [x, y, width, height]},
    )
