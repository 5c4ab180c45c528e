"""YAML means YAML 1.2's core types, and nothing that is written gets lost."""

from __future__ import annotations

import time

import pytest

from forge_pipeline.errors import RecipeError
from forge_pipeline.recipe.text import Text
from forge_pipeline.recipe.tree import ListNode, MapNode, Node, ScalarNode, plain, tree_problems
from forge_pipeline.recipe.yaml_format import parse_yaml
from forge_pipeline.sample import Json


def _tree(text: str) -> Node | None:
    return parse_yaml(Text("recipe.yaml", text))


def _value(text: str) -> Json:
    root = _tree(f"a: {text}\n")
    assert isinstance(root, MapNode)
    return plain(root.members[0].value)


def _told(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        _tree(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("True", True),
        ("false", False),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("-7", -7),
        ("+7", 7),
        ("1e3", 1000.0),
        ("1.5e-3", 0.0015),
        (".5", 0.5),
        ("5.", 5.0),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2001-01-01", "2001-01-01"),
        ("NaN", "NaN"),
        ("inf", "inf"),
        ("1%", "1%"),
        ("~", None),
        ("", None),
        ("Null", None),
        ("'010'", "010"),
        ('"no"', "no"),
        ("0b11", "0b11"),
        ("=", "="),
    ],
)
def test_plain_scalars_are_those_of_the_core_schema(text: str, value: Json) -> None:
    found = _value(text)
    assert (found, type(found)) == (value, type(value))


def test_a_repeated_key_is_kept_and_told() -> None:
    root = _tree("a: 1\nb:\n  c: 1\n  c: 2\na: 2\n")
    assert root is not None
    told = [str(problem) for problem in tree_problems(root)]
    assert sorted(told) == [
        "recipe.yaml:4:3: key 'c' is written twice; the first stands at recipe.yaml:3:3\n      c: 2\n      ^\n"
        "  hint: remove or rename one of the two",
        "recipe.yaml:5:1: key 'a' is written twice; the first stands at recipe.yaml:1:1\n    a: 2\n    ^\n"
        "  hint: remove or rename one of the two",
    ]


def test_an_alias_stands_for_the_value_of_its_anchor() -> None:
    root = _tree("a: &x {b: [1, 2]}\nc: *x\n")
    assert root is not None
    assert plain(root) == {"a": {"b": [1, 2]}, "c": {"b": [1, 2]}}


def test_aliases_that_explode_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    start = time.perf_counter()
    told = _told("\n".join(lines))
    assert time.perf_counter() - start < 1
    assert told.splitlines()[0] == "recipe.yaml:4:45: aliases expand to more than 10,000 values"


def test_an_alias_inside_its_own_anchor_is_refused() -> None:
    assert _told("a: &x [*x]\n") == (
        "recipe.yaml:1:8: alias '*x' stands inside its own anchor\n    a: &x [*x]\n           ^"
    )


def test_an_alias_cannot_nest_deeper_than_the_text_may() -> None:
    deep = "[" * 60 + "]" * 60
    told = _told(f"a: &x {deep}\nb: [[[[*x]]]]\n")
    assert told == "recipe.yaml:2:8: nested deeper than 64 levels\n    b: [[[[*x]]]]\n           ^"


@pytest.mark.parametrize("text", ["[" * 500_000, "{a: " * 200_000, "\n".join(" " * n + "a:" for n in range(900))])
def test_deep_nesting_is_refused_at_once(text: str) -> None:
    start = time.perf_counter()
    told = _told(text)
    assert time.perf_counter() - start < 3
    assert "nested deeper than 64 levels" in told


def test_64_levels_are_taken() -> None:
    root = _tree("a: " + "[" * 63 + "]" * 63)
    assert isinstance(root, MapNode)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n---\nb: 2\n", "recipe.yaml:2:1: a second document starts here, expected one recipe a file"),
        ("%YAML 1.1\n---\na: 1\n", "recipe.yaml:1:1: this file says YAML 1.1, expected 1.2"),
        ("? [a]\n: 1\n", "recipe.yaml:1:3: a list stands where a key should, expected text"),
        ("1: x\n", "recipe.yaml:1:1: '1' is no text, expected a key"),
        ("true: x\n", "recipe.yaml:1:1: 'true' is no text, expected a key"),
        ("?\n: x\n", "recipe.yaml:1:2: an empty key is no text, expected a key"),
        ("&k a: x\n", "recipe.yaml:1:1: anchor '&k' stands at a key, expected it at a value"),
        ("a: *x\n", "recipe.yaml:1:4: alias '*x' has no anchor '&x' before it"),
        ("a: !x 1\n", "recipe.yaml:1:4: tag '!x' is not taken in a recipe"),
        ("a: \x01\n", "recipe.yaml:1:4: character U+0001 cannot stand in YAML"),
        (
            'a: "\\UFFFFFFFF"\n',
            "recipe.yaml:1:1: this is no YAML: an escape or a directive holds a number out of range",
        ),
    ],
)
def test_what_is_no_recipe_is_refused_by_name(text: str, message: str) -> None:
    assert _told(text).splitlines()[0] == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".nan", "recipe.yaml:1:4: .nan is no number that a recipe can hold"),
        ("-.INF", "recipe.yaml:1:4: -.INF is no number that a recipe can hold"),
        ("1e999", "recipe.yaml:1:4: number 1e999 is too large, expected at most 1.7976931348623157e308"),
        ("18446744073709551616", "recipe.yaml:1:4: integer 18446744073709551616 does not fit 64 bits"),
        ("9" * 5000, f"recipe.yaml:1:4: integer {'9' * 37}... does not fit 64 bits"),
        ('"\\ud800"', "recipe.yaml:1:4: half of a surrogate pair is no text, expected a whole character"),
        (
            "'${x}'",
            "recipe.yaml:1:4: '${x}' is no reference; expected ${vars.NAME}, ${env:NAME} or ${matrix.NAME}",
        ),
    ],
)
def test_a_value_that_cannot_be_read_is_told_and_reading_goes_on(text: str, message: str) -> None:
    root = _tree(f"a: {text}\nb: 1\n")
    assert isinstance(root, MapNode)
    assert [str(problem).splitlines()[0] for problem in tree_problems(root)] == [message]
    assert [member.key for member in root.members] == ["a", "b"]


def test_a_key_holds_no_reference() -> None:
    root = _tree('{"${vars.a}": 1}')
    assert root is not None
    assert [p.message for p in tree_problems(root)] == ["key '${vars.a}' holds a reference; only values can"]


def test_a_dollar_is_escaped_by_another() -> None:
    assert _value("'$${vars.x} costs $5'") == "${vars.x} costs $5"


def test_places_count_code_points_and_only_real_line_ends() -> None:
    root = _tree("é: 😀\r\nb: # \u2028 no line end\r\n  c: 1\r\n")
    assert isinstance(root, MapNode)
    inner = root.value("b")
    assert isinstance(inner, MapNode)
    where = inner.members[0].value.span.where
    assert (where.line, where.column, where.source_line) == (3, 6, "  c: 1")


def test_line_ends_of_yaml_1_1_are_plain_characters() -> None:
    assert _value("'x\u2028y\x85z\u2029'") == "x\u2028y\x85z\u2029"


@pytest.mark.parametrize("text", ["", "\n", "# only words\n", "---\n...\n", "~"])
def test_a_document_without_content_is_none(text: str) -> None:
    assert _tree(text) is None


def test_lists_and_scalars_have_spans() -> None:
    root = _tree("a: [1, 'x y']\n")
    assert isinstance(root, MapNode)
    node = root.members[0].value
    assert isinstance(node, ListNode)
    assert [item.span.spelling for item in node.items if isinstance(item, ScalarNode)] == ["1", "'x y'"]
    assert node.span.spelling == "[1, 'x y']"
