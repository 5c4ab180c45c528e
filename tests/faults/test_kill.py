"""A run that is killed at any moment: the next one ends right, and does only what had not been done."""

from __future__ import annotations

import random
import signal

import pytest

from forge_pipeline.events import RunResult
from tests.faults.conftest import MakeWorld, Undisturbed
from tests.faults.forked import run_forked
from tests.faults.worlds import PAIRS, World, draw_photo, save_photo

RACES = 12
MOMENTS = 20
MOMENTS_OF_A_CHANGE = 8
# Commits of the index fall together where they meet, so that a run may have a few moments less than were counted: one
# that was to be killed at the last of them ends before.
KILLED_LEAST = 0.8
# The index commits every few rows, so that a kill finds some actions recorded and some not.
ROWS = 7


@pytest.mark.slow
def test_a_run_killed_at_any_moment_is_ended_right_by_the_next(
    make_world: MakeWorld, undisturbed_pairs: Undisturbed
) -> None:
    moments = _moments(make_world("counted", PAIRS))
    chosen = _choose(moments, MOMENTS)
    reused = killed = 0
    for number in chosen:
        where = f"killed at moment {number}: {moments[number - 1]}"
        world = make_world(f"killed-{number}", PAIRS)
        killed += _kill(world, number, threads="incoming" in where)
        done_before = world.actions()
        assert world.torn() == [], where
        result = world.run()
        assert result.status == "done", where
        assert world.outcome() == undisturbed_pairs.outcome, where
        assert world.sources() == undisturbed_pairs.sources, where
        assert world.left_behind() == [], where
        # What was committed before is known and not run again: the rest is all that this run did.
        assert world.actions() == undisturbed_pairs.actions, where
        needed = len(undisturbed_pairs.actions - done_before) + _rebuilt(result)
        # Two workers may take the same cheap measure at the same moment; whoever is second counts as reused.
        assert needed <= world.operator_calls <= needed + RACES, where
        reused += len(done_before)
    assert reused > 5 * MOMENTS
    assert killed >= KILLED_LEAST * MOMENTS


@pytest.mark.slow
def test_a_killed_change_of_an_export_is_ended_right_by_the_next(make_world: MakeWorld) -> None:
    peaceful = make_world("peaceful", PAIRS)
    peaceful.run()
    _change(peaceful)
    assert peaceful.run().status == "done"
    counted = make_world("counted", PAIRS)
    counted.run()
    _change(counted)
    moments = _moments(counted)
    killed = 0
    for number in _choose(moments, MOMENTS_OF_A_CHANGE, seed=3):
        where = f"killed at moment {number}: {moments[number - 1]}"
        world = make_world(f"changed-{number}", PAIRS)
        world.run()
        _change(world)
        killed += _kill(world, number)
        assert world.torn() == [], where
        assert world.run().status == "done", where
        assert world.outcome() == peaceful.outcome(), where
        assert world.left_behind() == [], where
    assert killed >= KILLED_LEAST * MOMENTS_OF_A_CHANGE


def _change(world: World) -> None:
    """Add a photograph, remove one, replace one: an export then gains, loses and keeps files."""
    save_photo(draw_photo(40), world.photos / "photo40.png")
    (world.photos / "photo0.png").unlink()
    save_photo(draw_photo(41), world.photos / "photo3.png")


def _moments(world: World) -> list[str]:
    """List the moments of a run in peace: what was about to be changed, in order."""
    told = world.root / "moments"
    assert world.cli("--executor", "inline", orders={"count": str(told), "rows": ROWS}).returncode == 0
    return told.read_text().splitlines()


def _choose(moments: list[str], count: int, seed: int = 20261120) -> list[int]:
    """Choose moments by seed, a share in each of index, store and publication, so that none goes unvisited."""
    parts: dict[str, list[int]] = {"index": [], "store": [], "publication": []}
    for number, told in enumerate(moments, start=1):
        part = "index" if told.startswith("commit") else "store" if "/cache/" in told else "publication"
        parts[part].append(number)
    generator = random.Random(seed)
    chosen: set[int] = set()
    for numbers in parts.values():
        chosen.update(generator.sample(numbers, min(count // 4, len(numbers))))
    rest = sorted(set(range(1, len(moments) + 1)) - chosen)
    return sorted({*chosen, *generator.sample(rest, count - len(chosen))})


def _kill(world: World, moment: int, threads: bool = False) -> bool:
    """Run and kill; tell whether it was killed, or had ended before: what follows must hold for either."""
    how = ("--executor", "threads", "--workers", "2") if threads else ("--executor", "inline")
    killed = run_forked(world.root, world.recipe.name, how, {"kill": moment, "rows": ROWS})
    assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr
    return killed.returncode != 0


def _rebuilt(result: RunResult) -> int:
    return sum(counts.rebuilt for counts in result.steps.values())
