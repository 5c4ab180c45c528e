"""What a run uses of its machine, measured now and then: memory of the whole process tree, cores, GPUs."""

from __future__ import annotations

import time
from collections.abc import Callable

from forge_pipeline.events import GpuSample, MachineSampled
from forge_pipeline.gpus import look_at_gpus
from forge_pipeline.machine import Processes, look_at_memory, look_at_processes, own_peak_bytes


class Meter:
    """Measures this process and those below it.

    Args:
        clock: seconds from any start.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before: tuple[float, Processes] | None = None
        self._workers_peak_bytes = 0

    @property
    def peak_rss_bytes(self) -> int:
        """The peak of this process, which the system keeps, and the largest sum of those below it that was seen."""
        return own_peak_bytes() + self._workers_peak_bytes

    def sample(self) -> MachineSampled:
        """Measure now; what was used of cores is since the last time."""
        now, found = self._clock(), look_at_processes()
        self._workers_peak_bytes = max(self._workers_peak_bytes, found.workers_rss_bytes)
        busy = _cores_busy(self._before, now, found)
        machine = _machine_busy(self._before, found)
        self._before = (now, found)
        return MachineSampled(
            rss_bytes=found.rss_bytes,
            workers_rss_bytes=found.workers_rss_bytes,
            available_bytes=look_at_memory().usable_now_bytes,
            cores_busy=round(busy, 2),
            machine_busy=round(machine, 2),
            gpus=tuple(GpuSample(g.name, g.busy, g.memory_used_bytes, g.memory_bytes) for g in look_at_gpus()),
        )


def _cores_busy(before: tuple[float, Processes] | None, now: float, found: Processes) -> float:
    if before is None or now <= before[0]:
        return 0.0
    was = before[1].cpu_seconds
    used = sum(seconds - was.get(process, 0.0) for process, seconds in found.cpu_seconds.items())
    # A process id that is given to a new process would make it negative.
    return max(0.0, used) / (now - before[0])


def _machine_busy(before: tuple[float, Processes] | None, found: Processes) -> float:
    if before is None or found.machine_seconds <= before[1].machine_seconds:
        return 0.0
    had = found.machine_seconds - before[1].machine_seconds
    return min(1.0, max(0.0, found.machine_busy_seconds - before[1].machine_busy_seconds) / had)
