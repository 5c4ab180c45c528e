"""JSON is read strictly, and nothing that is written gets lost."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_pipeline.errors import RecipeError
from forge_pipeline.recipe.json_format import parse_json
from forge_pipeline.recipe.text import Text
from forge_pipeline.recipe.tree import MapNode, plain, tree_problems
from forge_pipeline.sample import Json

_TEXTS = st.text().filter(lambda text: "${" not in text and not any("\ud800" <= c <= "\udfff" for c in text))
_VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)


def _plain(text: str) -> Json:
    node = parse_json(Text("recipe.json", text))
    assert node is not None
    assert tree_problems(node) == []
    return plain(node)


@settings(derandomize=True, max_examples=100)
@given(_VALUES, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_every_json_value_reads_back(value: Json, indent: int | str | None, ascii_only: bool) -> None:
    assert _plain(json.dumps(value, indent=indent, ensure_ascii=ascii_only)) == value


@pytest.mark.parametrize(("text", "value"), [("1e3", 1000.0), ("-0", 0), ("1.0", 1.0), ('"\\u00e9\\/"', "é/")])
def test_numbers_and_escapes_have_their_types(text: str, value: Json) -> None:
    found = _plain(text)
    assert (found, type(found)) == (value, type(value))


def test_a_repeated_key_is_kept_and_told() -> None:
    node = parse_json(Text("recipe.json", '{"a": 1, "a": 2}'))
    assert isinstance(node, MapNode)
    assert len(node.members) == 2
    assert [str(problem) for problem in tree_problems(node)] == [
        "recipe.json:1:10: key 'a' is written twice; the first stands at recipe.json:1:2\n"
        '    {"a": 1, "a": 2}\n             ^\n  hint: remove or rename one of the two'
    ]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "99999999999999999999"])
def test_numbers_that_are_none_are_told(text: str) -> None:
    node = parse_json(Text("recipe.json", f"[{text}, 1]"))
    assert node is not None
    assert [problem.where.column for problem in tree_problems(node)] == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1,]", "recipe.json:1:4: this is no JSON: found ']', expected a value after the comma"),
        ('{"a": 1,}', "recipe.json:1:9: this is no JSON: found '}', expected a key after the comma"),
        ("{a: 1}", "recipe.json:1:2: this is no JSON: found 'a', expected a key in double quotes"),
        ('{"a" 1}', "recipe.json:1:6: this is no JSON: found '1', expected ':' after the key"),
        ("[1 2]", "recipe.json:1:4: this is no JSON: found '2', expected ',' or ']'"),
        ("[1", "recipe.json:1:3: this is no JSON: found the end of the file, expected ',' or ']'"),
        ("{", "recipe.json:1:2: this is no JSON: found the end of the file, expected '}'"),
        ("[tru]", "recipe.json:1:2: this is no JSON: found 'tru', expected a value"),
        ("[+1]", "recipe.json:1:2: this is no JSON: found '+1', expected a value"),
        ("[.5]", "recipe.json:1:2: this is no JSON: found '.5', expected a value"),
        ("{} {}", "recipe.json:1:4: this is no JSON: found '{', expected the end of the file"),
        ('["\\x"]', "recipe.json:1:3: this is no JSON: '\\x' is no escape"),
        ('["a\nb"]', "recipe.json:1:2: this is no JSON: a text has no closing quote on its line"),
        ("['a']", "recipe.json:1:2: this is no JSON: found ''', expected a value"),
    ],
)
def test_what_is_no_json_is_told_with_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_json(Text("recipe.json", text))
    assert str(caught.value).splitlines()[0] == message


@pytest.mark.parametrize("text", ["[" * 500_000, '{"a":' * 150_000])
def test_deep_nesting_is_refused_at_once(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(RecipeError, match="nested deeper than 64 levels"):
        parse_json(Text("recipe.json", text))
    assert time.perf_counter() - start < 1


def test_a_file_without_content_is_none() -> None:
    assert parse_json(Text("recipe.json", " \n")) is None


def test_a_minified_line_is_shown_without_its_end() -> None:
    text = "[" + "1," * 1000 + "x]"
    with pytest.raises(RecipeError) as caught:
        parse_json(Text("recipe.json", text))
    assert str(caught.value) == "recipe.json:1:2002: this is no JSON: found 'x', expected a value\n  hint: \"x\""
