"""The executor that has no parallelism: a task runs when it is submitted."""

from __future__ import annotations

from collections import deque

from forge_pipeline.bench import Bench
from forge_pipeline.task import InspectionTask, Outcome, Task
from forge_pipeline.worker import run_task


class InlineExecutor:
    """Runs tasks in the caller's thread: for debugging, and as the reference of all others."""

    slots = 1

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._outcomes: deque[Outcome] = deque()
        self._running: set[int] = set()

    def submit(self, task: Task | InspectionTask) -> None:
        """Run a task."""
        self._running.add(task.number)
        self._outcomes.append(run_task(task, self._bench))
        self._running.clear()

    def next_outcome(self) -> Outcome:
        """Return the oldest outcome."""
        return self._outcomes.popleft()

    def withdraw(self) -> set[int]:
        """Give up the task in whose middle an exception (Ctrl-C) came."""
        withdrawn, self._running = self._running, set()
        return withdrawn

    def close(self, wait: bool = True) -> None:
        """Do nothing."""
