"""Sharpness and detail of an image: the mean absolute Laplacian of its luma."""

from __future__ import annotations

from forge_pipeline.step import Metric, metric
from forge_steps._libraries import KERNELS
from forge_steps.metrics._laplacian import mean_abs_laplacian
from forge_steps.metrics._luma import Image


@metric("laplacian", version=1)
class Laplacian(Metric):
    """Average |Y * [0 1 0; 1 -4 1; 0 1 0]| over all pixels, Y being luma on 0..1, the border mirrored (reflect101).

    The same quantity as the complexity of `tile.best`. Noise and grain raise it as detail does.
    """

    direction = "higher is better"
    range = (0.0, 4.0)
    unit = "of full scale"
    source = "Laplacian focus measure as absolute mean (Pech-Pacheco et al. 2000; PepeDP's LaplacianComplexity)"
    libraries = KERNELS
    memory_expansion = 1.2

    def measure(self, value: Image) -> float:
        """Return the mean. Raises DataError for an unsupported mode or NaN."""
        return mean_abs_laplacian(value, self.name)
