"""Executors that are pools of workers on this machine: threads."""

from __future__ import annotations

import queue
from concurrent.futures import Future, ThreadPoolExecutor

from forge_pipeline.bench import Bench
from forge_pipeline.task import InspectionTask, Outcome, Task
from forge_pipeline.worker import run_task


class ThreadsExecutor:
    """Runs tasks in threads of this process: arrays pass by reference, and the kernels release the GIL."""

    def __init__(self, bench: Bench, workers: int) -> None:
        self.slots = workers
        self._bench = bench
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._futures: dict[int, Future[None]] = {}
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="forge-worker")

    def submit(self, task: Task | InspectionTask) -> None:
        """Queue a task."""
        self._futures[task.number] = self._pool.submit(self._run, task)

    def next_outcome(self) -> Outcome:
        """Wait for an outcome."""
        outcome = self._outcomes.get()
        del self._futures[outcome.number]
        return outcome

    def withdraw(self) -> set[int]:
        """Take back the tasks that no thread has begun."""
        withdrawn = {number for number, future in self._futures.items() if future.cancel()}
        for number in withdrawn:
            del self._futures[number]
        return withdrawn

    def close(self, wait: bool = True) -> None:
        """End, after the tasks that run have ended where that is asked for."""
        self._pool.shutdown(wait=wait, cancel_futures=True)

    def _run(self, task: Task | InspectionTask) -> None:
        try:
            outcome = run_task(task, self._bench)
        except BaseException as fault:  # noqa: BLE001 - whatever it is, the scheduler must hear of it
            outcome = Outcome(task.number, fault=fault)
        self._outcomes.put(outcome)
