"""What memory a run holds: its own process's, and that of its workers where these are processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from forge_pipeline.machine import Resident, own_memory, workers_memory
from forge_pipeline.run.budget import Held

# Libraries of a worker process, before it has an image: 180 to 230 MB. They are no working set, and whether so many
# workers fit was asked when their number was chosen.
_WORKER_BYTES = 256 << 20


class Gauge:
    """Measures a run, and remembers the peaks of its processes: one between two looks counts as if it had been seen.

    Args:
        apart: its workers are processes below this one.
        own: measures this process.
        workers: measures each process below it.
    """

    def __init__(
        self,
        apart: bool,
        own: Callable[[], Resident] = own_memory,
        workers: Callable[[], Mapping[int, Resident]] = workers_memory,
    ) -> None:
        self._apart = apart
        self._own = own
        self._workers = workers
        self._peaks: dict[int, int] = {}

    def measure(self) -> Held:
        """Return what is held now, and the most since the last time."""
        found = {0: self._own(), **(self._workers() if self._apart else {})}
        now = most = 0
        for process, (now_bytes, peak_bytes) in found.items():
            # A peak that is as high as it was tells nothing of what happened since.
            new_peak = peak_bytes > self._peaks.get(process, 0)
            libraries = _WORKER_BYTES if process else 0
            now += max(0, now_bytes - libraries)
            most += max(0, (peak_bytes if new_peak else now_bytes) - libraries)
        self._peaks = {process: resident.peak_bytes for process, resident in found.items()}
        return Held(now, most)
