"""Stored measurements: joined, and compared with a later one: ratios are compared, never seconds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.case import Row

BASELINE = Path(__file__).parent / "baseline.json"
_ALLOWED_LOSS = 0.10


@dataclass(frozen=True, slots=True)
class Measurement:
    """Rows, and where they come from.

    Attributes:
        commands: the commands that measured them.
        machine: what they were measured on, as `machine()` tells it.
    """

    rows: Sequence[Row]
    commands: Sequence[str]
    machine: Mapping[str, Any]


def store(path: Path, measured: Measurement) -> None:
    """Write a measurement for machines."""
    told = [{**asdict(row), "reached": row.reached, "name": row.name} for row in measured.rows]
    stored = {"commands": list(measured.commands), "machine": dict(measured.machine), "rows": told}
    path.write_text(json.dumps(stored, indent=1) + "\n")


def read(path: Path) -> Measurement:
    """Read a stored measurement."""
    stored = json.loads(path.read_text())
    own = {field.name for field in fields(Row)}
    rows = [Row(**{name: value for name, value in row.items() if name in own}) for row in stored["rows"]]
    return Measurement(rows, stored["commands"], stored["machine"])


def join(measurements: Iterable[Measurement], order: Sequence[str]) -> Measurement:
    """Take measurements of one machine together; of a kernel that several have, the rows of the last one.

    Args:
        measurements: one or more.
        order: kernels, as they shall follow each other.

    Raises:
        ValueError: they are of different machines.
    """
    rows: dict[str, list[Row]] = {}
    commands: list[str] = []
    machine: dict[str, Any] = {}
    for one in measurements:
        for name in ("processor", "cores"):
            if machine.get(name, one.machine[name]) != one.machine[name]:
                raise ValueError(f"{name} is {machine[name]!r} in one measurement, {one.machine[name]!r} in another")
        load = max(machine.get("load_before", 0), one.machine["load_before"])
        commits = dict.fromkeys([*machine.get("commit", "").split(" and "), one.machine["commit"]])
        machine = {**one.machine, "load_before": load, "commit": " and ".join(filter(None, commits))}
        commands += one.commands
        rows |= {kernel: [row for row in one.rows if row.kernel == kernel] for kernel in kernels(one.rows)}
    return Measurement(
        [row for kernel in order for row in rows.get(kernel, [])], list(dict.fromkeys(commands)), machine
    )


def kernels(rows: Iterable[Row]) -> set[str]:
    """Name the kernels and jobs that rows are of."""
    return {row.kernel for row in rows}


def regressions(rows: Sequence[Row], before: Sequence[Row]) -> list[str]:
    """Name every row whose ratio lost more than a tenth.

    A time limit means nothing on another machine, and a row that was not measured here has no ratio that could be lost.
    """
    was = {row.name: row.ratio for row in before if row.comparable}
    return [
        f"{row.name}: {was[row.name]:.3g}x -> {row.ratio:.3g}x ({100 * (row.ratio / was[row.name] - 1):+.0f} %)"
        for row in rows
        if row.comparable and not row.missing and row.ratio < (1 - _ALLOWED_LOSS) * was.get(row.name, 0)
    ]


def gone(rows: Sequence[Row], before: Sequence[Row]) -> list[str]:
    """Name what was measured before and is not now, of kernels that are measured now."""
    now = {row.name for row in rows if not row.missing}
    return [row.name for row in before if row.kernel in kernels(rows) and row.name not in now]
