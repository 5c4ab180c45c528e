"""Properties over random recipes and random edits: incremental equals clean, and a second run runs nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.engine.random_recipes import FILES, Edit, Plan, edits, plans, write_files
from tests.engine.worlds import Ran, World

QUICK = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=30)
Files = dict[tuple[str, str], str]


def assert_incremental_equals_clean(plan: Plan, files: Files, steps: list[tuple[str, Edit]], settle: bool) -> None:
    """Run, edit, run, ...; after each edit compare with a run on an empty cache, and with a second run."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "world")
        write_files(world, files)
        plan.write(world)
        world.run()
        for name, edit in steps:
            edit(world, plan)
            note(f"after: {name}\n{world.recipe_path.read_text()}")
            if settle:
                world.settle()
            ran = world.run()
            assert_same_as_clean(world, ran)
            if ran.result.status == "done":
                assert_second_runs_nothing(world, ran, plan)


def assert_same_as_clean(world: World, ran: Ran) -> None:
    drop_partial(world)
    clean = world.run_clean()
    assert ran.result.status == clean.result.status, (ran.result.error, clean.result.error)
    if clean.result.status == "done":
        assert ran.digests == clean.digests
        assert ran.funnel == clean.funnel
        # A folder of a step that the recipe no longer has, or of a partial run, is left alone.
        assert {name: ran.trees[name] for name in clean.trees} == clean.trees
        assert [(e.step, e.files, e.digest) for e in ran.result.exports] == [
            (e.step, e.files, e.digest) for e in clean.result.exports
        ]
        assert sorted(map(str, ran.result.failures)) == sorted(map(str, clean.result.failures))


def drop_partial(world: World) -> None:
    import shutil

    for name in world.exports():
        if ".sample-" in name or ".until-" in name:
            shutil.rmtree(world.root / name)


def assert_second_runs_nothing(world: World, ran: Ran, plan: Plan) -> None:
    again = world.run()
    assert again.digests == ran.digests
    assert [export.written for export in again.result.exports] == [0] * len(again.result.exports)
    if not plan.uncached:
        again.assert_nothing_done()


@pytest.mark.slow
@QUICK
@given(plans(), FILES, st.lists(edits(), min_size=1, max_size=3), st.booleans())
def test_incremental_equals_clean_and_a_second_run_runs_nothing(
    plan: Plan, files: Files, steps: list[tuple[str, Edit]], settle: bool
) -> None:
    assert_incremental_equals_clean(plan, files, steps, settle)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@LONG
@given(plans(), FILES, st.lists(edits(), min_size=2, max_size=6), st.booleans())
def test_incremental_equals_clean_after_long_stories(
    plan: Plan, files: Files, steps: list[tuple[str, Edit]], settle: bool
) -> None:
    assert_incremental_equals_clean(plan, files, steps, settle)
