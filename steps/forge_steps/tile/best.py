"""Cut the most detailed windows out of an image: the exact maximum of mean |Laplacian| over all positions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from forge_pipeline.step import Child, Context, Params, Partial, Reject, Transform, operator
from forge_steps._libraries import KERNELS
from forge_steps.metrics._laplacian import mean_abs_laplacian
from forge_steps.metrics._luma import Image, readable
from forge_steps.tile._windows import MAX_SIZE_PX, best_windows


class BestParams(Params):
    """Parameters of `tile.best`."""

    size_px: int = Field(ge=1, le=MAX_SIZE_PX, description="side of the square tiles, in pixels")
    max_tiles: int = Field(default=1, ge=1, le=10_000, description="how many tiles to take from one image at most")
    min_complexity: float = Field(
        default=0.0,
        ge=0.0,
        le=4.0,
        description="tiles whose mean |Laplacian| of luma (0..1 scale; 0 is flat, 4 the most) is lower are not taken; "
        "an image without any such tile is dropped as `low_complexity`",
    )
    max_overlap: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="share of a tile's area that it may have in common with each other tile; 0 is no overlap",
    )
    align_px: int = Field(
        default=1,
        ge=1,
        le=8192,
        description="tile positions are multiples of it: 8 keeps the grid of a JPEG, the scale keeps an LR grid whole",
    )
    small: Literal["skip", "keep"] = Field(
        default="skip",
        description="an image with a side under size_px is dropped as `small` (skip), or passed on whole (keep)",
    )


# Of a photograph of 2K and more these take few of its rows.
_SMALL_PX = 512


@operator("tile.best", version=1)
class Best(Transform):
    """Take the best windows greedily, each the best of all positions that the windows before it leave allowed.

    The complexity of a window is the mean over its pixels of |Y * [0 1 0; 1 -4 1; 0 1 0]|, where Y is luma on 0..1
    (BT.601 in 14-bit fixed point, not rounded; alpha left out) and the image is mirrored at its border without the
    edge row (reflect101). Sums are exact integers over all (aligned) positions; of equal windows the smallest y, then
    the smallest x wins. An image narrower or lower than `size_px` is judged and kept whole with `small: keep`.

    Source: Laplacian focus measure, Pech-Pacheco et al. 2000, as absolute mean (PepeDP's LaplacianComplexity).
    """

    Params = BestParams
    params: BestParams
    many = True
    libraries = KERNELS
    work = "cpu"

    def __init__(self, params: BestParams) -> None:
        super().__init__(params)
        # Rows of |Laplacian|, as many as a tile is high, and sums by segments: of large tiles a whole map.
        self.memory_expansion = 1.5 if params.size_px <= _SMALL_PX else 2.4

    def child_px_max(self) -> int | None:
        """Say the pixels of a tile."""
        return self.params.size_px**2 if self.params.small == "skip" else None

    def apply(self, value: Image, context: Context) -> Iterator[Child | Partial]:
        """Yield tiles, best first. Raises Reject `small` or `low_complexity`, DataError for an unsupported mode."""
        p = self.params
        image = readable(value, self.name)
        height, width = image.shape[:2]
        if min(height, width) >= p.size_px:
            found = best_windows(image, p.size_px, p.max_tiles, p.align_px, p.max_overlap, self.name)
            shape = (p.size_px, p.size_px)
        elif p.small == "keep":
            found = [(0, 0, mean_abs_laplacian(image, self.name))]
            shape = (height, width)
        else:
            raise Reject("small", {"width": width, "height": height, "size_px": p.size_px})
        if found[0][2] < p.min_complexity:
            raise Reject("low_complexity", {"complexity": found[0][2], "min_complexity": p.min_complexity})
        for y, x, complexity in found:
            if complexity >= p.min_complexity:
                yield _child(image, y, x, shape, complexity)


def _child(image: Image, y: int, x: int, shape: tuple[int, int], complexity: float) -> Child:
    height, width = shape
    return Child(
        image[y : y + height, x : x + width].copy(),
        suffix=f"y{y:05d}x{x:05d}",
        fields={"crop": [x, y, width, height], "complexity": complexity},
    )
