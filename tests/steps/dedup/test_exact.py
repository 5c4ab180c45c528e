"""Exact duplicates: by content, the first sample key stays."""

from __future__ import annotations

import numpy as np

from forge_pipeline.step import Drop, Keep
from forge_steps._pixels import ImageCodec
from forge_steps.dedup.exact import Exact
from tests.steps.dedup.tables import Columns, verdicts


def test_the_first_by_sample_key_stays_and_is_named() -> None:
    step = Exact(Exact.Params())
    rows = Columns({"b": {"digest": "1"}, "a": {"digest": "1"}, "c": {"digest": "2"}, "d": {"digest": "1"}})
    assert step.metrics("in") == {}
    assert verdicts(step, samples=rows) == {
        "a": Keep(),
        "b": Drop("duplicate", {"keeper": "a"}),
        "c": Keep(),
        "d": Drop("duplicate", {"keeper": "a"}),
    }


def test_solid_images_of_swapped_shape_are_two_contents() -> None:
    codec = ImageCodec()
    wide, tall = np.full((100, 200, 3), 7, np.uint8), np.full((200, 100, 3), 7, np.uint8)
    rows = Columns({"wide": {"digest": codec.digest(wide)}, "tall": {"digest": codec.digest(tall)}})
    assert verdicts(Exact(Exact.Params()), samples=rows) == {"wide": Keep(), "tall": Keep()}


def test_an_empty_dataset_is_decided() -> None:
    assert verdicts(Exact(Exact.Params()), samples=Columns()) == {}
