"""By which factor an image was enlarged, read from the frequency above which it holds no detail."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forge_pipeline.errors import DataError
from forge_pipeline.step import Metric, metric
from forge_steps._libraries import KERNELS
from forge_steps.metrics._luma import BLUE, GREEN, LUMA_BITS, RED, Image, luma_plane
from forge_steps.metrics._spectrum import COSINE, WINDOW_PX, power_of_differences

Array = npt.NDArray[Any]

# The reference begins at 4/128 cycles a pixel (below, a picture's layout counts, not its detail), and the cut-off is
# looked for from 8/128 on: factors up to 8.
_REFERENCE_FROM, _SEARCH_FROM = 4, 8
# A cut-off is found where the power falls to a tenth of what two thirds of the frequencies below it stay under. Of
# 12 photographs, as they are, with noise, as JPEG 90 and as tiles, all but a soft one (an eye's fundus) stay above
# that up to the end; all their enlargements by 2 and more fall below it. Once found, it is placed where the
# interpolation itself begins to cut.
_FOUND = (0.1, 2, 3)
_PLACED = (0.15, 3, 4)
# Differences colour the white noise of rounding: 2 - 2 cos(2 pi f).
_OF_ROUNDING = [2.0 - 2.0 * float(c) for c in COSINE[: WINDOW_PX // 2 + 1]]


@metric("native_scale", version=1)
class NativeScale(Metric):
    """Estimate how many times smaller the image could have been without losing detail; 1.0 is native.

    The power spectrum of luma's differences, along rows and along columns, is smoothed by a median of 5 and, for
    8-bit images, freed of the power that rounding adds. Going up in frequency, the cut-off is where it falls to a
    tenth of what it was below (and stays 1/2, native, where it never does); the factor is 1/2 : cut-off, the smaller
    one of both directions.

    Median over 12 photographs enlarged by bilinear, bicubic, Lanczos: x1.5 reads 1.8, 1.6, 1.5; x2 reads 2.4, 2.0,
    2.0; x4 reads 4.0, 3.4, 3.8; every x2 at least 1.5, every native one that is not soft 1.0. So `native_scale < 1.4`
    keeps native images. A blurred or defocused image reads as an enlarged one; noise or grain that was added after
    the enlargement reads as detail, and strong JPEG compression of a soft one may. A flat image is native.
    An image with a side under 128 px has too few frequencies to tell: it fails as `small`.
    """

    direction = "lower is better"
    range = (1.0, 8.0)
    unit = "factor"
    source = "spectral cut-off of an interpolated signal (sampling theorem); thresholds measured by this project"
    libraries = KERNELS
    memory_expansion = 2.8

    def measure(self, value: Image) -> float:
        """Return the factor, to 0.01. Raises DataError for an unsupported mode, or a side under 128 px (`small`)."""
        plane = luma_plane(value, self.name)
        height, width = plane.shape
        if min(height, width) < WINDOW_PX:
            raise DataError(
                "small", f"native_scale: found {width} x {height} pixels, expected at least {WINDOW_PX} x {WINDOW_PX}"
            )
        rounding = _rounding_power(value)
        cut_off = max(_cut_off(power_of_differences(lines), rounding) for lines in (plane, plane.T))
        return round(0.5 / cut_off, 2)


def _rounding_power(image: Image) -> float:
    """Return the variance that rounding to 8 bits adds to luma (1/12 of a level, each channel by its weight)."""
    if image.dtype != np.uint8:
        return 0.0
    if image.ndim == 3 and image.shape[2] >= 3 and not _is_gray(image):
        return float(RED * RED + GREEN * GREEN + BLUE * BLUE) / 12
    return float((1 << LUMA_BITS) ** 2) / 12


def _is_gray(image: Image) -> bool:
    return np.array_equal(image[:, :, 0], image[:, :, 1]) and np.array_equal(image[:, :, 0], image[:, :, 2])


def _cut_off(powers: Array, rounding: float) -> float:
    """Return the highest frequency with detail, in cycles a pixel."""
    clean = _smoothed([max(0.0, p - rounding * share) for p, share in zip(powers.tolist(), _OF_ROUNDING, strict=True)])
    found = _fall(clean, *_FOUND)
    return found if found == 0.5 else min(found, _fall(clean, *_PLACED))


def _fall(powers: list[float], share: float, above: int, of: int) -> float:
    """Return where the power falls under a share of the one that ranks `above` / `of` among those before it."""
    for k in range(_SEARCH_FROM, len(powers) - 1):
        before = sorted(powers[_REFERENCE_FROM : k + 1])
        threshold = share * before[above * (len(before) - 1) // of]
        if powers[k + 1] < threshold:
            between = (powers[k] - threshold) / (powers[k] - powers[k + 1]) if powers[k] > threshold else 0.0
            return (k + between) / WINDOW_PX
    return 0.5


def _smoothed(powers: list[float]) -> list[float]:
    """Take the median of 5 neighbours, so that the lines of a pattern or a block grid count little."""
    inner = [sorted(powers[k - 2 : k + 3])[2] for k in range(2, len(powers) - 2)]
    return [*powers[:2], *inner, *powers[-2:]]
