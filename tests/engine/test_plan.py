"""A plan says what a run would do, and why; it does nothing, and leaves nothing behind that a run could trip over."""

from __future__ import annotations

import pytest

from forge_pipeline import api
from forge_pipeline.errors import CommandError
from tests.engine.calls import CALLS
from tests.engine.worlds import World

STEPS = """
    photos: {use: toy.read, with: {path: photos}}
    tiles: {use: toy.split, from: photos, with: {size: 2}}
    clean: {use: toy.keep, from: tiles, with: {least: 2}}
    hr: {use: toy.add, from: clean, with: {amount: 10}}
    lr: {use: toy.add, from: hr, with: {amount: 5, reject_over: 200}}
    out: {use: toy.pair, from: {a: hr, b: lr}, with: {path: out}}
"""


def states(world: World, **options: object) -> dict[str, tuple[str, str, tuple[str, ...], int | None]]:
    CALLS.clear()
    rows = world.plan(**options)
    assert CALLS == [], "a plan ran an operator"
    return {step: (row.state, row.until, row.reasons, row.actions) for step, row in rows.items()}


@pytest.fixture
def ran(world: World) -> World:
    world.recipe(STEPS)
    world.settle()
    world.run()
    return world


def test_before_the_first_run_only_the_sources_work_is_known(world: World) -> None:
    world.recipe(STEPS)
    assert states(world) == {
        "photos": ("to run", "", ("first run",), 3),
        "tiles": ("unknown", "photos", ("first run",), None),
        "clean": ("unknown", "photos", ("first run",), None),
        "hr": ("unknown", "photos", ("first run",), None),
        "lr": ("unknown", "photos", ("first run",), None),
        "out": ("unknown", "photos", (), None),
    }
    assert world.exports() == []
    assert world.payloads() == []


def test_after_a_run_all_is_reused(ran: World) -> None:
    assert states(ran) == dict.fromkeys(("photos", "tiles", "clean", "hr", "lr", "out"), ("reused", "", (), 0))


def test_a_changed_parameter_is_named_with_both_values(ran: World) -> None:
    ran.recipe(STEPS.replace("amount: 5", "amount: 7"))
    found = states(ran)
    assert [found[step] for step in ("photos", "tiles", "clean", "hr")] == [("reused", "", (), 0)] * 4
    assert found["lr"] == ("to run", "", ("param 'amount' 5 -> 7",), 5)
    assert found["out"] == ("unknown", "lr", (), None)


def test_a_threshold_makes_what_follows_unknown_until_it_is_decided(ran: World) -> None:
    ran.recipe(STEPS.replace("least: 2", "least: 4"))
    found = states(ran)
    assert found["clean"] == ("to run", "", ("param 'least' 2 -> 4",), 1)
    assert found["hr"] == ("unknown", "clean", ("'clean' differs",), None)


def test_new_changed_and_removed_inputs_are_counted(ran: World) -> None:
    ran.files(a="1 2 3 4", d="1", e="2")
    (ran.root / "photos/c.txt").unlink()
    found = states(ran)
    assert found["photos"] == ("to run", "", ("2 new inputs", "1 changed input", "1 removed input"), 3)
    assert found["tiles"] == ("unknown", "photos", ("'photos' differs",), None)


def test_twelve_new_inputs(ran: World) -> None:
    for index in range(12):
        ran.file(f"photos/new{index}.txt", f"{index} {index}")
    assert states(ran)["photos"] == ("to run", "", ("12 new inputs",), 12)


@pytest.mark.slow
def test_an_operators_version_and_code_are_named(ran: World) -> None:
    ran.edit_code('@operator("toy.add", version=1)', '@operator("toy.add", version=2)')
    found = states(ran)
    assert found["photos"][2] == ("code of toy.read changed",)
    assert found["hr"][2][0] == "operator version 1 -> 2"


def test_another_operator_is_named(ran: World) -> None:
    ran.recipe(
        STEPS.replace(
            "lr: {use: toy.add, from: hr, with: {amount: 5, reject_over: 200}}", "lr: {use: toy.random, from: hr}"
        )
    )
    assert states(ran)["lr"][2] == ("operator toy.add -> toy.random",)


def test_a_renamed_file_runs_only_decides(ran: World) -> None:
    (ran.root / "photos/c.txt").rename(ran.root / "photos/d.txt")
    found = states(ran)
    assert found["photos"] == ("reused", "", ("1 new input", "1 removed input"), 0)
    assert found["clean"][:2] == ("to run", "")


def test_a_folder_that_is_not_as_it_should_be_is_told(ran: World) -> None:
    ran.forget_exports()
    found = states(ran)["out"]
    assert (found[0], found[3]) == ("to run", 1)
    assert found[2] == (f"{ran.root / 'out'} is not as it should be",)


def test_a_changed_seed_is_named(ran: World) -> None:
    ran.recipe(STEPS, seed=5)
    assert states(ran)["hr"][2] == ("seed 1 -> 5",)


def test_time_and_bytes_are_estimated_from_the_last_run(ran: World) -> None:
    report = api.plan(ran.recipe_path, ran.options())
    assert (report.seconds, report.bytes) == (0.0, 0)
    ran.files(d="1 2 3", e="3 4 5")
    more = api.plan(ran.recipe_path, ran.options())
    assert more.bytes is not None
    assert more.bytes > 0


@pytest.mark.slow
def test_a_plan_leaves_nothing_that_changes_a_run(ran: World) -> None:
    # A dry run knows a step's rows though a step beside it must run: they must not stand for the step later.
    ran.files(d="20 21 22", e="7 9 230", f="5 broken", g="250 251 252")
    wider = STEPS.replace("reject_over: 200", "reject_over: 100") + "side: {use: toy.random, from: hr}\n"
    narrow = STEPS.replace("use: toy.read,", "use: toy.read, max_errors: 100%,")
    wider = wider.replace("use: toy.read,", "use: toy.read, max_errors: 100%,")
    ran.recipe(narrow)
    before = ran.run()
    for steps in (wider, wider.replace("amount: 10", "amount: 11"), narrow.replace("size: 2", "size: 1")):
        ran.recipe(steps)
        ran.plan()
        ran.recipe(narrow)
        ran.plan()
        ran.run().assert_same_as(before)
    ran.recipe(wider)
    ran.plan()
    ran.run().assert_same_as(ran.run_clean())


def test_a_plan_of_a_diamond_whose_one_side_is_new(ran: World) -> None:
    steps = """
        photos: {use: toy.read, with: {path: photos}}
        keep: {use: toy.keep, from: photos}
        REST
        out: {use: toy.write, from: keep, with: {path: out}}
    """
    ran.recipe(steps.replace("REST", ""))
    ran.run()
    (ran.root / "photos/c.txt").rename(ran.root / "photos/d.txt")
    ran.recipe(steps.replace("REST", "side: {use: toy.add, from: photos, with: {amount: 99}}"))
    found = states(ran)
    assert found["side"][0] == "to run"
    assert found["side"][3] == 3
    assert found["keep"][0] == "to run"
    assert ran.run().result.status == "done"


def test_a_plan_of_a_partial_run(ran: World) -> None:
    assert list(states(ran, until="clean")) == ["photos", "tiles", "clean"]
    assert states(ran, sample=1)["photos"][0] == "reused"


def test_a_dry_run_does_not_touch_the_run_that_is_explained(ran: World) -> None:
    told = ran.explain("photos/a.txt/p0")
    ran.plan()
    assert ran.explain("photos/a.txt/p0") == told


# --- explain --------------------------------------------------------------------------------------


def test_a_sample_is_explained_from_source_to_file(ran: World) -> None:
    told = ran.explain("photos/a.txt/p2")
    lines = told.splitlines()
    assert lines[0] == "photos/a.txt/p2"
    assert lines[1].startswith("  source a.txt (")
    assert [line.split(":")[0].strip() for line in lines[2:]] == ["photos", "tiles", "clean", "hr", "lr", "out"]
    assert lines[2] == "  photos: toy.read, ran in this run: first run"
    assert lines[3] == '  tiles: toy.split {"crop": [2, 0, 1, 1]}, ran in this run: first run'
    assert lines[4] == '  clean: toy.keep {"mean": 3}, decided in this run'
    assert lines[-1].startswith("  out: toy.pair, files named photos_a-txt_p2_")


def test_a_dropped_sample_is_explained_with_its_reason(ran: World) -> None:
    assert ran.explain("photos/a.txt/p0").splitlines()[-1] == '  clean: rejected: dark {"mean": 1}'


def test_a_sample_that_broke_is_told_once_and_not_as_kept(ran: World) -> None:
    ran.files(z="1 broken")
    ran.recipe(STEPS.replace("toy.read, with", "toy.read, max_errors: 1, with"))
    ran.run()
    told = ran.explain("photos/z.txt").splitlines()
    assert told[0] == "photos/z.txt"
    assert told[2:] == ["  photos: failed: this file is truncated"]


def test_a_source_file_is_found_by_the_path_that_is_typed_and_by_no_other_of_its_name(ran: World) -> None:
    assert ran.explain("photos/a.txt").splitlines()[-1] == "  made of it: 2 samples, such as 'photos/a.txt/p0'"
    assert "photos/a.txt/p2" in ran.explain(str(ran.root / "photos/a.txt"))
    ran.file("elsewhere/a.txt", "something else")
    with pytest.raises(CommandError):
        ran.explain("elsewhere/a.txt")


@pytest.mark.parametrize("name", ["a.txt", "out/a/photos_a-txt_p2_STEM.png", "photos_a-txt_p2_STEM"])
def test_a_sample_is_found_by_file_and_by_source(ran: World, name: str) -> None:
    stem = next(row["stem"] for row in ran.run().rows() if row["key"] == "photos/a.txt/p2")
    told = ran.explain(name.replace("photos_a-txt_p2_STEM", stem))
    assert "photos/a.txt/p2" in told


def test_a_later_run_tells_what_was_reused_and_why_the_rest_ran(ran: World) -> None:
    ran.recipe(STEPS.replace("amount: 5", "amount: 7"))
    ran.run()
    lines = ran.explain("photos/a.txt/p2").splitlines()
    assert lines[2].startswith("  photos: toy.read, reused from the run of ")
    assert lines[4].startswith('  clean: toy.keep {"mean": 3}, decision of ')
    assert lines[6] == """  lr: toy.add {"added": 7}, ran in this run: param 'amount' 5 -> 7"""


def test_a_name_that_nothing_has_is_told_with_the_nearest(ran: World) -> None:
    with pytest.raises(CommandError) as raised:
        ran.explain("photos/a.txt/p3")
    assert raised.value.message == "no sample 'photos/a.txt/p3' in the last run of 'toy'"
    assert raised.value.hint.startswith("forge explain RECIPE 'photos/a.txt/p")


def test_a_recipe_that_never_ran_has_nothing_to_explain(world: World) -> None:
    world.recipe(STEPS)
    with pytest.raises(CommandError, match="recipe 'toy' has no finished run to explain"):
        world.explain("photos/a.txt")


# --- drawing --------------------------------------------------------------------------------------


def test_a_graph_is_drawn_as_mermaid(world: World) -> None:
    world.recipe(STEPS)
    text = api.graph_text(world.recipe_path, world.options(), "mermaid")
    assert text.splitlines()[:3] == ["flowchart TD", '    s0(["photos<br/>toy.read"])', '    s1["tiles<br/>toy.split"]']
    assert "    s3 -->|a| s5" in text.splitlines()


def test_a_graph_is_drawn_as_dot(world: World) -> None:
    world.recipe(STEPS)
    text = api.graph_text(world.recipe_path, world.options(), "dot")
    assert text.splitlines()[0] == 'digraph "toy" {'
    assert '    "lr" -> "out" [label="b"];' in text.splitlines()


def test_no_other_drawing_is_known(world: World) -> None:
    world.recipe(STEPS)
    with pytest.raises(CommandError, match="graph: no format 'svg'"):
        api.graph_text(world.recipe_path, world.options(), "svg")
