"""What exactly runs again after an edit, counted by the engine and by the operators themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.engine.worlds import Ran, World, restore_times

STEPS = """
    photos: {use: toy.read, with: {path: photos}}
    tiles: {use: toy.split, from: photos, with: {size: 2}}
    clean: {use: toy.keep, from: tiles, with: {least: LEAST}}
    unique: {use: toy.unique, from: clean}
    hr: {use: toy.add, from: unique, with: {amount: 10}}
    lr: {use: toy.add, from: hr, with: {amount: AMOUNT}}
    out: {use: toy.pair, from: {a: hr, b: lr}, with: {path: out}}
"""


def steps(least: int = 2, amount: int = 5) -> str:
    return STEPS.replace("LEAST", str(least)).replace("AMOUNT", str(amount))


@pytest.fixture
def ran(world: World) -> Ran:
    """A first run; its photos are old enough to be known by their stat."""
    world.files(a="1 1 5 5", b="3 3 7 7", c="9 9 9 9")
    world.recipe(steps())
    world.settle()
    return world.run()


def test_the_first_run_does_everything_once(world: World, ran: Ran) -> None:
    assert ran.counts("ran") == {"photos": 3, "tiles": 3, "clean": 1, "unique": 1, "hr": 4, "lr": 4, "out": 1}
    # Five contents: the two halves of c are equal.
    assert ran.counts("measured") == {"clean": 6, "out": 4}
    assert ran.funnel["clean"] == (6, 5, {"dark": 1}, 0)
    assert ran.funnel["unique"] == (5, 4, {"same": 1}, 0)


def test_a_second_run_runs_nothing_and_walks_no_step(world: World, ran: Ran) -> None:
    again = world.run()
    again.assert_nothing_done()
    assert again.whole == {"photos", "tiles", "clean", "unique", "hr", "lr", "out"}
    again.assert_same_as(ran)


def test_a_threshold_measures_nothing_and_runs_only_what_was_never_seen(world: World, ran: Ran) -> None:
    world.recipe(steps(least=0))
    looser = world.run()
    assert looser.counts("measured") == {"out": 1}
    assert looser.counts("ran") == {"clean": 1, "unique": 1, "hr": 1, "lr": 1, "out": 1}
    assert looser.counts("rebuilt") == {}
    looser.assert_same_as(world.run_clean())


def test_a_stricter_threshold_runs_decides_and_the_export_alone(world: World, ran: Ran) -> None:
    world.recipe(steps(least=4))
    stricter = world.run()
    assert stricter.counts("measured") == {}
    assert stricter.counts("ran") == {"clean": 1, "unique": 1, "out": 1}
    assert dict(stricter.calls) == {"decide": 2}
    stricter.assert_same_as(world.run_clean())


def test_a_parameter_runs_its_step_and_the_export_alone(world: World, ran: Ran) -> None:
    world.recipe(steps(amount=7))
    changed = world.run()
    assert changed.counts("ran") == {"lr": 4, "out": 1}
    assert changed.counts("measured") == {"out": 4}
    assert changed.counts("rebuilt") == {}
    assert dict(changed.calls) == {"add": 4, "inspect": 4}
    changed.assert_same_as(world.run_clean())


def test_a_parameter_set_back_runs_the_export_alone(world: World, ran: Ran) -> None:
    world.recipe(steps(amount=7))
    world.run()
    world.recipe(steps())
    back = world.run()
    assert back.counts("ran") == {"out": 1}
    assert back.counts("measured") == {}
    back.assert_same_as(ran)


def test_a_photo_put_in_runs_its_branch_and_the_decides(world: World, ran: Ran) -> None:
    world.files(b2="20 20 30 30")
    added = world.run()
    assert added.counts("ran") == {"photos": 1, "tiles": 1, "clean": 1, "unique": 1, "hr": 2, "lr": 2, "out": 1}
    assert added.counts("measured") == {"clean": 2, "out": 2}
    assert added.counts("rebuilt") == {}
    added.assert_same_as(world.run_clean())


def test_a_photo_taken_out_runs_decides_and_the_export(world: World, ran: Ran) -> None:
    (world.root / "photos/b.txt").unlink()
    fewer = world.run()
    assert fewer.counts("ran") == {"clean": 1, "unique": 1, "out": 1}
    assert fewer.counts("measured") == {}
    fewer.assert_same_as(world.run_clean())


def test_bytes_replaced_behind_a_name_run_exactly_their_descendants(world: World, ran: Ran) -> None:
    world.files(b="40 40 50 50")
    replaced = world.run()
    assert replaced.counts("ran") == {"photos": 1, "tiles": 1, "clean": 1, "unique": 1, "hr": 2, "lr": 2, "out": 1}
    assert replaced.counts("measured") == {"clean": 2, "out": 2}
    replaced.assert_same_as(world.run_clean())


def test_a_touched_photo_runs_nothing(world: World, ran: Ran) -> None:
    os.utime(world.root / "photos/b.txt")
    world.settle()
    world.run().assert_nothing_done()


def test_a_renamed_photo_is_not_loaded_again(world: World, ran: Ran) -> None:
    (world.root / "photos/b.txt").rename(world.root / "photos/z.txt")
    renamed = world.run()
    assert renamed.counts("ran") == {"clean": 1, "unique": 1, "out": 1}
    assert renamed.counts("measured") == {}
    renamed.assert_same_as(world.run_clean())


def test_other_bytes_of_the_same_size_and_time_are_seen(world: World, ran: Ran) -> None:
    path = world.root / "photos/b.txt"
    before = path.stat()
    world.files(b="3 3 8 8")
    restore_times(path, before)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    seen = world.run()
    assert seen.counts("ran")["photos"] == 1
    seen.assert_same_as(world.run_clean())


def test_another_file_renamed_over_one_is_seen(world: World, ran: Ran) -> None:
    path = world.root / "photos/b.txt"
    before = path.stat()
    other = world.file("other.txt", "3 3 8 8")
    restore_times(other, before)
    other.rename(path)
    world.run().assert_same_as(world.run_clean())


def test_a_file_saved_again_with_the_same_pixels_stops_at_its_decode(world: World, ran: Ran) -> None:
    world.files(b="3  3 7 7  ")
    saved = world.run()
    assert saved.counts("ran") == {"photos": 1, "out": 1}
    assert saved.counts("measured") == {}
    assert dict(saved.calls) == {"load": 1}
    # No image was written again: only the manifest and what it says of the source.
    assert [export.written for export in saved.result.exports] == [1]
    assert saved.result.exports[0].digest == ran.result.exports[0].digest
    saved.assert_same_as(world.run_clean())


def test_a_field_that_a_decide_reads_runs_the_decide_and_no_pixel(world: World) -> None:
    world.files(a="1 1", b="2 2 # sunny", c="3 3")
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        noted: {use: toy.keep, from: photos, with: {noted: true}}
        out: {use: toy.write, from: noted, with: {path: out}}
    """)
    assert world.run().funnel["noted"] == (3, 1, {"unnoted": 2}, 0)
    world.files(a="1 1 # rainy")
    noted = world.run()
    assert noted.funnel["noted"] == (3, 2, {"unnoted": 1}, 0)
    assert noted.counts("ran") == {"photos": 1, "noted": 1, "out": 1}
    noted.assert_same_as(world.run_clean())


def test_a_moved_source_folder_runs_nothing(world: World, ran: Ran) -> None:
    (world.root / "photos").rename(world.root / "pictures")
    world.recipe(steps().replace("path: photos", "path: pictures"))
    moved = world.run()
    moved.assert_nothing_done()
    moved.assert_same_as(ran)


def test_what_a_moved_photo_was_cut_into_can_be_made_again(world: World, ran: Ran) -> None:
    (world.root / "photos").rename(world.root / "pictures")
    world.recipe(steps().replace("path: photos", "path: pictures"))
    for path in world.payloads():
        path.unlink()
    world.forget_exports()
    again = world.run()
    assert again.counts("ran") == {"out": 1}
    again.assert_same_as(ran)


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ('@operator("toy.add", version=1)', '@operator("toy.add", version=2)', {"hr", "lr"}),
        ("BIAS) % 256", "BIAS + 1) % 256", {"hr", "lr", "out"}),
    ],
)
def test_new_code_runs_again(world: World, ran: Ran, old: str, new: str, again: set[str]) -> None:
    world.edit_code(old, new)
    edited = world.run()
    # The toys are one file: all its operators count as edited, and equal results stop at the contents.
    assert again <= set(edited.counts("ran"))
    edited.assert_same_as(world.run_clean())


def test_a_side_file_edited_behind_its_path_is_seen(world: World) -> None:
    table = world.file("table.txt", "5")
    world.recipe(f"""
        photos: {{use: toy.read, with: {{path: photos}}}}
        table: {{use: toy.table, from: photos, with: {{table: "{table}"}}}}
        out: {{use: toy.write, from: table, with: {{path: out}}}}
    """)
    world.settle()
    before = world.run()
    world.run().assert_nothing_done()
    table.write_text("7")
    after = world.run()
    assert after.counts("ran") == {"table": 3, "out": 1}
    assert after.trees != before.trees
    after.assert_same_as(world.run_clean())


def test_a_file_name_that_is_no_utf_8_is_a_sample_like_any_other(world: World) -> None:
    Path(os.fsdecode(os.fsencode(world.root / "photos") + b"/caf\xe9.txt")).write_text("4 4")
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        keep: {use: toy.keep, from: photos}
        out: {use: toy.write, from: keep, with: {path: out}}
    """)
    world.settle()
    ran = world.run()
    assert [row["key"] for row in ran.rows()][-1] == "photos/caf\\xe9.txt"
    world.run().assert_nothing_done()
