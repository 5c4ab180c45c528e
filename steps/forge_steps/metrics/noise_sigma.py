"""How noisy an image is: the standard deviation of its noise, estimated from a second difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forge_pipeline.errors import DataError
from forge_pipeline.step import Metric, metric
from forge_steps._libraries import KERNELS
from forge_steps.metrics._kernel import kernel_or
from forge_steps.metrics._luma import Image, Plane, full_scale, luma_plane

# sqrt(pi / 2) / 6: the mean of |x| of a Gaussian is sqrt(2 / pi) sigma, and the mask multiplies sigma by 6.
_SCALE = 1.2533141373155003 / 6


@metric("noise_sigma", version=1)
class NoiseSigma(Metric):
    """Estimate sigma = sqrt(pi/2) / 6 * mean |Y * [1 -2 1; -2 4 -2; 1 -2 1]| over the inner pixels, Y on 0..1.

    The mask cancels planes and straight edges along the axes. Fine texture counts as noise: read it as an upper bound.
    Of RGB it is the noise of luma: independent noise of sigma in each channel gives about 0.67 sigma.
    """

    direction = "lower is better"
    range = (0.0, 1.7)
    unit = "of full scale"
    source = "Immerkaer, Fast Noise Variance Estimation, CVIU 64 (1996)"
    libraries = KERNELS
    memory_expansion = 2.5

    def measure(self, value: Image) -> float:
        """Return sigma. Raises DataError for an unsupported mode, or for a side under 3 pixels (`small`)."""
        plane = luma_plane(value, self.name)
        height, width = plane.shape
        if min(height, width) < 3:
            raise DataError("small", f"noise_sigma: found {width} x {height} pixels, expected at least 3 x 3")
        rows = np.zeros(height, np.int64)
        _sum_rows(plane, rows)
        total: int = sum(rows.tolist())
        return _SCALE * float(total / ((height - 2) * (width - 2) * full_scale(value)))


def _sum_rows_in_numpy(plane: Plane, rows: npt.NDArray[Any]) -> None:
    for y in range(1, plane.shape[0] - 1):
        up, here, down = plane[y - 1 : y + 2].astype(np.int64)
        column = up - 2 * here + down
        rows[y] = np.abs(column[:-2] - 2 * column[1:-1] + column[2:]).sum()


@kernel_or(_sum_rows_in_numpy)
def _sum_rows(plane: Plane, rows: npt.NDArray[Any]) -> None:
    for y in range(1, plane.shape[0] - 1):
        up, here, down = plane[y - 1], plane[y], plane[y + 1]
        total = np.int64(0)
        for x in range(1, plane.shape[1] - 1):
            sides = up[x - 1] + up[x + 1] + down[x - 1] + down[x + 1]
            total += abs(sides + 4 * here[x] - 2 * (up[x] + down[x] + here[x - 1] + here[x + 1]))
        rows[y] = total
