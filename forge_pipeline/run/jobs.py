"""Tasks that are out: in which chunks, how big, who waits for which, and what is done when they come back."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from forge_pipeline.bench import Bench
from forge_pipeline.compiled import Graph, Node
from forge_pipeline.errors import RunFailed
from forge_pipeline.events import Bisected, Event, Note, Retried, TaskFinished, TaskSubmitted, WorkerLost
from forge_pipeline.executors.base import Executor
from forge_pipeline.reuse import Watched
from forge_pipeline.run.budget import Budget
from forge_pipeline.run.pace import Pace
from forge_pipeline.sample import Sample
from forge_pipeline.task import Branch, Chunk, ChunkOutcome, InspectionTask, Known, Outcome, Task, failed_outcome
from forge_pipeline.walk import Walk

# Enough for no worker to wait while the scheduler records; a chunk that waits in the queue holds no pixels.
_CHUNKS_PER_SLOT = 4
# A sample whose worker ended so often when it had that sample alone breaks. Killed from outside (for memory, by an
# operator of the machine), it may have been another's fault: then it gets more chances.
_ALONE_MAX = 3
_ALONE_KILLED_MAX = 6


@dataclass
class _Job:
    task: Task | InspectionTask
    keys: Sequence[str]
    pixels_bytes: int
    then: Callable[[Outcome], None]
    losses: int = 0
    expiries: int = 0

    @property
    def step(self) -> str:
        return self.task.node.id if isinstance(self.task, InspectionTask) else self.task.branch.step


@dataclass
class _ChunkOut:
    jobs: list[_Job]
    losses: int = 0
    """How often it, or what it is a part of, was lost with its worker."""

    @property
    def pixels_bytes(self) -> int:
        """What it needs at its peak: its tasks are done one after the other."""
        return max(job.pixels_bytes for job in self.jobs)

    @property
    def step(self) -> str:
        return self.jobs[0].step


@dataclass
class _Forming:
    """The chunk that is being filled."""

    jobs: list[_Job] = field(default_factory=list)
    seconds: float = 0.0


class Jobs:
    """The tasks of one run that an executor has."""

    def __init__(
        self,
        executor: Executor,
        bench: Bench,
        graph: Graph,
        memory_bytes: int,
        announce: Callable[[Event], None],
    ) -> None:
        self.interrupted = False
        """Somebody asked the run to end: what is out is waited for, nothing new begins."""
        self.abandoned = False
        """Somebody asked a second time: nothing is waited for."""
        self.budget = Budget(memory_bytes, executor.slots)
        self._ending = False
        self._executor = executor
        self._bench = bench
        self._seed = graph.seed
        self._graph = graph
        self._announce = announce
        self._pace = Pace()
        self._out: dict[int, _Job] = {}
        self._forming = _Forming()
        self._chunks: dict[int, _ChunkOut] = {}
        self._serial = 0
        self._chunk_serial = 0
        self._in_flight: dict[str, list[Callable[[], None]]] = {}

    def __len__(self) -> int:
        return len(self._out)

    @property
    def room(self) -> bool:
        """Whether another task may be submitted: one always may, more while their pixels fit."""
        if not self._out:
            return True
        if len(self._chunks) >= _CHUNKS_PER_SLOT * self._executor.slots:
            return False
        sizes = [chunk.pixels_bytes for chunk in self._chunks.values()]
        if self._forming.jobs:
            sizes.append(max(job.pixels_bytes for job in self._forming.jobs))
        return self.budget.admits(sizes)

    def wait_for_like(self, keys: Sequence[str], then: Callable[[], None]) -> bool:
        """Wait for a task that is out and does one of these actions; returns False where there is none.

        Equal actions in flight are done once: whoever waits finds the result known.
        """
        busy = next((key for key in keys if key in self._in_flight), None)
        if busy is not None:
            self._in_flight[busy].append(then)
        return busy is not None

    def submit(
        self,
        sample: Sample,
        branch: Branch,
        then: Callable[[Outcome], None],
        keys: Sequence[str] = (),
        pixels_bytes: int = 0,
        ignore_known: bool = False,
    ) -> None:
        """Let a worker do all of a branch with a sample."""
        if self._ending:
            return
        self._serial += 1
        known = self._known(sample, branch) if self._executor.apart else None
        task = Task(self._serial, sample, branch, self._seed, ignore_known, known)
        self._begin(_Job(task, keys, pixels_bytes, then))

    def submit_inspection(self, node: Node, samples: dict[str, Sample], then: Callable[[Outcome], None]) -> None:
        """Let a worker inspect one joined row of an export."""
        self._serial += 1
        known = self._payloads(samples.values()) if self._executor.apart else None
        self._begin(_Job(InspectionTask(self._serial, node, samples, known), (), 0, then))

    def take(self) -> None:
        """Wait for one chunk to come back and do what is to be done with each of its tasks.

        Raises:
            ForgeError: the fault that a task met, which ends the run.
        """
        if len(self._chunks) < self._executor.slots:  # a worker waits: it gets what there is
            self._send()
        outcome = self._executor.next_outcome()
        chunk = self._chunks.pop(outcome.number)
        if outcome.lost:
            self._lost(outcome, chunk)
            return
        self._tell_finished(outcome, chunk)
        for job, one in zip(chunk.jobs, outcome.outcomes, strict=False):  # none after a fault
            self._settle(job, one)

    def drain(self, leave: int = 0) -> None:
        """Take outcomes until at most so many chunks are out, and, for none, all tasks are through."""
        with self.interruptible():
            while len(self._chunks) > leave or (not leave and self._out):
                self.raise_if_interrupted()
                self.take()
            self.raise_if_interrupted()

    def leave_room(self) -> None:
        """Take outcomes until there is room for another task."""
        self.drain(_CHUNKS_PER_SLOT * self._executor.slots - 1)

    def finish(self) -> None:
        """Take what has begun, and give nobody who waits a turn: the run ends early."""
        self._ending = True
        self._in_flight.clear()
        self._forming = _Forming()
        with self.interruptible():
            for number in self._executor.withdraw():
                del self._chunks[number]
            while self._chunks:
                outcome = self._executor.next_outcome()
                chunk = self._chunks.pop(outcome.number)
                for job, one in zip(chunk.jobs, outcome.outcomes, strict=False):
                    if one.fault is None and not one.missing:
                        with contextlib.suppress(RunFailed):  # `on_error: stop`: it ends already
                            job.then(one)
        self._out.clear()

    # --- chunks ---------------------------------------------------------------------------------

    def _begin(self, job: _Job) -> None:
        self._out[job.task.number] = job
        for key in job.keys:
            self._in_flight[key] = []
        expected_s = self._pace.expected_s(job.step, job.pixels_bytes)
        self._forming.jobs.append(job)
        self._forming.seconds += expected_s or 0.0
        # A task of which nothing is known yet goes alone, and teaches how long its like take.
        if expected_s is None or self._forming.seconds >= self._executor.chunk_s:
            self._send()

    def _send(self) -> None:
        forming, self._forming = self._forming, _Forming()
        if forming.jobs:
            self._submit(_ChunkOut(forming.jobs))

    def _submit(self, chunk: _ChunkOut) -> None:
        self._chunk_serial += 1
        number = self._chunk_serial
        self._chunks[number] = chunk
        self._announce(TaskSubmitted(number, chunk.step, len(chunk.jobs), chunk.pixels_bytes))
        self._executor.submit(Chunk(number, tuple(job.task for job in chunk.jobs)))

    def _settle(self, job: _Job, outcome: Outcome) -> None:
        self._out.pop(job.task.number)
        if outcome.seconds:
            self._pace.learn(job.step, job.pixels_bytes, outcome.seconds)
        waiting = [then for key in job.keys for then in self._in_flight.pop(key, ())]
        for note in outcome.notes:
            self._announce(Note(note))
        if outcome.fault is not None:
            raise outcome.fault
        job.then(outcome)
        for then in waiting:
            then()

    def _tell_finished(self, outcome: ChunkOutcome, chunk: _ChunkOut) -> None:
        seconds = sum(one.seconds for one in outcome.outcomes)
        missing = any(one.missing for one in outcome.outcomes)
        broke = any(one.fault is not None for one in outcome.outcomes)
        status = "broke" if broke else "missing" if missing else "done"
        self._announce(TaskFinished(outcome.number, chunk.step, len(chunk.jobs), status, seconds))  # type: ignore[arg-type]

    # --- what went with a worker ------------------------------------------------------------------

    def _lost(self, outcome: ChunkOutcome, chunk: _ChunkOut) -> None:
        """Try again what a worker had when it was lost; find the sample that ends its workers, and keep the others."""
        why = f"its worker {outcome.lost}" + (f" in step '{outcome.at.step}'" if outcome.at and outcome.at.step else "")
        self._announce(WorkerLost("", why, (outcome.number,)))
        guilty = [job for job in chunk.jobs if outcome.at is not None and job.task.number == outcome.at.task]
        others = [job for job in chunk.jobs if job not in guilty]
        if outcome.expired:
            self._again(others, chunk.losses)
            for job in guilty:
                self._expired(job, outcome)
            return
        chunk.losses += 1
        if len(chunk.jobs) == 1:
            self._lost_alone(chunk, outcome)
        elif chunk.losses == 1:
            self._announce(Retried(outcome.number, chunk.step, len(chunk.jobs), 2, why))
            self._submit(chunk)
        else:
            self._announce(Bisected(outcome.number, chunk.step, len(chunk.jobs), why))
            half = len(chunk.jobs) // 2
            for part in (guilty, others) if guilty else (chunk.jobs[:half], chunk.jobs[half:]):
                self._again(part, 1)

    def _again(self, jobs: list[_Job], losses: int) -> None:
        if jobs:
            self._submit(_ChunkOut(jobs, losses))

    def _lost_alone(self, chunk: _ChunkOut, outcome: ChunkOutcome) -> None:
        job = chunk.jobs[0]
        job.losses += 1
        step = outcome.at.step if outcome.at else ""
        if job.losses < (_ALONE_KILLED_MAX if outcome.killed else _ALONE_MAX):
            self._announce(Retried(outcome.number, job.step, 1, job.losses + 1, f"its worker {outcome.lost}"))
            self._submit(chunk)
            return
        message = f"its worker {outcome.lost} {job.losses} times"
        self._settle(job, failed_outcome(job.task, step, "worker_lost", message))

    def _expired(self, job: _Job, outcome: ChunkOutcome) -> None:
        assert outcome.at is not None
        job.expiries += 1
        step = outcome.at.step
        node = self._graph[step]
        timeout_s, retries = node.timeout_s or 0.0, node.retries
        if job.expiries <= retries:
            why = f"step '{step}' took longer than {timeout_s:g} s"
            self._announce(Retried(outcome.number, job.step, 1, job.expiries + 1, why))
            self._again([job], 0)
            return
        message = f"took longer than its `timeout_s` of {timeout_s:g} s"
        self._settle(job, failed_outcome(job.task, step, "timeout", message))

    # --- what goes along ----------------------------------------------------------------------------

    def _known(self, sample: Sample, branch: Branch) -> Known:
        """Gather what is known of a task, for a worker that cannot ask."""
        watched = Watched(self._bench.memory)
        watched.payload(sample.digest)
        Walk(self._bench.seeing(watched), self._seed).look(sample, branch)
        return watched.found()

    def _payloads(self, samples: Any) -> Known:
        watched = Watched(self._bench.memory)
        for sample in samples:
            watched.payload(sample.digest)
        return watched.found()

    # --- interruption ---------------------------------------------------------------------------

    def raise_if_interrupted(self) -> None:
        """Raise KeyboardInterrupt at a moment when nothing is half recorded."""
        if self.interrupted:
            raise KeyboardInterrupt

    def interruptible(self) -> _Interruptible:
        """Turn the first Ctrl-C within a block into a flag; the second one ends at once."""
        return _Interruptible(self)


class _Interruptible:
    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            # A scheduler of batch jobs ends them by SIGTERM: as Ctrl-C does, it keeps what was done.
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._interrupt)

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._jobs.interrupted:
            self._jobs.abandoned = True
            raise KeyboardInterrupt
        self._jobs.interrupted = True
