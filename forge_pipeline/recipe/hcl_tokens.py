"""HCL text into python-hcl2's parse tree, token by token: limits hold early and errors have a place."""

from __future__ import annotations

import re

import hcl2.parser
from lark import Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from forge_pipeline.recipe.text import Text
from forge_pipeline.recipe.tree import MAX_DEPTH, too_deep

# HCL has no `env:NAME`; the two spellings have one length, so that every place stays what it is in the file.
_ENV_AS_IN_YAML = re.compile(r"(?<!\$)\$\{env:(?=[A-Za-z_][A-Za-z0-9_]*\})")
_OPENING = frozenset(("LBRACE", "LSQB", "LPAR", "INTERP_START", "DIRECTIVE_START", "FULL_SPLAT_START"))
_CLOSING = frozenset(("RBRACE", "RSQB", "RPAR"))
_NUMBERS = frozenset(("INT_LITERAL", "FLOAT_LITERAL"))
_ENDS_A_VALUE = _NUMBERS | _CLOSING | {"NAME", "DBLQUOTE"}
_SPOKEN = {
    "EQ": "'='",
    "LBRACE": "'{'",
    "COMMA": "','",
    "RSQB": "']'",
    "RBRACE": "'}'",
    "RPAR": "')'",
    "COLON": "':'",
    "DBLQUOTE": "'\"'",
    "NAME": "a name",
    "$END": "the end of the file",
}


def parse_tokens(text: Text) -> Tree[Token]:
    """Parse a file. Raises RecipeError at the first thing that is no HCL, or that nests too deep."""
    content = _ENV_AS_IN_YAML.sub("${env.", text.content)
    # The grammar wants a line's end behind the last line.
    parser = hcl2.parser.parser().parse_interactive(content + "\n")
    previous: Token | None = None
    depth = 0
    try:
        for token in parser.lexer_thread.lex(parser.parser_state):  # type: ignore[no-untyped-call]
            _check_token(text, token, previous)
            depth += (token.type in _OPENING) - (token.type in _CLOSING)
            if depth > MAX_DEPTH:
                raise too_deep(text.span(token.start_pos or 0))
            for part in _split_minus(token, previous):
                parser.feed_token(part)
            previous = token
        tree: Tree[Token] = parser.feed_eof(previous)  # type: ignore[no-untyped-call]
    except UnexpectedInput as error:
        accepted: set[str] = parser.accepts()  # type: ignore[no-untyped-call]
        raise _spoken(text, error, accepted) from None
    return tree


def _split_minus(token: Token, previous: Token | None) -> list[Token]:
    """Read `256 -12` as a subtraction: python-hcl2 8.1 takes the minus into the number and then finds no operator."""
    if not (token.type in _NUMBERS and token.startswith("-") and previous and previous.type in _ENDS_A_VALUE):
        return [token]
    start = token.start_pos or 0
    return [
        Token("MINUS", "-", start, token.line, token.column, token.line, token.column, start + 1),
        Token(token.type, token[1:], start + 1, token.line, token.column, token.line, token.end_column, token.end_pos),
    ]


def _check_token(text: Text, token: Token, previous: Token | None) -> None:
    """Refuse what the grammar lets through and HCL does not: text over several lines, `0x10` as two tokens."""
    start = token.start_pos or 0
    if token.type == "STRING_CHARS" and "\n" in token:
        opening = (previous.start_pos or 0) if previous is not None and previous.type == "DBLQUOTE" else start
        raise text.span(opening).error("this is no HCL: a text has no closing quote on its line")
    if token.type == "NAME" and previous and previous.type in _NUMBERS and previous.end_pos == start:
        span = text.span(previous.start_pos or 0)
        raise span.error(f"'{previous}{token}' is no number, expected decimal digits")


def _spoken(text: Text, error: UnexpectedInput, accepted: set[str]) -> Exception:
    start = getattr(error, "pos_in_stream", None)
    found = "the end of the file"
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        start = error.token.start_pos
        found = "the end of the line" if str(error.token).startswith("\n") else f"'{_first_line(str(error.token))}'"
    elif isinstance(error, UnexpectedCharacters):
        found = f"'{error.char}'"
    else:
        start = len(text.content)
    expected = ["a value"] if "INT_LITERAL" in accepted else []
    expected += [
        spoken for name, spoken in _SPOKEN.items() if name in accepted and not (expected and name in _IN_VALUES)
    ]
    tail = f", expected {_either(expected[:4])}" if expected else ""
    return text.span(start or 0).error(f"this is no HCL: found {found}{tail}")


_IN_VALUES = frozenset(("LBRACE", "DBLQUOTE", "NAME"))


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0].strip()[:40]


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
