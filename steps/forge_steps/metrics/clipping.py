"""How much of an image is lost in black or white: the share of values at either end of the scale."""

from __future__ import annotations

import numpy as np

from forge_pipeline.step import Metric, metric
from forge_steps._libraries import KERNELS
from forge_steps.metrics._luma import Image, readable

_WHITE = {"uint8": 255, "uint16": 65535, "float32": 1.0}


@metric("clipping", version=1)
class Clipping(Metric):
    """Count the values of gray or R, G, B that are 0 or full scale (255, 65535, 1.0; beyond, for floats).

    Alpha is left out. A drawing on white paper is clipped by this measure, as a burnt-out sky is.
    """

    direction = "lower is better"
    range = (0.0, 1.0)
    unit = "share of values"
    source = "this project: exact counts, no tolerance"
    libraries = KERNELS
    memory_expansion = 2.1

    def measure(self, value: Image) -> float:
        """Return the share. Raises DataError for an unsupported mode or NaN."""
        image = readable(value, self.name)
        colours = image[:, :, : 3 if image.shape[2] >= 3 else 1]
        lost = np.count_nonzero(colours <= 0) + np.count_nonzero(colours >= _WHITE[image.dtype.name])
        return float(lost / colours.size)
