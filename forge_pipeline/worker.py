"""Run a chunk of tasks, wherever it is called from: every executor calls `run_chunk`."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forge_pipeline.beacon import Beacon
from forge_pipeline.bench import Bench
from forge_pipeline.cache.store import PayloadMissing
from forge_pipeline.compiled import Doing
from forge_pipeline.errors import BrokenPromise, EnvironmentFault
from forge_pipeline.guard import json_of
from forge_pipeline.inspection import inspect
from forge_pipeline.reuse import Sent
from forge_pipeline.shapes import Keep, Select
from forge_pipeline.task import Chunk, ChunkOutcome, InspectionTask, Outcome, Result, Task
from forge_pipeline.walk import Later, Walk

_ATTEMPTS = 1000  # as many damaged payloads as one task may meet and make again


def run_chunk(chunk: Chunk, bench: Bench, beacon: Beacon) -> ChunkOutcome:
    """Run tasks one after the other; after a fault of the machine no other is begun."""
    outcomes: list[Outcome] = []
    for task in chunk.tasks:
        beacon.begin(task.number)
        try:
            outcomes.append(run_task(task, bench, beacon))
        finally:
            beacon.end()
        if outcomes[-1].fault is not None:
            break
    thread = threading.current_thread()
    name = worker_name(os.getpid(), "" if thread is threading.main_thread() else thread.name)
    return ChunkOutcome(chunk.number, tuple(outcomes), worker=name)


def worker_name(process: int, thread: str = "") -> str:
    """Name a worker of this machine: HOST:PROCESS, and of several threads HOST:PROCESS:THREAD."""
    return ":".join(part for part in (platform.node(), str(process), thread) if part)


def run_task(task: Task | InspectionTask, bench: Bench, beacon: Beacon) -> Outcome:
    """Run one task of either sort.

    Never raises for what a sample or an operator does; a fault of the machine or a broken promise comes back as
    `Outcome.fault`, a missing payload of the task's own sample as `Outcome.missing`.
    """
    if task.known is not None:
        bench = bench.seeing(Sent(task.known, bench.memory))
    if task.doubts:
        bench = bench.doubting()
    if isinstance(task, InspectionTask):
        with beacon.within(task.node.id, task.node.timeout_s):
            return _inspect(task, bench)
    return _walk(task, bench, beacon)


def _walk(task: Task, bench: Bench, beacon: Beacon) -> Outcome:
    """Do everything that a task's branch says to its sample, reusing what is known."""
    started = time.perf_counter()
    walk = Walk(bench, task.seed, task.ignore_known, beacon)
    notes: list[str] = []
    for _ in range(_ATTEMPTS):
        try:
            visit = walk.visit(task.sample, task.branch, Later(bench, task.sample))
            seconds = time.perf_counter() - started
            halved, tried = tuple(walk.halved), tuple(walk.tried)
            return Outcome(task.number, visit, seconds=seconds, notes=tuple(notes), halved=halved, tried=tried)
        except PayloadMissing as error:
            notes.append(error.message)
            if error.digest == task.sample.digest:
                return Outcome(task.number, missing=error.digest, notes=tuple(notes))
        except (EnvironmentFault, BrokenPromise, MemoryError) as fault:
            halved, tried = tuple(walk.halved), tuple(walk.tried)
            return Outcome(task.number, fault=fault, notes=tuple(notes), halved=halved, tried=tried)
    raise AssertionError("a task met more missing payloads than it has")


@dataclass(frozen=True, slots=True)
class Columns:
    """A dataset as columns, in key order; implements `step.Table`."""

    keys: tuple[str, ...]
    digests: tuple[str, ...]
    columns: Mapping[str, tuple[Any, ...]]

    def column(self, name: str) -> tuple[Any, ...]:
        """Return a measured metric by its label, or a declared field."""
        return self.columns[name]


def run_decide(doing: Doing, tables: Mapping[str, Columns], bench: Bench) -> Result:
    """Let a select decide: one verdict for every row of its port `in`."""
    operator = bench.operator(doing)
    assert isinstance(operator, Select)
    verdicts = list(operator.decide(tables))
    expected = len(tables["in"].keys)
    if len(verdicts) != expected:
        raise BrokenPromise(f"operator '{operator.name}' gave {len(verdicts)} verdicts for {expected} samples")
    rows = [[v.reason if not isinstance(v, Keep) else "", dict(v.fields)] for v in verdicts]
    return Result("value", value=json_of(operator, rows))


def _inspect(task: InspectionTask, bench: Bench) -> Outcome:
    def values() -> dict[str, Any]:
        return {port: bench.value(sample) for port, sample in task.samples.items()}

    started = time.perf_counter()
    try:
        done, put = inspect(task.node, task.samples, values, bench)
    except PayloadMissing as error:
        return Outcome(task.number, missing=error.digest, notes=(error.message,))
    except (EnvironmentFault, BrokenPromise, MemoryError) as fault:
        return Outcome(task.number, fault=fault)
    return Outcome(task.number, inspected=done, payloads=put, seconds=time.perf_counter() - started)
