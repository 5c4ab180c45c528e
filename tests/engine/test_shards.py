"""Partial runs over part of the sources: shards do what a whole run need not do again; `--only` does one sample."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forge_pipeline.errors import CommandError
from tests.engine.calls import CALLS
from tests.engine.worlds import World

STEPS = """
    photos: {use: toy.read, with: {path: photos}}
    add: {use: toy.add, from: photos}
    keep: {use: toy.keep, from: add, with: {least: 3}}
    shrink: {use: toy.shrink, from: keep}
    out: {use: toy.write, from: shrink, with: {path: out}}
"""
COMMAND = "forge-run toy.yaml"


@pytest.fixture
def five(world: World) -> World:
    """A world with five photos and a recipe whose first select is in the middle."""
    world.files(d="10 11 12", e="13 14 15")
    world.recipe(STEPS)
    return world


# --- shards ---------------------------------------------------------------------------------------


def test_a_shard_takes_its_contiguous_part_and_measures_it(five: World) -> None:
    ran = five.run(shard=(1, 2), command=f"{COMMAND} --cache there")
    assert ran.funnel == {"photos": (3, 3, {}, 0), "add": (3, 3, {}, 0), "keep": (3, 0, {}, 0)}
    assert {name: ran.calls[name] for name in ("load", "add", "mean", "decide")} == {
        **dict.fromkeys(("load", "add", "mean"), 3),
        "decide": 0,
    }
    assert [call for call in CALLS if call.startswith("add")] == ["add [1, 2, 3]", "add [4, 5, 6]", "add [7, 8, 9]"]
    assert ran.result.status == "done"
    assert ran.result.exports == ()
    assert ran.notes == [
        "shard 1/2: 3 of 5 entries of 'photos'; done up to 'keep', nothing is exported",
        "when all 2 are done: forge cache merge CACHE... with the cache of each, then forge-run toy.yaml",
    ]


def test_a_shard_says_how_its_cache_is_merged_where_images_lie_in_a_store(five: World) -> None:
    (five.root / "far away").mkdir()
    store = f"--store 'file://{five.root}/far away'"
    ran = five.run(shard=(1, 2), store=f"file://{five.root}/far away", command=f"{COMMAND} --cache there {store}")
    assert ran.notes[-1] == (
        f"when all 2 are done: forge cache merge CACHE... {store} with the cache of each, "
        f"then forge-run toy.yaml {store}"
    )


def test_a_shard_touches_neither_exports_nor_the_lock(five: World) -> None:
    five.run()
    before = {path: path.read_bytes() for path in five.root.rglob("*") if path.is_file() and "cache" not in path.parts}
    five.files(a="9 9 9")
    five.run(shard=(1, 3))
    after = {path: path.read_bytes() for path in five.root.rglob("*") if path.is_file() and "cache" not in path.parts}
    assert {path for path in after if after[path] != before.get(path)} == {five.root / "photos" / "a.txt"}


@pytest.mark.slow
def test_after_all_shards_on_one_cache_nothing_is_left_but_to_decide(five: World) -> None:
    for number in (1, 2, 3):
        five.run(shard=(number, 3))
    ran = five.run()
    assert ran.counts("measured") == {}
    assert ran.counts("rebuilt") == {}
    assert ran.counts("ran") == {"keep": 1, "shrink": 5, "out": 1}
    assert dict(ran.calls) == {"decide": 1, "shrink": 5}
    ran.assert_same_as(five.run_clean())


def test_a_shard_done_twice_runs_nothing(five: World) -> None:
    five.run(shard=(2, 2))
    again = five.run(shard=(2, 2))
    again.assert_nothing_done()
    assert again.funnel["keep"] == (2, 0, {}, 0)


def test_more_shards_than_entries_is_fine(five: World) -> None:
    five.files(folder="videos", v="1 1")
    ran = five.run(shard=(7, 8), command=COMMAND)
    assert ran.result.status == "done"
    assert ran.notes[0] == (
        "shard 7/8: 0 of 5 entries of 'photos' (there are more shards than entries); done up to 'keep', "
        "nothing is exported"
    )
    assert dict(ran.calls) == {}


def test_what_enters_any_barrier_is_kept_and_what_is_behind_one_is_not_done(five: World) -> None:
    five.files(folder="videos", v="21 22 23", w="24 25 26")
    five.recipe(
        """
        photos: {use: toy.read, with: {path: photos}}
        videos: {use: toy.read, with: {path: videos}}
        frames: {use: toy.frames, from: videos, with: {size: 2}}
        rank: {use: toy.add, from: photos, with: {by: index}}
        both: {use: toy.add, from: [frames, rank], with: {amount: 5}}
        keep: {use: toy.keep, from: {in: both, against: frames}}
        straight: {use: toy.write, from: frames, with: {path: straight}}
        out: {use: toy.write, from: keep, with: {path: out}}
        """
    )
    ran = five.run(shard=(1, 1))
    assert ran.funnel == {
        "photos": (5, 5, {}, 0),
        "videos": (2, 2, {}, 0),
        "frames": (2, 4, {}, 0),
        "rank": (5, 0, {}, 0),
        "both": (4, 4, {}, 0),
        "keep": (4, 0, {}, 0),
    }
    assert ran.calls["mean"] == 8
    whole = five.run()
    assert whole.counts("rebuilt") == {}
    assert {step: whole.counts("ran").get(step, 0) for step in ("photos", "videos", "frames")} == dict.fromkeys(
        ("photos", "videos", "frames"), 0
    )
    assert whole.counts("ran")["both"] == 5  # those that stood behind the rank
    assert whole.counts("measured")["keep"] == 6  # and their measures: five means, one width
    whole.assert_same_as(five.run_clean())


def test_a_shard_keeps_what_an_export_takes_where_there_is_no_select(five: World) -> None:
    five.recipe(
        """
        photos: {use: toy.read, with: {path: photos}}
        add: {use: toy.add, from: photos}
        out: {use: toy.write, from: add, with: {path: out}}
        """
    )
    for number in (1, 2):
        five.run(shard=(number, 2))
    ran = five.run()
    assert dict(ran.calls) == {}
    assert ran.counts("ran") == {"out": 1}
    assert ran.counts("rebuilt") == {}


def test_the_error_budget_is_judged_over_the_whole_dataset(five: World) -> None:
    five.files(a="1 broken")
    five.recipe(STEPS.replace("{path: photos}", "{path: photos}, max_errors: 20%"))
    shard = five.run(shard=(1, 3))
    assert (shard.result.status, shard.funnel["photos"]) == ("done", (2, 1, {}, 1))
    five.run(shard=(2, 3))
    five.run(shard=(3, 3))
    whole = five.run()
    assert whole.result.status == "done"
    assert dict(whole.calls) == {"decide": 1, "shrink": 4}


def test_a_shard_of_a_sample_and_until_a_step(five: World) -> None:
    ran = five.run(shard=(2, 2), sample=3)
    assert ran.funnel["photos"] == (1, 1, {}, 0)
    until = five.run(shard=(1, 2), until="add")
    assert list(until.result.steps) == ["photos", "add"]


def test_a_shard_can_verify_what_it_did(five: World) -> None:
    five.run(shard=(1, 2))
    ran = five.run(shard=(1, 2), verify=100)
    assert ran.notes[0].startswith("verified ")
    assert ran.calls["add"] == 3


def test_a_plan_of_a_shard_says_what_it_would_do(five: World) -> None:
    plan = five.plan(shard=(1, 2))
    assert {step: (row.state, row.actions) for step, row in plan.items()} == {
        "photos": ("to run", 3),
        "add": ("unknown", None),
        "keep": ("unknown", None),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"shard": (1, 2), "frozen": True},
            "--frozen holds a whole run against the lock, and --shard does less\n  hint: leave one of them out",
        ),
        (
            {"only": "photos/a.txt", "frozen": True},
            "--frozen holds a whole run against the lock, and --only does less\n  hint: leave one of them out",
        ),
        (
            {"only": "photos/a.txt", "shard": (1, 2)},
            "--only takes what one sample stands on, and --shard takes others\n  hint: leave one of them out",
        ),
        (
            {"only": "photos/a.txt", "sample": 2},
            "--only takes what one sample stands on, and --sample takes others\n  hint: leave one of them out",
        ),
        ({"shard": (3, 2)}, "--shard: found 3/2, expected a number from 1 to 2\n  hint: --shard 1/2"),
    ],
)
def test_options_that_contradict_each_other_are_refused(five: World, options: dict[str, object], message: str) -> None:
    for verb in (five.run, five.plan):
        with pytest.raises(CommandError) as refused:
            verb(**options)
        assert str(refused.value) == message
    assert not (five.root / "cache").exists()


# --- one sample -----------------------------------------------------------------------------------


def test_only_takes_what_one_sample_stands_on(five: World) -> None:
    ran = five.run(only="photos/b.txt")
    assert ran.funnel["photos"] == (1, 1, {}, 0)
    assert ran.notes == ["--only photos/b.txt: stands on 1 entry of 5"]
    assert [export.path for export in ran.result.exports] == ["out.only-photos_b-txt_f81c5721"]
    assert not (five.root / "out").exists()
    assert not (five.root / "toy.lock").exists()


def test_only_takes_the_key_of_a_tile_and_of_no_other_file(five: World) -> None:
    five.file("photos/b.txt.old/p0", "99 99")
    five.recipe(STEPS.replace("toy.add, from: photos", "toy.split, from: photos"))
    ran = five.run(only="photos/b.txt/p2", until="add")
    assert ran.funnel["photos"] == (1, 1, {}, 0)
    assert [call for call in CALLS if call.startswith("split")] == ["split [4, 5, 6]"]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("photos/bb.txt", "did you mean 'photos/b.txt'?"),
        ("9", "keys are listed in manifest.jsonl and rejects.jsonl of an export"),
    ],
)
def test_only_without_such_an_entry_is_refused(five: World, key: str, hint: str) -> None:
    with pytest.raises(CommandError) as refused:
        five.run(only=key)
    assert str(refused.value) == (
        f"--only: no source has the entry that sample '{key}' stands on, expected a key such as 'photos/...'\n"
        f"  hint: {hint}"
    )


def test_a_failure_says_what_to_type_and_that_reproduces_it(five: World) -> None:
    five.files(b="60 60", c="4 broken")
    recipe = STEPS.replace("from: photos}", "from: photos, with: {fail_over: 50}}")
    five.recipe(recipe, defaults={"max_errors": "100%"})
    whole = five.run(command=COMMAND)
    told = {failure.sample: failure.reproduce for failure in whole.result.failures}
    assert told == {
        "photos/b.txt": "forge-run toy.yaml --only photos/b.txt --until add --executor inline",
        "photos/c.txt": "forge-run toy.yaml --only photos/c.txt --until photos --executor inline",
    }
    again = five.run(command=COMMAND, only="photos/b.txt", until="add", executor="inline")
    assert [(f.step, f.sample, f.reason) for f in again.result.failures] == [("add", "photos/b.txt", "60 is over 50")]
    assert dict(again.calls) == {"load": 1, "add": 1}  # though the failure was known


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_only_tries_a_known_failure_again_as_often_as_it_is_typed(world: World, executor: str) -> None:
    world.recipe(STEPS.replace("from: photos}", "from: photos, with: {fail_over: 5}}"), defaults={"max_errors": "100%"})
    world.run()
    for _ in range(2):
        again = world.run(only="photos/c.txt", until="add", executor=executor, workers=1)
        assert dict(again.calls) == {"load": 1, "add": 1}
        assert [failure.reason for failure in again.result.failures] == ["7 is over 5"]
        assert (again.counts("ran"), again.counts("rebuilt"), again.counts("reused")) == ({"add": 1}, {"photos": 1}, {})


def test_only_loads_again_what_could_not_be_loaded_though_it_is_all_that_there_is(tmp_path: Path) -> None:
    one = World(tmp_path / "one", STEPS, defaults={"max_errors": "100%"})
    one.files(a="4 broken")
    one.run()
    assert dict(one.run().calls) == {}
    for _ in range(2):
        assert dict(one.run(only="photos/a.txt").calls) == {"load": 1}


def test_rejects_say_it_without_a_name_of_this_machine(five: World) -> None:
    five.files(b="crash 4", c="4 broken", d="0 0 0")
    five.recipe(STEPS, defaults={"max_errors": "100%"})
    rows = {row["key"]: row for row in five.run().rows("rejects")}
    assert rows["photos/c.txt"]["reproduce"] == (
        "forge-run RECIPE --only photos/c.txt --until photos --executor inline"
    )
    assert "reproduce" not in rows["photos/d.txt"]
    assert list(rows["photos/c.txt"]["values"]) == ["digest"]
    crashed = rows["photos/b.txt"]
    assert crashed["reason"] == "broke"
    assert crashed["values"]["digest"] == crashed["source"]["digest"]
    line = next(
        n
        for n, text in enumerate((five.root / "toy_steps.py").read_text().splitlines(), start=1)
        if "nobody foresaw" in text
    )
    assert crashed["values"]["traceback"] == (
        f"  toy_steps, line {line}, in load\n"
        '    raise RuntimeError("nobody foresaw this")\n'
        "RuntimeError: nobody foresaw this"
    )
    assert str(five.root) not in json.dumps(list(rows.values()))


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_rejects_are_the_same_on_every_executor(five: World, executor: str) -> None:
    five.files(b="crash 4", c="4 broken")
    five.recipe(STEPS, defaults={"max_errors": "100%"})
    inline = five.run(cache="one")
    assert five.run(cache="two", executor=executor, workers=2).rows("rejects") == inline.rows("rejects")
