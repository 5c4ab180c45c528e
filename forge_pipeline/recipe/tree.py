"""The syntax tree of a recipe: scalars, terms, lists and maps, each with its place; no key is lost."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from forge_pipeline.errors import Problem
from forge_pipeline.recipe.terms import INTEGER_MAX, INTEGER_MIN, Reference, Scalar, Template, Term, TermError
from forge_pipeline.recipe.terms import parse_template as _parse_template
from forge_pipeline.recipe.text import Span
from forge_pipeline.sample import Json

MAX_DEPTH = 64
"""Levels of lists and maps that a recipe may nest."""

_MAX_DIGITS = 100
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, eq=False)
class ScalarNode:
    """A value that is written out."""

    value: Scalar
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class TermNode:
    """A value that is known once vars and environment are."""

    term: Term
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class ListNode:
    """Values in order."""

    items: tuple[Node, ...]
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A key with its value; the key has a place of its own."""

    key: str
    key_span: Span
    value: Node


@dataclass(frozen=True, slots=True, eq=False)
class MapNode:
    """Keys with values in the order of writing; a repeated key is kept, and `tree_problems` tells of it."""

    members: tuple[Member, ...]
    span: Span

    def member(self, key: str) -> Member | None:
        """Return the first member of that key."""
        return next((member for member in self.members if member.key == key), None)

    def value(self, key: str) -> Node | None:
        """Return the first value of that key."""
        member = self.member(key)
        return member.value if member else None

    def replaced(self, key: str, key_span: Span, value: Node) -> MapNode:
        """Return the map with another value of a key, which stands last where it was not there."""
        new = Member(key, key_span, value)
        if self.member(key) is None:
            return MapNode((*self.members, new), self.span)
        return MapNode(tuple(new if member.key == key else member for member in self.members), self.span)


@dataclass(frozen=True, slots=True, eq=False)
class BrokenNode:
    """A value that cannot be read; the rest of the file is, so that all problems are told at once."""

    problem: Problem
    span: Span


Node = ScalarNode | TermNode | ListNode | MapNode | BrokenNode


def text_node(text: str, span: Span) -> ScalarNode | TermNode | BrokenNode:
    """Make a node of a text of YAML or JSON, with the references in it."""
    try:
        parsed = _parse_template(text, span)
    except TermError as error:
        return broken_node(error)
    return ScalarNode(parsed, span) if isinstance(parsed, str) else TermNode(parsed, span)


def integer_node(digits: str, base: int, span: Span) -> ScalarNode | BrokenNode:
    """Make a node of an integer's digits; it must fit 64 bits."""
    # Python refuses to read more than 4,300 digits, with a message of its own.
    number = int(digits, base) if len(digits) <= _MAX_DIGITS else INTEGER_MAX + 1
    if INTEGER_MIN <= number <= INTEGER_MAX:
        return ScalarNode(number, span)
    return _no_number(f"integer {_cut(digits)} does not fit 64 bits", span)


def float_node(digits: str, span: Span) -> ScalarNode | BrokenNode:
    """Make a node of a float's digits; it must fit a double, which infinity and NaN do not here."""
    number = float(digits)
    if math.isfinite(number):
        return ScalarNode(number, span)
    return _no_number(f"number {_cut(digits)} is too large, expected at most 1.7976931348623157e308", span)


def no_number_node(spelling: str, span: Span) -> BrokenNode:
    """Make a node of what other readers take as infinity or NaN."""
    return _no_number(f"{spelling} is no number that a recipe can hold", span)


def broken_node(error: TermError) -> BrokenNode:
    """Make a node of a term that cannot be read."""
    return BrokenNode(error.span.problem(error.message, error.hint), error.span)


def _no_number(message: str, span: Span) -> BrokenNode:
    return BrokenNode(span.problem(message, "put it in quotes where text is meant"), span)


def _cut(digits: str) -> str:
    return digits if len(digits) <= 40 else digits[:37] + "..."


def too_deep(span: Span) -> Exception:
    """Say that lists and maps nest too deep."""
    return span.error(f"nested deeper than {MAX_DEPTH} levels")


def plain(node: Node) -> Json:
    """Return a node's data, for keys that may hold no reference.

    Raises TermError at the first reference.
    """
    if isinstance(node, ScalarNode):
        return node.value
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    if isinstance(node, MapNode):
        return {member.key: plain(member.value) for member in node.members}
    raise TermError(node.span, "a reference cannot stand here, expected a value that is written out")


def tree_problems(root: Node) -> list[Problem]:
    """Name what is wrong in a tree: broken values, repeated keys, references in keys, broken Unicode."""
    problems: list[Problem] = []
    for node in _distinct_nodes(root):
        if isinstance(node, MapNode):
            problems += _key_problems(node)
        elif isinstance(node, BrokenNode):
            problems.append(node.problem)
        elif _broken_text(node):
            problems.append(node.span.problem("half of a surrogate pair is no text, expected a whole character"))
    return problems


def _distinct_nodes(root: Node) -> Iterator[Node]:
    """Walk every node once: YAML aliases make the tree share nodes."""
    seen: set[int] = set()
    todo: list[Node] = [root]
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, ListNode):
            todo.extend(node.items)
        elif isinstance(node, MapNode):
            todo.extend(member.value for member in node.members)


def _key_problems(node: MapNode) -> Iterator[Problem]:
    first: dict[str, Member] = {}
    for member in node.members:
        if member.key in first:
            at = first[member.key].key_span.where
            yield member.key_span.problem(
                f"key '{member.key}' is written twice; the first stands at {at}", "remove or rename one of the two"
            )
        elif _SURROGATE.search(member.key):
            yield member.key_span.problem("half of a surrogate pair is no text, expected a whole character")
        elif "${" in member.key:
            yield member.key_span.problem(f"key '{member.key}' holds a reference; only values can")
        first.setdefault(member.key, member)


def _broken_text(node: Node) -> bool:
    if isinstance(node, ScalarNode):
        return isinstance(node.value, str) and bool(_SURROGATE.search(node.value))
    if isinstance(node, TermNode) and isinstance(node.term, Template):
        return any(isinstance(part, str) and _SURROGATE.search(part) for part in node.term.parts)
    return False


__all__ = [
    "MAX_DEPTH",
    "BrokenNode",
    "ListNode",
    "MapNode",
    "Member",
    "Node",
    "Reference",
    "ScalarNode",
    "TermNode",
    "broken_node",
    "float_node",
    "integer_node",
    "no_number_node",
    "plain",
    "text_node",
    "too_deep",
    "tree_problems",
]
