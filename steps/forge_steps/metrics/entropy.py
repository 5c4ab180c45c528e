"""How evenly an image uses its gray levels: the Shannon entropy of its luma histogram."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from forge_pipeline.step import Metric, metric
from forge_steps._libraries import KERNELS
from forge_steps.metrics._kernel import kernel_or
from forge_steps.metrics._luma import Image, Plane, full_scale, luma_plane

_BINS = 256


@metric("entropy", version=1)
class Entropy(Metric):
    """Sum -p log2 p over the 256 levels of luma, rounded to 8 bits whatever the depth of the image.

    0 is one flat tone, 8 are all tones alike often. Very low values are empty skies, screens and test cards.
    """

    direction = "higher is better"
    range = (0.0, 8.0)
    unit = "bit"
    source = "Shannon 1948"
    libraries = KERNELS
    memory_expansion = 2.5

    def measure(self, value: Image) -> float:
        """Return the entropy. Raises DataError for an unsupported mode or NaN."""
        plane = luma_plane(value, self.name)
        counts = np.zeros(_BINS, np.int64)
        _count(plane, full_scale(value), counts)
        # H = log2 n - sum(c log2 c) / n. Rounded, because log2 is the C library's and may differ in its last bit.
        spread: float = math.fsum(c * math.log2(c) for c in counts.tolist() if c)
        return max(0.0, round(math.log2(plane.size) - spread / plane.size, 9))


def _count_in_numpy(plane: Plane, white: int, counts: npt.NDArray[Any]) -> None:
    for row in plane:
        counts += np.bincount((row.astype(np.int64) * 510 + white) // (2 * white), minlength=counts.size)


@kernel_or(_count_in_numpy)
def _count(plane: Plane, white: int, counts: npt.NDArray[Any]) -> None:
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            counts[(np.int64(plane[y, x]) * 510 + white) // (2 * white)] += 1
