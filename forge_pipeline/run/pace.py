"""How long tasks take, learnt from those that came back: so that a chunk is worth its way, and no longer than that."""

from __future__ import annotations

from collections import Counter

# Weight of the newest task in the mean: of what was learnt 20 tasks ago, a third is left. Until there are so many they
# all weigh the same, or else a first one that imports and compiles would keep chunks small for long.
_NEWEST = 0.05
# A task has a cost of its own beside that of its pixels: as much as these.
_BASE_BYTES = 1 << 16


class Pace:
    """Seconds for each byte of working set, by the step whose samples are taken."""

    def __init__(self) -> None:
        self._seconds_per_byte: dict[str, float] = {}
        self._learnt: Counter[str] = Counter()

    def expected_s(self, step: str, memory_bytes: int) -> float | None:
        """Return how long a task should take; None before the first of its step came back."""
        pace = self._seconds_per_byte.get(step)
        return None if pace is None else pace * (memory_bytes + _BASE_BYTES)

    def learn(self, step: str, memory_bytes: int, seconds: float) -> None:
        """Take note of how long a task took."""
        pace = seconds / (memory_bytes + _BASE_BYTES)
        before = self._seconds_per_byte.get(step, pace)
        self._learnt[step] += 1
        self._seconds_per_byte[step] = before + max(_NEWEST, 1 / self._learnt[step]) * (pace - before)
