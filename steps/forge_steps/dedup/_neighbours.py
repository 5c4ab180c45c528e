"""Which hashes lie within some bits of each other: exact for any radius, identical hashes grouped first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps.dedup._bands import BITS, index, plan
from forge_steps.dedup._search import (
    join_buckets,
    nearest_by_bands,
    nearest_by_list,
    pairs_by_list,
    star_by_bands,
    star_by_list,
)

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

_PAIRS_AT_ONCE = 1 << 20


def star(hashes: Hashes, max_distance_bits: int) -> tuple[Numbers, Numbers]:
    """Cover hashes by stars: in the given order, each that is not covered yet becomes a keeper and covers its radius.

    No list of pairs is ever held: a cluster of any size costs one search for its keeper.

    Args:
        hashes: (n,) uint64, in keeper order.
        max_distance_bits: the radius, 0 to 64.

    Returns:
        (n,) the position of each one's keeper (its own for a keeper), and (n,) the bits between the two.
    """
    _check(max_distance_bits)
    # The first of several identical hashes meets the same fate as the rest, or becomes their keeper.
    unique, first, group = _grouped(hashes)
    keeper, distance = np.full(unique.size, -1, np.int64), np.zeros(unique.size, np.int64)
    bands = plan(unique.size, max_distance_bits)
    if bands:
        star_by_bands(unique, max_distance_bits, *index(unique, max_distance_bits, bands), keeper, distance)
    else:
        star_by_list(unique, max_distance_bits, keeper, distance)
    return first[keeper[group]], distance[group]


def nearest(hashes: Hashes, others: Hashes, max_distance_bits: int) -> tuple[Numbers, Numbers]:
    """Find for each hash the nearest of some others, if one lies within the radius.

    Args:
        hashes: (n,) uint64.
        others: (m,) uint64.
        max_distance_bits: the radius, 0 to 64.

    Returns:
        (n,) the position of the nearest other, the first of equally near ones, -1 where there is none; and (n,) the
        bits between the two.
    """
    _check(max_distance_bits)
    unique, _, group = _grouped(hashes)
    targets, first, _ = _grouped(others)
    found, distance = np.full(unique.size, -1, np.int64), np.zeros(unique.size, np.int64)
    bands = plan(targets.size, max_distance_bits)
    if bands:
        nearest_by_bands(unique, max_distance_bits, *index(targets, max_distance_bits, bands), found, distance)
    else:
        nearest_by_list(unique, targets, max_distance_bits, found, distance)
    positions = np.where(found >= 0, np.append(first, -1)[found], -1)
    return positions[group], distance[group]


def hamming_pairs(hashes: Hashes, max_distance_bits: int) -> Numbers:
    """List all pairs of hashes within the radius.

    Args:
        hashes: (n,) uint64.
        max_distance_bits: the radius, 0 to 64.

    Returns:
        (m, 2) positions i < j, sorted. It can be long: 20,000 identical hashes are 200 million pairs.
    """
    _check(max_distance_bits)
    unique, _, group = _grouped(hashes)
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group, minlength=unique.size)
    starts = np.cumsum(sizes) - sizes
    within = np.flatnonzero(sizes > 1)
    near = np.concatenate([_unique_pairs(unique, max_distance_bits), np.stack([within, within], axis=1)])
    # Each pair of groups stands for all pairs of their members.
    counts = sizes[near[:, 0]] * sizes[near[:, 1]]
    pair = np.repeat(np.arange(len(near)), counts)
    rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    second_size = sizes[near[pair, 1]]
    one = order[starts[near[pair, 0]] + rank // second_size]
    two = order[starts[near[pair, 1]] + rank % second_size]
    keep = (near[pair, 0] != near[pair, 1]) | (one < two)
    low, high = np.minimum(one, two)[keep], np.maximum(one, two)[keep]
    sequence = np.argsort(low * hashes.size + high, kind="stable")
    return np.stack([low[sequence], high[sequence]], axis=1)


def _unique_pairs(unique: Hashes, max_distance_bits: int) -> Numbers:
    """List the pairs among different hashes, each once."""
    bands = plan(unique.size, max_distance_bits)
    if not bands:
        return _collected(unique.size, lambda begin, out: pairs_by_list(unique, max_distance_bits, begin, out))
    table = index(unique, max_distance_bits, bands)
    found = []
    for b in range(bands):
        buckets = int(table.mask[b]) + 1
        sorted_band = table.starts[b, : buckets + 1], table.members[b], table.hashes[b]
        for flip in table.flips[b, : table.patterns[b]].tolist():
            search = partial(join_buckets, *sorted_band, flip, max_distance_bits)
            found.append(_collected(buckets, search))
    # Hashes that are near in several bands come once for each.
    joined = np.concatenate(found)
    code = np.unique(joined[:, 0] * unique.size + joined[:, 1])
    return np.stack([code // unique.size, code % unique.size], axis=1)


def _collected(end: int, search: Callable[[int, Numbers], tuple[int, int]]) -> Numbers:
    """Call a search that fills an array of pairs, and says how far it got, until it is done."""
    found = [np.empty((0, 2), np.int64)]
    out = np.empty((_PAIRS_AT_ONCE, 2), np.int64)
    begin = 0
    while begin < end:
        count, done = search(begin, out)
        found.append(out[:count].copy())
        if done == begin:
            # Not even the pairs of one place went in: give them more room.
            out = np.empty((2 * len(out), 2), np.int64)
        begin = done
    return np.concatenate(found)


def _grouped(hashes: Hashes) -> tuple[Hashes, Numbers, Numbers]:
    """Return the different hashes in the order of their first appearance, where that is, and the group of each."""
    values: Any = np.ascontiguousarray(hashes, np.uint64)
    unique, first, group = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    return unique[order], first[order].astype(np.int64), rank[group.reshape(-1)].astype(np.int64)


def _check(max_distance_bits: int) -> None:
    if not 0 <= max_distance_bits <= BITS:
        raise ValueError(f"max_distance_bits is {max_distance_bits}, expected 0 to {BITS}")
