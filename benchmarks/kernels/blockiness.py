"""Blockiness with a search for the grid beside plain numpy, and without it beside PepeDP."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from benchmarks.case import Call, Case, WrongAnswer
from benchmarks.ours import blockiness
from benchmarks.peers import PEERS
from benchmarks.photographs import photograph
from benchmarks.threads import pin_imported


def cases() -> Iterator[Case]:
    """Yield a compressed photograph of 512 x 512, cropped so that its grid does not begin at the first pixel."""
    gray = _compressed()
    yield Case(
        "blockiness",
        "512x512 gray uint8, all 64 places of the grid",
        lambda: blockiness(gray),
        lambda: _check(gray),
        {"numpy": lambda: _by_numpy(gray)},
        {"numpy": PEERS["numpy"].version},
        at_most_ms=40,
    )
    blocklines = PEERS["PepeDP"].load("scripts.archs.blocklines")
    peers: dict[str, Call] = {"PepeDP": _by_pepedp(blocklines, gray)} if blocklines else {}
    yield Case(
        "blockiness",
        "512x512 gray uint8, grid at pixel 0",
        lambda: blockiness(gray, grid_search=False),
        lambda: _check_without_search(gray),
        peers,
        {"PepeDP": PEERS["PepeDP"].version},
    )


def _compressed() -> Any:
    larger = cv2.resize(photograph("astronaut"), (518, 517), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(".jpg", larger, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    image: Any = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    return np.ascontiguousarray(image[5:, 6:])


def _check(gray: Any) -> None:
    _compare(blockiness(gray), _by_numpy(gray))


def _check_without_search(gray: Any) -> None:
    _compare(blockiness(gray, grid_search=False), _score(_coefficients(gray), _coefficients(gray[4:, 4:])))


def _compare(found: float, expected: float) -> None:
    if not math.isclose(found, expected, rel_tol=1e-9):
        raise WrongAnswer(f"blockiness is {expected!r} by numpy in float64, found {found!r}")


# --- the definition (Bhardwaj & Pankajakshan 2018, as DiverSeg publishes it), as one would write it down ------------


def _by_numpy(gray: Any) -> float:
    return max(
        _score(_coefficients(gray[y:, x:]), _coefficients(gray[y + 4 :, x + 4 :])) for y in range(8) for x in range(8)
    )


def _coefficients(gray: Any) -> Any:
    """Return the 8 x 8 DCT of every whole block: (rows, columns, 8, 8)."""
    n = np.arange(8)
    basis = np.cos((2 * n + 1) * n[:, None] * np.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    down, across = gray.shape[0] // 8, gray.shape[1] // 8
    blocks = gray[: down * 8, : across * 8].astype(np.float64).reshape(down, 8, across, 8).transpose(0, 2, 1, 3)
    return basis @ blocks @ basis.T


def _score(there: Any, shifted: Any) -> float:
    down, across = (min(there.shape[i], shifted.shape[i]) for i in (0, 1))
    on, off = _changes(there[:down, :across]), _changes(shifted[:down, :across])
    return float(np.sum(np.abs(off - on) / on))


def _changes(c: Any) -> Any:
    """Average, over the blocks that are not at a border, how much each coefficient differs from its four neighbours."""
    here = c[2:-1, 2:-1]
    beside = c[2:-1, 1:-2] + c[2:-1, 3:] - 2 * here
    over = c[1:-2, 2:-1] + c[3:, 2:-1] - 2 * here
    return np.sqrt(beside**2 + over**2).sum(axis=(0, 1)) / ((c.shape[0] - 2) * (c.shape[1] - 2))


def _by_pepedp(blocklines: Any, gray: Any) -> Call:
    torch: Any = importlib.import_module("torch")
    pin_imported()
    batch = torch.from_numpy(gray.astype(np.float32))[None, None]
    return lambda: blocklines.calculate_image_blockiness(batch)
