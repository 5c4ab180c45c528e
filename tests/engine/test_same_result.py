"""The same recipe gives the same bytes whoever runs it, in any order, in parts, and after an interruption."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from forge_pipeline import api
from forge_pipeline.errors import CommandError, FrozenDiffers, NondeterministicOperator
from forge_pipeline.events import StepAdvanced, StepFinished
from forge_pipeline.run.jobs import Jobs
from tests.engine.calls import SWITCHES
from tests.engine.worlds import PHOTOS, Ran, World

STEPS = """
    photos: {use: toy.read, with: {path: photos, shuffled: SHUFFLED}}
    more: {use: toy.read, with: {path: more, bias: 3, shuffled: SHUFFLED}}
    tiles: {use: toy.frames, from: [photos, more], with: {size: 2}}
    clean: {use: toy.keep, from: tiles, with: {least: 2}}
    unique: {use: toy.unique, from: clean, with: {most: 20}}
    ranked: {use: toy.add, from: unique, with: {by: index}}
    hr: {use: toy.add, from: ranked, with: {by: draw, reject_over: 200}}
    lr: {use: toy.add, from: hr, matrix: {amount: [1, 2]}, with: {amount: "${matrix.amount}", by: key}}
    out: {use: toy.pair, from: {a: hr, b: lr}, with: {path: out}}
    flat: {use: toy.write, from: unique, with: {path: flat}}
"""


def steps(shuffled: int = 0) -> str:
    return STEPS.replace("SHUFFLED", str(shuffled))


@pytest.fixture
def many(world: World) -> World:
    return filled(world)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """What one worker makes of it inline, in the order of names, in a folder of its own."""
    world = World(tmp_path_factory.mktemp("reference") / "world")
    world.files(**PHOTOS)
    ran = filled(world).run()
    assert ran.result.status == "done"
    assert ran.funnel["out"][1] > 10
    return ran


def filled(world: World) -> World:
    for index in range(12):
        world.file(f"photos/{index}.txt", " ".join(str((index * 7 + n * 3) % 50) for n in range(1 + index % 7)))
        world.file(f"more/deep/{index}.txt", f"{index % 3} {index} {index} # note {index}")
    world.file("more/twin.txt", "0 0 0 0 # the same twice")
    world.file("photos/twin.txt", "3 3 3 3")
    world.file("more/partial.txt", "1 2 partial")
    world.file("more/small.txt", "small")
    world.recipe(steps())
    return world


@pytest.mark.slow
@pytest.mark.parametrize(
    ("executor", "workers", "shuffled"),
    [("inline", 1, 1), ("threads", 1, 0), ("threads", 2, 1), ("threads", 8, 0), ("threads", 8, 2)],
)
def test_executors_workers_and_listing_order_change_nothing(
    many: World, reference: Ran, executor: str, workers: int, shuffled: int
) -> None:
    many.recipe(steps(shuffled))
    ran = many.run(executor=executor, workers=workers)
    ran.assert_same_as(reference)
    for count in ("ran", "measured", "rebuilt", "reused"):
        assert ran.counts(count) == reference.counts(count), count


def test_a_small_budget_of_memory_changes_nothing(many: World) -> None:
    reference = many.run(cache="reference", executor="threads", workers=4)
    many.forget_exports()
    many.run(executor="threads", workers=4, memory="1B").assert_same_as(reference)


def test_settings_of_the_machine_never_enter_a_key(many: World) -> None:
    many.settle()
    first = many.run()
    many.recipe(
        steps(shuffled=5).replace("clean: {", "clean: {resources: {cpus: 2, memory_bytes: 1000}, note: hello, "),
        executor="threads",
        workers=3,
        description="says nothing",
    )
    again = many.run(executor=None)
    again.assert_nothing_done()
    again.assert_same_as(first)
    assert again.whole == set(first.result.steps)


def test_a_step_kept_or_not_has_the_same_keys(many: World) -> None:
    many.settle()
    first = many.run()
    many.recipe(steps().replace("hr: {", "hr: {cache: keep, ").replace("photos: {", "photos: {cache: keep, "))
    again = many.run()
    again.assert_nothing_done()
    again.assert_same_as(first)


def test_the_recipes_name_is_no_key(many: World) -> None:
    many.settle()
    first = many.run()
    (many.root / "toy.lock").unlink()
    many.recipe(steps(), name="another")
    again = many.run()
    again.assert_nothing_done()
    again.assert_same_as(first)


def test_the_seed_reaches_only_steps_that_draw(many: World) -> None:
    many.run()
    many.recipe(steps(), seed=2)
    reseeded = many.run()
    # All `toy.add` steps declare draws; no source, cut, measure or decide does.
    assert set(reseeded.counts("ran")) == {"ranked", "hr", "lr[amount=1]", "lr[amount=2]", "out"}
    assert set(reseeded.counts("measured")) == {"out"}
    reseeded.assert_same_as(many.run_clean())


# --- partial runs ---------------------------------------------------------------------------------


def test_a_sample_of_the_sources_goes_beside_the_export_and_leaves_no_lock(many: World) -> None:
    ran = many.run(sample=2)
    assert ran.result.steps["photos"].entered == 2
    assert sorted(ran.trees) == ["flat.sample-2", "out.sample-2"]
    assert not (many.root / "toy.lock").exists()
    assert [export.path for export in ran.result.exports] == ["out.sample-2", "flat.sample-2"]


def test_a_partial_run_leaves_the_published_export_and_the_lock_as_they_are(many: World) -> None:
    full = many.run()
    lock = (many.root / "toy.lock").read_bytes()
    many.recipe(steps().replace("least: 2", "least: 7"))
    for options in ({"sample": 3}, {"until": "flat"}, {"until": "clean"}, {"until": "flat", "sample": 1}):
        ran = many.run(**options)
        assert ran.result.status == "done"
        assert {name: ran.trees[name] for name in full.trees} == full.trees
        assert (many.root / "toy.lock").read_bytes() == lock
    assert many.exports() == ["flat", "flat.sample-1", "flat.sample-3", "flat.until-flat", "out", "out.sample-3"]


def test_until_runs_what_the_step_stands_on_alone(many: World) -> None:
    ran = many.run(until="clean")
    assert list(ran.result.steps) == ["photos", "more", "tiles", "clean"]
    assert ran.trees == {}
    whole = many.run()
    assert set(whole.counts("ran")) == {"unique", "ranked", "hr", "lr[amount=1]", "lr[amount=2]", "out", "flat"}
    whole.assert_same_as(many.run_clean())


def test_until_names_what_there_is(many: World) -> None:
    with pytest.raises(CommandError) as raised:
        many.run(until="cleen")
    assert str(raised.value) == "--until: the recipe has no step 'cleen'\n  hint: --until clean"


@pytest.mark.slow
def test_a_sample_first_and_the_whole_after_it_is_a_clean_run(many: World) -> None:
    many.run(sample=4)
    many.forget_exports()
    many.run().assert_same_as(many.run_clean())


# --- the lock -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_frozen_passes_where_nothing_differs(many: World) -> None:
    full = many.run()
    for _ in range(2):
        assert many.run(frozen=True).result.status == "done"
        many.forget_exports()
    again = many.run(frozen=True, cache="fresh")
    again.assert_same_as(full)


def test_frozen_without_a_lock_is_refused(many: World) -> None:
    with pytest.raises(CommandError) as raised:
        many.run(frozen=True)
    path = many.root / "toy.lock"
    assert str(raised.value) == f"--frozen: there is no lock {path}\n  hint: forge-run {many.recipe_path}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (
            lambda w: w.recipe(steps().replace("least: 2", "least: 4")),
            "step 'clean': config changed: param 'least' 2 -> 4",
        ),
        (lambda w: w.file("photos/new.txt", "9 9"), "source 'photos': 17 files, locked 16"),
        (lambda w: w.file("photos/3.txt", "9 9 8"), "source 'photos': names or contents of its 16 files changed"),
        (lambda w: w.file("more/small.txt", "smalls"), "source 'more': names or contents of its 15 files changed"),
        (lambda w: w.bias(1), "code of toy.add changed"),
    ],
)
def test_frozen_names_what_differs_and_publishes_nothing(many: World, edit: object, told: str) -> None:
    full = many.run()
    lock = (many.root / "toy.lock").read_bytes()
    edit(many)  # type: ignore[operator]
    with pytest.raises(FrozenDiffers) as raised:
        many.run(frozen=True)
    assert told in raised.value.message
    assert {name: many.tree(name) for name in many.exports()} == full.trees
    assert (many.root / "toy.lock").read_bytes() == lock


def test_the_lock_is_the_same_on_another_machine(many: World, tmp_path: Path) -> None:
    many.run()
    other = World(tmp_path / "elsewhere" / "deeper")
    for path in (many.root / "photos", many.root / "more"):
        (other.root / path.name).symlink_to(path)
    other.recipe(steps())
    other.run(executor="threads", workers=3)
    assert (other.root / "toy.lock").read_bytes() == (many.root / "toy.lock").read_bytes()
    assert str(many.root) not in (many.root / "toy.lock").read_text()


# --- actions that are not what they were ----------------------------------------------------------

RANDOM = """
    photos: {use: toy.read, with: {path: photos}}
    random: {use: toy.random, from: photos, CACHE}
    add: {use: toy.add, from: random}
    out: {use: toy.write, from: add, with: {path: out}}
"""


def test_verify_names_an_operator_that_is_not_deterministic(world: World) -> None:
    world.recipe(RANDOM.replace(", CACHE", ""))
    world.run()
    assert world.run(verify=100).notes[-1] == "verified 9 actions: each gave the recorded result again"
    SWITCHES["random"] = 1
    with pytest.raises(NondeterministicOperator, match=r"operator 'toy\.random' is not deterministic"):
        world.run(verify=100)


def test_verify_looks_at_so_many_actions(world: World) -> None:
    world.recipe(RANDOM.replace(", CACHE", ""))
    world.run()
    assert world.run(verify=2).notes[-1] == "verified 2 actions: each gave the recorded result again"


@pytest.mark.parametrize("kept", ["photos", "random", "add"])
def test_verify_reaches_what_hangs_below_a_kept_step(world: World, kept: str) -> None:
    world.recipe(RANDOM.replace(", CACHE", "").replace(f"{kept}: {{", f"{kept}: {{cache: keep, "))
    world.run()
    assert world.run(verify=100).notes[-1] == "verified 9 actions: each gave the recorded result again"


def test_verify_changes_neither_export_nor_cache(world: World) -> None:
    world.recipe(RANDOM.replace(", CACHE", ""))
    before = world.run()
    world.settle()
    world.run(verify=3).assert_same_as(before)
    world.run().assert_nothing_done()


def test_bytes_made_again_by_an_operator_that_is_not_deterministic_name_it(world: World) -> None:
    world.recipe(RANDOM.replace(", CACHE", ""))
    world.run()
    for path in world.payloads():
        path.unlink()
    world.forget_exports()
    SWITCHES["random"] = 1
    with pytest.raises(NondeterministicOperator, match=r"operator 'toy\.random' is not deterministic"):
        world.run()


def test_a_step_that_is_never_cached_runs_every_time(world: World) -> None:
    world.recipe(RANDOM.replace("CACHE", "cache: off"))
    first = world.run()
    again = world.run()
    assert again.counts("ran") == {"random": 3}
    again.assert_same_as(first)
    SWITCHES["random"] = 1
    changed = world.run()
    assert changed.counts("ran") == {"random": 3, "add": 3, "out": 1}
    assert changed.trees != first.trees
    SWITCHES.clear()
    world.run().assert_same_as(first)


def test_a_select_that_is_never_cached_measures_every_time(world: World) -> None:
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        keep: {use: toy.keep, from: photos, cache: off}
        out: {use: toy.write, from: keep, with: {path: out}}
    """)
    first = world.run()
    again = world.run()
    assert again.counts("ran") == {"keep": 1}
    assert again.counts("measured") == first.counts("measured")
    again.assert_same_as(first)


# --- interruption ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_an_interrupted_run_keeps_what_it_did_and_goes_on(many: World, executor: str) -> None:
    seen: list[str] = []

    def interrupt(event: object) -> None:
        if isinstance(event, StepFinished) and event.step == "tiles":
            os.kill(os.getpid(), signal.SIGINT)
            seen.append(event.step)

    result = api.run(many.recipe_path, many.options(executor=executor, workers=2), interrupt)
    assert result.status == "interrupted"
    assert seen == ["tiles"]
    assert many.exports() == []
    assert not (many.root / "toy.lock").exists()
    resumed = many.run()
    assert not {"photos", "more", "tiles"} & set(resumed.counts("ran"))
    resumed.assert_same_as(many.run_clean())


@pytest.mark.slow
def test_runs_interrupted_everywhere_end_where_a_clean_one_does(many: World) -> None:
    clean = many.run_clean()
    for nth in range(1, 12):
        passed = 0

        def interrupt(event: object, nth: int = nth) -> None:
            nonlocal passed
            moves = isinstance(event, StepFinished | StepAdvanced)
            passed += moves
            if moves and passed == nth:
                os.kill(os.getpid(), signal.SIGINT)

        api.run(many.recipe_path, many.options(executor="threads", workers=2), interrupt)
    many.run().assert_same_as(clean)


# --- many samples ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_thousands_of_samples_over_many_commits_and_pages(world: World) -> None:
    for index in range(497):
        world.file(f"photos/{index:04}.txt", f"{index % 251} {index % 7} {index % 13} {index // 251}")
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        parts: {use: toy.frames, from: photos}
        bright: {use: toy.keep, from: parts, with: {least: 3}}
        unique: {use: toy.unique, from: bright, with: {most: 100000}}
        ranked: {use: toy.add, from: unique, with: {by: index}}
        other: {use: toy.keep, from: photos, with: {least: 20}}
        both: {use: toy.unique, from: [other, ranked], with: {most: 100000}}
        more: {use: toy.add, from: both}
        out: {use: toy.pair, from: {a: both, b: more}, with: {path: out}}
    """)
    world.settle()
    threads = world.run(executor="threads", workers=4)
    assert threads.result.steps["parts"].out == 1000
    world.run().assert_nothing_done()
    world.forget_exports()
    inline = world.run(cache="other")
    inline.assert_same_as(threads)
    for count in ("ran", "measured", "reused"):
        assert inline.counts(count) == threads.counts(count), count


@pytest.mark.parametrize("same", [False, True])
def test_only_equal_contents_wait_for_each_other(world: World, monkeypatch: pytest.MonkeyPatch, same: bool) -> None:
    waited = 0
    wait_for_like = Jobs.wait_for_like

    def counted(self: Jobs, *arguments: object) -> bool:
        nonlocal waited
        waits = wait_for_like(self, *arguments)  # type: ignore[arg-type]
        waited += waits
        return waits

    monkeypatch.setattr(Jobs, "wait_for_like", counted)
    for index in range(40):
        world.file(f"photos/{index}.txt", "3 3 3" if same else f"{index} 3 3")
    # All are of one width: that a measure of the header is the same must not make them go one by one.
    world.recipe("""
        photos: {use: toy.read, cache: keep, with: {path: photos}}
        keep: {use: toy.keep, from: photos}
        out: {use: toy.write, from: keep, with: {path: out}}
    """)
    world.run(executor="threads", workers=2)
    assert waited >= 39 if same else waited == 0
