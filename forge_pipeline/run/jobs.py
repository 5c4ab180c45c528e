"""Tasks that are out: how many, how big, who waits for which, and what is done when one comes back."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from forge_pipeline.compiled import Node
from forge_pipeline.errors import RunFailed
from forge_pipeline.executors.base import Executor
from forge_pipeline.sample import Sample
from forge_pipeline.task import Branch, InspectionTask, Outcome, Task

# Enough for no worker to wait while the scheduler records; a task that waits in the queue holds no pixels.
_TASKS_PER_SLOT = 4


@dataclass
class _Job:
    keys: Sequence[str]
    pixels_bytes: int
    then: Callable[[Outcome], None]


class Jobs:
    """The tasks of one run that an executor has."""

    def __init__(self, executor: Executor, seed: int, memory_bytes: int, note: Callable[[str], None]) -> None:
        self.interrupted = False
        """Somebody asked the run to end: what is out is waited for, nothing new begins."""
        self.abandoned = False
        """Somebody asked a second time: nothing is waited for."""
        self._ending = False
        self._executor = executor
        self._seed = seed
        self._memory_bytes = memory_bytes or _third_of_memory()
        self._note = note
        self._out: dict[int, _Job] = {}
        self._serial = 0
        self._pixels_out = 0
        self._in_flight: dict[str, list[Callable[[], None]]] = {}

    def __len__(self) -> int:
        return len(self._out)

    @property
    def room(self) -> bool:
        """Whether another task may be submitted: one always may, more while their pixels fit."""
        few = len(self._out) < _TASKS_PER_SLOT * self._executor.slots
        return not self._out or (few and self._pixels_out < self._memory_bytes)

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
        number = self._begin(_Job(keys, pixels_bytes, then))
        self._executor.submit(Task(number, sample, branch, self._seed, ignore_known))

    def submit_inspection(self, node: Node, samples: dict[str, Sample], then: Callable[[Outcome], None]) -> None:
        """Let a worker inspect one joined row of an export."""
        number = self._begin(_Job((), 0, then))
        self._executor.submit(InspectionTask(number, node, samples))

    def take(self) -> None:
        """Wait for one outcome and do what is to be done with it.

        Raises:
            ForgeError: the fault that the task met, which ends the run.
        """
        outcome = self._executor.next_outcome()
        job = self._out.pop(outcome.number)
        self._pixels_out -= job.pixels_bytes
        waiting = [then for key in job.keys for then in self._in_flight.pop(key, ())]
        for note in outcome.notes:
            self._note(note)
        if outcome.fault is not None:
            raise outcome.fault
        job.then(outcome)
        for then in waiting:
            then()

    def drain(self, leave: int = 0) -> None:
        """Take outcomes until at most so many tasks are out."""
        with self.interruptible():
            while len(self._out) > leave:
                self.raise_if_interrupted()
                self.take()
            self.raise_if_interrupted()

    def leave_room(self) -> None:
        """Take outcomes until there is room for another task."""
        self.drain(_TASKS_PER_SLOT * self._executor.slots - 1)

    def finish(self) -> None:
        """Take what has begun, and give nobody who waits a turn: the run ends early."""
        self._ending = True
        self._in_flight.clear()
        with self.interruptible():
            for number in self._executor.withdraw():
                del self._out[number]
            while self._out:
                outcome = self._executor.next_outcome()
                job = self._out.pop(outcome.number)
                if outcome.fault is None and not outcome.missing:
                    with contextlib.suppress(RunFailed):  # `on_error: stop`: it ends already
                        job.then(outcome)

    def _begin(self, job: _Job) -> int:
        self._serial += 1
        self._out[self._serial] = job
        self._pixels_out += job.pixels_bytes
        for key in job.keys:
            self._in_flight[key] = []
        return self._serial

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


def _third_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 3
