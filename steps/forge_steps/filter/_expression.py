"""Read the condition of a filter into a typed tree, every error with its column.

Grammar, weakest binding first (never Python's own: nothing here can run code):

    condition := all ("or" all)*
    all       := negated ("and" negated)*
    negated   := "not" negated | compared
    compared  := sum (("<" | "<=" | ">" | ">=" | "==" | "!=") sum)*      a < b <= c means a < b and b <= c
               | sum ["not"] "in" "[" constant ("," constant)* "]"
               | sum "is" ["not"] "null"
    sum       := product (("+" | "-") product)*
    product   := signed (("*" | "/") signed)*
    signed    := "-" signed | number | text | "true" | "false" | name | "(" condition ")"
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Literal

from forge_steps.filter._tokens import ExpressionError, Token, text_of, tokens
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
    Type,
)

DEEPEST = 40
_ORDERS = ("<", "<=", ">", ">=", "==", "!=")
_KINDS = {"number": "a number", "text": "a text", "truth": "a condition", "any": "a field"}


def parse(expression: str, metrics: Collection[str]) -> Node:
    """Read a condition over metrics and `source.*` fields.

    Args:
        expression: at most 2000 characters, such as `blockiness < 30 and laplacian > 0.004`.
        metrics: names of the metrics that may be used.

    Returns:
        The tree; its type is `truth` (or `any`, for a lone source field).

    Raises:
        ExpressionError: with the column, what was found and what was expected.
    """
    return _Parser(tokens(expression), metrics).whole()


class _Parser:
    """Recursive descent over the tokens, one method a line of the grammar."""

    def __init__(self, found: list[Token], metrics: Collection[str]) -> None:
        self.tokens = found
        self.metrics = metrics
        self.at = 0
        self.depth = 0

    def whole(self) -> Node:
        node = self.condition()
        if self.here.kind != "end":
            raise ExpressionError(self.here.column, f"found {self.here}, expected 'and', 'or' or the end")
        if node.type not in ("truth", "any"):
            raise ExpressionError(
                node.column, f"the expression is {_KINDS[node.type]}, expected a condition such as 'blockiness < 30'"
            )
        return node

    @property
    def here(self) -> Token:
        return self.tokens[self.at]

    def taken(self, *sources: str) -> Token | None:
        """Move on if the token here is a word or sign of these."""
        token = self.here
        if token.kind in ("word", "sign") and token.source in sources:
            self.at += 1
            return token
        return None

    def expect(self, source: str) -> None:
        if self.taken(source) is None:
            raise ExpressionError(self.here.column, f"found {self.here}, expected '{source}'")

    def condition(self) -> Node:
        return self.joined("or")

    def all(self) -> Node:
        return self.joined("and")

    def joined(self, word: Literal["and", "or"]) -> Node:
        read = self.all if word == "or" else self.negated
        parts = [read()]
        while self.taken(word):
            parts.append(read())
        if len(parts) == 1:
            return parts[0]
        for node in parts:
            _demand(node, "truth", f"'{word}' joins conditions")
        return Combination(word, tuple(parts), parts[0].column)

    def negated(self) -> Node:
        token = self.taken("not")
        if token is None:
            return self.compared()
        self.deeper(token)
        node = self.negated()
        self.depth -= 1
        _demand(node, "truth", "'not' takes a condition")
        return Not(node, token.column)

    def compared(self) -> Node:
        left = self.sum()
        if self.taken("is"):
            opposite = self.taken("not") is not None
            self.expect("null")
            if not isinstance(left, Name):
                raise ExpressionError(left.column, f"found {_KINDS[left.type]}, expected a name before 'is null'")
            return _opposite(IsNull(left, left.column), opposite)
        if self.here.source in ("in", "not") and self.here.kind == "word":
            opposite = self.taken("not") is not None
            self.expect("in")
            return _opposite(Membership(left, self.choices(left), left.column), opposite)
        pairs: list[Node] = []
        while token := self.taken(*_ORDERS):
            right = self.sum()
            _comparable(token, left, right)
            pairs.append(Comparison(token.source, left, right, left.column))
            left = right
        if not pairs:
            return left
        return pairs[0] if len(pairs) == 1 else Combination("and", tuple(pairs), pairs[0].column)

    def choices(self, value: Node) -> tuple[Constant, ...]:
        self.expect("[")
        found: list[Constant] = []
        while not found or self.taken(","):
            choice = self.constant()
            if "any" not in (value.type, choice.type) and value.type != choice.type:
                raise ExpressionError(choice.column, f"cannot compare {_KINDS[value.type]} with {_KINDS[choice.type]}")
            found.append(choice)
        self.expect("]")
        return tuple(found)

    def constant(self) -> Constant:
        token = self.here
        node = self.signed()
        if isinstance(node, Arithmetic) and token.source == "-" and isinstance(node.right, Constant):
            return Constant(-float(node.right.value), token.column)
        if not isinstance(node, Constant):
            raise ExpressionError(token.column, f"found {token}, expected a number or a text in quotes")
        return node

    def sum(self) -> Node:
        return self.arithmetic(("+", "-"))

    def product(self) -> Node:
        return self.arithmetic(("*", "/"))

    def arithmetic(self, signs: tuple[str, str]) -> Node:
        read = self.product if signs[0] == "+" else self.signed
        left = read()
        while token := self.taken(*signs):
            right = read()
            for node in (left, right):
                _demand(node, "number", f"'{token.source}' takes numbers")
            left = Arithmetic(token.source, left, right, left.column)
        return left

    def signed(self) -> Node:
        token = self.here
        if self.taken("-"):
            self.deeper(token)
            node = self.signed()
            self.depth -= 1
            _demand(node, "number", "'-' takes a number")
            return Arithmetic("-", Constant(0.0, token.column), node, token.column)
        if self.taken("("):
            self.deeper(token)
            node = self.condition()
            self.depth -= 1
            self.expect(")")
            return node
        if word := self.taken("true", "false"):
            return Constant(word.source == "true", token.column)
        if token.kind not in ("number", "text", "name"):
            if token.source == "null":
                raise ExpressionError(token.column, "null is no value to compare with; write 'NAME is null'")
            raise ExpressionError(token.column, f"found {token}, expected a name, a number or a text in quotes")
        self.at += 1
        if token.kind == "number":
            return Constant(float(token.source), token.column)
        return Constant(text_of(token), token.column) if token.kind == "text" else self.name(token)

    def name(self, token: Token) -> Name:
        if token.source in self.metrics:
            return Name(token.source, token.column, "number")
        if token.source.startswith("source."):
            return Name(token.source, token.column, "any")
        raise ExpressionError(token.column, _unknown(token.source, self.metrics))

    def deeper(self, token: Token) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ExpressionError(token.column, f"nested more than {DEEPEST} deep")


def _unknown(name: str, metrics: Collection[str]) -> str:
    last = name.rpartition(".")[2]
    if "." in name and last in metrics:
        return (
            f"'{name}' cannot be read: a score belongs to the content that it was measured on; "
            f"name '{last}', and it is measured on what enters this step"
        )
    close = difflib.get_close_matches(name, sorted(metrics), n=1)
    if close:
        return f"unknown metric '{name}'; did you mean '{close[0]}'?"
    return f"unknown metric '{name}', expected one of {', '.join(sorted(metrics))}, or a field source.*"


def _demand(node: Node, wanted: Type, why: str) -> None:
    if node.type not in (wanted, "any"):
        raise ExpressionError(node.column, f"found {_KINDS[node.type]}, {why}")


def _comparable(sign: Token, left: Node, right: Node) -> None:
    if "any" not in (left.type, right.type) and left.type != right.type:
        raise ExpressionError(right.column, f"cannot compare {_KINDS[left.type]} with {_KINDS[right.type]}")
    if sign.source not in ("==", "!="):
        for node in (left, right):
            _demand(node, "number", f"'{sign.source}' compares numbers")


def _opposite(node: Node, opposite: bool) -> Node:
    return Not(node, node.column) if opposite else node
