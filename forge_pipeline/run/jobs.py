"""Tasks that are out: in which chunks, how big, who waits for which, and what is done when they come back."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from forge_pipeline.bench import Bench
from forge_pipeline.compiled import Graph, Node
from forge_pipeline.errors import RunFailed
from forge_pipeline.events import (
    AdmissionRefused,
    BatchHalved,
    Bisected,
    BudgetChanged,
    Event,
    Note,
    RefusalCause,
    Retried,
    TaskFinished,
    TaskStatus,
    TaskSubmitted,
    WorkerLost,
    WorkersCounted,
)
from forge_pipeline.executors.base import Executor
from forge_pipeline.machine import release_freed_memory
from forge_pipeline.reuse import Watched
from forge_pipeline.run.budget import Budget, Watch, in_use_bytes
from forge_pipeline.run.estimate import Estimates, inspected
from forge_pipeline.run.held import Gauge
from forge_pipeline.run.pace import Pace
from forge_pipeline.sample import Fields, Sample
from forge_pipeline.shapes import Source
from forge_pipeline.task import (
    Branch,
    Chunk,
    ChunkOutcome,
    InspectionTask,
    Known,
    Outcome,
    Task,
    bare,
    failed_outcome,
    payloads_put,
)
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
    memory_bytes: int
    then: Callable[[Outcome], None]
    losses: int = 0
    expiries: int = 0
    alone: bool = False
    """Nothing else may be out while it is."""
    needy: str = ""
    """The step that needs most of its memory."""

    @property
    def step(self) -> str:
        return self.task.node.id if isinstance(self.task, InspectionTask) else self.task.branch.step

    def leave_inspections(self) -> None:
        """Leave inspections to their exports: what went wrong may be theirs, and must cost no more than their rows."""
        if isinstance(self.task, Task):
            self.task = self.task._replace(branch=bare(self.task.branch))


@dataclass
class _ChunkOut:
    jobs: list[_Job]
    losses: int = 0
    """How often it, or what it is a part of, was lost with its worker."""

    def __post_init__(self) -> None:
        self.memory_bytes = max(job.memory_bytes for job in self.jobs)
        """What it needs at its peak: its tasks are done one after the other."""

    @property
    def step(self) -> str:
        return self.jobs[0].step


@dataclass
class _Forming:
    """The chunk that is being filled."""

    jobs: list[_Job] = field(default_factory=list)
    seconds: float = 0.0
    memory_bytes: int = 0


class Jobs:
    """The tasks of one run that an executor has."""

    def __init__(
        self,
        executor: Executor,
        bench: Bench,
        graph: Graph,
        budget: Budget,
        announce: Callable[[Event], None],
    ) -> None:
        self.interrupted = False
        """Somebody asked the run to end: what is out is waited for, nothing new begins."""
        self.abandoned = False
        """Somebody asked a second time: nothing is waited for."""
        self.budget = budget
        self._ending = False
        self._executor = executor
        self._bench = bench
        self._seed = graph.seed
        self._graph = graph
        self._announce = announce
        self._pace = Pace()
        self._estimates = Estimates(graph, self._load_expansion)
        self._bare: dict[int, tuple[Branch, Branch]] = {}
        self._out: dict[int, _Job] = {}
        self._forming = _Forming()
        self._chunks: dict[int, _ChunkOut] = {}
        self._serial = 0
        self._chunk_serial = 0
        self._in_flight: dict[str, list[Callable[[], None]]] = {}
        self._waiting: deque[_Job] = deque()
        """Begun, and not let in: their working sets do not fit beside those of the tasks that are out."""
        self._refused: RefusalCause | None = None
        self._slots = executor.slots
        self._watch: Watch | None = None
        self._sources: dict[str, Source] = {}

    def __len__(self) -> int:
        return len(self._out)

    @property
    def slots(self) -> int:
        """How many chunks run at once: of a cluster, as many as it had last."""
        return self._executor.slots

    @property
    def apart(self) -> bool:
        """Whether tasks run in other processes."""
        return self._executor.apart

    @property
    def room(self) -> bool:
        """Whether another task may be submitted. One always may; it is held back here where its memory does not fit."""
        if not self._out:
            return True
        if self._waiting:
            return False
        if len(self._chunks) >= _CHUNKS_PER_SLOT * self._executor.slots:
            self._refuse("slots")
            return False
        return True

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
        ignore_known: bool = False,
        doubts: bool = False,
    ) -> None:
        """Let a worker do all of a branch with a sample."""
        if self._ending:
            return
        self._serial += 1
        known = self._known(sample, branch) if self._executor.apart else None
        task = Task(self._serial, sample, branch, self._seed, ignore_known, known, doubts)
        need = self._estimates.working_set(sample, branch)
        if self._graph[need.step].shape == "export":  # it can wait until nothing else is held beside it
            task = task._replace(branch=self._without_inspections(branch))
            need = self._estimates.working_set(sample, task.branch)
        self._begin(_Job(task, keys, int(need.size_bytes), then, needy=need.step))

    def _without_inspections(self, branch: Branch) -> Branch:
        """Return a branch without inspections: one for all samples that go down it, as estimates go by it."""
        known = self._bare.get(id(branch))
        if known is None or known[0] is not branch:
            known = self._bare[id(branch)] = branch, bare(branch)
        return known[1]

    def submit_inspection(
        self, node: Node, samples: dict[str, Sample], then: Callable[[Outcome], None], doubts: bool = False
    ) -> None:
        """Let a worker inspect one joined row of an export."""
        self._serial += 1
        known = self._payloads(samples.values()) if self._executor.apart else None
        task = InspectionTask(self._serial, node, samples, known, doubts)
        need = inspected(task)
        self._begin(_Job(task, (), int(need.size_bytes), then, needy=need.step))

    def take(self) -> None:
        """Wait for one chunk to come back and do what is to be done with each of its tasks.

        Raises:
            ForgeError: the fault that a task met, which ends the run.
        """
        self._let_in()
        if len(self._chunks) < self._executor.slots:  # a worker waits: it gets what there is
            self._send()
        outcome = self._executor.next_outcome()
        self._look()
        in_use_bytes = self._in_use_bytes()
        chunk = self._chunks.pop(outcome.number)
        if outcome.lost:
            if outcome.killed and not outcome.gone and self._watch is not None:
                self._tell(self._watch.worker_killed(in_use_bytes))
            self._lost(outcome, chunk)
        else:
            put = [payload for one in outcome.outcomes for payload in payloads_put(one)]
            if self._executor.apart:
                for payload in put:
                    self._bench.store.learn(payload)
            self._tell_finished(outcome, chunk, sum(payload.size for payload in put))
            for at, (job, one) in enumerate(zip(chunk.jobs, outcome.outcomes, strict=False)):  # none after a fault
                if isinstance(one.fault, MemoryError):
                    self._out_of_memory(outcome.number, chunk.jobs[at:], in_use_bytes)
                    break
                self._settle(job, one)
        self._let_in()

    def drain(self, leave: int = 0) -> None:
        """Take outcomes until at most so many chunks are out, and, for none, all tasks are through."""
        with self.interruptible():
            while len(self._chunks) > leave or (not leave and self._out):
                self.raise_if_interrupted()
                self.take()
            self.raise_if_interrupted()

    def leave_room(self) -> None:
        """Take outcomes until there is room for another task."""
        with self.interruptible():
            while not self.room:
                self.raise_if_interrupted()
                self.take()
            self.raise_if_interrupted()

    def finish(self) -> None:
        """Take what has begun, and give nobody who waits a turn: the run ends early."""
        self._ending = True
        self._in_flight.clear()
        self._forming = _Forming()
        self._waiting.clear()
        with self.interruptible():
            for number in self._executor.withdraw():
                self._chunks.pop(number, None)
            while self._chunks:
                outcome = self._executor.next_outcome()
                # One that could not be submitted is no longer ours.
                chunk = self._chunks.pop(outcome.number, None)
                jobs = chunk.jobs if chunk is not None else ()
                for job, one in zip(jobs, outcome.outcomes, strict=False):
                    if one.fault is None and not one.missing:
                        with contextlib.suppress(RunFailed):  # `on_error: stop`: it ends already
                            job.then(one)
        self._out.clear()

    # --- chunks ---------------------------------------------------------------------------------

    def _begin(self, job: _Job) -> None:
        self._out[job.task.number] = job
        for key in job.keys:
            self._in_flight[key] = []
        if job.memory_bytes > self.budget.available_bytes and job.memory_bytes > self._executor.largest_bytes():
            self._too_large(job)
        elif self._waiting or not self._fits(job):
            self._waiting.append(job)
            self._refuse("memory", job.memory_bytes)
        else:
            self._form(job)

    def _form(self, job: _Job) -> None:
        """Let a task into the chunk that is being filled."""
        expected_s = self._pace.expected_s(job.step, job.memory_bytes)
        self._forming.jobs.append(job)
        self._forming.seconds += expected_s or 0.0
        self._forming.memory_bytes = max(self._forming.memory_bytes, job.memory_bytes)
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
        self._refused = None
        if self._watch is None:
            # Here, since a run that does nothing need not measure anything.
            self._watch = Watch(self.budget, Gauge(self._executor.apart).measure, release_freed_memory)
        try:
            self._announce(TaskSubmitted(number, chunk.step, len(chunk.jobs), chunk.memory_bytes))
            self._executor.submit(Chunk(number, tuple(job.task for job in chunk.jobs), chunk.memory_bytes))
        except Exception:
            del self._chunks[number]  # nobody would ever answer for it
            raise
        if self._executor.slots != self._slots:
            self._slots = self._executor.slots
            self._announce(WorkersCounted(self._slots))

    def _settle(self, job: _Job, outcome: Outcome) -> None:
        self._out.pop(job.task.number)
        if outcome.seconds:
            self._pace.learn(job.step, job.memory_bytes, outcome.seconds)
        waiting = [then for key in job.keys for then in self._in_flight.pop(key, ())]
        for note in outcome.notes:
            self._announce(Note(note))
        for halved in outcome.halved:
            self._announce(BatchHalved(*halved))
        if outcome.fault is not None:
            raise outcome.fault
        job.then(outcome)
        for then in waiting:
            then()

    def _tell_finished(self, outcome: ChunkOutcome, chunk: _ChunkOut, bytes_out: int) -> None:
        seconds = sum(one.seconds for one in outcome.outcomes)
        missing = any(one.missing for one in outcome.outcomes)
        broke = any(one.fault is not None for one in outcome.outcomes)
        status: TaskStatus = "broke" if broke else "missing" if missing else "done"
        for tried in (tried for one in outcome.outcomes for tried in one.tried):
            self._announce(Retried(outcome.number, tried.step, 1, tried.attempt, tried.reason))
        samples = len(chunk.jobs)
        self._announce(TaskFinished(outcome.number, chunk.step, samples, status, seconds, bytes_out, outcome.worker))

    # --- memory -----------------------------------------------------------------------------------

    def _load_expansion(self, node: Node, facts: Fields) -> float:
        """Ask a source what loading a file of its takes."""
        if node.id not in self._sources:
            operator = self._bench.operator(node.doing)
            assert isinstance(operator, Source)
            self._sources[node.id] = operator
        return self._sources[node.id].load_expansion(facts)

    def _let_in(self) -> None:
        """Let in what waits, in its order, as far as it fits now."""
        while self._waiting and self._fits(self._waiting[0]):
            self._form(self._waiting.popleft())

    def _fits(self, job: _Job) -> bool:
        if job.alone:
            return not self._chunks and not self._forming.jobs
        # It would be done after those of its chunk, not beside them.
        if self._forming.jobs and job.memory_bytes <= self._forming.memory_bytes:
            return True
        size_bytes = max(job.memory_bytes, self._forming.memory_bytes)
        return self.budget.admits(self._executor.slots, self._sizes_here(), self._here(size_bytes))

    def _in_use_bytes(self) -> int:
        return in_use_bytes(self._executor.slots, self._sizes_here())

    def _sizes_here(self) -> Iterator[int]:
        return (self._here(chunk.memory_bytes) for chunk in self._chunks.values())

    def _here(self, size_bytes: int) -> int:
        """Return this machine's share of a working set: the budget is of its memory, and others hold the rest."""
        return int(size_bytes / self._executor.memory_ratio)

    def _look(self) -> None:
        """Hold the budget against the memory that is really held."""
        if self._watch is not None and self._chunks:
            self._tell(self._watch.look(self._in_use_bytes(), min(self._chunks), self._chunk_serial))

    def _tell(self, changed: BudgetChanged | None) -> None:
        if changed is not None:
            self._announce(changed)

    def _refuse(self, cause: RefusalCause, wanted_bytes: int = 0) -> None:
        """Tell that the next task has to wait, once."""
        if self._refused != cause:
            self._refused = cause
            in_use, window = self._in_use_bytes(), self.budget.window_bytes
            self._announce(AdmissionRefused(cause, wanted_bytes, in_use, window, len(self._out)))

    def _out_of_memory(self, number: int, jobs: list[_Job], in_use_bytes: int) -> None:
        """Try a task again, alone, that was refused memory; those behind it in its chunk have not begun."""
        assert self._watch is not None
        self._tell(self._watch.out_of_memory(in_use_bytes))
        job, *others = jobs
        job.leave_inspections()
        self._waiting.extendleft(reversed(others))
        if job.alone:
            self._too_large(job)
            return
        self._announce(Retried(number, job.step, 1, 2, "it ran out of memory"))
        job.alone = True
        job.memory_bytes = max(job.memory_bytes, self.budget.limit_bytes + 1)
        self._waiting.appendleft(job)

    def _too_large(self, job: _Job) -> None:
        """Give up a task that no machine of the run has memory for."""
        most_bytes = max(self.budget.available_bytes, self._executor.largest_bytes())
        available = f"{most_bytes / (1 << 20):,.0f} MiB of memory are available"
        if job.alone:
            message = f"it ran out of memory with nothing beside it; {available}"
        else:
            message = f"its working set is estimated at {job.memory_bytes / (1 << 20):,.0f} MiB, and {available}"
        hint = f"\n  hint: run it on a larger machine, or set `resources: {{memory_bytes: N}}` on '{job.needy}'"
        self._settle(job, failed_outcome(job.task, job.needy, "too_large", message + hint))

    # --- what went with a worker ------------------------------------------------------------------

    def _lost(self, outcome: ChunkOutcome, chunk: _ChunkOut) -> None:
        """Try again what a worker had when it was lost; find the sample that ends its workers, and keep the others."""
        why = f"its worker {outcome.lost}" + (f" in step '{outcome.at.step}'" if outcome.at and outcome.at.step else "")
        self._announce(WorkerLost(outcome.worker, why, (outcome.number,)))
        guilty = [job for job in chunk.jobs if outcome.at is not None and job.task.number == outcome.at.task]
        others = [job for job in chunk.jobs if job not in guilty]
        for job in chunk.jobs:
            job.leave_inspections()
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
