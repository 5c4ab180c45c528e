"""One contract for every executor: the same manifest, the same pixels, whatever runs where, in whatever order."""

from __future__ import annotations

import os
import platform
import random
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest

from forge_pipeline.events import Event, TaskFinished
from forge_pipeline.executors import open as executors_open
from forge_pipeline.executors.base import Executor
from forge_pipeline.task import Chunk, ChunkOutcome
from tests.executors.clusters import RAY_MARKS, Nodes, on_ray
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
    pytest.param("ray", 1, marks=RAY_MARKS),
    pytest.param("ray", 3, marks=RAY_MARKS),
]
"""With ray: so many nodes of one core."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Run a world of the main job's shape inline."""
    return run_in_peace(World(tmp_path_factory.mktemp("undisturbed") / "world", PAIRS))


def _where(request: pytest.FixtureRequest, executor: str, workers: int) -> dict[str, Any]:
    """Return the options of a run; a cluster is started when the first test needs one."""
    if executor != "ray":
        return {"executor": executor, "workers": workers}
    nodes: Nodes = request.getfixturevalue("nodes")
    return {"executor": "ray", "ray_address": nodes.be(workers).address}


@pytest.mark.parametrize(("executor", "workers"), EXECUTORS)
def test_every_executor_gives_the_same_bytes(
    request: pytest.FixtureRequest, tmp_path: Path, undisturbed: Undisturbed, executor: str, workers: int
) -> None:
    world = World(tmp_path / "world", PAIRS)
    sources = world.sources()
    finished: list[TaskFinished] = []

    def note(event: Event) -> None:
        if isinstance(event, TaskFinished):
            finished.append(event)

    result = world.run(note, **_where(request, executor, workers))
    assert (result.status, result.executor, result.workers) == ("done", executor, workers)
    assert world.outcome() == undisturbed.outcome
    assert frozenset(world.actions()) == undisturbed.actions
    assert world.sources() == sources
    assert sum(event.bytes_out for event in finished) == sum(
        counts.bytes_out for counts in result.steps.values() if not counts.use.startswith("export.")
    )
    within = rf":{os.getpid()}(:forge-worker-\d)?" if executor in ("inline", "threads") else r":\d+"
    assert [
        event.worker for event in finished if not re.fullmatch(re.escape(platform.node()) + within, event.worker)
    ] == []


@pytest.fixture(scope="module")
def done_by_processes(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Run a world by processes, for all tests that have nothing left to do in it."""
    world = World(tmp_path_factory.mktemp("by_processes") / "world", PAIRS)
    assert world.run(executor="processes", workers=2).status == "done"
    return world


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "threads", "processes", "ray"])
def test_what_one_executor_did_no_other_does_again(done_by_processes: World, executor: str) -> None:
    again = done_by_processes.run(executor=executor, workers=2)
    assert (again.status, len(again.steps)) == ("done", 7)
    assert {step: (c.ran, c.measured, c.rebuilt) for step, c in again.steps.items() if c.ran or c.measured} == {}


class _Shuffled:
    """Holds outcomes back and gives them in an order of its own."""

    name: ClassVar[str] = "shuffled"

    def __init__(self, within: Executor, seed: int) -> None:
        self._within = within
        self._random = random.Random(seed)
        self._held: list[ChunkOutcome] = []
        self._out = 0
        self.chunk_s = within.chunk_s
        self.apart = within.apart

    @property
    def slots(self) -> int:
        return self._within.slots

    @property
    def memory_ratio(self) -> float:
        return self._within.memory_ratio

    def largest_bytes(self) -> int:
        return self._within.largest_bytes()

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


SHUFFLED = [
    ("threads", 2),
    ("threads", 3),
    ("processes", 2),
    ("processes", 3),
    pytest.param("ray", 3, marks=RAY_MARKS),
]


@pytest.mark.slow
@pytest.mark.parametrize(("executor", "workers"), SHUFFLED)
def test_the_order_in_which_tasks_end_changes_nothing(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    undisturbed: Undisturbed,
    monkeypatch: pytest.MonkeyPatch,
    executor: str,
    workers: int,
) -> None:
    real = executors_open.open_executor
    monkeypatch.setattr(executors_open, "open_executor", lambda *given: _Shuffled(real(*given), seed=workers))
    world = World(tmp_path / "world", PAIRS)
    assert world.run(**_where(request, executor, workers)).status == "done"
    assert world.outcome() == undisturbed.outcome


@on_ray
def test_a_node_that_is_lost_changes_nothing(
    nodes: Nodes, tmp_path: Path, undisturbed: Undisturbed, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes.be(3)
    world = World(tmp_path / "world", PAIRS)
    lost: list[str] = []

    def lose_one(event: Event) -> None:
        if isinstance(event, TaskFinished) and not lost:
            lost.append(event.step)
            nodes.lose_one()

    assert world.run(lose_one, executor="ray", ray_address=nodes.address).status == "done"
    assert lost == ["photos"]
    assert world.outcome() == undisturbed.outcome
    assert capsys.readouterr().out == ""
