"""Samples that break or are dropped: set aside, told with their reasons, and held against the budget."""

from __future__ import annotations

from typing import Any

import pytest

from forge_pipeline.errors import CommandError
from forge_pipeline.recipe.resolved import MaxErrors
from tests.engine.calls import SWITCHES
from tests.engine.worlds import World

STEPS = """
    photos: {use: toy.read, with: {path: photos}, PHOTOS}
    add: {use: toy.add, from: photos, with: {fail_over: 50, reject_over: 20}, ADD}
    keep: {use: toy.keep, from: add, with: {least: 3}, KEEP}
    out: {use: toy.write, from: keep, with: {path: out}}
"""


def steps(photos: str = "max_errors: 100%", add: str = "max_errors: 100%", keep: str = "max_errors: 100%") -> str:
    return STEPS.replace("PHOTOS", photos).replace("ADD", add).replace("KEEP", keep)


@pytest.fixture
def mixed(world: World) -> World:
    """One photo of each sort, and one that is fine."""
    world.files(a="1 1", b="broken", c="9 9 partial", d="small", e="30 30", f="60 60", g="254 254")
    world.files(g="254 1", h="40 1")
    return world


def reasons(rows: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    """Tell rows in short: a digest of what failed is there, whichever it is."""
    for row in rows:
        assert ("digest" in row["values"]) == (row["kind"] == "failed")
        row["values"].pop("digest", None)
    return [tuple(row[name] for name in ("key", "step", "kind", "reason", "message", "values")) for row in rows]


def test_rejects_tell_step_kind_reason_values_and_source(mixed: World) -> None:
    mixed.recipe(steps())
    ran = mixed.run()
    assert ran.result.status == "done"
    assert reasons(ran.rows("rejects")) == [
        ("photos/a.txt", "keep", "rejected", "dark", "", {"mean": 2}),
        ("photos/b.txt", "photos", "failed", "truncated", "this file is truncated", {}),
        ("photos/c.txt", "photos", "partial", "truncated", "", {"read": 2}),
        ("photos/d.txt", "photos", "rejected", "small", "", {"width": 0}),
        ("photos/e.txt", "add", "rejected", "large", "", {"first": 30}),
        ("photos/f.txt", "add", "failed", "too_large", "60 is over 50", {}),
        ("photos/g.txt", "add", "failed", "too_large", "254 is over 50", {}),
        ("photos/h.txt", "add", "rejected", "large", "", {"first": 40}),
    ]
    assert [row["source"]["path"] for row in ran.rows("rejects")] == [f"{name}.txt" for name in "abcdefgh"]
    assert all(row["source"]["digest"] for row in ran.rows("rejects"))
    assert [row["key"] for row in ran.rows()] == ["photos/c.txt"]


def test_counts_and_failures_are_told(mixed: World) -> None:
    mixed.recipe(steps())
    result = mixed.run().result
    assert {step: (c.entered, c.out, c.failed, dict(c.dropped)) for step, c in result.steps.items()} == {
        "photos": (8, 6, 1, {"small": 1}),
        "add": (6, 2, 2, {"large": 2}),
        "keep": (2, 1, 0, {"dark": 1}),
        "out": (1, 1, 0, {}),
    }
    assert [(f.step, f.sample, f.reason) for f in sorted(result.failures, key=lambda f: f.sample)] == [
        ("photos", "photos/b.txt", "this file is truncated"),
        ("add", "photos/f.txt", "60 is over 50"),
        ("add", "photos/g.txt", "254 is over 50"),
    ]


def test_the_second_run_tells_the_same_and_runs_nothing(mixed: World) -> None:
    mixed.recipe(steps())
    mixed.settle()
    first, again = mixed.run(), mixed.run()
    again.assert_nothing_done()
    again.assert_same_as(first)
    assert sorted(again.result.failures, key=str) == sorted(first.result.failures, key=str)


@pytest.mark.parametrize(
    ("budget", "status"),
    [
        ("max_errors: 1", "failed"),
        ("max_errors: 2", "done"),
        ("max_errors: 33%", "failed"),
        ("max_errors: 34%", "done"),
    ],
)
def test_the_budget_is_a_count_or_a_share_of_what_entered_the_step(mixed: World, budget: str, status: str) -> None:
    mixed.recipe(steps(add=budget))
    assert mixed.run().result.status == status


def test_a_spent_budget_exports_nothing_and_says_which(mixed: World) -> None:
    mixed.recipe(steps(add="max_errors: 1", photos="max_errors: 5%"))
    ran = mixed.run()
    assert ran.result.status == "failed"
    assert ran.result.error == (
        "step 'photos': 1 of 8 samples failed, `max_errors: 5%` allows 0\n"
        "step 'add': 2 of 6 samples failed, `max_errors: 1` allows 1\n"
        "nothing was exported\n"
        "  hint: to go on without them: --set steps.photos.max_errors=1 --set steps.add.max_errors=2"
    )
    assert ran.trees == {}
    assert ran.result.exports == ()
    assert not (mixed.root / "toy.lock").exists()


def test_where_every_sample_failed_nobody_is_told_to_go_on_without_them(world: World) -> None:
    world.files(a="1 broken", b="2 broken", c="3 broken")
    world.recipe("photos: {use: toy.read, with: {path: photos}}")
    ran = world.run()
    assert ran.result.error == ("step 'photos': 3 of 3 samples failed, `max_errors: 5%` allows 0\nnothing was exported")


def test_a_spent_budget_keeps_what_is_published_and_the_lock(mixed: World) -> None:
    mixed.recipe(steps())
    good = mixed.run()
    lock = (mixed.root / "toy.lock").read_bytes()
    mixed.files(i="broken", j="7 7")
    mixed.recipe(steps(photos="max_errors: 1"))
    over = mixed.run()
    assert over.result.status == "failed"
    assert over.trees == good.trees
    assert (mixed.root / "toy.lock").read_bytes() == lock


def test_a_tightened_budget_fails_though_every_step_is_known(mixed: World) -> None:
    mixed.recipe(steps())
    mixed.settle()
    mixed.run()
    mixed.recipe(steps(add="max_errors: 1"))
    over = mixed.run()
    assert over.result.status == "failed"
    assert over.counts("ran") == {}


@pytest.mark.parametrize(
    ("share", "failed", "entered", "allowed"), [(0.29, 29, 100, True), (0.07, 7, 100, True), (0.29, 30, 100, False)]
)
def test_a_share_is_the_decimal_that_was_written(share: float, failed: int, entered: int, allowed: bool) -> None:
    assert MaxErrors(share=share).allows(failed, entered) is allowed


def test_29_of_100_are_within_29_percent(world: World) -> None:
    (world.root / "photos/a.txt").unlink()
    for index in range(98):
        world.file(f"photos/{index:03}.txt", "broken" if index < 29 else f"{index} 7")
    world.recipe("""
        photos: {use: toy.read, max_errors: 29%, with: {path: photos}}
        out: {use: toy.write, from: photos, with: {path: out}}
    """)
    ran = world.run()
    assert (ran.result.steps["photos"].failed, ran.result.steps["photos"].entered) == (29, 100)
    assert ran.result.status == "done"


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_on_error_stop_ends_the_run_at_the_first(mixed: World, executor: str) -> None:
    mixed.recipe(steps(add="on_error: stop"))
    ran = mixed.run(executor=executor, workers=2)
    assert ran.result.status == "failed"
    assert ran.result.error in {
        f"step 'add', sample 'photos/{name}.txt': {value} is over 50\n  hint: set `on_error: quarantine` on 'add'"
        for name, value in (("f", 60), ("g", 254))
    }
    assert ran.trees == {}


def test_on_error_stop_stops_where_the_failure_is_known_already(mixed: World) -> None:
    mixed.recipe(steps())
    mixed.settle()
    mixed.run()
    mixed.recipe(steps(add="on_error: stop, max_errors: 100%"))
    ran = mixed.run()
    assert ran.result.status == "failed"
    assert ran.counts("ran") == {}
    assert ran.result.error == (
        "step 'add', sample 'photos/f.txt': 60 is over 50\n  hint: set `on_error: quarantine` on 'add'"
    )


def test_a_failed_measure_quarantines_the_sample_alone(world: World) -> None:
    world.files(d="255 255", e="255 1")
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        keep: {use: toy.keep, from: photos, max_errors: 100%}
        out: {use: toy.write, from: keep, with: {path: out}}
    """)
    world.settle()
    ran = world.run()
    assert ran.funnel["keep"] == (5, 3, {}, 2)
    assert [row["key"] for row in ran.rows()] == ["photos/a.txt", "photos/b.txt", "photos/c.txt"]
    world.run().assert_nothing_done()


def test_an_exception_nobody_foresaw_breaks_one_sample_and_is_tried_again(world: World) -> None:
    world.files(d="5 5 crash")
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}, max_errors: 100%}
        add: {use: toy.add, from: photos}
        keep: {use: toy.keep, from: add}
        out: {use: toy.write, from: keep, with: {path: out}}
    """)
    world.settle()
    first = world.run()
    assert first.funnel["photos"] == (4, 3, {}, 1)
    assert [f.reason for f in first.result.failures] == ["RuntimeError: nobody foresaw this"]
    second = world.run()
    assert second.counts("ran") == {"photos": 1}
    second.assert_same_as(first)
    SWITCHES["crash"] = False
    third = world.run()
    assert third.funnel["photos"] == (4, 4, {}, 0)
    assert third.counts("ran") == {"photos": 1, "add": 1, "keep": 1, "out": 1}
    third.assert_same_as(world.run_clean())


def test_an_inspection_nobody_foresaw_to_break_is_tried_again(world: World) -> None:
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        add: {use: toy.add, from: photos}
        out: {use: toy.pair, from: {a: photos, b: add}, max_errors: 100%, with: {path: out}}
    """)
    world.settle()
    SWITCHES["inspect crashes"] = True
    broken = world.run()
    assert broken.funnel["out"] == (3, 0, {}, 3)
    SWITCHES.clear()
    mended = world.run()
    assert mended.funnel["out"] == (3, 3, {}, 0)
    mended.assert_same_as(world.run_clean())


def test_a_row_that_fails_its_inspection_is_quarantined_by_the_export(world: World) -> None:
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        small: {use: toy.shrink, from: photos}
        out: {use: toy.pair, from: {a: photos, b: small}, max_errors: 100%, with: {path: out}}
    """)
    ran = world.run()
    assert reasons(ran.rows("rejects"))[0] == (
        "photos/a.txt",
        "out",
        "failed",
        "size_mismatch",
        "a is 3 wide, b 2",
        {},
    )
    assert ran.rows() == []


def test_a_pair_whose_other_half_was_rejected_goes_with_it(mixed: World) -> None:
    mixed.recipe("""
        photos: {use: toy.read, with: {path: photos}, max_errors: 100%}
        hr: {use: toy.add, from: photos}
        lr: {use: toy.add, from: hr, max_errors: 100%, with: {fail_over: 50, reject_over: 20}}
        out: {use: toy.pair, from: {a: hr, b: lr}, with: {path: out}}
    """)
    ran = mixed.run()
    assert ran.funnel["out"] == (2, 2, {"unpaired": 4}, 0)
    unpaired = [row for row in ran.rows("rejects") if row["step"] == "out"]
    assert {row["key"]: row["values"] for row in unpaired} == {
        f"photos/{name}.txt": {"missing": ["b"]} for name in "efgh"
    }


def test_a_pair_whose_other_half_was_never_there_is_an_error(world: World) -> None:
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        parts: {use: toy.split, from: photos}
        out: {use: toy.pair, from: {a: photos, b: parts}, with: {path: out}}
    """)
    ran = world.run()
    assert ran.result.status == "failed"
    assert ran.result.error == (
        "step 'out': samples that are not at every port: 'photos/a.txt' has no b; 'photos/a.txt/p0' has no a; "
        "'photos/a.txt/p2' has no a; 'photos/b.txt' has no b; 'photos/b.txt/p0' has no a and 4 more\n"
        "  hint: the ports of an export must come from one step: put what changes the number of samples before it"
    )


@pytest.mark.slow
@pytest.mark.parametrize("step", ["toy.unique", "toy.add", "toy.frames"])
@pytest.mark.parametrize("by", ["", ", with: {by: index}", ", with: {reject_over: 0}", ", with: {fail_over: 0}"])
def test_two_samples_of_one_key_are_an_error(world: World, step: str, by: str) -> None:
    world.recipe(f"""
        photos: {{use: toy.read, with: {{path: photos}}}}
        one: {{use: toy.add, from: photos}}
        two: {{use: toy.add, from: photos, with: {{amount: 2}}}}
        both: {{use: {step}, from: [one, two]{by if step == "toy.add" else ""}}}
        out: {{use: toy.write, from: both, with: {{path: out}}}}
    """)
    ran = world.run()
    assert ran.result.status == "failed"
    assert ran.result.error == (
        "step 'both', sample 'photos/a.txt': comes in twice, from 'one' and from 'two'\n"
        "  hint: give the step one of them, or make them variants of one step with `matrix`"
    )


@pytest.mark.slow
def test_two_samples_of_one_key_are_an_error_beside_variants(world: World) -> None:
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        one: {use: toy.add, from: photos}
        kinds: {use: toy.add, from: photos, matrix: {amount: [1, 2]}, with: {amount: "${matrix.amount}"}}
        both: {use: toy.add, from: [photos, one, kinds], with: {reject_over: 0}}
        out: {use: toy.write, from: both, with: {path: out}}
    """)
    ran = world.run()
    assert ran.result.error is not None
    assert "step 'both', sample 'photos/a.txt': comes in twice, from 'photos' and from 'one'" in ran.result.error


def test_two_samples_of_one_key_at_a_port_of_an_export_are_an_error(world: World) -> None:
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        one: {use: toy.add, from: photos}
        two: {use: toy.add, from: photos, with: {amount: 2}}
        out: {use: toy.write, from: [one, two], with: {path: out}}
    """)
    ran = world.run()
    assert ran.result.error == (
        "step 'out', sample 'photos/a.txt': comes in twice at port 'in'\n"
        "  hint: give the port one of them, or make them variants of one step with `matrix`"
    )


def test_variants_of_a_matrix_may_meet(world: World) -> None:
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        kinds: {use: toy.add, from: photos, matrix: {amount: [1, 2]}, with: {amount: "${matrix.amount}"}}
        both: {use: toy.add, from: kinds}
        out: {use: toy.write, from: both, with: {path: out}}
    """)
    ran = world.run()
    assert [row["key"] for row in ran.rows()][:2] == ["photos/a.txt/amount=1", "photos/a.txt/amount=2"]
    ran.assert_same_as(world.run_clean())


def test_a_ranked_sample_that_is_rejected_has_only_real_steps_in_its_trail(world: World) -> None:
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        add: {use: toy.add, from: photos, with: {by: index, reject_over: 5}}
        out: {use: toy.write, from: add, with: {path: out}}
    """)
    rejects = world.run().rows("rejects")
    assert [[link["step"] for link in row["trail"]] for row in rejects] == [["photos"]]


def test_a_file_that_vanishes_between_listing_and_reading_is_a_failure_of_its_own(world: World) -> None:
    world.recipe("""
        photos: {use: toy.read, max_errors: 100%, with: {path: photos}}
        out: {use: toy.write, from: photos, with: {path: out}}
    """)
    (world.root / "photos/gone.txt").symlink_to("nowhere")
    ran = world.run()
    assert ran.result.status == "done"
    assert len(ran.rows()) == 3


def test_a_source_folder_that_is_not_there_is_told_before_anything_runs(world: World) -> None:
    world.recipe("photos: {use: toy.read, with: {path: nowhere}}")
    with pytest.raises(CommandError) as raised:
        world.run()
    assert str(raised.value) == "step 'photos', toy.read: nowhere is not there"
