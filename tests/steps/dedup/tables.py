"""A dataset as columns, for tests of decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forge_pipeline.step import Drop, Keep, Select


@dataclass(frozen=True)
class Columns:
    """A table whose rows are put into sample key order, as the engine hands them over."""

    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def keys(self) -> Sequence[str]:
        return sorted(self.rows)

    @property
    def digests(self) -> Sequence[str]:
        return [self.rows[key]["digest"] for key in self.keys]

    def column(self, name: str) -> Sequence[Any]:
        return [self.rows[key][name] for key in self.keys]


def measured(step: Select, images: Mapping[str, Any], port: str = "in") -> Columns:
    """Measure images as the engine would."""
    rows: dict[str, dict[str, Any]] = {}
    for key, image in images.items():
        header = {"height": image.shape[0], "width": image.shape[1], "channels": image.shape[2]}
        rows[key] = {
            label: metric.measure(header if metric.reads == "header" else image)
            for label, metric in step.metrics(port).items()
        }
    return Columns(rows)


def verdicts(step: Select, **tables: Columns) -> dict[str, Keep | Drop]:
    """Decide, and name each verdict by its sample key."""
    named = {"in" if port == "samples" else port: table for port, table in tables.items()}
    return dict(zip(named["in"].keys, step.decide(named), strict=True))
