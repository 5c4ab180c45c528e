"""How strongly an image bears the 8 x 8 block grid of JPEG or video compression, wherever that grid begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forge_pipeline.errors import DataError
from forge_pipeline.step import Metric, metric
from forge_steps._libraries import KERNELS
from forge_steps.metrics._blocks import BLOCK, block_changes
from forge_steps.metrics._luma import Image, Plane, full_scale, luma_plane

# The grid that begins at pixel 7, and its copy 4 pixels on, must hold 4 blocks: 7 + 4 + 32.
SMALLEST_PX = 43
# Changes under a thousandth of an 8-bit level are arithmetic, not content: what a 16-bit file rounds is 4 times more.
_LEAST_CHANGE = 1 / (255 * 1024)
# The search looks at block rows evenly spread over the image, with about as many blocks as a 512 x 512 tile has.
_SEARCH_BLOCKS = 4096


def blockiness(image: Image, grid_search: bool = True, who: str = "blockiness") -> float:
    """Compare how 8 x 8 DCT coefficients change across blocks on a grid, and on the same grid shifted by (4, 4).

    score = sum over the 64 coefficients of |V' - V| / V, V as in `block_changes`, V' of the shifted grid. A block
    grid in the picture makes V and V' differ; without one they agree. The picture's grid is looked for at all 64
    places where it can begin (a crop moves it), by the same sums over a part of the block rows; the score is the
    larger one of the place found and of pixel (0, 0), where an uncropped file has its grid.

    Calibration at (0, 0), published for 3450 DF2K images by DiverSeg: median 0.47 clean, 10 at JPEG quality 95, 47 at
    85, 83 at 75, 165 at 50. Luma is not rounded to 8 bits as there, which lowers high scores of RGB images by a few
    per cent.

    Args:
        image: gray or RGB, alpha ignored; uint8, uint16 or float32; each side at least 43 pixels.
        grid_search: look for the grid; else take it to begin at pixel (0, 0), as the published scores do.
        who: named in errors.

    Returns:
        0 (no grid; flat images too) upwards; under 30 counts as clean (BHI filtering).

    Raises:
        DataError: `small`, an unsupported mode, or NaN.

    Source: Bhardwaj & Pankajakshan, A JPEG blocking artifact detector for image forensics, Signal Processing: Image
    Communication 68 (2018); Ohtani et al., ECCV 2024 (DiverSeg).
    """
    plane = luma_plane(image, who)
    height, width = plane.shape
    if min(height, width) < SMALLEST_PX:
        raise DataError(
            "small", f"{who}: found {width} x {height} pixels, expected at least {SMALLEST_PX} x {SMALLEST_PX}"
        )
    least = full_scale(image) * _LEAST_CHANGE
    score = _score_at(plane, 0, 0, least)
    if grid_search:
        top, left = _likely_grid(plane, least)
        score = max(score, _score_at(plane, top, left, least))
    return score


@metric("blockiness", version=1)
class Blockiness(Metric):
    """Measure the 8 x 8 grid that JPEG coding leaves, wherever it lies: under 30 is clean, quality 50 gives over 90."""

    direction = "lower is better"
    range = (0.0, None)
    unit = "sum of 64 relative differences"
    source = "Bhardwaj & Pankajakshan 2018; Ohtani et al. 2024 (DiverSeg); threshold 30: BHI filtering"
    libraries = KERNELS
    memory_expansion = 2.5

    def measure(self, value: Image) -> float:
        """Return the score. Raises DataError for an unsupported mode, NaN, or an image that is too small."""
        return blockiness(value, who=self.name)


def _score_at(plane: Plane, top: int, left: int, least: float) -> float:
    down, across = _whole_blocks(plane.shape[0] - top), _whole_blocks(plane.shape[1] - left)
    there = block_changes(plane, top, left, down, across)
    shifted = block_changes(plane, top + 4, left + 4, down, across)
    return _difference(there, shifted, least)


def _whole_blocks(length_px: int) -> int:
    """Count the blocks of a side that are still inside when the grid moves on by 4 pixels."""
    return (length_px - 4) // BLOCK


def _likely_grid(plane: Plane, least: float) -> tuple[int, int]:
    """Score all 64 places on a sample of block rows. The shifted grid of one place is the grid of another."""
    down, across = (plane.shape[0] - BLOCK + 1) // BLOCK, (plane.shape[1] - BLOCK + 1) // BLOCK
    step = max(1, down * across // _SEARCH_BLOCKS)
    places = [(top, left) for top in range(BLOCK) for left in range(BLOCK)]
    changes = {(top, left): block_changes(plane, top, left, down, across, step) for top, left in places}
    scores = [
        _difference(changes[top, left], changes[(top + 4) % BLOCK, (left + 4) % BLOCK], least) for top, left in places
    ]
    return places[scores.index(max(scores))]


def _difference(there: npt.NDArray[Any], shifted: npt.NDArray[Any], least: float) -> float:
    terms = np.abs(shifted - there) / np.maximum(there, least)
    # Where neither grid sees any change (a flat image), there is nothing to compare.
    terms[(there < least) & (shifted < least)] = 0.0
    return float(sum(terms.ravel().tolist()))
