"""What a worker in another process works with: the store, what can be looked up, and operators that stay ready."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from forge_pipeline.beacon import Beacon
from forge_pipeline.bench import Bench
from forge_pipeline.cache.store import Payload, StoreSpec
from forge_pipeline.cache.stores import open_store
from forge_pipeline.executors.carried import CarriedStore, Delivery, Parcel
from forge_pipeline.kernel_cache import place_kernel_cache
from forge_pipeline.own_process import KEPT_BY_WORKER_BYTES, settle_process
from forge_pipeline.reuse import Memory, Nothing
from forge_pipeline.task import Chunk, ChunkOutcome
from forge_pipeline.worker import run_chunk

_PARENT_EVERY_S = 0.5


class Workplace:
    """Lives as long as its process."""

    def __init__(
        self, store: StoreSpec | None, index: str | None, beacon: Beacon, imported: Mapping[str, str] | None = None
    ) -> None:
        """Open what there is.

        Args:
            store: None where payloads are carried: they come with each chunk and go back with its outcome.
            index: the run's index, where it can be read from here.
            imported: see `Bench`.
        """
        settle_process(KEPT_BY_WORKER_BYTES)
        place_kernel_cache()
        self._beacon = beacon
        self._told = _Told()
        logging.getLogger().addHandler(self._told)
        memory: Memory = IndexReader(Path(index)) if index is not None else Nothing()
        self._carried = CarriedStore() if store is None else None
        self._bench = Bench(self._carried or open_store(store), memory, imported=imported)  # type: ignore[arg-type]

    def run(self, chunk: Chunk) -> ChunkOutcome:
        """Do a chunk; what libraries and operators warn of goes back with it."""
        if self._carried is not None:
            self._carried.begin(chunk.payloads if isinstance(chunk, Parcel) else {})
        outcome = run_chunk(chunk, self._bench, self._beacon)
        if self._carried is not None:
            outcome = Delivery(outcome.number, outcome.outcomes, worker=outcome.worker, made=self._carried.end())
        told = self._told.taken()
        if told and outcome.outcomes:
            first, *others = outcome.outcomes
            return replace(outcome, outcomes=(first._replace(notes=(*told, *first.notes)), *others))
        return outcome


class IndexReader:
    """Looks things up in the index of a run, which another process writes."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=60, isolation_level=None
        )

    def known(self, key: str) -> str | None:
        """Return a recorded result as JSON text."""
        row = self._connection.execute("SELECT result FROM actions WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def payload(self, digest: str) -> Payload | None:
        """Return what is known of kept bytes."""
        row = self._connection.execute("SELECT * FROM payloads WHERE digest = ?", (digest,)).fetchone()
        return Payload(*row) if row else None


class _Told(logging.Handler):
    """Keeps warnings until they are sent back."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())

    def taken(self) -> tuple[str, ...]:
        lines, self._lines = self._lines, []
        return tuple(lines)


def end_with(parent: int) -> None:
    """End this process soon after the one that started it: killed itself, that one could not say so."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, name="forge-parent", daemon=True).start()
