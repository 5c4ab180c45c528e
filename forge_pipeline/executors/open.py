"""An executor by its name; each is imported only where it is used."""

from __future__ import annotations

from collections.abc import Iterable

from forge_pipeline.bench import Bench
from forge_pipeline.compiled import Node
from forge_pipeline.executors.base import Executor
from forge_pipeline.executors.choose import Choice
from forge_pipeline.executors.inline import InlineExecutor


def open_executor(
    choice: Choice,
    bench: Bench,
    index: str | None,
    nodes: Iterable[Node] = (),
    ray_address: str = "",
    asked: int | None = None,
) -> Executor:
    """Make an executor ready; it starts its workers when the first task comes.

    Args:
        index: path of the run's index, for workers on this machine to read; None where they must not: what the bench
            remembers is not all that stands in it.
        nodes: the steps of the recipe.
        ray_address: `auto`, `local`, HOST or HOST:PORT.
        asked: how many workers, where somebody says so.

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

    return ProcessesExecutor(WorkerSpec(bench.store.spec, index), choice.workers)
