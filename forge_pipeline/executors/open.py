"""An executor by its name; each is imported only where it is used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from forge_pipeline.bench import Bench
from forge_pipeline.cache.store import StoreSpec
from forge_pipeline.compiled import Node
from forge_pipeline.errors import EnvironmentFault
from forge_pipeline.executors.base import Executor
from forge_pipeline.executors.choose import Choice
from forge_pipeline.executors.inline import InlineExecutor

if TYPE_CHECKING:
    from forge_pipeline.executors.process import WorkerProcess

# A recipe may turn out to have little to do; more are started when there is work for them.
_BEGUN_MAX = 4


def open_executor(
    choice: Choice,
    bench: Bench,
    index: str | None,
    nodes: Iterable[Node] = (),
    ray_address: str = "",
    asked: int | None = None,
    begun: Sequence[WorkerProcess] = (),
) -> Executor:
    """Make an executor ready; it starts its workers when the first task comes.

    Args:
        index: path of the run's index, for workers on this machine to read; None where they must not: what the bench
            remembers is not all that stands in it.
        nodes: the steps of the recipe.
        ray_address: `auto`, `local`, HOST or HOST:PORT.
        asked: how many workers, where somebody says so.
        begun: what `begin_workers` has returned.

    Raises:
        CommandError: Ray's address is none.
    """
    if choice.name == "inline":
        return InlineExecutor(bench)
    if choice.name == "threads":
        from forge_pipeline.executors.pool import ThreadsExecutor

        return ThreadsExecutor(bench, choice.workers)
    if choice.name == "ray":
        from forge_pipeline.executors.ray import RayExecutor

        return RayExecutor(bench, index, nodes, ray_address or "auto", choice.workers, asked)
    from forge_pipeline.executors.pool import ProcessesExecutor
    from forge_pipeline.executors.process import WorkerSpec

    doings = [doing for node in nodes for doing in node.doings]
    modules = {doing.operator.module for doing in doings if not doing.operator.file}
    for process in begun:
        process.prepare(modules)
    return ProcessesExecutor(WorkerSpec(bench.store.spec, index), choice.workers, begun)


def begin_workers(spec: StoreSpec | None, index: str | None, count: int) -> list[WorkerProcess]:
    """Start worker processes before it is known what they will do: they start Python while the recipe is compiled.

    Args:
        spec: of the store.
        index: as `open_executor` takes it.

    Returns:
        Those that could be started. Whoever asked for them closes them, used or not.
    """
    from forge_pipeline.executors.process import WorkerProcess, WorkerSpec

    begun = []
    for _ in range(min(count, _BEGUN_MAX)):
        process = WorkerProcess(WorkerSpec(spec, index))
        try:
            process.begin()
        except (EnvironmentFault, OSError, RuntimeError):  # if none can be started, the first chunk is told so
            process.close()
            break
        begun.append(process)
    return begun
