"""Downscale by MATLAB's bicubic, the one that benchmark sets of super-resolution are made with."""

from __future__ import annotations

from forge_pipeline.step import operator
from forge_steps.resize._reduce import Image, Reduce, Size
from forge_steps.resize._separable import CUBIC, reduce_by_filter


@operator("resize.bicubic", version=1)
class Bicubic(Reduce):
    """Downscales as MATLAB's imresize does: Keys' cubic with a = -0.5, widened against aliasing, the image mirrored.

    Floats keep what overshoots 0..1, as imresize does; integers are clipped.
    """

    def reduce(self, image: Image, size: Size) -> Image:
        """Return the downscaled image."""
        return reduce_by_filter(image, size, CUBIC, self.name)
