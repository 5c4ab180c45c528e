"""Executors that are pools of workers on this machine: threads, or a process behind each thread."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from typing import ClassVar

from forge_pipeline.beacon import Beacon
from forge_pipeline.bench import Bench
from forge_pipeline.executors.library_threads import LibraryThreads
from forge_pipeline.executors.process import WorkerProcess, WorkerSpec
from forge_pipeline.task import Chunk, ChunkOutcome, Outcome, Whereabouts
from forge_pipeline.worker import run_chunk, worker_name

# How often hung threads are looked for.
_LOOK_EVERY_S = 0.25


class _Pool(ABC):
    """Threads that take chunks from one line, in the order in which they were submitted."""

    memory_ratio = 1.0

    def __init__(self, workers: int) -> None:
        self.slots = workers
        self._waiting: deque[Chunk] = deque()
        self._outcomes: queue.SimpleQueue[ChunkOutcome] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._closing = False
        self._threads: list[threading.Thread] = []
        self._idle = 0

    def largest_bytes(self) -> int:
        """Know of no other machine."""
        return 0

    def submit(self, chunk: Chunk) -> None:
        """Queue a chunk."""
        with self._changed:
            if len(self._waiting) >= self._idle and len(self._threads) < self.slots:
                self._start()  # first: where the system gives no thread, the chunk was not taken
            self._waiting.append(chunk)
            self._changed.notify()

    def withdraw(self) -> set[int]:
        """Take back the chunks that no worker has begun."""
        with self._changed:
            withdrawn = {chunk.number for chunk in self._waiting}
            self._waiting.clear()
        return withdrawn

    def close(self, wait: bool = True) -> None:
        """End, after the chunks that run have ended where that is asked for."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            self._changed.notify_all()
        if wait:
            for thread in self._threads:
                thread.join()

    def _start(self) -> None:
        # Daemons: a thread that hangs in native code must not keep the command from ending.
        thread = threading.Thread(target=self._live, name=f"forge-worker-{len(self._threads)}", daemon=True)
        thread.start()
        self._threads.append(thread)

    @abstractmethod
    def _live(self) -> None:
        """Be one worker: chunk after chunk, until the pool closes."""

    def _next_chunk(self) -> Chunk | None:
        with self._changed:
            self._idle += 1
            while not self._waiting and not self._closing:
                self._changed.wait()
            self._idle -= 1
            return self._waiting.popleft() if self._waiting else None


class ThreadsExecutor(_Pool):
    """Runs chunks in threads of this process: arrays pass by reference, and the kernels release the GIL."""

    name: ClassVar[str] = "threads"
    # Tasks of microseconds share a hand-over, which costs a tenth of a millisecond while Python's lock is asked for.
    chunk_s = 0.01
    apart = False

    def __init__(self, bench: Bench, workers: int) -> None:
        super().__init__(workers)
        self._bench = bench
        self._library_threads = LibraryThreads()
        self._busy: dict[threading.Thread, tuple[Chunk, Beacon]] = {}
        self._hung: set[int] = set()
        self._next_look_s = 0.0

    def submit(self, chunk: Chunk) -> None:
        """Queue a chunk."""
        self._library_threads.hold()
        super().submit(chunk)

    def next_outcome(self) -> ChunkOutcome:
        """Wait for an outcome; a chunk whose step takes longer than it may is given up, its thread left to itself."""
        while True:
            # By the clock, and not where nothing comes: others may go on for hours beside one that hangs.
            if time.monotonic() >= self._next_look_s:
                expired = self._expired()
                if expired is not None:
                    return expired
                self._next_look_s = time.monotonic() + _LOOK_EVERY_S
            with contextlib.suppress(queue.Empty):
                outcome = self._outcomes.get(timeout=_LOOK_EVERY_S)
                if outcome.number not in self._hung:
                    return outcome

    def close(self, wait: bool = True) -> None:
        """End; threads that hang are not waited for."""
        super().close(wait)
        self._library_threads.release()

    def _expired(self) -> ChunkOutcome | None:
        """Give up the first chunk that hangs: a thread cannot be killed, so another takes its place."""
        now = time.monotonic()
        for thread, (chunk, beacon) in list(self._busy.items()):
            position = beacon.position
            if now <= position.deadline_s:
                continue
            with self._changed:
                self._hung.add(chunk.number)
                self._busy.pop(thread, None)
                self._threads.remove(thread)
                if self._waiting:
                    self._start()
            at = Whereabouts(position.task, position.step)
            worker = worker_name(os.getpid(), thread.name)
            return ChunkOutcome(chunk.number, lost="hangs in a thread", expired=True, at=at, worker=worker)
        return None

    def _live(self) -> None:
        beacon = Beacon()
        while (chunk := self._next_chunk()) is not None:
            self._busy[threading.current_thread()] = (chunk, beacon)
            try:
                outcome = run_chunk(chunk, self._bench, beacon)
            except BaseException as fault:  # noqa: BLE001 - whatever it is, the scheduler must hear of it
                outcome = ChunkOutcome(chunk.number, (Outcome(chunk.tasks[0].number, fault=fault),))
            self._busy.pop(threading.current_thread(), None)
            self._outcomes.put(outcome)
            if chunk.number in self._hung:
                return


class ProcessesExecutor(_Pool):
    """Runs chunks in processes, one behind each thread: for operators that hold the GIL, or crash."""

    name: ClassVar[str] = "processes"
    # The way to another process and back (0.2 ms) is nothing beside it; more would leave workers idle at the end.
    chunk_s = 0.2
    apart = True

    def __init__(self, spec: WorkerSpec, workers: int, begun: Iterable[WorkerProcess] = ()) -> None:
        """Make it ready.

        Args:
            begun: processes that were started already, by the same spec; who did so ends those that are not used.
        """
        super().__init__(workers)
        self._spec = spec
        self._begun = deque(begun)
        self._processes: list[WorkerProcess] = []

    def next_outcome(self) -> ChunkOutcome:
        """Wait for an outcome."""
        return self._outcomes.get()

    def close(self, wait: bool = True) -> None:
        """End; processes that still work are waited for, or killed: what they write appears whole or not at all."""
        if not wait:
            for process in self._processes:
                process.kill()
        super().close(wait)

    def _live(self) -> None:
        try:
            process = self._begun.popleft()
        except IndexError:
            process = WorkerProcess(self._spec)
        self._processes.append(process)
        try:
            while (chunk := self._next_chunk()) is not None:
                try:
                    outcome = process.run(chunk)
                except BaseException as fault:  # noqa: BLE001 - whatever it is, the scheduler must hear of it
                    outcome = ChunkOutcome(chunk.number, (Outcome(chunk.tasks[0].number, fault=fault),))
                self._outcomes.put(outcome)
        finally:
            process.close()
