"""JSON to a syntax tree, strictly by RFC 8259: no NaN, no comments, no repeated key lost."""

from __future__ import annotations

import json
import re

from forge_pipeline.recipe.text import Text
from forge_pipeline.recipe.tree import (
    MAX_DEPTH,
    ListNode,
    MapNode,
    Member,
    Node,
    ScalarNode,
    float_node,
    integer_node,
    no_number_node,
    text_node,
    too_deep,
)

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_WORD = re.compile(r"[-+.\w]+")
_CONSTANTS = {"true": True, "false": False, "null": None}


def parse_json(text: Text) -> Node | None:
    """Read a document; None for one without content. Raises RecipeError at the first thing that is no JSON."""
    reader = _Reader(text)
    if reader.at_end():
        return None
    root = reader.value(0)
    if not reader.at_end():
        raise reader.error("expected the end of the file")
    return root


class _Reader:
    """A cursor in the text. It recurses once a level, and levels are bounded."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._content = text.content
        self._at = 0

    def at_end(self) -> bool:
        self._at = _end_of(_SPACE, self._content, self._at)
        return self._at == len(self._content)

    def error(self, expected: str, hint: str = "") -> Exception:
        """Tell what stands at the cursor, and what should."""
        if self.at_end():
            found = "the end of the file"
        else:
            word = _WORD.match(self._content, self._at)
            found = f"'{(word[0] if word else self._content[self._at])[:40]}'"
        return self._text.span(self._at).error(f"this is no JSON: found {found}, {expected}", hint)

    def value(self, depth: int) -> Node:
        if self.at_end():
            raise self.error("expected a value")
        start, character = self._at, self._content[self._at]
        if character in "{[":
            if depth >= MAX_DEPTH:
                raise too_deep(self._text.span(start, start + 1))
            return self._map(depth) if character == "{" else self._list(depth)
        if character == '"':
            string = self._string()
            return text_node(string, self._text.span(start, self._at))
        return self._word()

    def _word(self) -> Node:
        word = _WORD.match(self._content, self._at)
        number = _NUMBER.fullmatch(word[0]) if word else None
        if word and (number or word[0] in _CONSTANTS):
            span = self._text.span(self._at, word.end())
            self._at = word.end()
            if not number:
                return ScalarNode(_CONSTANTS[word[0]], span)
            return float_node(word[0], span) if number[1] or number[2] else integer_node(word[0], 10, span)
        if word and word[0].lstrip("-+") in ("NaN", "Infinity"):
            span = self._text.span(self._at, word.end())
            self._at = word.end()
            return no_number_node(word[0], span)
        raise self.error("expected a value", f'"{word[0]}"' if word else "")

    def _string(self) -> str:
        found = _STRING.match(self._content, self._at)
        if found:
            self._at = found.end()
            return str(json.loads(found[0]))
        end = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*').match(self._content, self._at)
        stop = end.end() if end else self._at
        span = self._text.span(stop if self._content[stop : stop + 1] == "\\" else self._at)
        if self._content[stop : stop + 1] == "\\":
            raise span.error(f"this is no JSON: '{self._content[stop : stop + 2]}' is no escape", "\\\\")
        raise span.error("this is no JSON: a text has no closing quote on its line")

    def _list(self, depth: int) -> ListNode:
        start = self._at
        self._at += 1
        items: list[Node] = []
        while not self._closed("]", bool(items)):
            items.append(self.value(depth + 1))
        return ListNode(tuple(items), self._text.span(start, self._at))

    def _map(self, depth: int) -> MapNode:
        start = self._at
        self._at += 1
        members: list[Member] = []
        while not self._closed("}", bool(members)):
            if self._content[self._at] != '"':
                raise self.error("expected a key in double quotes")
            key_start = self._at
            key = self._string()
            key_span = self._text.span(key_start, self._at)
            if self.at_end() or self._content[self._at] != ":":
                raise self.error("expected ':' after the key")
            self._at += 1
            members.append(Member(key, key_span, self.value(depth + 1)))
        return MapNode(tuple(members), self._text.span(start, self._at))

    def _closed(self, bracket: str, after_item: bool) -> bool:
        """Step over the closing bracket, or over the comma before the next item."""
        if not self.at_end() and self._content[self._at] == bracket:
            self._at += 1
            return True
        if after_item:
            if self.at_end() or self._content[self._at] != ",":
                raise self.error(f"expected ',' or '{bracket}'")
            self._at += 1
            if not self.at_end() and self._content[self._at] == bracket:
                raise self.error(
                    "expected a value after the comma" if bracket == "]" else "expected a key after the comma"
                )
        if self.at_end():
            raise self.error(f"expected '{bracket}'")
        return False


def _end_of(pattern: re.Pattern[str], content: str, start: int) -> int:
    found = pattern.match(content, start)
    return found.end() if found else start
