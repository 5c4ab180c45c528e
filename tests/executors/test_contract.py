"""One contract for every executor: the same manifest, the same pixels, whatever runs where, in whatever order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from forge_pipeline.executors import open as executors_open
from forge_pipeline.executors.base import Executor
from forge_pipeline.task import Chunk, ChunkOutcome
from tests.faults.conftest import Undisturbed, run_in_peace
from tests.faults.worlds import PAIRS, World

EXECUTORS = [
    ("inline", 1),
    ("threads", 1),
    ("threads", 2),
    ("threads", 8),
    ("processes", 1),
    ("processes", 2),
    pytest.param("processes", 4, marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Run a world of the main job's shape inline."""
    return run_in_peace(World(tmp_path_factory.mktemp("undisturbed") / "world", PAIRS))


@pytest.mark.parametrize(("executor", "workers"), EXECUTORS)
def test_every_executor_gives_the_same_bytes(
    tmp_path: Path, undisturbed: Undisturbed, executor: str, workers: int
) -> None:
    world = World(tmp_path / "world", PAIRS)
    sources = world.sources()
    assert world.run(executor=executor, workers=workers).status == "done"
    assert world.outcome() == undisturbed.outcome
    assert frozenset(world.actions()) == undisturbed.actions
    assert world.sources() == sources


@pytest.mark.parametrize("executor", ["inline", "threads", "processes"])
def test_what_one_executor_did_no_other_does_again(tmp_path: Path, executor: str) -> None:
    world = World(tmp_path / "world", PAIRS)
    assert world.run(executor="processes", workers=2).status == "done"
    again = world.run(executor=executor, workers=2)
    assert {step: (c.ran, c.measured, c.rebuilt) for step, c in again.steps.items() if c.ran or c.measured} == {}


class _Shuffled:
    """Holds outcomes back and gives them in an order of its own."""

    name: ClassVar[str] = "shuffled"

    def __init__(self, within: Executor, seed: int) -> None:
        self._within = within
        self._random = random.Random(seed)
        self._held: list[ChunkOutcome] = []
        self._out = 0
        self.slots = within.slots
        self.chunk_s = within.chunk_s
        self.apart = within.apart

    def submit(self, chunk: Chunk) -> None:
        self._out += 1
        self._within.submit(chunk)

    def next_outcome(self) -> ChunkOutcome:
        while self._out:
            self._held.append(self._within.next_outcome())
            self._out -= 1
        return self._held.pop(self._random.randrange(len(self._held)))

    def withdraw(self) -> set[int]:
        withdrawn = self._within.withdraw()
        self._out -= len(withdrawn)
        return withdrawn

    def close(self, wait: bool = True) -> None:
        self._within.close(wait)


@pytest.fixture(params=range(4))
def shuffled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Let every executor give outcomes in another order."""
    from forge_pipeline import api

    real = executors_open.open_executor

    def shuffling(*given: Any, **named: Any) -> Any:
        return _Shuffled(real(*given, **named), request.param)

    monkeypatch.setattr(executors_open, "open_executor", shuffling)
    assert api is not None
    yield request.param


def test_the_order_in_which_tasks_end_changes_nothing(tmp_path: Path, undisturbed: Undisturbed, shuffled: int) -> None:
    world = World(tmp_path / "world", PAIRS)
    executor = ("threads", "processes")[shuffled % 2]
    assert world.run(executor=executor, workers=2).status == "done"
    assert world.outcome() == undisturbed.outcome
