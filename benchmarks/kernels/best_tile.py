"""The window with the most detail beside pepeline and PepeDP, and beside the bare Laplacian that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from benchmarks.case import Call, Case, WrongAnswer
from benchmarks.ours import best_tiles
from benchmarks.peers import PEERS
from benchmarks.photographs import Image, enlarged

_TILE_PX = 512
_PEPEDP_TILES = 8
# Luma of BT.601 in 14 bits, as cv2 rounds it: an image whose weights sum to one.
_LUMA = (4899, 9617, 1868)


def cases() -> Iterator[Case]:
    """Yield one tile of a photograph of 2K, and one and eight of 4K."""
    yield _one(enlarged("hubble_deep_field", 1365, 2048))
    yield _eight(enlarged("retina", 2160, 3840))


def _one(image: Image) -> Case:
    peers: dict[str, Call] = {"cv2 gray + Laplacian": lambda: _laplacian(image)}
    if pepeline := PEERS["pepeline"].load():
        detail = _detail(image)
        peers["pepeline.best_tile"] = lambda: pepeline.best_tile(detail, _TILE_PX)

    def check() -> None:
        for name, size in (("hubble_deep_field", 512), ("coffee", 256), ("rocket", 301)):
            _check(enlarged(name, 683, 1024) if name != "hubble_deep_field" else image, size)

    return Case(
        "best_tile",
        "2048x1365 RGB uint8, tile 512, all positions",
        lambda: best_tiles(image, _TILE_PX),
        check,
        peers,
        {"pepeline.best_tile": PEERS["pepeline"].version, "cv2 gray + Laplacian": PEERS["cv2"].version},
        {"pepeline.best_tile": 1000, "cv2 gray + Laplacian": 0.5},
    )


def _eight(image: Image) -> Case:
    peers: dict[str, Call] = {"ours, one tile": lambda: best_tiles(image, _TILE_PX)}
    if pepedp := PEERS["PepeDP"].load("scripts.utils.complexity.laplacian"):
        complexity, pepeline = pepedp.LaplacianComplexity(), PEERS["pepeline"].load()
        detail = _detail(image)

        def by_pepedp() -> None:
            left: Any = detail.copy()
            for _ in range(_PEPEDP_TILES):
                y, x = pepeline.best_tile(left, _TILE_PX)
                complexity.get_tile_comp_score(image, left, y, x, _TILE_PX)

        peers["PepeDP BestTile"] = by_pepedp
    return Case(
        "best_tile",
        "3840x2160 RGB uint8, 8 tiles of 512",
        lambda: best_tiles(image, _TILE_PX, _PEPEDP_TILES),
        lambda: _check_apart(image),
        peers,
        {"PepeDP BestTile": PEERS["PepeDP"].version},
        {"ours, one tile": 0.5},
        slow=True,
    )


def _laplacian(image: Image) -> object:
    return cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_8U)


def _detail(image: Image) -> Any:
    """Return what PepeDP hands to pepeline: |Laplacian| of the gray float image."""
    gray = cv2.cvtColor(image.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2GRAY)
    return np.abs(cv2.Laplacian(gray, -1))


def _scores(image: Image, size: int) -> Any:
    """Sum |Laplacian| over every window, in whole numbers, by an integral image."""
    luma = sum(weight * image[:, :, channel].astype(np.int64) for channel, weight in enumerate(_LUMA))
    wide: Any = np.pad(np.asarray(luma), 1, mode="reflect")
    detail = np.abs(wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:] - 4 * wide[1:-1, 1:-1])
    total = np.pad(detail.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return total[size:, size:] - total[:-size, size:] - total[size:, :-size] + total[:-size, :-size]


def _check(image: Image, size: int) -> None:
    scores = _scores(image, size)
    expected = divmod(int(scores.argmax()), scores.shape[1])
    y, x, _ = best_tiles(image, size)[0]
    if (y, x) != expected:
        raise WrongAnswer(f"the best tile of {size} px is at {expected}, found at {(y, x)}")


def _check_apart(image: Image) -> None:
    """Compare with taking the best of all that is left, again and again."""
    scores = _scores(image, _TILE_PX)
    expected = []
    for _ in range(_PEPEDP_TILES):
        y, x = divmod(int(scores.argmax()), scores.shape[1])
        expected.append((y, x))
        scores[max(0, y - _TILE_PX + 1) : y + _TILE_PX, max(0, x - _TILE_PX + 1) : x + _TILE_PX] = -1
    found = [(y, x) for y, x, _ in best_tiles(image, _TILE_PX, _PEPEDP_TILES)]
    if found != expected:
        raise WrongAnswer(f"the best tiles are at {expected}, found at {found}")
