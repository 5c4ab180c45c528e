"""Time calls side by side: in one process, in turns, by CPU time, as medians."""

from __future__ import annotations

import gc
import math
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
    """

    seconds: float = 1.5
    least: int = 3
    most: int = 15


QUICK = Effort(seconds=0.3, least=2, most=5)


def side_by_side(calls: Mapping[str, Call], effort: Effort) -> dict[str, float]:
    """Return the median CPU time of each call in milliseconds.

    The calls take turns, so that a machine that becomes slower or busier does so for all of them. CPU time of the whole
    process is read: a library that starts threads of its own is not made faster by them.
    """
    loops, rounds = {}, {}
    for name, call in calls.items():
        call()
        once_s = max(_seconds(call, 1), 1e-7)
        loops[name] = max(1, math.ceil(_READING_S / once_s))
        planned = math.ceil(effort.seconds / (once_s * loops[name]))
        rounds[name] = max(effort.least if once_s < effort.seconds else 1, min(effort.most, planned))
    readings: dict[str, list[float]] = {name: [] for name in calls}
    enabled = gc.isenabled()
    gc.disable()
    try:
        for turn in range(max(rounds.values())):
            for name, call in calls.items():
                if turn < rounds[name]:
                    readings[name].append(_seconds(call, loops[name]))
            gc.collect()
    finally:
        if enabled:
            gc.enable()
    return {name: 1000 * statistics.median(found) for name, found in readings.items()}


def _seconds(call: Call, loops: int) -> float:
    started = time.process_time()
    for _ in range(loops):
        call()
    return (time.process_time() - started) / loops
