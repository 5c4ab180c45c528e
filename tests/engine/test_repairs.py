"""Bytes that are gone or damaged are made again where they are needed, and counted as that."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from forge_pipeline import api
from forge_pipeline.errors import EnvironmentFault
from tests.engine.calls import SWITCHES
from tests.engine.worlds import Ran, World

PAIRS = """
    photos: {use: toy.read, with: {path: photos}}
    clean: {use: toy.keep, from: photos, with: {least: 2}}
    hr: {use: toy.add, from: clean, with: {amount: 10}}
    lr: {use: toy.add, from: hr, with: {amount: 5}}
    out: {use: toy.pair, from: {a: hr, b: lr}, with: {path: out}}
"""
FRAMES = """
    videos: {use: toy.read, with: {path: photos}}
    frames: {use: toy.frames, from: videos, with: {size: 1}}
    tiles: {use: toy.add, from: frames}
    clean: {use: toy.keep, from: tiles, with: {least: 3}}
    unique: {use: toy.unique, from: clean}
    more: {use: toy.add, from: unique}
    out: {use: toy.write, from: more, with: {path: out}}
"""
RANKED = """
    photos: {use: toy.read, with: {path: photos}}
    parts: {use: toy.split, from: photos}
    ranked: {use: toy.add, from: parts, with: {by: index}}
    more: {use: toy.add, from: ranked}
    keep: {use: toy.keep, from: more}
    out: {use: toy.write, from: keep, with: {path: out}}
"""
SPREAD = """
    photos: {use: toy.read, with: {path: photos}}
    clean: {use: toy.keep, from: photos}
    kinds: {use: toy.add, from: clean, matrix: {amount: [1, 2]}, with: {amount: "${matrix.amount}"}}
    keep: {use: toy.unique, from: kinds}
    more: {use: toy.add, from: keep, with: {amount: 7}}
    out: {use: toy.pair, from: {a: keep, b: more}, with: {path: out}}
"""
KEPT = """
    photos: {use: toy.read, cache: keep, with: {path: photos}}
    one: {use: toy.add, from: photos, cache: keep}
    two: {use: toy.add, from: one}
    keep: {use: toy.keep, from: [one, other], with: {least: 0}}
    other: {use: toy.split, from: two}
    out: {use: toy.write, from: keep, with: {path: out}}
"""
ALL = {"pairs": PAIRS, "frames": FRAMES, "ranked": RANKED, "spread": SPREAD, "kept": KEPT}


def delete(path: Path) -> None:
    path.unlink()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES = [delete, flip, cut_short]


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ALL)
def test_all_payloads_gone_and_the_export_with_them(world: World, name: str, damage: Callable[[Path], None]) -> None:
    world.recipe(ALL[name])
    before = world.run()
    for path in world.payloads():
        damage(path)
    world.forget_exports()
    after = world.run()
    after.assert_same_as(before)
    assert after.counts("ran") == {"out": 1}
    assert after.counts("measured") == {}
    assert after.total("rebuilt") > 0


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ALL)
def test_all_payloads_gone_before_a_change_that_needs_some(
    world: World, name: str, damage: Callable[[Path], None]
) -> None:
    world.recipe(ALL[name])
    world.run()
    for path in world.payloads():
        damage(path)
    # Everything below the last select is new.
    last = {"pairs": "hr", "spread": "more", "frames": "more", "kept": "other", "ranked": "more"}[name]
    text = ALL[name].replace(f"{last}: {{use: toy.add", f"{last}: {{note: n, use: toy.add")
    world.recipe(text.replace("amount: 10", "amount: 11").replace("amount: 7", "amount: 8"), seed=2)
    world.run().assert_same_as(world.run_clean())


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_any_payload_gone(world: World, name: str) -> None:
    world.recipe(ALL[name])
    before = world.run()
    for path in world.payloads():
        damage = DAMAGES[int(path.stem[:2], 16) % len(DAMAGES)]
        damage(path)
        world.forget_exports()
        after = world.run()
        after.assert_same_as(before)
        assert after.counts("ran") == {"out": 1}
        assert after.counts("measured") == {}


def _broken_since(world: World, steps: str) -> None:
    """Lose the bytes of what this machine cannot make at the moment."""
    world.files(b="crash 4 5")
    world.recipe(steps, defaults={"max_errors": "100%"})
    SWITCHES["crash"] = False
    world.run()
    SWITCHES["crash"] = True
    for path in world.payloads():
        path.unlink()
    world.forget_exports()


def test_a_sample_that_cannot_be_made_again_now_breaks_and_no_operator_is_blamed(world: World) -> None:
    _broken_since(world, PAIRS)
    world.files(d="10 11")
    ran = world.run()
    assert [(f.step, f.sample, f.reason) for f in ran.result.failures] == [
        ("photos", "photos/b.txt", "RuntimeError: nobody foresaw this")
    ]
    SWITCHES["crash"] = False
    world.run().assert_same_as(world.run_clean())


def test_an_image_of_a_step_reused_whole_that_cannot_be_made_again_now_ends_the_run(world: World) -> None:
    _broken_since(world, PAIRS)
    with pytest.raises(EnvironmentFault) as ended:
        world.run()
    assert str(ended.value) == (
        "step 'photos', sample 'photos/b.txt': its bytes are missing, and making them again failed: "
        "RuntimeError: nobody foresaw this"
    )


def test_nothing_is_rebuilt_while_nothing_needs_the_bytes(world: World) -> None:
    world.recipe(FRAMES)
    world.run()
    for path in world.payloads():
        path.unlink()
    world.settle()
    world.run().assert_nothing_done()


def test_rebuilt_counts_each_action_once(world: World) -> None:
    world.recipe(PAIRS)
    world.run()
    for path in world.payloads():
        path.unlink()
    world.forget_exports()
    ran = world.run()
    # Three photos are loaded again; all outputs of one are made by one walk.
    assert ran.counts("rebuilt") == {"photos": 3, "hr": 3, "lr": 3}
    assert ran.calls["load"] == 3
    assert ran.calls["add"] == 6


def test_frames_of_one_video_are_made_again_by_one_walk(world: World) -> None:
    world.files(a="10 20 30 40 50 60", b="70 80", c="90 100")
    world.recipe(FRAMES)
    world.run()
    for path in world.payloads():
        path.unlink()
    world.recipe(
        FRAMES.replace("more: {use: toy.add, from: unique}", "more: {use: toy.add, from: unique, with: {amount: 9}}")
    )
    ran = world.run()
    assert ran.calls["split"] == 3
    assert ran.counts("rebuilt")["frames"] == 3
    ran.assert_same_as(world.run_clean())


def test_the_cache_deleted_whole_gives_the_same_and_writes_nothing(world: World) -> None:
    world.recipe(PAIRS)
    before = world.run()
    shutil.rmtree(world.root / "cache")
    after = world.run()
    after.assert_same_as(before)
    assert after.result.exports[0].written == 0


def test_payload_folders_deleted_while_the_index_stays(world: World) -> None:
    world.recipe(PAIRS)
    before = world.run()
    for name in ("payloads", "incoming"):
        shutil.rmtree(world.root / "cache" / name)
    world.forget_exports()
    world.run().assert_same_as(before)


def test_a_cropped_image_of_an_export_is_made_again_by_its_inspection(world: World) -> None:
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        out: {use: toy.pair, from: {a: photos, b: small}, with: {path: out, crop: true}}
        small: {use: toy.shrink, from: photos}
    """)
    before = world.run()
    assert {row["facts"]["widths"] for row in before.rows()} == {"cropped"}
    for damage in (delete, flip):
        for path in world.payloads():
            damage(path)
        world.forget_exports()
        after = world.run()
        after.assert_same_as(before)
        assert after.counts("ran") == {"out": 1}
        assert after.counts("measured") == {}
        assert after.counts("rebuilt")["out"] == 3


def test_a_new_export_of_a_step_whose_images_were_never_kept(world: World) -> None:
    world.recipe(PAIRS.replace("out: {use: toy.pair, from: {a: hr, b: lr}", "out: {use: toy.write, from: lr"))
    world.run()
    world.recipe(PAIRS)
    both = world.run()
    assert both.counts("ran") == {"out": 1}
    assert both.counts("rebuilt") == {"hr": 3}
    both.assert_same_as(world.run_clean())


def test_two_new_exports_of_steps_whose_images_were_never_kept(world: World) -> None:
    steps = """
        photos: {use: toy.read, with: {path: photos}}
        one: {use: toy.add, from: photos}
        two: {use: toy.add, from: one}
        three: {use: toy.add, from: two}
        out: {use: toy.write, from: three, with: {path: out}}
    """
    world.recipe(steps)
    world.run()
    world.recipe(steps + "more: {use: toy.pair, from: {a: one, b: two}, with: {path: more}}\n")
    ran = world.run()
    assert ran.counts("ran") == {"more": 1}
    ran.assert_same_as(world.run_clean())


def test_verify_finds_every_damaged_payload_at_once(world: World) -> None:
    world.recipe(PAIRS)
    before = world.run()
    paths = world.payloads()
    for path, damage in zip(paths, itertools.cycle([flip, cut_short]), strict=False):
        damage(path)
    found = api.cache_verify(world.root / "cache")
    assert sorted(Path(damage.where) for damage in found) == paths
    assert world.payloads() == []
    assert api.cache_verify(world.root / "cache") == []
    world.forget_exports()
    world.run().assert_same_as(before)


def test_verify_removes_what_a_killed_run_left(world: World) -> None:
    world.recipe(PAIRS)
    world.run()
    stray = world.root / "cache/payloads/ab/abcd.png"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"torn")
    found = api.cache_verify(world.root / "cache")
    assert [(damage.digest, damage.problem) for damage in found] == [
        ("abcd", "not in the index: left by a run that was killed; removed")
    ]
    assert not stray.exists()


def test_collect_lets_go_what_the_last_run_does_not_stand_on(world: World) -> None:
    world.recipe(PAIRS)
    world.run()
    old = set(world.payloads())
    world.recipe(PAIRS.replace("amount: 10", "amount: 20"))
    latest = world.run()
    collected = api.cache_collect(world.root / "cache", 1)
    kept = set(world.payloads())
    assert collected.payloads == len(old - kept) == 6
    assert api.cache_verify(world.root / "cache") == []
    world.settle()
    world.run().assert_nothing_done()
    world.forget_exports()
    again = world.run()
    again.assert_same_as(latest)
    assert again.counts("rebuilt") == {}


def test_collect_takes_what_the_index_does_not_know_along(world: World) -> None:
    world.recipe(PAIRS)
    world.run()
    known = set(world.payloads())
    stray = world.root / "cache/payloads/ab/abcd.toy"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"left by a kill")
    collected = api.cache_collect(world.root / "cache", 1)
    assert (collected.payloads, collected.bytes, collected.rows) == (1, 14, 0)
    assert set(world.payloads()) == known


def test_what_was_collected_is_made_again_when_it_is_wanted_back(world: World) -> None:
    world.recipe(PAIRS)
    first = world.run()
    world.recipe(PAIRS.replace("amount: 10", "amount: 20"))
    world.run()
    api.cache_collect(world.root / "cache", 1)
    world.recipe(PAIRS)
    back = world.run()
    back.assert_same_as(first)
    assert back.counts("measured") == {}


def test_size_counts_payloads_and_actions(world: World) -> None:
    world.recipe(PAIRS)
    world.run()
    size = api.cache_size(world.root / "cache")
    paths = world.payloads()
    assert (size.payloads, size.payload_bytes) == (len(paths), sum(path.stat().st_size for path in paths))
    assert size.actions > 0


def test_a_run_changes_no_source(world: World) -> None:
    def sources() -> dict[str, tuple[bytes, int]]:
        return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted((world.root / "photos").iterdir())}

    before = sources()
    world.recipe(FRAMES)
    world.run()
    assert sources() == before


@pytest.mark.slow
def test_a_run_is_equal_whatever_ran_before(world: World) -> None:
    def runs() -> list[Ran]:
        found = []
        for amount in (10, 20, 10, 30, 10):
            world.recipe(PAIRS.replace("amount: 10", f"amount: {amount}"))
            found.append(world.run())
        return found

    tens = [runs()[index] for index in (0, 2, 4)]
    tens[0].assert_same_as(tens[1])
    tens[0].assert_same_as(tens[2])


@pytest.mark.slow
def test_what_a_walk_did_before_it_met_damage_is_recorded(world: World) -> None:
    world.files(a="10 20 30 40 50 60", b="70 80", c="90 100")
    steps = """
        photos: {use: toy.read, with: {path: photos}}
        parts: {use: toy.split, from: photos}
        keep: {use: toy.keep, from: parts}
        more: {use: toy.add, from: parts, with: {amount: AMOUNT}}
        last: {use: toy.add, from: more}
        out: {use: toy.pair, from: {a: keep, b: last}, with: {path: out}}
    """
    world.recipe(steps.replace("AMOUNT", "1"))
    first = world.run()
    last = next(row for row in first.rows() if row["key"] == "photos/a.txt/p4")
    flip(next(path for path in world.payloads() if path.stem == last["files"]["a"]["digest"]))
    world.recipe(steps.replace("AMOUNT", "2"))
    ran = world.run()
    assert ran.counts("ran") == {"more": 5, "last": 5, "out": 1}
    assert ran.counts("rebuilt") == {"photos": 1, "parts": 1}
    ran.assert_same_as(world.run_clean())
    (world.root / "photos/a.txt").rename(world.root / "photos/z.txt")
    assert world.run().counts("ran") == {"keep": 1, "out": 1}


def test_bytes_of_a_sample_are_not_made_again_for_what_needs_only_those_of_its_children(world: World) -> None:
    steps = """
        photos: {use: toy.read, with: {path: photos}}
        keep: {use: toy.keep, from: photos}
        parts: {use: toy.split, from: keep}
        bright: {use: toy.keep, from: parts}
        more: {use: toy.add, from: parts, with: {amount: AMOUNT}}
        out: {use: toy.pair, from: {a: bright, b: more}, with: {path: out}}
    """
    world.files(a="10 20 30", b="40 50 60", c="70 80 90")
    world.recipe(steps.replace("AMOUNT", "1"))
    world.run()
    for path in world.payloads():
        if int.from_bytes(path.read_bytes()[16:20]) == 3:  # a PNG's width: these are the whole photos
            path.unlink()
    world.recipe(steps.replace("AMOUNT", "2"))
    ran = world.run()
    assert ran.counts("rebuilt") == {}
    assert ran.counts("ran") == {"more": 6, "out": 1}


def test_bytes_are_made_again_from_a_row_that_was_recorded_a_moment_ago(world: World) -> None:
    steps = """
        photos: {use: toy.read, with: {path: photos}}
        parts: {use: toy.split, from: photos}
        frames: {use: toy.frames, from: parts, with: {size: 1}}
        more: {use: toy.random, from: frames, cache: off}
        out: {use: toy.write, from: more, with: {path: out}}
    """
    world.recipe(steps)
    world.run()
    for damage in (delete, flip):
        for path in world.payloads():
            damage(path)
        # A name that is new is walked, not reused whole: its rows are being written when bytes are missed.
        for path in sorted((world.root / "photos").iterdir()):
            path.rename(path.with_name(f"z{path.name}"))
        world.run().assert_same_as(world.run_clean())


def test_bytes_are_made_again_though_what_they_came_from_is_walked_anew(world: World) -> None:
    steps = """
        photos: {use: toy.read, with: {path: photos}}
        frames: {use: toy.frames, from: photos}
        more: {use: toy.add, from: frames, with: {amount: AMOUNT}}
        side: {use: toy.add, from: photos, with: {amount: AMOUNT}}
        out: {use: toy.write, from: more, with: {path: out}}
        beside: {use: toy.write, from: side, with: {path: beside}}
    """
    world.settle()
    world.recipe(steps.replace("AMOUNT", "10"))
    world.run()
    for path in world.payloads():
        path.unlink()
    world.recipe(steps.replace("AMOUNT", "20"))
    ran = world.run()
    assert ran.whole == {"frames"}
    assert ran.counts("ran") == {"more": 6, "side": 3, "out": 1, "beside": 1}
    ran.assert_same_as(world.run_clean())
