"""All pairs of near hashes beside a loop over rows in numpy, and beside imagededup where its time allows."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.case import Call, Case, WrongAnswer
from benchmarks.ours import hamming_pairs, star
from benchmarks.peers import PEERS
from forge_steps.dedup import _neighbours

_CHECKED = 6000


def cases() -> Iterator[Case]:
    """Yield three thousand, a hundred thousand (some of them identical) and a million hashes."""
    yield _pairs(3_000, 8, None, by_imagededup=True)
    yield _pairs(100_000, 8, 400, by_rows=True)
    yield _pairs(100_000, 4, None, slow=True)
    yield _pairs(1_000_000, 4, 3000, slow=True)
    yield _identical()


def _pairs(
    count: int,
    bits: int,
    at_most_ms: float | None,
    by_rows: bool = False,
    by_imagededup: bool = False,
    slow: bool = False,
) -> Case:
    peers: dict[str, Call] = {}
    if by_rows:
        peers["numpy, row by row"] = lambda: by_numpy(image_hashes(count), bits)
    if by_imagededup and (hashing := PEERS["imagededup"].load("methods.hashing")):
        peers["imagededup"] = _by_imagededup(hashing.PHash(verbose=False), image_hashes(count), bits)
    return Case(
        "hamming_pairs",
        f"{count:,} hashes, {bits} bits",
        lambda: hamming_pairs(image_hashes(count), bits),
        lambda: _check(image_hashes(count), bits),
        peers,
        {"numpy, row by row": PEERS["numpy"].version, "imagededup": PEERS["imagededup"].version},
        at_most_ms=at_most_ms,
        slow=slow,
    )


def _identical() -> Case:
    """A fifth of all hashes is one and the same: what an operator asks for is stars, not two hundred million pairs."""

    def check() -> None:
        hashes = _with_identical()
        keeper, _ = star(hashes, 8)
        first = int(np.flatnonzero(hashes == hashes[17])[0])
        same = np.unique(keeper[hashes == hashes[17]])
        if same.size != 1 or same[0] > first:
            raise WrongAnswer(f"identical hashes went to {same.size} keepers, expected 1")

    return Case(
        "hamming_pairs",
        "100,000 hashes, a fifth of them identical, 8 bits, as stars",
        lambda: star(_with_identical(), 8),
        check,
        {},
        at_most_ms=400,
        slow=True,
    )


@functools.cache
def _with_identical() -> Any:
    hashes = image_hashes(100_000).copy()
    hashes[np.random.default_rng(3).choice(hashes.size, hashes.size // 5, replace=False)] = hashes[17]
    return hashes


@functools.cache
def image_hashes(count: int, seed: int = 1) -> Any:
    """Return hashes with correlated bits, as those of images have, one in twenty a near copy of another."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (count, 64)).astype(np.uint8)
    for k in range(1, 64):
        same = rng.random(count) < 0.3
        bits[same, k] = bits[same, k - 1]
    hashes: Any = np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)
    for target in rng.choice(count, count // 20, replace=False):
        flips = rng.choice(64, int(rng.integers(0, 9)), replace=False)
        hashes[target] = hashes[rng.integers(count)] ^ np.uint64(sum(1 << int(bit) for bit in flips))
    return hashes


def by_numpy(hashes: Any, bits: int) -> Any:
    """Compare each hash with all that follow it."""
    found = []
    for i in range(hashes.size - 1):
        near = np.flatnonzero(np.bitwise_count(hashes[i + 1 :] ^ hashes[i]) <= bits)
        if near.size:
            found.append(np.stack([np.full(near.size, i), near + i + 1], axis=1))
    return np.concatenate(found) if found else np.empty((0, 2), np.int64)


def _by_imagededup(hasher: Any, hashes: Any, bits: int) -> Call:
    names = {f"{number}.png": f"{int(value):016x}" for number, value in enumerate(hashes)}
    return lambda: hasher.find_duplicates(
        encoding_map=names, max_distance_threshold=bits, num_dist_workers=0, search_method="brute_force_cython"
    )


def _check(hashes: Any, bits: int) -> None:
    """Compare some of the hashes with looking at all pairs, cut into as many bands as all of them are when timed."""
    some, bands = hashes[:_CHECKED], _neighbours.plan(np.unique(hashes).size, bits)
    with _cut_into(bands):
        expected, found = by_numpy(some, bits), hamming_pairs(some, bits)
    if not np.array_equal(expected, found):
        raise WrongAnswer(f"{len(expected)} pairs by looking at all, found {len(found)} or others in {bands} bands")


@contextlib.contextmanager
def _cut_into(bands: int) -> Iterator[None]:
    plan = _neighbours.plan
    _neighbours.plan = lambda count, radius: bands
    try:
        yield
    finally:
        _neighbours.plan = plan
