"""The executor that has no parallelism: a chunk runs when it is submitted."""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from forge_pipeline.beacon import Beacon
from forge_pipeline.bench import Bench
from forge_pipeline.executors.library_threads import LibraryThreads
from forge_pipeline.task import Chunk, ChunkOutcome
from forge_pipeline.worker import run_chunk


class InlineExecutor:
    """Runs chunks in the caller's thread: for debugging, and as the reference of all others."""

    name: ClassVar[str] = "inline"
    slots = 1
    chunk_s = 0.0
    apart = False
    memory_ratio = 1.0

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._beacon = Beacon()
        self._library_threads = LibraryThreads()
        self._outcomes: deque[ChunkOutcome] = deque()
        self._running: set[int] = set()

    def largest_bytes(self) -> int:
        """Know of no other machine."""
        return 0

    def submit(self, chunk: Chunk) -> None:
        """Run a chunk."""
        self._library_threads.hold()
        self._running.add(chunk.number)
        self._outcomes.append(run_chunk(chunk, self._bench, self._beacon))
        self._running.clear()

    def next_outcome(self) -> ChunkOutcome:
        """Return the oldest outcome."""
        return self._outcomes.popleft()

    def withdraw(self) -> set[int]:
        """Give up the chunk in whose middle an exception (Ctrl-C) came."""
        withdrawn, self._running = self._running, set()
        return withdrawn

    def close(self, wait: bool = True) -> None:
        """Give the libraries their threads back."""
        self._library_threads.release()
