"""Caches whose payloads lie in a store that machines share are merged without copying them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from forge_pipeline import api
from forge_pipeline.report.merged import merged_lines
from tests.engine.worlds import World


@pytest.fixture
def photos(tmp_path: Path) -> World:
    """A world with five photos, and a recipe with a select in its middle."""
    world = World(tmp_path / "world")
    world.files(a="1 2 3", b="4 5 6", c="7 8 9", d="10 11", e="50 60 70 80 90")
    (world.root / "far").mkdir()
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        parts: {use: toy.frames, from: photos, with: {size: 2}}
        keep: {use: toy.keep, from: parts, with: {least: 3}}
        out: {use: toy.write, from: keep, with: {path: out}}
    """)
    return world


def test_what_lies_in_a_store_that_all_share_is_not_copied(photos: World) -> None:
    store = f"file://{photos.root / 'far'}"
    for number in (1, 2):
        photos.run(cache=f"shard{number}", shard=(number, 2), store=store)
        assert photos.payloads(f"shard{number}") == []
    others = [photos.root / "shard1", photos.root / "shard2"]
    merged = api.cache_merge(photos.root / "merged", others, api.Sharing(store))
    assert [taken.payloads for taken in merged.taken] == [0, 0]
    assert [taken.payloads_missing for taken in merged.taken] == [0, 0]
    ran = photos.run(cache="merged", store=store)
    assert ran.calls["load"] == ran.calls["split"] == ran.calls["mean"] == 0
    assert ran.total("rebuilt") == 0
    ran.assert_same_as(photos.run_clean())


def test_a_merge_that_does_not_look_into_the_store_says_so(photos: World) -> None:
    store = f"file://{photos.root / 'far'}"
    photos.run(cache="shard", shard=(1, 1), store=store)
    merged = api.cache_merge(photos.root / "merged", [photos.root / "shard"])
    missing = merged.taken[0].payloads_missing
    assert missing == len(list((photos.root / "far/payloads").glob("*/*")))
    assert merged_lines(merged)[1:] == [
        f"  from {photos.root / 'shard'}: {merged.taken[0].actions} new actions, 0 known; "
        f"0 payloads copied, 0 known; {missing} missing",
        "  hint: forge cache merge FROM... --store URL, where the shards kept their images in a store",
    ]
    again = api.cache_merge(photos.root / "merged", [photos.root / "shard"], api.Sharing(store))
    assert (again.taken[0].payloads_missing, merged_lines(again)[2:]) == (0, [])


def test_images_of_a_folder_are_copied_into_a_shared_store(photos: World) -> None:
    photos.run(cache="one", shard=(1, 1))
    store = f"file://{photos.root / 'far'}"
    [taken] = api.cache_merge(photos.root / "merged", [photos.root / "one"], api.Sharing(store)).taken
    assert (taken.payloads, taken.payloads_known) == (len(photos.payloads("one")), 0)
    shutil.rmtree(photos.root / "one")
    ran = photos.run(cache="merged", store=store)
    assert ran.calls["load"] == 0
    ran.assert_same_as(photos.run_clean())
