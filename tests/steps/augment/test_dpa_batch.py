"""The DPA parameters of many ids at once: to the bit those of one by one, which the library's text defines."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest

from forge_steps.augment import _dpa_batch, _dpa_lanes, dpa
from forge_steps.augment.dpa import PRESETS, Preset, parameter_arrays, stream_parameters


def _rows(arrays: dict[str, np.ndarray]) -> list[dict[str, object]]:
    return [dict(zip(arrays, row, strict=True)) for row in zip(*(v.tolist() for v in arrays.values()), strict=True)]


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("start", [0, 95, 2**31 - 60, 2**40 + 7, 10**18 - 5, 2**63 - 131])
def test_arrays_equal_the_stream(preset: str, start: int) -> None:
    arrays = parameter_arrays(preset, 10, start, start + 130)
    assert _rows(arrays) == list(stream_parameters(preset, 10, start, start + 130))


@pytest.mark.parametrize("depth", [1, 2, 41, 300])
def test_every_depth_equals_the_stream(depth: int) -> None:
    # fib(41) and later have 9 digits and more; from fib(264) on, 55 and more: a link takes a third block.
    assert _rows(parameter_arrays("mild", depth, 5, 9)) == list(stream_parameters("mild", depth, 5, 9))


def test_random_ids_equal_the_stream() -> None:
    picked = random.Random(4)
    for _ in range(60):
        start = picked.randrange(2 ** picked.randrange(1, 63))
        assert _rows(parameter_arrays("moderate", 10, start, start + 1)) == [dpa.parameters("moderate", 10, start)]


def test_the_golden_vector_of_id_42_is_met() -> None:
    found = parameter_arrays("moderate", 10, 40, 44)
    assert found["rotation"][2] == -14.343283834559362
    assert found["hash"][2] == "3c8f589003fff3761c518f7a6405efbc544bcb5734fc7d0968a041fde4637f7c"


def test_arrays_have_their_types_also_when_empty() -> None:
    for stop in (7, 8):
        arrays = parameter_arrays("mild", 3, 7, stop)
        assert list(arrays) == ["id", *Preset._fields, "hash"]
        assert [array.dtype.str for array in arrays.values()] == ["<i8", *["<f8"] * 5, "<U64"]
        assert {array.shape for array in arrays.values()} == {(stop - 7,)}


def test_ids_beyond_63_bits_are_refused() -> None:
    with pytest.raises(ValueError) as caught:
        parameter_arrays("mild", 10, 2**63 - 2, 2**63)
    assert str(caught.value) == "stop is 9223372036854775808, expected 9223372036854775807 or less"


@pytest.mark.parametrize("rank", [None, 3])
def test_long_ranges_change_to_batches_without_a_seam(rank: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    world = None if rank is None else 4
    expected = list(stream_parameters("mild", 4, 17, 200, rank=rank, world_size=world, base_seed=0))
    monkeypatch.setattr(dpa, "_ALONE", 50)
    monkeypatch.setattr(dpa, "_BATCH", 33)
    monkeypatch.setattr(_dpa_batch, "batch", calls := _Counted(_dpa_batch.batch))
    found = list(stream_parameters("mild", 4, 17, 200, rank=rank, world_size=world, base_seed=0))
    assert found == expected
    assert [list(row) for row in found[:1] + found[-1:]] == [list(row) for row in expected[:1] + expected[-1:]]
    assert calls.count == 5


def test_a_prefix_that_fills_the_block_is_left_to_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seed = 10**40
    expected = list(stream_parameters("mild", 4, 0, 120, rank=1, world_size=2, base_seed=seed))
    monkeypatch.setattr(dpa, "_ALONE", 50)
    assert list(stream_parameters("mild", 4, 0, 120, rank=1, world_size=2, base_seed=seed)) == expected


def test_the_longest_prefix_in_reach_fits() -> None:
    prefix, last = "9" * 33 + ":1:", 2**63 - 1
    assert _dpa_batch.is_in_reach(prefix, last)
    _, hashes = _dpa_batch.batch(prefix, (b"0",), PRESETS["mild"], last - 1, last)
    first = hashlib.sha256(f"{prefix}{last - 1}".encode()).hexdigest()
    assert hashes.tolist() == [hashlib.sha256(f"{first}0".encode()).hexdigest()]


def test_a_twister_begins_as_random_seed_does() -> None:
    keys = np.array([0, 1, 42, 2**32 - 1] * (_dpa_lanes.LANES // 4), np.uint32)
    states = np.empty(624 * _dpa_lanes.LANES, np.uint32)
    _dpa_lanes.seed_twisters(keys, states)
    for lane in range(4):
        expected = random.Random(int(keys[lane])).getstate()[1][:624]
        assert tuple(states.reshape(624, -1)[:, lane].tolist()) == expected


class _Counted:
    """Calls a function and counts."""

    def __init__(self, function: object) -> None:
        self.count = 0
        self._function = function

    def __call__(self, *arguments: object) -> object:
        self.count += 1
        return self._function(*arguments)  # type: ignore[operator]
