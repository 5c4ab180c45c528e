"""Time calls side by side: in one process, in turns, by CPU time, as medians."""

from __future__ import annotations

import gc
import math
import resource
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.case import Call

# One reading of the clock covers at least this much work, so that the clock itself and one interrupt count nothing.
_READING_S = 0.02


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure.

    Attributes:
        seconds: for each call, about.
        least: readings of each call, at least.
        most: readings of each call, at most.
        long_s: a call that takes longer is read once.
    """

    seconds: float = 1.5
    least: int = 3
    most: int = 15
    long_s: float = 8.0


QUICK = Effort(seconds=0.3, least=2, most=5, long_s=1.5)


def side_by_side(calls: Mapping[str, Call], effort: Effort) -> dict[str, float]:
    """Return the median CPU time of each call in milliseconds.

    The calls take turns, so that a machine that becomes slower or busier does so for all of them. CPU time of the whole
    process is read: a library that starts threads or processes of its own is not made faster by them. Ours have been
    called before, by the check: nothing is compiled here.
    """
    loops: dict[str, int] = {}
    rounds: dict[str, int] = {}
    early: dict[str, float] = {}
    for name, call in calls.items():
        first_s = _seconds(call, 1)
        if first_s > effort.long_s:  # a call that long shows in seconds what it costs, and nothing of it is a warm-up
            early[name] = first_s
            continue
        once_s = max(_seconds(call, 1), 1e-7)
        loops[name] = max(1, math.ceil(_READING_S / once_s))
        planned = math.ceil(effort.seconds / (once_s * loops[name]))
        rounds[name] = max(effort.least, min(effort.most, planned))
    readings: dict[str, list[float]] = {name: [] for name in rounds}
    enabled = gc.isenabled()
    gc.disable()
    try:
        for turn in range(max(rounds.values(), default=0)):
            for name in rounds:
                if turn < rounds[name]:
                    readings[name].append(_seconds(calls[name], loops[name]))
            gc.collect()
    finally:
        if enabled:
            gc.enable()
    medians = {name: statistics.median(found) for name, found in readings.items()}
    return {name: 1000 * (early[name] if name in early else medians[name]) for name in calls}


def _seconds(call: Call, loops: int) -> float:
    started = _cpu_s()
    for _ in range(loops):
        call()
    return (_cpu_s() - started) / loops


def _cpu_s() -> float:
    """Return what this process took, with the processes that it started and that have ended: imagededup starts some."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
