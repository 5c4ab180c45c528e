"""The typed tree that a condition is read into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Type = Literal["number", "text", "truth", "any"]
"""What an expression gives; `any` for a source field, whose type only its values show."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, text, true or false as written."""

    value: float | str | bool
    column: int

    @property
    def type(self) -> Type:
        """Say what it is."""
        return "truth" if isinstance(self.value, bool) else "text" if isinstance(self.value, str) else "number"


@dataclass(frozen=True, slots=True)
class Name:
    """A metric, or a field of the source file."""

    name: str
    column: int
    type: Type


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Two numbers joined by + - * /; `-x` is `0 - x`."""

    sign: str
    left: Node
    right: Node
    column: int
    type: Type = "number"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left sign right`; a chain is a Combination of its pairs."""

    sign: str
    left: Node
    right: Node
    column: int
    type: Type = "truth"


@dataclass(frozen=True, slots=True)
class Membership:
    """`value in [...]`."""

    value: Node
    choices: tuple[Constant, ...]
    column: int
    type: Type = "truth"


@dataclass(frozen=True, slots=True)
class IsNull:
    """`value is null`: the sample lacks the field."""

    value: Node
    column: int
    type: Type = "truth"


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a condition."""

    condition: Node
    column: int
    type: Type = "truth"


@dataclass(frozen=True, slots=True)
class Combination:
    """Conditions joined by `and` or by `or`, in their order."""

    word: Literal["and", "or"]
    parts: tuple[Node, ...]
    column: int
    type: Type = "truth"


Node: TypeAlias = Constant | Name | Arithmetic | Comparison | Membership | IsNull | Not | Combination


def names_in(node: Node) -> tuple[str, ...]:
    """Return the names that a tree uses, each once, in the order of their first use."""
    return tuple(dict.fromkeys(leaf.name for leaf in _leaves(node)))


def _leaves(node: Node) -> list[Name]:
    match node:
        case Name():
            return [node]
        case Constant():
            return []
        case Arithmetic() | Comparison():
            return _leaves(node.left) + _leaves(node.right)
        case Membership() | IsNull():
            return _leaves(node.value)
        case Not():
            return _leaves(node.condition)
        case Combination():
            return [leaf for part in node.parts for leaf in _leaves(part)]
