"""Which executor a run gets, with how many workers, and why: said by the plan, so that nobody has to guess."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from forge_pipeline.compiled import Node
from forge_pipeline.errors import CommandError
from forge_pipeline.machine import Machine

NAMES = ("auto", "inline", "threads", "processes", "ray")

# A process with numpy, OpenCV and numba loaded, before it has an image: measured at 180 to 230 MB.
_PROCESS_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Choice:
    """Where tasks run, how many at once, and the reason in words."""

    name: str
    workers: int
    reason: str


def choose(nodes: Iterable[Node], machine: Machine, asked: str | None = None, workers: int | None = None) -> Choice:
    """Choose by what operators declare, cores and memory; what a user asks for is taken as it is.

    Args:
        nodes: the steps of the recipe.
        asked: the executor that the command, the recipe or the machine's profile names.
        workers: how many tasks at once, where that is said.

    Raises:
        CommandError: there is no executor of that name.
    """
    if asked and asked not in NAMES:
        raise _unknown(asked)
    name, reason = (asked, "asked for") if asked and asked != "auto" else _by_work(nodes, machine)
    if name == "inline":
        return Choice(name, 1, reason)
    if name == "ray" and workers is None:
        # Which cluster that is, and how large, is known when its first task comes.
        return Choice(name, machine.cores, f"{reason}; a worker for each core of the cluster, here {machine.cores}")
    if workers is not None:
        return Choice(name, workers, f"{reason}; {_count(workers)} asked for")
    if name == "processes":
        fit = max(1, machine.memory_available_bytes // _PROCESS_BYTES)
        if fit < machine.cores:
            free = machine.memory_available_bytes >> 20
            return Choice(name, fit, f"{reason}; {free} MiB of free memory hold {_count(fit)} of 256 MiB")
    return Choice(name, machine.cores, f"{reason}; {_count(machine.cores)} for {_cores(machine.cores)}")


def _unknown(asked: str) -> CommandError:
    from forge_pipeline.recipe.suggest import suggest

    found = f"executor: found '{asked}', expected {', '.join(NAMES[:-1])} or {NAMES[-1]}"
    return CommandError(found, f"--executor {suggest(asked, NAMES) or NAMES[0]}")


def _by_work(nodes: Iterable[Node], machine: Machine) -> tuple[str, str]:
    every = list(nodes)
    gpu = [node.id for node in every if node.work == "gpu"]
    if gpu:
        return "threads", f"step '{gpu[0]}' holds a model, which threads share"
    holding = [node.id for node in every if node.work == "cpu_gil"]
    if holding and machine.cores == 1:
        return "threads", f"one core: a process of its own would gain step '{holding[0]}' nothing"
    if holding:
        return "processes", f"step '{holding[0]}' holds Python's global lock, so that threads would take turns"
    return "threads", "every step releases Python's global lock, and threads share images"


def _count(workers: int) -> str:
    return f"{workers} worker{'s' if workers > 1 else ''}"


def _cores(cores: int) -> str:
    return f"{cores} core{'s' if cores > 1 else ''}"
