"""What an operator's author writes: four shapes, their parameters, and what they see of a sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from forge_pipeline.batches import in_batches
from forge_pipeline.errors import DataError, Reject, TooLarge
from forge_pipeline.finder import Entry, Finder
from forge_pipeline.params import LOCATOR, MACHINE, Params, Role
from forge_pipeline.shapes import (
    Child,
    Context,
    Draw,
    Drop,
    Export,
    ExportFile,
    File,
    Inspection,
    Joined,
    Keep,
    Metric,
    Operator,
    Partial,
    Port,
    Select,
    Source,
    Table,
    Transform,
)

__all__ = [
    "LOCATOR",
    "MACHINE",
    "Child",
    "Context",
    "DataError",
    "Draw",
    "Drop",
    "Entry",
    "Export",
    "ExportFile",
    "File",
    "Finder",
    "Inspection",
    "Joined",
    "Keep",
    "Metric",
    "Operator",
    "Params",
    "Partial",
    "Port",
    "Reject",
    "Role",
    "Select",
    "Source",
    "Table",
    "TooLarge",
    "Transform",
    "in_batches",
    "metric",
    "operator",
]

# Here, and not where the shapes are: pydantic is imported by who writes operators, not by who lists files.
Operator.Params = Params

_Marked = TypeVar("_Marked", bound=type[Operator])


def operator(name: str, *, version: int) -> Callable[[_Marked], _Marked]:
    """Mark a class as the operator of that name. Marks only: a Registry finds it when it scans the module."""
    return _mark(name, version)


def metric(name: str, *, version: int) -> Callable[[_Marked], _Marked]:
    """Mark a class as the metric of that name."""
    return _mark(name, version)


def _mark(name: str, version: int) -> Callable[[_Marked], _Marked]:
    def mark(cls: _Marked) -> _Marked:
        cls.name = name
        cls.version = version
        return cls

    return mark
