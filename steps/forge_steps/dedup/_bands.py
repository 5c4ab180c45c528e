"""An index of 64-bit hashes by bands of their bits, which finds all that lie within a radius."""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import COMPILED, kernel

Array = npt.NDArray[Any]

BITS = 64
_MOST_BAND_BITS = 22  # a table of 2**22 buckets takes 32 MB
# Nanoseconds, measured: opening a bucket, comparing a hash found there, comparing the next of a plain list.
_OPEN_NS, _FOUND_NS, _LISTED_NS = 4.0, 1.2, 0.4


class Bands(NamedTuple):
    """Hashes sorted into buckets, once a band. Two hashes within a radius of r bits agree, in one of m bands, up to
    r // m bits (pigeonhole): so looking into each bucket that is so near finds all of them.
    """

    shift: Array
    """(m,) uint64: where a band begins."""
    mask: Array
    """(m,) uint64: as many ones as a band has bits."""
    flips: Array
    """(m, patterns) uint64: what to change in a band's value; the first `patterns[b]` count."""
    patterns: Array
    """(m,) int64."""
    starts: Array
    """(m, largest table + 1) int32: the members of bucket v are starts[b, v] .. starts[b, v + 1] - 1."""
    members: Array
    """(m, n) int32: numbers of the hashes, ascending within a bucket."""
    hashes: Array
    """(m, n) uint64: the hashes of the members, side by side."""


def plan(count: int, radius: int) -> int:
    """Return into how many bands `count` hashes are best cut, 0 where looking at all of them is faster.

    Where numba cannot be imported it always is: numpy compares one hash with all at once, and has no loop over buckets.
    Reckoned for evenly spread hashes. Real ones crowd in some buckets; the answer is the same, the time is not.
    """
    if not COMPILED:
        return 0
    best, least = 0, count * _LISTED_NS / 2
    for bands in range(-(-BITS // _MOST_BAND_BITS), min(BITS, radius + 1) + 3):
        near = radius // bands
        cost = 0.0
        for bits in _widths(bands):
            buckets = sum(comb(bits, flipped) for flipped in range(near + 1))
            cost += buckets * (_OPEN_NS + count / 2**bits * _FOUND_NS)
        # The tables are made once; spread over all hashes.
        cost += bands * 20 + 2.0 ** _widths(bands)[0] * bands / max(count, 1)
        if cost < least:
            best, least = bands, cost
    return best


def index(hashes: Array, radius: int, bands: int) -> Bands:
    """Sort hashes into the buckets of `bands` bands."""
    widths = _widths(bands)
    shift = np.array([sum(widths[:b]) for b in range(bands)], np.uint64)
    mask = np.array([(1 << bits) - 1 for bits in widths], np.uint64)
    changes = [_patterns(bits, radius // bands) for bits in widths]
    flips = np.zeros((bands, max(map(len, changes))), np.uint64)
    starts = np.zeros((bands, (1 << widths[0]) + 1), np.int32)
    members = np.empty((bands, hashes.size), np.int32)
    for b in range(bands):
        flips[b, : len(changes[b])] = changes[b]
        _fill_buckets(hashes, shift[b], mask[b], starts[b], members[b])
    patterns = np.array([len(change) for change in changes], np.int64)
    return Bands(shift, mask, flips, patterns, starts, members, hashes[members])


def _widths(bands: int) -> list[int]:
    """Cut 64 bits into bands of nearly one width, the wider first."""
    return [BITS // bands + (b < BITS % bands) for b in range(bands)]


def _patterns(bits: int, near: int) -> list[int]:
    """Name every change of at most `near` of `bits` bits."""
    return [
        sum(1 << bit for bit in chosen) for flipped in range(near + 1) for chosen in combinations(range(bits), flipped)
    ]


@kernel
def _fill_buckets(hashes: Array, shift: np.uint64, mask: np.uint64, starts: Array, members: Array) -> None:
    """Sort by counting: stable, so that members ascend."""
    for value in hashes:
        starts[np.int64((value >> shift) & mask) + 1] += 1
    for one in range(starts.size - 1):
        starts[one + 1] += starts[one]
    place = starts.copy()
    for number in range(hashes.size):
        bucket = np.int64((hashes[number] >> shift) & mask)
        members[place[bucket]] = number
        place[bucket] += 1
