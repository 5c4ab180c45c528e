"""How many bytes of working sets may be in memory at once."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable


class Budget:
    """Admits tasks by the memory that they need, one always.

    Attributes:
        limit_bytes: what the tasks that run at once may need together.
    """

    def __init__(self, limit_bytes: int, slots: int) -> None:
        self.limit_bytes = limit_bytes or _third_of_memory()
        self._slots = slots

    def in_use_bytes(self, sizes: Iterable[int]) -> int:
        """Return the most that chunks which are out can need: so many as run at once, not those that wait."""
        return sum(heapq.nlargest(self._slots, sizes))

    def admits(self, sizes: Iterable[int]) -> bool:
        """Tell whether one more task may begin beside chunks of these working sets."""
        return self.in_use_bytes(sizes) < self.limit_bytes


def _third_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 3
