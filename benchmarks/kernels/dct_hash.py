"""The 64-bit DCT hash beside imagehash and imagededup, whose bits it agrees with but for one on average."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image as PilImage

from benchmarks.case import Call, Case, WrongAnswer
from benchmarks.ours import dct_hash
from benchmarks.peers import PEERS
from benchmarks.photographs import Image, enlarged, many, tiles

_FLOOR = 9
_CHECKED = 24
_MOST_BITS_APART = 1.0


def cases() -> Iterator[Case]:
    """Yield a photograph of 2K and a tile."""
    yield _case("2048x1365 RGB uint8", enlarged("coffee", 1365, 2048))
    yield _case("512x512 RGB uint8", tiles(6)[0])


def _case(name: str, image: Image) -> Case:
    peers: dict[str, Call] = {}
    if imagehash := PEERS["imagehash"].load():
        peers["imagehash.phash"] = _by_imagehash(imagehash, image)
    if hashing := PEERS["imagededup"].load("methods.hashing"):
        hasher = hashing.PHash(verbose=False)
        peers["imagededup PHash"] = lambda: hasher.encode_image(image_array=image)
    versions = {"imagehash.phash": PEERS["imagehash"].version, "imagededup PHash": PEERS["imagededup"].version}
    return Case("dct_hash", name, lambda: dct_hash(image), _check, peers, versions, {"imagehash.phash": _FLOOR})


def _by_imagehash(imagehash: Any, image: Image) -> Call:
    opened = PilImage.fromarray(image)
    return lambda: imagehash.phash(opened)


def _check() -> None:
    """Compare the bits with imagehash, or with its definition in numpy where it is not installed."""
    reference = PEERS["imagehash"].load()
    apart = []
    for image in many(_CHECKED, 480, 640):
        expected = int(str(_by_imagehash(reference, image)()), 16) if reference else _by_numpy(image)
        apart.append((dct_hash(image) ^ expected).bit_count())
    mean = sum(apart) / len(apart)
    if mean > _MOST_BITS_APART:
        raise WrongAnswer(f"{mean:.2f} of 64 bits apart from imagehash on average, expected at most {_MOST_BITS_APART}")


def _by_numpy(image: Image) -> int:
    """Pillow's gray and Lanczos to 32 x 32, the DCT-II of columns and rows, 8 x 8 signs around the median."""
    small = np.asarray(PilImage.fromarray(image).convert("L").resize((32, 32), PilImage.Resampling.LANCZOS), np.float64)
    n = np.arange(32)
    basis = np.cos((2 * n + 1) * n[:8, None] * np.pi / 64)
    lowest = basis @ small @ basis.T
    return int("".join("1" if bit else "0" for bit in (lowest > np.median(lowest)).ravel()), 2)
