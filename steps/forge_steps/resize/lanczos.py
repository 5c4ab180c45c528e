"""Downscale by a windowed sinc: the sharpest of the linear filters here, with some ringing."""

from __future__ import annotations

from forge_pipeline.step import operator
from forge_steps.resize._reduce import Image, Reduce, Size
from forge_steps.resize._separable import LANCZOS, reduce_by_filter


@operator("resize.lanczos", version=1)
class Lanczos(Reduce):
    """Downscales by Lanczos' filter with three lobes, widened against aliasing, the image mirrored at its border.

    Floats keep what overshoots 0..1; integers are clipped.
    """

    def reduce(self, image: Image, size: Size) -> Image:
        """Return the downscaled image."""
        return reduce_by_filter(image, size, LANCZOS, self.name)
