"""What a report is: something that hears the events of a run and tells them to a person."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Protocol, Self, TextIO

from forge_pipeline.events import Event


class Report(Protocol):
    """Hears events between `__enter__` and `__exit__`; never raises because nobody listens."""

    def announce(self, event: Event) -> None:
        """Take in one event of the run."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, *exception: object) -> None:
        """Leave the terminal as it was."""


def write_lines(stream: TextIO, lines: Iterable[str]) -> None:
    """Write lines at once; a stream that is closed or full never stops a run."""
    with contextlib.suppress(OSError, ValueError):
        stream.write("".join(f"{line}\n" for line in lines))
        stream.flush()
