"""Plain lines for a log file or a pipe: one per finished step, a sign of life a minute, the table at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self, TextIO

from forge_pipeline.events import Event, Note, RunEnded, RunStarted, StepAdvanced, StepCounts, StepFinished
from forge_pipeline.report.base import write_lines
from forge_pipeline.report.closing import empty_lines, end_lines, error_lines, failure_lines
from forge_pipeline.report.numbers import bytes_text, count_text, seconds_text
from forge_pipeline.report.table import reasons_text

SIGN_OF_LIFE_SECONDS = 60.0


class LineReport:
    """Tells a run in few lines.

    Args:
        stream: where the lines go.
        clock: seconds from any start, for the signs of life.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._told_at = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def announce(self, event: Event) -> None:
        """Write what the event is worth in lines; most are worth none."""
        lines = self._lines(event)
        if lines:
            self._told_at = self._clock()
            write_lines(self._stream, lines)

    def _lines(self, event: Event) -> list[str]:
        match event:
            case RunStarted():
                return [f"{event.recipe}: {count_text(len(event.steps), 'step')}"]
            case StepAdvanced():
                return self._sign_of_life(event)
            case StepFinished():
                # The table tells of a step that was not walked; an unchanged run stays short.
                return [] if event.reused_whole else [f"{event.step}: {_counts_text(event.counts)}"]
            case Note():
                return [event.text]
            case RunEnded():
                return end_lines(event.result)
            case _:  # the journal's
                return []

    def _sign_of_life(self, event: StepAdvanced) -> list[str]:
        if self._clock() - self._told_at < SIGN_OF_LIFE_SECONDS:
            return []
        of = f" of {event.expected:,}" if event.expected is not None else ""
        return [f"{event.step}: at work, {event.counts.entered:,}{of} in, {event.counts.out:,} out"]


class QuietReport(LineReport):
    """Tells only what a person should act on: notes, samples that broke, exports without any, why a run failed."""

    def _lines(self, event: Event) -> list[str]:
        match event:
            case Note():
                return [event.text]
            case RunEnded():
                return [*failure_lines(event.result), *empty_lines(event.result), *error_lines(event.result)]
            case _:
                return []


def _counts_text(counts: StepCounts) -> str:
    parts = [
        f"{counts.entered:,} in",
        f"{counts.out:,} out",
        f"{counts.failed:,} quarantined" if counts.failed else "",
        f"{counts.reused:,} reused" if counts.reused else "",
        f"{counts.ran:,} ran" if counts.ran else "",
        f"{counts.measured:,} measured" if counts.measured else "",
        f"{counts.rebuilt:,} rebuilt" if counts.rebuilt else "",
        bytes_text(counts.bytes_out) if counts.bytes_out else "",
        seconds_text(counts.seconds),
    ]
    return "; ".join(part for part in (", ".join(part for part in parts if part), reasons_text(counts)) if part)
