"""A stored measurement, and what has become slower since: ratios are compared, never seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from benchmarks.case import Row

_ALLOWED_LOSS = 0.10


def as_json(rows: Sequence[Row], machine: Mapping[str, Any], command: str) -> str:
    """Spell a measurement for machines."""
    told = [{**asdict(row), "reached": row.reached, "name": row.name} for row in rows]
    return json.dumps({"command": command, "machine": dict(machine), "rows": told}, indent=1) + "\n"


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a stored measurement."""
    own = {field.name for field in fields(Row)}
    return [
        Row(**{name: value for name, value in row.items() if name in own})
        for row in json.loads(path.read_text())["rows"]
    ]


def read_ratios(path: Path) -> dict[str, float]:
    """Read the ratios of a stored measurement that mean the same on another machine."""
    stored = json.loads(path.read_text())
    return {row["name"]: row["ratio"] for row in stored["rows"] if row["comparable"] and row["ratio"]}


def regressions(rows: Sequence[Row], before: Mapping[str, float]) -> list[str]:
    """Name every row whose ratio lost more than a tenth."""
    lost = []
    for row in rows:
        was = before.get(row.name)
        if was and row.comparable and row.ratio < (1 - _ALLOWED_LOSS) * was:
            lost.append(f"{row.name}: {was:.3g}x -> {row.ratio:.3g}x ({100 * (row.ratio / was - 1):+.0f} %)")
    return lost
