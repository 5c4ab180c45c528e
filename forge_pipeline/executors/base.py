"""What the scheduler asks of an executor."""

from __future__ import annotations

from typing import ClassVar, Protocol

from forge_pipeline.task import Chunk, ChunkOutcome


class Executor(Protocol):
    """Takes chunks of tasks, gives their outcomes back in any order."""

    name: ClassVar[str]
    slots: int
    """How many chunks run at once."""
    chunk_s: float
    """How much work one chunk should be; 0 where a task alone costs nothing to hand over."""
    apart: bool
    """Whether tasks run where the index cannot be asked: what is known goes along with each."""
    memory_ratio: float
    """How many times this machine's memory its workers have between them."""

    def largest_bytes(self) -> int:
        """Return how much memory one task may have elsewhere, at most; 0 where all is done on this machine."""

    def submit(self, chunk: Chunk) -> None:
        """Take a chunk."""

    def next_outcome(self) -> ChunkOutcome:
        """Wait for one outcome. Only called while a chunk is out."""

    def withdraw(self) -> set[int]:
        """Take back the chunks that have not begun, and return their numbers; no outcome of theirs will come."""

    def close(self, wait: bool = True) -> None:
        """End; chunks that run are waited for, unless told otherwise."""
