"""YAML to a syntax tree: PyYAML's events, and YAML 1.2's core types resolved here.

PyYAML's own values are those of YAML 1.1 (`no` is False, `010` is 8, `1:30` is 90), its dicts lose repeated keys, and
its composer recurses; its event stream does none of that. Merge keys (`<<`) and tags are not part of the core schema
and are refused by name; an alias (`with: *common`) is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from forge_pipeline.recipe.text import Span, Text
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

MAX_ALIASED_NODES = 10_000
"""Nodes that aliases may add to those written out: enough for people, too few for a billion laughs."""

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(("true", "True", "TRUE"))
_FALSE = frozenset(("false", "False", "FALSE"))
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
# Line ends of YAML 1.1 that are plain characters in 1.2; noncharacters of Unicode stand in for them meanwhile.
_HIDE_OLD_LINE_ENDS = str.maketrans("\x85\u2028\u2029", "\ufdd0\ufdd1\ufdd2")
_SHOW_OLD_LINE_ENDS = str.maketrans("\ufdd0\ufdd1\ufdd2", "\x85\u2028\u2029")
_HINTS = {
    "found character '\\t' that cannot start any token": "indent with spaces",
    "mapping values are not allowed here": "put a text that holds ': ' in quotes",
}


def parse_yaml(text: Text) -> Node | None:
    """Read a document; None for one without content. Raises RecipeError at the first thing that is no YAML."""
    try:
        content = text.content.translate(_HIDE_OLD_LINE_ENDS)
        return _Builder(text).document(yaml.parse(content, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or "cannot be read"
        context = f"{error.context}, " if error.context else ""
        raise text.span(mark.index if mark else 0).error(
            f"this is no YAML: {context}{problem}", _HINTS.get(problem, "")
        ) from None
    except yaml.reader.ReaderError as error:
        code = error.character if isinstance(error.character, int) else ord(error.character)
        raise text.span(error.position).error(f"character U+{code:04X} cannot stand in YAML") from None
    except (ValueError, OverflowError):  # PyYAML lets through what chr() and int() say of an escape or a directive
        raise text.span(0).error("this is no YAML: an escape or a directive holds a number out of range") from None


@dataclass(slots=True)
class _Frame:
    """A list or map that is still open."""

    event: yaml.CollectionStartEvent
    items: list[Node] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    key: tuple[str, Span] | None = None
    size: int = 1
    height: int = 1


@dataclass(frozen=True, slots=True)
class _Built:
    """A node, how many nodes it holds and how deep it is, aliases counted as if written out."""

    node: Node
    size: int = 1
    height: int = 1


class _Builder:
    """Events into nodes, with a stack of its own: depth and aliases are bounded before they cost anything."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._open: list[_Frame] = []
        self._anchors: dict[str, _Built | None] = {}
        self._aliased = 0

    def document(self, events: Iterator[yaml.Event]) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                self._check_document(event, documents)
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self._start(event)
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                root = self._add(self._finished(event)) or root
            elif isinstance(event, yaml.AliasEvent):
                root = self._add(self._alias(event)) or root
            elif isinstance(event, yaml.ScalarEvent):
                root = self._scalar(event) or root
        if isinstance(root, ScalarNode) and root.value is None:
            return None
        return root

    def _span(self, event: yaml.Event) -> Span:
        return self._text.span(_index(event.start_mark), _index(event.end_mark))

    def _check_document(self, event: yaml.DocumentStartEvent, count: int) -> None:
        if count > 1:
            raise self._span(event).error("a second document starts here, expected one recipe a file")
        if event.version and tuple(event.version) != (1, 2):
            shown = ".".join(str(part) for part in event.version)
            raise self._span(event).error(f"this file says YAML {shown}, expected 1.2", "%YAML 1.2")

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        self._check_tag(event)
        self._expect_value(event, "a list" if isinstance(event, yaml.SequenceStartEvent) else "a mapping")
        if len(self._open) >= MAX_DEPTH:
            raise too_deep(self._span(event))
        if event.anchor:
            self._anchors[event.anchor] = None
        self._open.append(_Frame(event))

    def _finished(self, end: yaml.Event) -> _Built:
        frame = self._open.pop()
        span = self._text.span(_index(frame.event.start_mark), _index(end.end_mark))
        node: Node = (
            ListNode(tuple(frame.items), span)
            if isinstance(frame.event, yaml.SequenceStartEvent)
            else MapNode(tuple(frame.members), span)
        )
        built = _Built(node, frame.size, frame.height)
        if frame.event.anchor:
            self._anchors[frame.event.anchor] = built
        return built

    def _alias(self, event: yaml.AliasEvent) -> _Built:
        span = self._span(event)
        self._expect_value(event, "an alias")
        if event.anchor not in self._anchors:
            raise span.error(f"alias '*{event.anchor}' has no anchor '&{event.anchor}' before it")
        built = self._anchors[event.anchor]
        if built is None:
            raise span.error(f"alias '*{event.anchor}' stands inside its own anchor")
        self._aliased += built.size
        if self._aliased > MAX_ALIASED_NODES:
            raise span.error(f"aliases expand to more than {MAX_ALIASED_NODES:,} values")
        if len(self._open) + built.height > MAX_DEPTH:
            raise too_deep(span)
        return built

    def _scalar(self, event: yaml.ScalarEvent) -> Node | None:
        self._check_tag(event)
        span = self._span(event)
        value = event.value.translate(_SHOW_OLD_LINE_ENDS)
        node = _resolved(value, span) if event.style is None else text_node(value, span)
        if self._expects_key():
            self._open[-1].key = (self._key(event, node), span)
            return None
        built = _Built(node)
        if event.anchor:
            self._anchors[event.anchor] = built
        return self._add(built)

    def _key(self, event: yaml.ScalarEvent, node: Node) -> str:
        if event.style is None and event.value == "<<":
            raise self._span(event).error(
                "merge key '<<' is not part of YAML 1.2",
                "use `include:`, or an alias as a whole value: `with: *common`",
            )
        if isinstance(node, ScalarNode) and not isinstance(node.value, str):
            shown = f"'{event.value}'" if event.value else "an empty key"
            raise self._span(event).error(f"{shown} is no text, expected a key", f'"{event.value}"')
        if event.anchor:
            raise self._span(event).error(f"anchor '&{event.anchor}' stands at a key, expected it at a value")
        return str(event.value).translate(_SHOW_OLD_LINE_ENDS)

    def _add(self, built: _Built) -> Node | None:
        """Put a value where it belongs; return it when it is the whole document."""
        if not self._open:
            return built.node
        frame = self._open[-1]
        frame.size += built.size
        frame.height = max(frame.height, built.height + 1)
        if frame.key is None:
            frame.items.append(built.node)
        else:
            frame.members.append(Member(*frame.key, built.node))
            frame.key = None
        return None

    def _expects_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].event, yaml.MappingStartEvent) and not self._open[-1].key

    def _expect_value(self, event: yaml.Event, found: str) -> None:
        if self._expects_key():
            raise self._span(event).error(f"{found} stands where a key should, expected text")

    def _check_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise self._span(event).error(
                f"tag '{tag}' is not taken in a recipe", "put a value in quotes to make it text"
            )


def _resolved(text: str, span: Span) -> Node:
    """Resolve a plain scalar by the core schema of YAML 1.2 (chapter 10.3.2)."""
    if text in _NULL:
        return ScalarNode(None, span)
    if text in _TRUE or text in _FALSE:
        return ScalarNode(text in _TRUE, span)
    if _INTEGER.fullmatch(text):
        return integer_node(text, 10, span)
    if _BASED.fullmatch(text):
        return integer_node(text[2:], 8 if text[1] == "o" else 16, span)
    if _FLOAT.fullmatch(text):
        return float_node(text, span)
    if _NOT_FINITE.fullmatch(text):
        return no_number_node(text, span)
    return text_node(text, span)


def _index(mark: Any) -> int:
    return mark.index if mark else 0
