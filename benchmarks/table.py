"""Rows as text: for a terminal, and as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.case import Row

_HEAD = ("kernel", "input", "ours", "peer", "peer's", "ratio", "floor", "")
_MISSED = "not reached"


def text_table(rows: Sequence[Row]) -> str:
    """Align rows for a terminal."""
    cells = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEAD))]
    right = (2, 4, 5, 6)
    lines = []
    for row in cells:
        aligned = (c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def markdown_table(rows: Iterable[Row]) -> str:
    """Spell rows as a Markdown table."""
    head = [f"| {' | '.join(_HEAD)} |", "|---|---|---:|---|---:|---:|---:|---|"]
    cells = ([f"**{cell}**" if cell == _MISSED else cell for cell in _cells(row)] for row in rows)
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in cells)])


def verdict(rows: Sequence[Row]) -> str:
    """Say how many floors are reached."""
    judged = [row for row in rows if row.reached is not None]
    return f"{sum(bool(row.reached) for row in judged)} of {len(judged)} floors reached"


def _cells(row: Row) -> tuple[str, ...]:
    what = f"{row.input} ({row.note})" if row.note else row.input
    if row.error or row.missing:
        return (row.kernel, what, "", row.peer, "", "", "", row.error or row.missing)
    ours = f"{figure(row.ours)} {row.unit}"
    if not row.ratio:
        return (row.kernel, what, ours, "", "", "", "", "")
    floor = "" if row.floor is None else f"{figure(row.floor)}x"
    judged = {True: "reached", False: _MISSED, None: ""}[row.reached]
    peer = f"{row.peer} {row.version}".rstrip()
    return (
        row.kernel,
        what,
        ours,
        peer,
        f"{figure(row.theirs)} {row.unit}",
        f"{figure(row.ratio)}x",
        floor,
        judged,
    )


def figure(value: float) -> str:
    """Spell a number with three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
