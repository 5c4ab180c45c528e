"""How many bytes of working sets may be in memory at once, by what is asked and by what memory shows."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from forge_pipeline.events import BudgetChanged
from forge_pipeline.machine import look_at_memory

DEFAULT_SHARE = 0.6
"""Of the memory that is available when a run starts: the rest is for what libraries hold, and for others."""

_LOOK_EVERY_S = 0.1
# After memory had to be watched it may show another peak soon: the window comes back in steps, not at once; and where a
# step was one too many, it is tried again after twice as long.
_WIDEN_EVERY_S = 5.0
_WIDEN_SHARE = 0.125
# So close to the limit nothing is widened.
_CALM_SHARE = 0.9


class Held(NamedTuple):
    """Memory of a run: of this process and of its workers.

    Attributes:
        now_bytes: what is held now.
        most_bytes: the most that was held since it was measured before, as far as that is known.
    """

    now_bytes: int
    most_bytes: int


class Budget:
    """Admits tasks by the memory that they need, one always.

    Args:
        limit_bytes: what the tasks that run at once may need together; 0 for a share of what is available.
        available_bytes: what may be had at all (default: what is available now).

    Attributes:
        limit_bytes: what they may need together, as asked.
        window_bytes: what is admitted now: less than the limit while estimates prove too low.
        available_bytes: what a single task may need that runs alone.
    """

    def __init__(self, limit_bytes: int, available_bytes: int | None = None) -> None:
        available = look_at_memory().usable_now_bytes if available_bytes is None else available_bytes
        self.limit_bytes = limit_bytes or int(available * DEFAULT_SHARE)
        self.window_bytes = self.limit_bytes
        # Who asks for more than is there knows of memory that we do not see.
        self.available_bytes = max(available, limit_bytes)

    def admits(self, slots: int, out: Iterable[int], size_bytes: int) -> bool:
        """Tell whether a task of this working set may begin beside what is out; `slots` of all run at once."""
        sizes = list(out)
        return not sizes or in_use_bytes(slots, [*sizes, size_bytes]) <= self.window_bytes


def in_use_bytes(slots: int, sizes: Iterable[int]) -> int:
    """Return the most that chunks which are out can need: so many as run at once, not those that wait."""
    return sum(heapq.nlargest(slots, sizes))


class Watch:
    """Holds the budget against the memory that a run really takes, and moves the window.

    Args:
        measure: what is held.
        release: gives memory back to the system that was freed and kept for reuse.
        clock: seconds from any start.
    """

    def __init__(
        self,
        budget: Budget,
        measure: Callable[[], Held],
        release: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget = budget
        self._measure = measure
        self._release = release
        self._clock = clock
        self._start_bytes = measure().now_bytes
        self._looked_s = self._changed_s = clock()
        self._newest_then = 0
        self._widen_every_s = _WIDEN_EVERY_S
        self._widened = False

    def look(self, in_use_bytes: int, oldest_out: int, newest_out: int) -> BudgetChanged | None:
        """Measure, not more often than it is worth, and return what was changed.

        Args:
            in_use_bytes: what the tasks that are out were thought to need, with the one that has just come back.
            oldest_out: the lowest number of a chunk that is out.
            newest_out: the highest number that was ever given.
        """
        now_s = self._clock()
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return None
        self._looked_s = now_s
        held = self._measure()
        growth = held.most_bytes - self._start_bytes
        # A sample that is larger than the budget was let in alone, and its growth was foreseen.
        allowed = max(self._budget.limit_bytes, in_use_bytes)
        if growth > allowed:
            if oldest_out <= self._newest_then:
                return None  # what was let in before the last change is still out: its effect cannot be seen yet
            self._release()
            self._newest_then = newest_out
            why = f"memory grew by {_mib(growth)} MiB where {_mib(in_use_bytes)} MiB were estimated"
            return self._narrow(int(min(self._budget.window_bytes, in_use_bytes) * allowed / growth), why)
        return self._widen(now_s, held.now_bytes - self._start_bytes)

    def worker_killed(self, in_use_bytes: int) -> BudgetChanged | None:
        """Take it that the system killed a worker for its memory."""
        self._release()
        return self._narrow(min(self._budget.window_bytes, in_use_bytes) // 2, "a worker was killed by SIGKILL")

    def out_of_memory(self, in_use_bytes: int) -> BudgetChanged | None:
        """Take note that an allocation was refused."""
        self._release()
        return self._narrow(min(self._budget.window_bytes, in_use_bytes) // 2, "a task ran out of memory")

    def _narrow(self, window_bytes: int, why: str) -> BudgetChanged | None:
        if self._widened:
            self._widen_every_s *= 2
            self._widened = False
        return self._change(window_bytes, why)

    def _widen(self, now_s: float, growth: int) -> BudgetChanged | None:
        budget = self._budget
        if budget.window_bytes >= budget.limit_bytes or now_s - self._changed_s < self._widen_every_s:
            return None
        if growth > budget.limit_bytes * _CALM_SHARE:
            self._release()
            self._changed_s = now_s
            return None
        self._widened = True
        wider = min(budget.limit_bytes, budget.window_bytes + int(budget.limit_bytes * _WIDEN_SHARE) + 1)
        return self._change(wider, f"memory grew by {_mib(growth)} MiB, less than the budget")

    def _change(self, window_bytes: int, why: str) -> BudgetChanged | None:
        before = self._budget.window_bytes
        self._budget.window_bytes = window_bytes
        self._changed_s = self._clock()
        return BudgetChanged(before, window_bytes, why) if window_bytes != before else None


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):,.0f}"
