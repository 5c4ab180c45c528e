"""Downscale by area: each output pixel is the mean of the input that it covers."""

from __future__ import annotations

from forge_pipeline.step import operator
from forge_steps.resize._dpid import reduce_by_dpid
from forge_steps.resize._reduce import Image, Reduce, Size


@operator("resize.area", version=1)
class Area(Reduce):
    """Downscales by the box mean, pixels weighed by the share that is covered and by alpha: DPID with lambda 0."""

    def reduce(self, image: Image, size: Size) -> Image:
        """Return the downscaled image."""
        return reduce_by_dpid(image, size, 0.0, "replicate", self.name)
