"""What a chunk asks of the node that does it: cores, GPUs, memory, and a worker that stays where one keeps a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from forge_pipeline.compiled import Node
from forge_pipeline.task import Branch, Chunk, InspectionTask, Task


class Room(NamedTuple):
    """What a node has, or a worker takes of it."""

    cpus: float = 0.0
    gpus: float = 0.0
    memory_bytes: float = 0.0

    def holds(self, other: Room) -> bool:
        """Tell whether all of another fits."""
        return all(not theirs or mine >= theirs for mine, theirs in zip(self, other, strict=True))

    def less(self, others: Iterable[Room]) -> Room:
        """Return what is left when others are taken of it; less than nothing where that is too much."""
        left = self
        for other in others:
            left = Room(*(mine - theirs for mine, theirs in zip(left, other, strict=True)))
        return left

    def times(self, other: Room) -> int:
        """Return how many of another fit; 1 where the other takes nothing.

        GPUs are not added up of parts: of two GPUs, 0.75 fits twice and 1.5 once.
        """
        fits = [int(mine // theirs) for mine, theirs in zip(self, other, strict=True) if theirs]
        if 0 < other.gpus <= 1:
            fits.append(int(self.gpus) * int(1 / other.gpus))
        return min(fits, default=1)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a chunk asks for: the most that any step of its branch does.

    Attributes:
        cpus: cores; None where no step says.
        gpus: None where a step keeps a model and does not say: a whole one, where there is any.
        memory_bytes: what steps say; 0 where none does.
        stays: its worker is kept, with the model that it holds or the GPU that it was given.
    """

    cpus: float | None = None
    gpus: float | None = 0.0
    memory_bytes: int = 0
    stays: bool = False

    def joined(self, other: Demand) -> Demand:
        """Return what satisfies both."""
        cpus = [cpus for cpus in (self.cpus, other.cpus) if cpus is not None]
        most = max(self.gpus or 0.0, other.gpus or 0.0)
        gpus = None if most <= 1 and None in (self.gpus, other.gpus) else most
        memory_bytes = max(self.memory_bytes, other.memory_bytes)
        return Demand(max(cpus, default=None), gpus, memory_bytes, self.stays or other.stays)

    def room(self, gpus_there: float, memory_bytes: int = 0) -> Room:
        """Say what is set aside for it. Ray takes whole numbers of cores and GPUs above one.

        A chunk has one core unless it says otherwise. A worker that stays has none then: it would hold it while idle,
        and how many chunks run at once is bounded elsewhere.

        Args:
            gpus_there: the most that a node has.
            memory_bytes: what its images are estimated to take, where steps say nothing or less.
        """
        cpus = self.cpus if self.cpus is not None else 0.0 if self.stays else 1.0
        gpus = self.gpus if self.gpus is not None else min(1.0, float(int(gpus_there)))
        return Room(_whole(cpus), _whole(gpus), float(max(self.memory_bytes, memory_bytes)))


def demand_of(steps: Iterable[Node]) -> Demand:
    """Return the most that steps ask for."""
    demand = Demand()
    for node in steps:
        said = node.resources
        cpus, gpus = said.get("cpus"), said.get("gpus")
        model = node.work == "gpu"
        demand = demand.joined(
            Demand(
                cpus=float(cpus) if cpus else None,
                gpus=float(gpus) if gpus is not None else None if model else 0.0,
                memory_bytes=int(said.get("memory_bytes") or 0),
                stays=model or bool(gpus),
            )
        )
    return demand


def steps_of(chunk: Chunk) -> Iterator[str]:
    """Name the steps that a chunk goes through; some more than once."""
    for task in chunk.tasks:
        yield from [task.node.id] if isinstance(task, InspectionTask) else _steps_of_branch(task)


def _steps_of_branch(task: Task) -> Iterator[str]:
    pending = [task.branch]
    while pending:
        branch: Branch = pending.pop()
        yield from (measure.select for measure in branch.measures)
        for chain in branch.chains:
            yield chain.node.id
            pending.append(chain.branch)


def _whole(count: float) -> float:
    return float(math.ceil(count)) if count > 1 else count
