"""The loops that compare hashes: through an index, or one with all where no index pays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import intrinsic, kernel, kernel_or

Array = npt.NDArray[Any]

_LEFT = np.int64(-1)
_BLOCK = 256


def _count_ones(typing_context: Any, value: Any) -> Any:
    """Generate: how many bits of a uint64 are 1."""
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


ones: Any = intrinsic(_count_ones)


@kernel
def star_by_bands(
    hashes: Array,
    radius: int,
    shift: Array,
    mask: Array,
    flips: Array,
    patterns: Array,
    starts: Array,
    members: Array,
    sorted_hashes: Array,
    keeper: Array,
    distance: Array,
) -> None:
    """Do what `star_by_list` does with the help of an index. `starts` is used up."""
    heads = starts.copy()
    for number in range(hashes.size):
        if keeper[number] != _LEFT:
            continue
        keeper[number] = number
        for b in range(shift.size):
            own = (hashes[number] >> shift[b]) & mask[b]
            for p in range(patterns[b]):
                bucket = np.int64(own ^ flips[b, p])
                end = starts[b, bucket + 1]
                # Hashes before this one are settled for good: no later one looks at them again.
                while heads[b, bucket] < end and members[b, heads[b, bucket]] <= number:
                    heads[b, bucket] += 1
                for place in range(heads[b, bucket], end):
                    apart = ones(sorted_hashes[b, place] ^ hashes[number])
                    if apart <= radius:
                        other = members[b, place]
                        if keeper[other] == _LEFT:
                            keeper[other] = number
                            distance[other] = apart


def star_by_list_in_numpy(hashes: Array, radius: int, keeper: Array, distance: Array) -> None:
    """Do what `star_by_list` does."""
    left, rest = np.arange(hashes.size), hashes
    while left.size:
        number = left[0]
        apart = np.bitwise_count(rest ^ rest[0])
        near = apart <= radius
        keeper[left[near]] = number
        distance[left[near]] = apart[near]
        if np.count_nonzero(near) == 1:
            left, rest = left[1:], rest[1:]
        else:
            left, rest = left[~near], rest[~near]


@kernel_or(star_by_list_in_numpy)
def star_by_list(hashes: Array, radius: int, keeper: Array, distance: Array) -> None:
    """Settle hashes in order: each one left becomes a keeper and takes all that are left within the radius.

    Args:
        hashes: (n,) uint64.
        radius: 0 to 64.
        keeper: (n,) int64, all -1: becomes the number of each one's keeper, its own for a keeper.
        distance: (n,) int64, all 0: becomes the bits between the two.
    """
    for number in range(hashes.size):
        if keeper[number] != _LEFT:
            continue
        keeper[number] = number
        for begin in range(number + 1, hashes.size, _BLOCK):
            block = hashes[begin : begin + _BLOCK]
            if _count_near(block, hashes[number], radius) == 0:
                continue
            for place in range(block.size):
                apart = ones(block[place] ^ hashes[number])
                if apart <= radius and keeper[begin + place] == _LEFT:
                    keeper[begin + place] = number
                    distance[begin + place] = apart


@kernel
def _count_near(hashes: Array, value: np.uint64, radius: int) -> int:
    """Count without a branch, which the compiler turns into vector instructions."""
    found = 0
    for place in range(hashes.size):
        found += ones(hashes[place] ^ value) <= radius
    return found


@kernel
def nearest_by_bands(
    hashes: Array,
    radius: int,
    shift: Array,
    mask: Array,
    flips: Array,
    patterns: Array,
    starts: Array,
    members: Array,
    sorted_hashes: Array,
    found: Array,
    distance: Array,
) -> None:
    """Do what `nearest_by_list` does with the help of an index of the others."""
    for number in range(hashes.size):
        for b in range(shift.size):
            own = (hashes[number] >> shift[b]) & mask[b]
            for p in range(patterns[b]):
                bucket = np.int64(own ^ flips[b, p])
                for place in range(starts[b, bucket], starts[b, bucket + 1]):
                    apart = ones(sorted_hashes[b, place] ^ hashes[number])
                    other = members[b, place]
                    nearer = apart < distance[number] or (apart == distance[number] and other < found[number])
                    if apart <= radius and (found[number] == _LEFT or nearer):
                        found[number] = other
                        distance[number] = apart


def nearest_by_list_in_numpy(hashes: Array, others: Array, radius: int, found: Array, distance: Array) -> None:
    """Do what `nearest_by_list` does."""
    for number in range(hashes.size if others.size else 0):
        apart = np.bitwise_count(others ^ hashes[number])
        place = apart.argmin()  # the first of equal ones
        if apart[place] <= radius:
            found[number], distance[number] = place, apart[place]


@kernel_or(nearest_by_list_in_numpy)
def nearest_by_list(hashes: Array, others: Array, radius: int, found: Array, distance: Array) -> None:
    """Find for each hash the nearest of others within the radius, the first of equally near ones.

    Args:
        hashes: (n,) uint64.
        others: (m,) uint64.
        radius: 0 to 64.
        found: (n,) int64, all -1: becomes the number of the other.
        distance: (n,) int64: becomes the bits between the two.
    """
    for number in range(hashes.size):
        for begin in range(0, others.size, _BLOCK):
            block = others[begin : begin + _BLOCK]
            if _count_near(block, hashes[number], radius) == 0:
                continue
            for place in range(block.size):
                apart = ones(block[place] ^ hashes[number])
                if apart <= radius and (found[number] == _LEFT or apart < distance[number]):
                    found[number] = begin + place
                    distance[number] = apart


@kernel
def join_buckets(
    starts: Array, members: Array, hashes: Array, flip: int, radius: int, begin: int, out: Array
) -> tuple[int, int]:
    """Write the pairs of one band whose buckets differ by `flip`, from the bucket `begin` on, as far as `out` goes.

    Buckets against buckets, in their order, touch memory in sequence: 4 times as fast as looking up hash by hash.

    Args:
        starts, members, hashes: of that band.
        flip: the change of the band's value; 0 for pairs inside a bucket.
        radius: 0 to 64.
        begin: the first bucket.
        out: (room, 2) int64.

    Returns:
        How many rows of `out` count, and the first bucket that is not done.
    """
    count = 0
    for bucket in range(begin, starts.size - 1):
        partner = bucket ^ flip
        if partner < bucket or starts[bucket] == starts[bucket + 1]:
            continue
        before = count
        for one in range(starts[bucket], starts[bucket + 1]):
            for two in range(one + 1 if flip == 0 else starts[partner], starts[partner + 1]):
                if ones(hashes[one] ^ hashes[two]) <= radius:
                    if count == out.shape[0]:
                        return before, bucket
                    out[count, 0] = min(members[one], members[two])
                    out[count, 1] = max(members[one], members[two])
                    count += 1
    return count, starts.size - 1


def pairs_by_list_in_numpy(hashes: Array, radius: int, begin: int, out: Array) -> tuple[int, int]:
    """Do what `pairs_by_list` does."""
    count = 0
    for number in range(begin, hashes.size):
        near = np.flatnonzero(np.bitwise_count(hashes[number + 1 :] ^ hashes[number]) <= radius)
        if count + near.size > len(out):
            return count, number
        out[count : count + near.size, 0] = number
        out[count : count + near.size, 1] = near + number + 1
        count += near.size
    return count, hashes.size


@kernel_or(pairs_by_list_in_numpy)
def pairs_by_list(hashes: Array, radius: int, begin: int, out: Array) -> tuple[int, int]:
    """Write all pairs of hashes within the radius, from the hash `begin` on, as far as they go into `out`.

    Returns:
        How many rows of `out` count, and the first hash that is not done.
    """
    count = 0
    for number in range(begin, hashes.size):
        before = count
        for block in range(number + 1, hashes.size, _BLOCK):
            near = hashes[block : block + _BLOCK]
            if _count_near(near, hashes[number], radius) == 0:
                continue
            for place in range(near.size):
                if ones(near[place] ^ hashes[number]) <= radius:
                    if count == out.shape[0]:
                        return before, number
                    out[count, 0] = number
                    out[count, 1] = block + place
                    count += 1
    return count, hashes.size
