"""How often a call is read, by a clock that stands still between calls."""

from __future__ import annotations

import pytest

from benchmarks import measure
from benchmarks.measure import Effort, side_by_side


class Clock:
    """Processor time that calls spend as they say."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.calls: dict[str, int] = {}

    def call(self, name: str, *takes_s: float) -> None:
        """Take so long; after the last time that is told, always that."""
        count = self.calls[name] = self.calls.get(name, 0) + 1
        self.now_s += takes_s[min(count, len(takes_s)) - 1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(measure, "_cpu_s", lambda: made.now_s)
    return made


@pytest.mark.parametrize(
    ("once_s", "calls"),
    [
        (9.0, 1),  # read once
        (7.0, 1 + 1 + 3),  # warmed, looked at, and read as often as anything is at least
        (2.0, 1 + 1 + 3),
        (0.05, 1 + 1 + 6),  # as often as anything is at most
    ],
)
def test_a_call_is_read_three_times_at_least_and_once_if_it_is_very_long(
    once_s: float, calls: int, clock: Clock
) -> None:
    found = side_by_side({"one": lambda: clock.call("one", once_s)}, Effort(most=6))
    assert found == {"one": pytest.approx(1000 * once_s)}
    assert clock.calls == {"one": calls}


def test_one_bad_reading_of_a_call_of_seconds_is_outvoted(clock: Clock) -> None:
    # Warmed, looked at, then read three times: the second reading met other work.
    found = side_by_side({"one": lambda: clock.call("one", 2.0, 2.0, 2.0, 6.0, 2.0)}, Effort())
    assert found == {"one": pytest.approx(2000)}
