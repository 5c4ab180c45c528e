"""Cut the text of an expression into tokens that know their column."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "text", "name", "word", "sign", "end"]

WORDS = frozenset({"and", "or", "not", "in", "is", "null", "true", "false"})
LONGEST = 2000

_PATTERN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
      | (?P<text>"(?:[^"\\]|\\["\\])*"|'(?:[^'\\]|\\['\\])*')
      | (?P<sign><=|>=|==|!=|&&|\|\||[-+*/<>()\[\],=!&|])""",
    re.VERBOSE,
)
_FOREIGN = {"&&": "and", "&": "and", "||": "or", "|": "or", "!": "not", "=": "=="}


class ExpressionError(ValueError):
    """An expression that cannot be read. The message begins with the column, counted from 1."""

    def __init__(self, column: int, problem: str) -> None:
        super().__init__(column, problem)
        self.column = column
        self.problem = problem

    def __str__(self) -> str:
        return f"column {self.column}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an expression: `source` as written, `column` counted from 1."""

    kind: Kind
    source: str
    column: int

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else self.source if self.kind == "text" else f"'{self.source}'"


def tokens(expression: str) -> list[Token]:
    """Return the tokens of an expression, the last one of kind `end`. Raises ExpressionError."""
    if len(expression) > LONGEST:
        raise ExpressionError(LONGEST + 1, f"found {len(expression)} characters, expected at most {LONGEST}")
    found: list[Token] = []
    at = 0
    while at < len(expression):
        match = _PATTERN.match(expression, at)
        if match is None:
            raise ExpressionError(at + 1, _unreadable(expression[at]))
        if match.lastgroup != "space":
            found.append(_token(match))
        at = match.end()
    return [*found, Token("end", "", len(expression) + 1)]


def text_of(token: Token) -> str:
    """Return what a quoted text says."""
    return re.sub(r"\\(.)", r"\1", token.source[1:-1])


def _token(match: re.Match[str]) -> Token:
    source, column = match.group(), match.start() + 1
    if match.lastgroup == "number":
        following = match.string[match.end() : match.end() + 1]
        if following.isalnum() or following in ("_", "."):
            raise ExpressionError(column, f"'{source}{following}' is not a number; write 30, 0.004 or 4e-3")
        if not math.isfinite(float(source)):
            raise ExpressionError(column, f"'{source}' is too large for a number")
        return Token("number", source, column)
    if match.lastgroup == "name":
        return Token("word" if source in WORDS else "name", source, column)
    if match.lastgroup == "text":
        return Token("text", source, column)
    if source in _FOREIGN:
        raise ExpressionError(column, f"found '{source}'; did you mean '{_FOREIGN[source]}'?")
    return Token("sign", source, column)


def _unreadable(character: str) -> str:
    if character in "\"'":
        return f"the text that begins with {character} has no end"
    return f"found '{character}', expected a name, a number, a text in quotes or an operator"
