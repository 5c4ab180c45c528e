"""The hash search against looking at all pairs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_steps.dedup import _neighbours
from forge_steps.dedup._bands import plan
from forge_steps.dedup._neighbours import hamming_pairs, nearest, star

Hashes = npt.NDArray[np.uint64]

# A few bits set here and there: so that most pairs are near, at every distance, and many are identical.
near_hashes = st.lists(
    st.lists(st.integers(0, 63), max_size=6).map(lambda bits: sum({1 << bit for bit in bits})), max_size=40
).map(lambda values: np.array(values, np.uint64))


def all_distances(hashes: Hashes, others: Hashes) -> npt.NDArray[np.int64]:
    return np.bitwise_count(hashes[:, None] ^ others).astype(np.int64)


def slow_pairs(hashes: Hashes, radius: int) -> list[list[int]]:
    found = []
    for i in range(len(hashes)):
        near = np.flatnonzero(np.bitwise_count(hashes[i + 1 :] ^ hashes[i]) <= radius) + i + 1
        found += [[i, int(j)] for j in near]
    return found


def slow_star(hashes: Hashes, radius: int) -> tuple[list[int], list[int]]:
    keeper, bits = [-1] * len(hashes), [0] * len(hashes)
    for i in range(len(hashes)):
        if keeper[i] < 0:
            keeper[i] = i
            for j in np.flatnonzero(np.bitwise_count(hashes ^ hashes[i]) <= radius).tolist():
                if keeper[j] < 0:
                    keeper[j], bits[j] = i, int(hashes[i] ^ hashes[j]).bit_count()
    return keeper, bits


def many(count: int, copies: float, seed: int) -> Hashes:
    """Hashes with correlated bits, as images have, some of them near copies of others or identical."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (count, 64)).astype(np.uint8)
    for k in range(1, 64):
        same = rng.random(count) < 0.3
        bits[same, k] = bits[same, k - 1]
    hashes = np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)
    for target in rng.choice(count, int(count * copies), replace=False):
        flips = rng.choice(64, int(rng.integers(0, 13)), replace=False)
        hashes[target] = hashes[rng.integers(count)] ^ np.uint64(sum(1 << int(bit) for bit in flips))
    return hashes


@given(near_hashes, st.integers(0, 64))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_radius_equals_the_exhaustive_search(hashes: Hashes, radius: int) -> None:
    assert hamming_pairs(hashes, radius).tolist() == slow_pairs(hashes, radius)
    keeper, bits = star(hashes, radius)
    assert (keeper.tolist(), bits.tolist()) == slow_star(hashes, radius)


@pytest.mark.parametrize("bands", [4, 5, 7, 16])
@given(near_hashes, st.integers(0, 20))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_number_of_bands_equals_the_exhaustive_search(bands: int, hashes: Hashes, radius: int) -> None:
    assert_bands_find_all(bands, hashes, min(radius, 3 * bands - 1))


@pytest.mark.parametrize("radius", [2, 4])
def test_the_three_bands_of_a_million_hashes_equal_the_exhaustive_search(radius: int) -> None:
    # By a few examples: each opens three times four million buckets, and 23 times as many for four bits.
    assert plan(1_000_000, radius) == 3
    assert_bands_find_all(3, many(400, 0.5, radius), radius)


def assert_bands_find_all(bands: int, hashes: Hashes, radius: int) -> None:
    # The plan would not cut so few hashes into bands: tell it to.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_neighbours, "plan", lambda count, radius: bands)
        assert hamming_pairs(hashes, radius).tolist() == slow_pairs(hashes, radius)
        keeper, bits = star(hashes, radius)
        found, apart = nearest(hashes[::2], hashes[1::2], radius)
    assert (keeper.tolist(), bits.tolist()) == slow_star(hashes, radius)
    for row, distances in enumerate(all_distances(hashes[::2], hashes[1::2])):
        within = distances.size > 0 and distances.min() <= radius
        assert found[row] == (distances.argmin() if within else -1)
        assert not within or apart[row] == distances.min()


@pytest.mark.slow
@pytest.mark.parametrize("radius", [0, 4, 8, 12, 20])
def test_20000_hashes_with_near_copies_equal_the_exhaustive_search(radius: int) -> None:
    hashes = many(20_000, 0.2, radius)
    assert (plan(20_000, radius) > 0) == (radius < 16)
    keeper, bits = star(hashes, radius)
    assert (keeper.tolist(), bits.tolist()) == slow_star(hashes, radius)
    assert len(set(keeper.tolist())) < 20_000
    if radius in (8, 12):
        assert hamming_pairs(hashes, radius).tolist() == slow_pairs(hashes, radius)


def test_the_nearest_of_others_is_the_first_of_equally_near_ones() -> None:
    others = np.array([0b1110, 0b0001, 0b0001, 0b0100], np.uint64)
    found, bits = nearest(np.array([0, 0b1111, 1 << 40, 1], np.uint64), others, 1)
    assert found.tolist() == [1, 0, -1, 1]
    assert bits[[0, 1, 3]].tolist() == [1, 1, 0]


def test_a_crowd_of_identical_hashes_costs_no_list_of_pairs() -> None:
    hashes = many(100_000, 0.0, 1)
    crowd = np.random.default_rng(2).choice(100_000, 20_000, replace=False)
    hashes[crowd] = hashes[crowd.min()]
    keeper, bits = star(hashes, 8)
    assert (keeper[crowd] == crowd.min()).all()
    assert (bits[crowd] == 0).all()


def test_empty_and_single_inputs_have_no_pairs() -> None:
    for count in (0, 1):
        hashes = np.zeros(count, np.uint64)
        assert hamming_pairs(hashes, 8).shape == (0, 2)
        assert star(hashes, 8)[0].tolist() == list(range(count))
        assert nearest(hashes, np.zeros(0, np.uint64), 64)[0].tolist() == [-1] * count


def test_a_radius_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^max_distance_bits is 65, expected 0 to 64$"):
        star(np.zeros(2, np.uint64), 65)
