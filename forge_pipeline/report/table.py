"""What every step of a run did, as the rows of one table, and any table as aligned plain lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from forge_pipeline.events import StepCounts
from forge_pipeline.report.numbers import bytes_text, seconds_text

_RARE: Mapping[str, Callable[[StepCounts], int]] = {
    "measured": lambda counts: counts.measured,
    "rebuilt": lambda counts: counts.rebuilt,
    "dropped": lambda counts: sum(counts.dropped.values()),
    "quarantined": lambda counts: counts.failed,
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. Numbers stand at the right."""

    heading: str
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, and rows of cells in the same order."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


def steps_table(steps: Mapping[str, StepCounts]) -> Table:
    """Lay out the counts of a run, a row per step; a rare thing has a column only when it happened.

    Narrow on purpose: nine steps of a usual run fit 80 columns.
    """
    shown = [name for name, counted in _RARE.items() if any(counted(counts) for counts in steps.values())]
    headings = ["in", "out", "reused", "ran", *shown, "time", "bytes"]
    columns = (Column("step"), *(Column(heading, numeric=True) for heading in headings))
    return Table(columns, tuple(_row(step, counts, shown) for step, counts in steps.items()))


def reasons_text(counts: StepCounts) -> str:
    """Spell what did not go on, the most frequent reason first: `dropped 4: small 3, flat 1`."""
    spelled = (_by_reason("dropped", counts.dropped), _by_reason("used in part", counts.partial))
    return "; ".join(part for part in spelled if part)


def reasons_lines(steps: Mapping[str, StepCounts]) -> list[str]:
    """Say for every step that dropped samples, or used some in part, how many, and why."""
    texts = ((step, reasons_text(counts)) for step, counts in steps.items())
    return [f"{step}: {text}" for step, text in texts if text]


def plain_lines(table: Table) -> list[str]:
    """Align a table with spaces; no line ends in one."""
    headings = tuple(column.heading for column in table.columns)
    lines = [headings, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    return [_aligned(line, widths, table.columns) for line in lines]


def _by_reason(word: str, counted: Mapping[str, int]) -> str:
    reasons = sorted(((count, reason) for reason, count in counted.items() if count), key=lambda one: (-one[0], one[1]))
    spelled = ", ".join(f"{reason} {count:,}" if len(reasons) > 1 else reason for count, reason in reasons)
    return f"{word} {sum(counted.values()):,}: {spelled}" if reasons else ""


def _row(step: str, counts: StepCounts, shown: Sequence[str]) -> tuple[str, ...]:
    return (
        step,
        *(f"{number:,}" for number in (counts.entered, counts.out, counts.reused, counts.ran)),
        *(f"{_RARE[name](counts):,}" if _RARE[name](counts) else "-" for name in shown),
        seconds_text(counts.seconds),
        bytes_text(counts.bytes_out) if counts.bytes_out else "-",
    )


def _aligned(cells: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    padded = (
        cell.rjust(width) if column.numeric else cell.ljust(width)
        for cell, width, column in zip(cells, widths, columns, strict=True)
    )
    return "  ".join(padded).rstrip()
