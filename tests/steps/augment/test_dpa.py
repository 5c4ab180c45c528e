"""The DPA chain: golden vectors of the library, its ranges, its split, and what it leaves alone."""

import hashlib
import random
import subprocess
import sys

import pytest

from forge_steps.augment.dpa import MAX_DEPTH, PRESETS, parameters, split_range, stream_parameters

HASH_OF_42 = "3c8f589003fff3761c518f7a6405efbc544bcb5734fc7d0968a041fde4637f7c"


def _fibonacci(index: int) -> int:
    this, following = 0, 1
    for _ in range(index):
        this, following = following, this + following
    return this


def _reference(
    sample_id: int, depth: int, ranges: dict[str, tuple[float, float]], prefix: str = ""
) -> dict[str, object]:
    """The library's algorithm, as its text tells it."""
    chain = hashlib.sha256(f"{prefix}{sample_id}".encode()).hexdigest()
    for index in range(depth):
        chain = hashlib.sha256((chain + str(_fibonacci(index))).encode()).hexdigest()
    generator = random.Random(int(chain, 16) % 2**32)
    values = {
        name: generator.uniform(*ranges[name]) for name in ("rotation", "brightness", "noise", "scale", "contrast")
    }
    return {"id": sample_id, **values, "hash": chain}


def test_the_golden_vector_of_id_42_is_met_to_the_bit() -> None:
    assert parameters("moderate", 10, 42) == {
        "id": 42,
        "rotation": -14.343283834559362,
        "brightness": 1.1234332800525797,
        "noise": 0.0055291633490987535,
        "scale": 0.8296182195643418,
        "contrast": 0.9726009373537083,
        "hash": HASH_OF_42,
    }


def test_the_golden_vector_of_id_0_is_met_to_the_bit() -> None:
    found = parameters("moderate", 10, 0)
    assert (found["rotation"], found["brightness"]) == (-0.14542826986576074, 0.9097853836182911)
    assert found["hash"].startswith("f186c633") and found["hash"].endswith("6205")


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        (0, "d48355fd7ef43d825a80e64e65dae7820081c5287026955b062b639f999eeebc"),
        (1, "95b21c992eb23cc0a2bfff154e7b1e85b1c2e2e970bdf611311d4225f0767f91"),
    ],
)
def test_rank_mode_seeds_by_base_seed_rank_and_id(rank: int, expected: str) -> None:
    found = parameters("moderate", 10, 42, rank=rank, base_seed=0)
    assert found["hash"] == expected
    assert found["rank"] == rank


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("depth", [1, 3, 10, 40])
def test_every_preset_and_depth_equals_the_reference(preset: str, depth: int) -> None:
    ranges = PRESETS[preset]._asdict()
    for start in (0, 2**31, 2**40 + 7):
        found = list(stream_parameters(preset, depth, start, start + 20))
        assert found == [_reference(sample_id, depth, ranges) for sample_id in range(start, start + 20)]


def test_rank_mode_equals_the_reference() -> None:
    found = list(stream_parameters("mild", 5, 3, 9, rank=2, world_size=3, base_seed=77))
    ranges = PRESETS["mild"]._asdict()
    assert found == [_reference(sample_id, 5, ranges, "77:2:") | {"rank": 2} for sample_id in range(3, 9)]


def test_the_world_size_is_no_part_of_the_seed() -> None:
    narrow = list(stream_parameters("mild", 10, 0, 5, rank=1, world_size=2))
    wide = list(stream_parameters("mild", 10, 0, 5, rank=1, world_size=64))
    assert narrow == wide


def test_split_gives_the_first_ranks_one_more() -> None:
    assert split_range(10, 4) == [(0, 3), (3, 6), (6, 8), (8, 10)]
    assert split_range(2, 4) == [(0, 1), (1, 2), (0, 0), (0, 0)]
    assert split_range(0, 2) == [(0, 0), (0, 0)]


def test_the_shares_of_all_ranks_cover_the_range_once() -> None:
    shares = [
        [row["id"] for row in stream_parameters("mild", 2, 100, 110, rank=rank, world_size=4, split=True)]
        for rank in range(4)
    ]
    assert shares == [[100, 101, 102], [103, 104, 105], [106, 107], [108, 109]]


def test_a_rank_beyond_the_range_gets_nothing() -> None:
    assert list(stream_parameters("mild", 2, 5, 6, rank=3, world_size=4, split=True)) == []


def test_the_global_generator_is_not_touched() -> None:
    random.seed(7)
    before = random.getstate()
    list(stream_parameters("aggressive", 10, 0, 50))
    assert random.getstate() == before


def test_two_streams_at_once_do_not_disturb_each_other() -> None:
    expected = list(stream_parameters("mild", 10, 0, 10))
    left, right = stream_parameters("mild", 10, 0, 10), stream_parameters("mild", 10, 0, 10)
    assert [row for pair in zip(left, right, strict=True) for row in pair] == [row for row in expected for _ in "ab"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("big", 10, 0, 1), "preset is 'big', expected one of mild, moderate, aggressive"),
        (("mild", 0, 0, 1), f"depth is 0, expected 1 to {MAX_DEPTH}"),
        (("mild", 10, -1, 1), "start is -1, expected 0 or more"),
        (("mild", 10, 5, 4), "stop is 4, expected start (5) or more"),
        (("mild", 10, 0, 1, 2, 2), "rank is 2, expected 0 to 1 (world size 2)"),
        (("mild", 10, 0, 1, 0, 0), "world size is 0, expected 1 or more"),
        (("mild", 10, 0, 1, 0), "rank 0 is given without a world size"),
        (("mild", 10, 0, 1, None, 2), "a world size is given without a rank"),
        (("mild", 10, 0, 1, None, None, 3), "a base seed is given without a rank"),
        (("mild", 10, 0, 1, None, None, 0, True), "split is given without a rank"),
    ],
)
def test_a_wrong_argument_is_named_with_what_was_expected(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        stream_parameters(*arguments)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_importing_it_loads_nothing_but_the_standard_library() -> None:
    program = (
        "import sys; import forge_steps.augment.dpa\n"
        "heavy = {'numpy', 'numba', 'pydantic', 'cv2', 'blake3'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
