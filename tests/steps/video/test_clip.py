"""The clip that the shipped recipe reads."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np

from forge_pipeline.step import Child
from tests.steps.video.clips import kept, take

_CLIP = Path(__file__).parents[3] / "recipes" / "media" / "panned.mp4"


def test_the_clip_is_small_and_has_six_shots() -> None:
    assert _CLIP.stat().st_size <= 1_000_000
    assert kept(_CLIP, select="scene") == [0, 28, 56, 84, 112, 140]


def test_the_clip_shows_the_pictures_of_its_script() -> None:
    pictures = list(runpy.run_path(str(_CLIP.with_name("make_clip.py")))["frames"]())
    found = [child for child in take(_CLIP, select="every_n", every_n=14) if isinstance(child, Child)]
    assert len(pictures) == 168
    assert len(found) == 12
    for child in found:
        difference = child.value.astype(np.int16) - pictures[child.fields["frame"]]
        assert float(np.abs(difference).mean()) < 5


def test_a_slow_pan_gives_some_frames_of_each_shot_but_not_all() -> None:
    places = kept(_CLIP, select="diff", min_difference=0.04)
    assert {place // 28 for place in places} == {0, 1, 2, 3, 4, 5}
    assert 12 <= len(places) <= 60
