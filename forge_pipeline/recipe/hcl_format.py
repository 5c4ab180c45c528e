"""HCL to the same syntax tree as YAML and JSON: python-hcl2's parse tree with positions, never its dict.

The natural form of a recipe: attributes and `vars`, `defaults` blocks at the top; one `step "ID" { ... }` block a step,
in which every attribute that is no key of a step is a parameter (`with { ... }` takes those named like one);
`step.ID` and `step.ID["kind=jpeg"]` in `from`; `var.x`, `env.NAME` and `matrix.x` in values, also as `${var.x}` inside
text; `+ - * / %` on numbers and vars. Functions, conditions, loops, splats, heredocs are refused where they stand.
"""

from __future__ import annotations

from collections.abc import Iterator

from lark import Token, Tree

from forge_pipeline.errors import Problem, RecipeError
from forge_pipeline.recipe.hcl_terms import is_word, literal, reference, spelled, term, text_parts
from forge_pipeline.recipe.hcl_tokens import parse_tokens
from forge_pipeline.recipe.model import STEP_KEYS, TOP_KEYS, is_free_key
from forge_pipeline.recipe.terms import Constant, TermError
from forge_pipeline.recipe.text import Span, Text
from forge_pipeline.recipe.tree import ListNode, MapNode, Member, Node, ScalarNode, TermNode, broken_node

Branch = Tree[Token]


def parse_hcl(text: Text) -> Node | None:
    """Read a document; None for one without content. Raises RecipeError with all that a recipe does not take."""
    body = next(tree for tree in parse_tokens(text).children if isinstance(tree, Tree))
    reader = _Reader(text)
    root = reader.recipe(body)
    if reader.problems:
        raise RecipeError(reader.problems)
    return root if root.members else None


class _Reader:
    """Parse tree into nodes; what cannot be taken is noted and reading goes on behind it."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self.problems: list[Problem] = []

    def recipe(self, body: Branch) -> MapNode:
        members: list[Member] = []
        steps: list[Member] = []
        for entry in _entries(body):
            name, labels = self._heading(entry)
            if name.spelling in ("step", "steps"):
                steps += self._step(entry, name, labels)
            else:
                # An unknown block (`variable "x" {}`) is told as an unknown key, with what was meant.
                members += self._member(entry, name, labels if name.spelling in TOP_KEYS else [])
        if steps:
            first = steps[0].key_span
            members.append(Member("steps", first, MapNode(tuple(steps), first)))
        return MapNode(tuple(members), spelled(self._text, body))

    def _step(self, entry: Branch, name: Span, labels: list[tuple[str, Span]]) -> Iterator[Member]:
        if entry.data != "block" or name.spelling == "steps" or len(labels) != 1:
            problem = name.problem("a step is written as a block with its id", 'step "ID" { use = "OPERATOR" }')
            self.problems.append(problem)
            return
        ((step_id, id_span),) = labels
        keys: list[Member] = []
        params: list[Member] = []
        explicit: list[Member] = []
        for inner in _entries(_body(entry)):
            key, inner_labels = self._heading(inner)
            for member in self._member(inner, key, inner_labels):
                if member.key == "with":
                    explicit.append(member)
                else:
                    (keys if member.key in STEP_KEYS or is_free_key(member.key) else params).append(member)
        keys += self._with(explicit, params, id_span)
        yield Member(step_id, id_span, MapNode(tuple(keys), id_span))

    def _with(self, explicit: list[Member], params: list[Member], id_span: Span) -> list[Member]:
        """Join the parameters that stand in the block with those of its `with`."""
        if not params:
            return explicit
        for member in explicit:
            if isinstance(member.value, MapNode):
                params = [*member.value.members, *params]
            else:
                self.problems.append(member.key_span.problem("'with' is no mapping, and parameters stand beside it"))
        params.sort(key=lambda member: member.key_span.start)  # so that of two the later one is told as repeated
        return [Member("with", id_span, MapNode(tuple(params), id_span))]

    def _member(self, entry: Branch, name: Span, labels: list[tuple[str, Span]]) -> Iterator[Member]:
        """Make a key with its value of an attribute, or of a block without labels."""
        if entry.data == "block":
            if labels:
                self.problems.append(
                    labels[0][1].problem(f"block '{name.spelling}' takes no label", name.spelling + " {")
                )
                return
            inner = [m for e in _entries(_body(entry)) for m in self._member(e, *self._heading(e))]
            yield Member(name.spelling, name, MapNode(tuple(inner), name))
            return
        value = entry.children[-1]
        assert isinstance(value, Tree)
        yield Member(name.spelling, name, self._value(value, in_from=name.spelling == "from"))

    def _heading(self, entry: Branch) -> tuple[Span, list[tuple[str, Span]]]:
        """Return the name of an attribute or block, and a block's labels."""
        head = entry.children[0]
        labels: list[tuple[str, Span]] = []
        if entry.data == "block":
            for child in entry.children[1:]:
                if isinstance(child, Tree) and (child.data == "string" or is_word(child)):
                    labels.append((self._label(child), spelled(self._text, child)))
        return spelled(self._text, head), labels

    def _label(self, tree: Branch) -> str:
        if is_word(tree):
            return spelled(self._text, tree).spelling
        try:
            parts = text_parts(tree, self._text)
        except TermError as error:
            self.problems.append(error.span.problem(error.message, error.hint))
            return ""
        if all(isinstance(part, str) for part in parts):
            return "".join(part for part in parts if isinstance(part, str))
        self.problems.append(spelled(self._text, tree).problem("a step id is plain text, without references"))
        return ""

    def _value(self, tree: Branch, in_from: bool) -> Node:
        try:
            return self._read(tree, in_from)
        except TermError as error:
            return broken_node(error)

    def _read(self, tree: Branch, in_from: bool) -> Node:
        inner = _unwrapped(tree)
        span = spelled(self._text, tree)
        if inner.data == "tuple":
            return ListNode(tuple(self._value(item, in_from) for item in _trees(inner)), span)
        if inner.data == "object":
            return MapNode(tuple(self._pair(pair, in_from) for pair in _trees(inner)), span)
        if in_from and (step := self._step_reference(inner)) is not None:
            return ScalarNode(step, span)
        found = term(inner, self._text)
        if isinstance(found, Constant):
            return literal(found, span)
        return TermNode(found, span)

    def _pair(self, tree: Branch, in_from: bool) -> Member:
        key_tree, value = (child for child in tree.children if isinstance(child, Tree))
        inner = key_tree.children[0]
        assert isinstance(inner, Tree)
        inner = _unwrapped(inner)
        key_span = spelled(self._text, key_tree)
        if is_word(inner):
            return Member(key_span.spelling, key_span, self._value(value, in_from))
        if inner.data == "string":
            return Member(self._label(inner), key_span, self._value(value, in_from))
        raise TermError(key_span, f"'{key_span.spelling}' is no key, expected a name or text in quotes")

    def _step_reference(self, tree: Branch) -> str | None:
        """Read `step.lr` and `step.lr["kind=jpeg"]` as the ids that YAML and JSON write."""
        if tree.data == "index_expr_term":
            base, index = (child for child in tree.children if isinstance(child, Tree))
            named = reference(_unwrapped(base), self._text)
            if named is None or named[0] != "step":
                return None
            inner = _unwrapped(next(_trees(index))) if index.data == "braces_index" else index
            if inner.data != "string":
                raise TermError(
                    spelled(self._text, index), "a variant is named as text", f'step.{named[1]}["kind=jpeg"]'
                )
            return f"{named[1]}[{self._label(inner)}]"
        named = reference(tree, self._text)
        return named[1] if named and named[0] == "step" else None


def _entries(body: Branch) -> Iterator[Branch]:
    return (tree for tree in _trees(body) if tree.data in ("attribute", "block"))


def _body(block: Branch) -> Branch:
    return next(tree for tree in _trees(block) if tree.data == "body")


def _trees(tree: Branch) -> Iterator[Branch]:
    return (child for child in tree.children if isinstance(child, Tree) and child.data != "new_line_or_comment")


def _unwrapped(tree: Branch) -> Branch:
    """Step through `expr_term` and parentheses; their number is bounded by the depth of the text."""
    while tree.data == "expr_term":
        tree = next(_trees(tree))
    return tree
