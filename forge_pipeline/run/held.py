"""What memory a run holds: its own process's, and that of its workers where these are processes."""

from __future__ import annotations

from collections.abc import Callable

from forge_pipeline.machine import look_at_processes, own_memory
from forge_pipeline.run.budget import Held

# Libraries of a worker process, before it has an image: 180 to 230 MB. They are no working set, and whether so many
# workers fit was asked when their number was chosen.
_WORKER_BYTES = 256 << 20


def measure(apart: bool) -> Callable[[], Held]:
    """Return what measures a run.

    Args:
        apart: its workers are processes below this one.
    """
    return _with_workers if apart else _alone


def _alone() -> Held:
    return Held(*own_memory())


def _with_workers() -> Held:
    own, found = own_memory(), look_at_processes()
    workers = max(0, found.workers_rss_bytes - (len(found.cpu_seconds) - 1) * _WORKER_BYTES)
    return Held(own.now_bytes + workers, own.peak_bytes + workers)
