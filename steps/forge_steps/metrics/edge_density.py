"""How much of an image is edge: the share of pixels with a steep luma gradient."""

from __future__ import annotations

import numpy as np

from forge_pipeline.errors import DataError
from forge_pipeline.step import Metric, metric
from forge_steps._libraries import KERNELS
from forge_steps.metrics._kernel import kernel_or
from forge_steps.metrics._luma import Image, Plane, full_scale, luma_plane

# |gx| + |gy| of the Sobel masks (8 times the slope a pixel): 100 is a usual upper threshold of Canny on 8-bit images.
# Half a level under it no 8-bit gray image has a pixel, so a copy in floats falls on the same side.
_STEEP = (199, 2 * 255)


@metric("edge_density", version=1)
class EdgeDensity(Metric):
    """Count the inner pixels where |Sobel_x| + |Sobel_y| of luma reaches 99.5/255 of full scale."""

    direction = "higher is better"
    range = (0.0, 1.0)
    unit = "share of pixels"
    source = "Sobel gradient in L1 norm at Canny's customary threshold of 100 (OpenCV's default norm)"
    libraries = KERNELS
    memory_expansion = 2.5

    def measure(self, value: Image) -> float:
        """Return the share. Raises DataError for an unsupported mode, or for a side under 3 pixels (`small`)."""
        plane = luma_plane(value, self.name)
        height, width = plane.shape
        if min(height, width) < 3:
            raise DataError("small", f"edge_density: found {width} x {height} pixels, expected at least 3 x 3")
        steep, of = _STEEP
        return float(_edges(plane, full_scale(value) * steep // of) / ((height - 2) * (width - 2)))


def _edges_in_numpy(plane: Plane, threshold: int) -> int:
    found = 0
    for y in range(1, plane.shape[0] - 1):
        up, here, down = plane[y - 1 : y + 2].astype(np.int64)
        middle = up + 2 * here + down
        slope = down - up
        along = slope[:-2] + 2 * slope[1:-1] + slope[2:]
        found += int(np.count_nonzero(np.abs(middle[2:] - middle[:-2]) + np.abs(along) >= threshold))
    return found


@kernel_or(_edges_in_numpy)
def _edges(plane: Plane, threshold: int) -> int:
    found = 0
    for y in range(1, plane.shape[0] - 1):
        up, here, down = plane[y - 1], plane[y], plane[y + 1]
        for x in range(1, plane.shape[1] - 1):
            across = up[x + 1] - up[x - 1] + 2 * (here[x + 1] - here[x - 1]) + down[x + 1] - down[x - 1]
            along = down[x - 1] - up[x - 1] + 2 * (down[x] - up[x]) + down[x + 1] - up[x + 1]
            if np.int64(abs(across)) + abs(along) >= threshold:
                found += 1
    return found
