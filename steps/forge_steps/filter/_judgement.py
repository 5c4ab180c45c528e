"""Judge one sample by a condition, and say which name the answer hangs on.

A source field that a sample lacks is null. Arithmetic and comparison with null, a division by zero,
and a result too large for a number give null; `and`, `or`, `not` treat null as "unknown" (Kleene): `false and null` is
false, `true or null` is true, else null. Only `true` keeps a sample.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from forge_pipeline.errors import DataError
from forge_steps.filter._tree import (
    Arithmetic,
    Combination,
    Comparison,
    Constant,
    IsNull,
    Membership,
    Name,
    Node,
    Not,
    names_in,
)

_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}

Row = Mapping[str, Any]  # name -> number, text, truth or None


def value_of(node: Node, row: Row) -> Any:
    """Return what a tree gives for one sample; None for unknown. Raises DataError for a field of the wrong type."""
    match node:
        case Constant():
            return node.value
        case Name():
            return row[node.name]
        case Arithmetic():
            return _computed(node, _number(node.left, row), _number(node.right, row))
        case Comparison():
            return _compared(node, row)
        case Membership():
            value = value_of(node.value, row)
            return None if value is None else any(_equal(value, choice.value) for choice in node.choices)
        case IsNull():
            return value_of(node.value, row) is None
        case Not():
            truth = _truth(node.condition, row)
            return None if truth is None else not truth
        case Combination():
            return _combined(node, row)


def is_kept(node: Node, row: Row) -> bool:
    """Tell whether the condition is true for a sample."""
    return _truth(node, row) is True


def reason(node: Node, row: Row) -> str:
    """Name what a sample failed by: the first name of the first comparison that is not true.

    A source field that the sample lacks gives `NAME_missing`.
    """
    match node:
        case Combination():
            failed = [part for part in node.parts if _truth(part, row) is not True]
            # Of `or`, all parts failed: the first stands for them.
            return reason(failed[0] if failed else node.parts[0], row)
        case Not(condition=Combination() | Not() as inner):
            return reason(inner, row)
        case _:
            names = names_in(node)
            if _truth(node, row) is None:
                names = tuple(f"{name}_missing" for name in names if row[name] is None) or names
            return names[0] if names else "keep"


def _combined(node: Combination, row: Row) -> bool | None:
    decisive = node.word == "or"
    unknown = False
    for part in node.parts:
        truth = _truth(part, row)
        if truth is decisive:
            return decisive
        unknown = unknown or truth is None
    return None if unknown else not decisive


def _compared(node: Comparison, row: Row) -> bool | None:
    if node.sign in ("==", "!="):
        left, right = value_of(node.left, row), value_of(node.right, row)
        if left is None or right is None:
            return None
        return _equal(left, right) == (node.sign == "==")
    low, high = _number(node.left, row), _number(node.right, row)
    if low is None or high is None:
        return None
    if node.sign in ("<", ">="):
        return (low < high) == (node.sign == "<")
    return (low > high) == (node.sign == ">")


def _computed(node: Arithmetic, left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return None
    if node.sign == "/" and right == 0:
        return None
    result = _ARITHMETIC[node.sign](left, right)
    return result if math.isfinite(result) else None


def _equal(left: Any, right: Any) -> bool:
    """Compare within one type: True is not 1, and a number never equals a text."""
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _number(node: Node, row: Row) -> float | None:
    value = value_of(node, row)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise DataError("wrong_type", f"filter.iqa: {_called(node)} is {value!r}, expected a number")


def _truth(node: Node, row: Row) -> bool | None:
    value = value_of(node, row)
    if value is None or isinstance(value, bool):
        return value
    raise DataError("wrong_type", f"filter.iqa: {_called(node)} is {value!r}, expected true or false")


def _called(node: Node) -> str:
    return node.name if isinstance(node, Name) else f"the value at column {node.column}"
