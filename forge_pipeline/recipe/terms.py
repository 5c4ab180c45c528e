"""References and arithmetic in values: `${vars.x}` in every spelling, `var.x * 2` in HCL."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from forge_pipeline.recipe.text import Span
from forge_pipeline.sample import Json

NAME = r"[A-Za-z_][A-Za-z0-9_-]*"
"""How step ids, vars and matrix dimensions are spelled: the same in the three formats."""

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**64 - 1
"""Integers that a recipe may hold: what the readers of all formats agree on."""

_MAX_BITS = 8192
"""Digits of an exact result between two operations; a double alone can need 1,100 bits below the point."""

Kind = Literal["vars", "env", "matrix"]
Scalar = None | bool | int | float | str

_REFERENCE = re.compile(rf"(?:(vars|matrix)\.({NAME})|(env):([A-Za-z_][A-Za-z0-9_]*))")
_OPENING = re.compile(r"(\$?)\$\{")


class Unresolved:
    """Stands for a value that has a problem of its own, which is told already."""

    def __repr__(self) -> str:
        return "(unresolved)"


UNRESOLVED = Unresolved()


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is written out."""

    value: Scalar
    span: Span


@dataclass(frozen=True, slots=True)
class Reference:
    """`${vars.NAME}`, `${env:NAME}` or `${matrix.NAME}`."""

    kind: Kind
    name: str
    span: Span

    def __str__(self) -> str:
        return "${env:" + self.name + "}" if self.kind == "env" else "${" + f"{self.kind}.{self.name}" + "}"


@dataclass(frozen=True, slots=True)
class Template:
    """Text with terms in it; the pieces are joined to text."""

    parts: tuple[str | Term, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Operation:
    """Arithmetic of two terms."""

    symbol: Literal["+", "-", "*", "/", "%"]
    left: Term
    right: Term
    span: Span


Term = Constant | Reference | Template | Operation


@dataclass(frozen=True, slots=True)
class Value:
    """What a term comes to. `from_env` follows every value that an environment variable had a part in."""

    data: Json
    from_env: bool = False


Lookup = Callable[[Reference], Value]


class TermError(Exception):
    """A term cannot be evaluated; the caller knows which recipe key it stands in."""

    def __init__(self, span: Span, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.span, self.message, self.hint = span, message, hint


def parse_template(text: str, span: Span) -> str | Term:
    """Find the references in a text of YAML or JSON; `$${` stands for a plain `${`.

    Raises TermError for a `${` that opens no reference.
    """
    parts: list[str | Term] = []
    position = 0
    while opening := _OPENING.search(text, position):
        parts.append(text[position : opening.start()])
        if opening[1]:
            parts.append("${")
            position = opening.end()
            continue
        end = text.find("}", opening.end())
        spelled = text[opening.end() : end if end >= 0 else len(text)]
        parts.append(_reference(spelled, end >= 0, span))
        position = end + 1
    parts.append(text[position:])
    return join_parts(parts, span)


def join_parts(parts: list[str | Term], span: Span) -> str | Term:
    """Make of a template's parts the simplest thing: plain text, one term that keeps its type, or a template."""
    merged: list[str | Term] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        elif part != "":
            merged.append(part)
    if all(isinstance(part, str) for part in merged):
        return "".join(part for part in merged if isinstance(part, str))
    if len(merged) == 1 and not isinstance(merged[0], str):
        return merged[0]
    return Template(tuple(merged), span)


def evaluate(term: Term, lookup: Lookup) -> Value:
    """Compute a term: exact arithmetic, and a lone reference keeps the type of what it names.

    Raises TermError for a division by zero, arithmetic on text, a list inside text.
    """
    if isinstance(term, Constant):
        return Value(term.value)
    if isinstance(term, Reference):
        return lookup(term)
    if isinstance(term, Template):
        return _joined(term, lookup)
    exact, from_env = _calculated(term, lookup)
    if exact.denominator > 1:
        return Value(float(exact), from_env)
    if not INTEGER_MIN <= exact.numerator <= INTEGER_MAX:
        raise TermError(term.span, "the result does not fit an integer of 64 bits")
    return Value(exact.numerator, from_env)


def _reference(spelled: str, closed: bool, span: Span) -> Reference:
    found = _REFERENCE.fullmatch(spelled.strip())
    if closed and found:
        kind, name = (found[1], found[2]) if found[1] else (found[3], found[4])
        return Reference(kind, name, span)  # type: ignore[arg-type]  # the pattern knows these three kinds only
    shown = "${" + spelled + ("}" if closed else "")
    bare = spelled.strip().removeprefix("var.")
    hint = f"${{vars.{bare}}}" if re.fullmatch(NAME, bare) else "write `$${` where a plain `${` is meant"
    raise TermError(
        span, f"'{shown}' is no reference; expected ${{vars.NAME}}, ${{env:NAME}} or ${{matrix.NAME}}", hint
    )


def _joined(template: Template, lookup: Lookup) -> Value:
    pieces, from_env = [], False
    for part in template.parts:
        if isinstance(part, str):
            pieces.append(part)
            continue
        value = evaluate(part, lookup)
        from_env = from_env or value.from_env
        if value.data is None or isinstance(value.data, list | dict):
            kind = "nothing (null)" if value.data is None else "a list" if isinstance(value.data, list) else "a mapping"
            raise TermError(part.span, f"{_shown(part)} is {kind}, which cannot stand inside text")
        pieces.append(value.data if isinstance(value.data, str) else json.dumps(value.data))
    return Value("".join(pieces), from_env)


def _shown(term: Term) -> str:
    return f"'{term}'" if isinstance(term, Reference) else f"'{term.span.spelling}'"


def _calculated(term: Operation, lookup: Lookup) -> tuple[Fraction, bool]:
    """Compute with fractions to the end, so that `1 / 3 * 3` is 1; thirds become floats once, at last."""
    left, left_from_env = _exact(term.left, term, lookup)
    right, right_from_env = _exact(term.right, term, lookup)
    if term.symbol in "/%" and not right:
        raise TermError(term.span, f"'{term.symbol}' divides by zero")
    if term.symbol == "+":
        exact = left + right
    elif term.symbol == "-":
        exact = left - right
    elif term.symbol == "*":
        exact = left * right
    elif term.symbol == "/":
        exact = left / right
    else:  # HCL's remainder takes the sign of the dividend, Python's that of the divisor.
        exact = left - right * math.trunc(left / right)
    if max(exact.numerator.bit_length(), exact.denominator.bit_length()) > _MAX_BITS:
        raise TermError(term.span, "the result has too many digits")
    return exact, left_from_env or right_from_env


def _exact(term: Term, within: Operation, lookup: Lookup) -> tuple[Fraction, bool]:
    if isinstance(term, Operation):
        return _calculated(term, lookup)
    value = evaluate(term, lookup)
    data = value.data
    if isinstance(data, bool) or not isinstance(data, int | float):
        raise TermError(within.span, f"'{within.symbol}' needs two numbers, found {json.dumps(data)}")
    # The shortest decimal spelling of a float is what the user wrote: 0.1 + 0.2 is 0.3 here.
    return (Fraction(data) if isinstance(data, int) else Fraction(Decimal(repr(data)))), value.from_env
