"""A cluster's worker, without a cluster: what it leaves behind, though nobody ever tells it to end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from forge_pipeline.cache.folder import FolderStore
from forge_pipeline.digest import digest_file
from forge_pipeline.errors import EnvironmentFault
from forge_pipeline.executors import process
from forge_pipeline.executors.elsewhere import describe_run
from forge_pipeline.executors.supervisor import Cargo, Order, Supervisor
from forge_pipeline.recipe_graph import compile_recipe
from forge_pipeline.sample import Link, Location, Sample
from forge_pipeline.task import Chunk, ChunkOutcome, Task, source_branch
from tests.engine.worlds import World
from tests.executors.conftest import breaking

HOST = "gpu7"


@pytest.fixture
def supervisor(world: World, tmp_path: Path) -> Iterator[Supervisor]:
    """Stand on a machine that has the store, but neither the recipe's files nor the photos."""
    breaking(world)
    graph, _ = compile_recipe(world.recipe_path, world.options())
    setting = describe_run(graph.nodes, FolderStore(tmp_path / "store"), "")
    made = Supervisor(replace(setting, machine="another"), HOST)
    yield made
    made.close()


def _run(world: World, supervisor: Supervisor) -> ChunkOutcome:
    """Let it do a chunk of the first photo, whose bytes were sent along."""
    graph, _ = compile_recipe(world.recipe_path, world.options())
    path = world.root / "photos/photo00.txt"
    fields = {"source.path": path.name, "source.digest": digest_file(path)}
    location = Location(str(path))
    sample = Sample("photos/photo00.txt", "file", digest_file(path), {}, (Link("photos", fields),), location)
    branch = source_branch(graph, graph["photos"], frozenset({"photos", "more", "broken"}))
    order = Order(Chunk(1, (Task(1, sample, branch, graph.seed),)), {str(path): (0, 1)})
    reply = supervisor.run(order, lambda: Cargo(files={location: path.read_bytes()}))
    assert isinstance(reply, ChunkOutcome)
    return reply


def _left_behind() -> list[str]:
    """Name what this process has in the folders for temporary files."""
    folders = {process._SHARED_MEMORY, Path(tempfile.gettempdir())}
    patterns = (f"forge-ray-{os.getpid()}-*", f"forge-beacon-{os.getpid()}-*")
    return [path.name for folder in folders for pattern in patterns for path in folder.glob(pattern)]


@pytest.mark.slow
def test_between_chunks_nothing_is_left_on_a_disk(world: World, supervisor: Supervisor) -> None:
    assert _left_behind() == []
    for _ in range(2):
        outcome = _run(world, supervisor)
        (one,) = outcome.outcomes
        assert one.fault is None and one.visit is not None
        [(chain, done, _)] = one.visit.chains
        assert (chain.node.id, done.result.kind) == ("photos", "children")
        assert _left_behind() == []


def test_a_disk_that_takes_nothing_is_told_with_its_machine(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    breaking(world)
    graph, _ = compile_recipe(world.recipe_path, world.options())
    setting = describe_run(graph.nodes, FolderStore(tmp_path / "store"), "")
    (one,) = _run(world, Supervisor(replace(setting, machine="another"), HOST)).outcomes
    folder = str(one.fault).split(": ")[2]
    assert folder.startswith(f"{tmp_path}/gone/forge-ray-")
    assert isinstance(one.fault, EnvironmentFault)
    assert str(one.fault) == f"ray: on {HOST}: {folder}: no such file or directory"


@pytest.mark.slow
def test_a_fault_that_a_task_meets_is_told_with_its_machine(
    world: World, supervisor: Supervisor, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "store/payloads")
    (tmp_path / "store/payloads").write_text("where a folder should be")
    (one,) = _run(world, supervisor).outcomes
    assert isinstance(one.fault, EnvironmentFault)
    assert str(one.fault) == f"ray: on {HOST}: {tmp_path}/store/payloads/a1: not a directory"
