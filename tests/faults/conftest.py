"""Worlds to break, and what an undisturbed run of them gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from forge_pipeline.events import RunResult
from tests.faults.worlds import PAIRS, Outcome, World

MakeWorld = Callable[..., World]


@dataclass(frozen=True)
class Undisturbed:
    """What a run gives that nothing happens to."""

    result: RunResult
    outcome: Outcome
    actions: frozenset[str]
    sources: dict[str, str]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One fresh world."""
    return World(tmp_path / "world")


@pytest.fixture
def make_world(tmp_path: Path) -> MakeWorld:
    """Make worlds by name."""
    return lambda name, *rest: World(tmp_path / name, *rest)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Run a world in peace."""
    return run_in_peace(World(tmp_path_factory.mktemp("undisturbed") / "world"))


@pytest.fixture(scope="session")
def undisturbed_pairs(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Run a world of the main job's shape in peace."""
    return run_in_peace(World(tmp_path_factory.mktemp("undisturbed") / "world", PAIRS))


def run_in_peace(world: World) -> Undisturbed:
    """Run a world to which nothing happens."""
    sources = world.sources()
    result = world.run()
    assert result.status == "done", result.error + str(result.failures)
    return Undisturbed(result, world.outcome(), frozenset(world.actions()), sources)
