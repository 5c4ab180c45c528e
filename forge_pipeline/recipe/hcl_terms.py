"""HCL's expressions into terms: literals, references and arithmetic are taken, the rest of the language is refused."""

from __future__ import annotations

import re

from lark import Token, Tree

from forge_pipeline.recipe.terms import Constant, Kind, Operation, Reference, Term, TermError, join_parts
from forge_pipeline.recipe.text import Span, Text
from forge_pipeline.recipe.tree import MAX_DEPTH, BrokenNode, ScalarNode, float_node, integer_node

NOT_TAKEN = {
    "conditional": "a condition",
    "function_call": "a function call",
    "heredoc_template": "a heredoc",
    "heredoc_template_trim": "a heredoc",
    "attr_splat_expr_term": "a splat",
    "full_splat_expr_term": "a splat",
    "for_tuple_expr": "a for expression",
    "for_object_expr": "a for expression",
    "template_string": "a template directive",
    "tuple": "a list inside an expression",
    "object": "a map inside an expression",
}
_ARITHMETIC = frozenset("+-*/%")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_KINDS: dict[str, Kind] = {"var": "vars", "vars": "vars", "env": "env", "matrix": "matrix"}
_EXPECTED = "expected a value, a reference or arithmetic"

Branch = Tree[Token]


def spelled(text: Text, part: Branch | Token) -> Span:
    """Return where a tree or token stands."""
    if isinstance(part, Token):
        return text.span(part.start_pos or 0, part.end_pos)
    if part.meta.empty:
        return text.span(0)
    return text.span(part.meta.start_pos, part.meta.end_pos)


def is_word(tree: Branch | Token) -> bool:
    """Tell whether this is a bare word, as names of attributes and blocks are."""
    return isinstance(tree, Tree) and tree.data in ("identifier", "keyword", "literal_value")


def literal(constant: Constant, span: Span) -> ScalarNode:
    """Make a node of a constant."""
    return ScalarNode(constant.value, span)


def term(tree: Branch, text: Text, depth: int = 0) -> Term:
    """Read an expression. Raises TermError at what a recipe does not take."""
    span = spelled(text, tree)
    if depth > MAX_DEPTH:
        raise TermError(span, f"an expression of more than {MAX_DEPTH} operations")
    if tree.data == "expr_term":
        return term(_only(tree), text, depth)
    if tree.data in ("int_lit", "float_lit"):
        return _number(str(tree.children[0]), span)
    if tree.data == "literal_value":
        return Constant({"true": True, "false": False, "null": None}[str(tree.children[0])], span)
    if tree.data == "string":
        joined = join_parts(text_parts(tree, text, depth), span)
        return Constant(joined, span) if isinstance(joined, str) else joined
    if tree.data == "unary_op":
        return _negated(tree, text, span, depth)
    if tree.data == "binary_op":
        return _operation(tree, text, span, depth)
    if tree.data == "identifier":
        raise TermError(span, f"'{span.spelling}' is no value; text stands in quotes", f'"{span.spelling}"')
    return _reference(tree, text, span)


def text_parts(tree: Branch, text: Text, depth: int = 0) -> list[str | Term]:
    """Read the parts of a text in quotes: escapes resolved, `$${` as a plain `${`."""
    parts: list[str | Term] = []
    for wrapped in _trees(tree):
        part = wrapped.children[0]
        if isinstance(part, Token):
            raw = part[1:] if part.type in ("ESCAPED_INTERPOLATION", "ESCAPED_DIRECTIVE") else str(part)
            parts.append(_unescaped(raw, spelled(text, part)))
        elif part.data == "interpolation":
            parts.append(term(_only(part), text, depth + 1))
        else:
            raise TermError(spelled(text, part), f"a template directive is not part of a recipe, {_EXPECTED}")
    return parts


def reference(tree: Branch, text: Text) -> tuple[str, str] | None:
    """Return the two words of `var.x`, or None when this is something else."""
    if tree.data != "get_attr_expr_term":
        return None
    base, attribute = _trees(tree)
    while base.data == "expr_term":
        base = _only(base)
    name = _only(attribute)
    return (str(base.children[0]), str(name.children[0])) if base.data == "identifier" else None


def _reference(tree: Branch, text: Text, span: Span) -> Reference:
    named = reference(tree, text)
    if named is None:
        kind = NOT_TAKEN.get(tree.data, "an index" if tree.data == "index_expr_term" else "a path of several names")
        raise TermError(span, f"{kind} is not part of a recipe, {_EXPECTED}")
    if named[0] == "step":
        raise TermError(span, f"'{span.spelling}' stands outside of 'from'", f"from = {span.spelling}")
    if named[0] not in _KINDS:
        raise TermError(span, f"'{span.spelling}' is no reference; expected var.NAME, env.NAME, matrix.NAME or step.ID")
    return Reference(_KINDS[named[0]], named[1], span)


def _number(digits: str, span: Span) -> Constant:
    node = integer_node(digits, 10, span) if re.fullmatch(r"-?[0-9]+", digits) else float_node(digits, span)
    if isinstance(node, BrokenNode):
        raise TermError(span, node.problem.message, node.problem.hint)
    return Constant(node.value, span)


def _negated(tree: Branch, text: Text, span: Span, depth: int) -> Term:
    sign, operand = tree.children
    assert isinstance(operand, Tree)
    if str(sign) != "-":
        raise TermError(span, f"'{sign}' is not part of a recipe, {_EXPECTED}")
    inner = term(operand, text, depth + 1)
    if isinstance(inner, Constant) and isinstance(inner.value, int | float) and not isinstance(inner.value, bool):
        return Constant(-inner.value, span)
    return Operation("-", Constant(0, span), inner, span)


def _operation(tree: Branch, text: Text, span: Span, depth: int) -> Term:
    left, right = _trees(tree)
    operator, operand = _trees(right)
    symbol = str(operator.children[0]).strip()[-2:].strip()
    if symbol not in _ARITHMETIC:
        raise TermError(span, f"'{symbol}' is not part of a recipe, {_EXPECTED}")
    return Operation(symbol, term(left, text, depth + 1), term(operand, text, depth + 1), span)  # type: ignore[arg-type]


def _unescaped(raw: str, span: Span) -> str:
    def one(found: re.Match[str]) -> str:
        code = found[1] or found[2]
        if code and int(code, 16) <= 0x10FFFF:
            return chr(int(code, 16))
        if code or found[3] not in _ESCAPED:
            place = span.text.span(span.start + found.start())
            raise TermError(place, f"'{found[0]}' is no escape", "\\\\")
        return _ESCAPED[found[3]]

    return _ESCAPE.sub(one, raw)


def _only(tree: Branch) -> Branch:
    return _trees(tree)[0]


def _trees(tree: Branch) -> list[Branch]:
    return [child for child in tree.children if isinstance(child, Tree) and child.data != "new_line_or_comment"]
