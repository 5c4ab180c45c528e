"""What the scheduler asks of an executor."""

from __future__ import annotations

from typing import Protocol

from forge_pipeline.task import InspectionTask, Outcome, Task


class Executor(Protocol):
    """Takes tasks, gives outcomes back in any order."""

    slots: int
    """How many tasks run at once."""

    def submit(self, task: Task | InspectionTask) -> None:
        """Take a task."""

    def next_outcome(self) -> Outcome:
        """Wait for one outcome. Only called while a task is out."""

    def withdraw(self) -> set[int]:
        """Take back the tasks that have not begun, and return their numbers; no outcome of theirs will come."""

    def close(self, wait: bool = True) -> None:
        """End; tasks that run are waited for, unless told otherwise."""
