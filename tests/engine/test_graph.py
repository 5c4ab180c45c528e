"""Recipes that the operators refuse, each with all that is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge_pipeline import api
from forge_pipeline.errors import RecipeError


def told(folder: Path, steps: str, *sets: str) -> str:
    recipe = folder / "recipe.yaml"
    recipe.write_text(f"forge: 1\nsteps:\n{steps}")
    with pytest.raises(RecipeError) as caught:
        api.check(recipe, api.Options(sets=sets))
    return str(caught.value).replace(f"{folder}/", "")


def test_ports_and_parameters_of_a_step_are_told_together(tmp_path: Path) -> None:
    steps = """\
  photos: {use: read.images, with: {path: photos}}
  lr: {use: resize.dpid, from: photos, with: {lambda: high}}
  pairs: {use: export.pairs, from: {hr: photos, lq: lr}, with: {path: out, scale: 4.5}}
"""
    assert (
        told(tmp_path, steps)
        == """\
recipe.yaml:4:40: step 'lr': resize.dpid needs the parameter 'scale'
      lr: {use: resize.dpid, from: photos, with: {lambda: high}}
                                           ^
  hint: scale: ...  # How many input pixels become one, on each axis.
recipe.yaml:4:55: step 'lr': lambda is "high", expected a number or "auto"
      lr: {use: resize.dpid, from: photos, with: {lambda: high}}
                                                          ^
recipe.yaml:5:36: step 'pairs', export.pairs: has no port 'lq'
      pairs: {use: export.pairs, from: {hr: photos, lq: lr}, with: {path: out, scale: 4.5}}
                                       ^
  hint: it has: hr, lr
recipe.yaml:5:36: step 'pairs', export.pairs: needs an input for its port 'lr'
      pairs: {use: export.pairs, from: {hr: photos, lq: lr}, with: {path: out, scale: 4.5}}
                                       ^
  hint: from: {hr: some_step, lr: some_step}
recipe.yaml:5:83: step 'pairs': scale is 4.5, expected an integer
      pairs: {use: export.pairs, from: {hr: photos, lq: lr}, with: {path: out, scale: 4.5}}
                                                                                      ^"""
    )


def test_a_parameter_that_was_left_out_and_must_not_be_is_named(tmp_path: Path) -> None:
    steps = """\
  videos: {use: read.videos, with: {path: v}}
  frames: {use: video.frames, from: videos, with: {select: every_n}}
"""
    assert told(tmp_path, steps).startswith(
        "recipe.yaml:4:45: step 'frames': every_n: is required with select: every_n"
    )


READ = """\
  photos: {use: read.images, with: {path: photos}}
  videos: {use: read.videos, with: {path: videos}}
  frames: {use: video.frames, from: videos}
  tiles: {use: tile.best, from: FROM, with: {size_px: 64}}
  clean: {use: filter.iqa, from: tiles, with: {keep: "CONDITION"}}
"""


def test_a_field_that_no_source_has_is_refused_before_it_drops_every_sample(tmp_path: Path) -> None:
    steps = READ.replace("FROM", "photos").replace("CONDITION", "source.jpg_quality > 80")
    assert (
        told(tmp_path, steps)
        == """\
recipe.yaml:7:54: step 'clean', filter.iqa: no sample has a field 'source.jpg_quality' from read.images
      clean: {use: filter.iqa, from: tiles, with: {keep: "source.jpg_quality > 80"}}
                                                         ^
  hint: did you mean 'source.jpeg_quality'?"""
    )


def test_a_field_that_no_source_has_orders_nothing_and_is_refused(tmp_path: Path) -> None:
    assert (
        told(tmp_path, "  photos: {use: read.images, with: {path: photos}, prioritise: {by: source.byte}}\n")
        == """\
recipe.yaml:3:69: step 'photos', read.images: no sample has a field 'source.byte' from read.images
      photos: {use: read.images, with: {path: photos}, prioritise: {by: source.byte}}
                                                                        ^
  hint: did you mean 'source.bytes'?"""
    )


def test_a_field_of_one_of_several_sources_is_taken(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    for sources, field in (("[photos, frames]", "fps"), ("photos", "jpeg_quality"), ("frames", "path")):
        steps = READ.replace("FROM", sources).replace("CONDITION", f"source.{field} is null or laplacian > 0")
        recipe.write_text(f"forge: 1\nsteps:\n{steps}")
        assert api.check(recipe, api.Options()).steps == 5
    assert "no sample has a field 'source.fps' from read.images" in told(
        tmp_path, READ.replace("FROM", "photos").replace("CONDITION", "source.fps > 24")
    )
