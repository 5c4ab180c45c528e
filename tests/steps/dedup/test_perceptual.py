"""Near duplicates: who stays, who goes and why, in any order of the listing."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from pydantic import ValidationError
from skimage import data

from forge_pipeline.step import Drop, Keep
from forge_steps.dedup.perceptual import Perceptual
from tests.steps.dedup.tables import Columns, measured, verdicts

Array = npt.NDArray[Any]
A: Array = np.ascontiguousarray(data.astronaut()[:384, :384])
B: Array = np.ascontiguousarray(data.coffee()[:384, :384])
BLURRED: Array = np.asarray(PillowImage.fromarray(A).resize((192, 192), PillowImage.Resampling.BOX).resize((384, 384)))
LARGE: Array = np.asarray(PillowImage.fromarray(A).resize((512, 512), PillowImage.Resampling.BICUBIC))


def step(**params: Any) -> Perceptual:
    return Perceptual(Perceptual.Params(**params))


def fake(hashes: dict[str, int], **columns: dict[str, float]) -> Columns:
    rows: dict[str, dict[str, Any]] = {
        key: {"dct_hash": f"{value:016x}", "laplacian": 0.0, "megapixels": 1.0} for key, value in hashes.items()
    }
    for name, values in columns.items():
        for key, value in values.items():
            rows[key][name] = value
    return Columns(rows)


def survivors(found: dict[str, Keep | Drop]) -> list[str]:
    return [key for key, verdict in found.items() if isinstance(verdict, Keep)]


def test_two_copies_a_near_copy_and_another_photograph_leave_two() -> None:
    for names in permutations(("p", "q", "r", "s")):
        images = dict(zip(names, (A, A, BLURRED, B), strict=True))
        operator = step(keep="sharpest")
        found = verdicts(operator, samples=measured(operator, images))
        keeper = min(names[:2])
        assert survivors(found) == sorted([keeper, names[3]])
        twin, near = found[max(names[:2])], found[names[2]]
        assert twin == Drop("duplicate", {"keeper": keeper, "distance_bits": 0})
        assert isinstance(near, Drop)
        assert near.fields["keeper"] == keeper
        assert near.fields["distance_bits"] <= 8


def test_each_policy_keeps_the_one_that_it_names() -> None:
    images = {"1_blurred": BLURRED, "2_large": LARGE, "3_sharp": A, "4_other": B}
    kept = {}
    for keep in ("sharpest", "largest", "first"):
        operator = step(keep=keep)
        kept[keep] = survivors(verdicts(operator, samples=measured(operator, images)))
    assert kept == {
        "sharpest": ["3_sharp", "4_other"],
        "largest": ["2_large", "4_other"],
        "first": ["1_blurred", "4_other"],
    }


def test_ties_go_to_the_most_pixels_then_the_first_key() -> None:
    table = fake({"a": 7, "b": 7, "c": 7}, laplacian={"a": 1.0, "b": 1.0, "c": 1.0}, megapixels={"b": 2.0, "c": 2.0})
    assert survivors(verdicts(step(keep="sharpest"), samples=table)) == ["b"]
    assert survivors(verdicts(step(keep="largest"), samples=table)) == ["b"]
    assert survivors(verdicts(step(keep="first"), samples=table)) == ["a"]


def test_a_star_and_not_a_chain() -> None:
    # a - b - c - d, two bits apart each: b is the sharpest and covers a and c; d is too far from b and stays.
    table = fake({"a": 0, "b": 0b11, "c": 0b1111, "d": 0b111111}, laplacian={"b": 1.0})
    assert verdicts(step(max_distance_bits=2), samples=table) == {
        "a": Drop("duplicate", {"keeper": "b", "distance_bits": 2}),
        "b": Keep({"dct_hash": f"{0b11:016x}"}),
        "c": Drop("duplicate", {"keeper": "b", "distance_bits": 2}),
        "d": Keep({"dct_hash": f"{0b111111:016x}"}),
    }


@given(
    st.dictionaries(
        st.text("abcdef", min_size=1, max_size=4),
        st.tuples(st.integers(0, 255), st.integers(0, 2), st.integers(1, 2)),
        max_size=25,
    ),
    st.integers(0, 4),
    st.sampled_from(["sharpest", "largest", "first"]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_keepers_are_apart_and_cover_all(samples: dict[str, tuple[int, int, int]], radius: int, keep: str) -> None:
    columns = {
        "laplacian": {key: float(value[1]) for key, value in samples.items()},
        "megapixels": {key: float(value[2]) for key, value in samples.items()},
    }
    table = fake({key: value[0] for key, value in samples.items()}, **columns)
    found = verdicts(step(max_distance_bits=radius, keep=keep), samples=table)
    order = {
        "sharpest": lambda key: (-samples[key][1], -samples[key][2], key),
        "largest": lambda key: (-samples[key][2], key),
        "first": lambda key: key,
    }[keep]
    kept = sorted(survivors(found), key=order)
    for key, verdict in found.items():
        apart = {keeper: (samples[key][0] ^ samples[keeper][0]).bit_count() for keeper in kept}
        near = [keeper for keeper in kept if apart[keeper] <= radius]
        if isinstance(verdict, Keep):
            assert near == [key]
        else:
            assert verdict.fields == {"keeper": near[0], "distance_bits": apart[near[0]]}
            assert order(near[0]) < order(key)


def test_images_like_held_out_ones_are_dropped_first() -> None:
    operator = step()
    samples = measured(operator, {"a": A, "b": BLURRED, "c": B})
    against = measured(operator, {"z/held": A, "y/held": B}, port="against")
    found = verdicts(operator, samples=samples, against=against)
    assert found["a"] == Drop("held_out", {"against": "z/held", "distance_bits": 0})
    assert found["c"] == Drop("held_out", {"against": "y/held", "distance_bits": 0})
    near = found["b"]
    assert isinstance(near, Drop)
    assert near.reason == "held_out"


def test_a_held_out_sample_is_no_keeper() -> None:
    table = fake({"a": 0, "b": 0b111}, laplacian={"a": 1.0})
    found = verdicts(step(max_distance_bits=3), samples=table, against=fake({"x": 1 << 60}))
    assert found["a"] == Drop("held_out", {"against": "x", "distance_bits": 1})
    assert found["b"] == Keep({"dct_hash": f"{0b111:016x}"})


def test_solid_images_are_nobodys_duplicates() -> None:
    operator = step()
    images = {
        "wide": np.full((100, 200, 3), 9, np.uint8),
        "tall": np.full((200, 100, 3), 9, np.uint8),
        "white": np.full((64, 64, 3), 255, np.uint8),
    }
    found = verdicts(operator, samples=measured(operator, images), against=measured(operator, images, "against"))
    assert found == dict.fromkeys(("tall", "wide", "white"), Keep({"dct_hash": ""}))


def test_three_different_16_bit_textures_stay() -> None:
    rng = np.random.default_rng(4)
    textures = {
        str(n): np.kron(rng.integers(40_000, 40_300, (12, 12, 1)), np.ones((16, 16, 1))).astype(np.uint16)
        for n in range(3)
    }
    operator = step()
    assert survivors(verdicts(operator, samples=measured(operator, textures))) == ["0", "1", "2"]


def test_only_what_the_policy_needs_is_measured() -> None:
    assert set(step(keep="first").metrics("in")) == {"dct_hash"}
    assert set(step(keep="largest").metrics("in")) == {"dct_hash", "megapixels"}
    assert set(step(keep="sharpest").metrics("in")) == {"dct_hash", "megapixels", "laplacian"}
    assert set(step(keep="sharpest").metrics("against")) == {"dct_hash"}


def test_an_empty_dataset_is_decided() -> None:
    assert verdicts(step(), samples=Columns(), against=Columns()) == {}


@pytest.mark.parametrize("wrong", [{"max_distance_bits": 65}, {"max_distance_bits": -1}, {"keep": "best"}])
def test_wrong_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Perceptual.Params(**wrong)
