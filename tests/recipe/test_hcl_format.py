"""HCL in its natural form is the same tree as YAML and JSON."""

from __future__ import annotations

import time

import pytest

from forge_pipeline.errors import RecipeError
from forge_pipeline.recipe.hcl_format import parse_hcl
from forge_pipeline.recipe.text import Text
from forge_pipeline.recipe.tree import MapNode, plain, tree_problems
from forge_pipeline.sample import Json
from tests.recipe.conftest import Load, Told


def _plain(text: str) -> Json:
    node = parse_hcl(Text("recipe.hcl", text))
    assert node is not None
    assert tree_problems(node) == []
    return plain(node)


def _params(load: Load, body: str, head: str = "", **environ: str) -> Json:
    text = f'forge = 1\n{head}\nstep "s" {{\n  use = "op"\n{body}\n}}\n'
    return load(text, suffix=".hcl", environ=environ).steps[0].params


def test_a_step_on_one_line_reads_as_in_yaml() -> None:
    text = 'step "tiles" { use = "tile.best"  from = [step.photos, step.frames]  size_px = 256 * 1 }'
    node = parse_hcl(Text("recipe.hcl", text.replace(" * 1", "")))
    assert node is not None
    assert plain(node) == {
        "steps": {"tiles": {"use": "tile.best", "from": ["photos", "frames"], "with": {"size_px": 256}}}
    }


def test_keys_of_a_step_stay_beside_its_parameters() -> None:
    text = """
step "a" {
  use        = "op"
  note       = "words"
  cache      = "keep"
  max_errors = 3
  x-owner    = "me"
  size       = 1
  with {
    note = "a parameter called note"
  }
  resources { cpus = 2 }
  matrix = { kind = ["a"] }
  table {
    b = 2
  }
}
"""
    assert _plain(text)["steps"]["a"] == {
        "use": "op",
        "note": "words",
        "cache": "keep",
        "max_errors": 3,
        "x-owner": "me",
        "resources": {"cpus": 2},
        "matrix": {"kind": ["a"]},
        "with": {"size": 1, "note": "a parameter called note", "table": {"b": 2}},
    }


def test_ports_and_variants_are_named_by_step() -> None:
    text = 'step "a" {\n use = "op"\n from = { hr = step.hr, lr = [step.lr["kind=jpeg"], "x[k=1]"] }\n}\n'
    assert _plain(text)["steps"]["a"]["from"] == {"hr": "hr", "lr": ["lr[kind=jpeg]", "x[k=1]"]}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("256 * 2", 512),
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("10 - 2 - 3", 5),
        ("256 -12", 244),
        ("256-12", 244),
        ("256 - 12 -13", 231),
        ("7 / 2", 3.5),
        ("8 / 2", 4),
        ("1 / 3 * 3", 1),
        ("0.1 + 0.2", 0.3),
        ("-(2 + 1)", -3),
        ("2 * -3", -6),
        ("-7 % 4", -3),
        ("7 % -4", 3),
        ("7.5 % 2", 1.5),
        ("var.n * 2", 8),
        ("-var.n", -4),
        ("var.f / 2", 0.25),
        ("var.n-1", "as in Terraform, a name may hold a minus"),
        ("010", 10),
        ("1e3", 1000.0),
        ("-5", -5),
        ("-12", -12),
        ("-0.5", -0.5),
        ("1.0", 1.0),
    ],
)
def test_arithmetic_is_exact(load: Load, expression: str, value: Json) -> None:
    head = 'vars {\n n = 4\n f = 0.5\n n-1 = "as in Terraform, a name may hold a minus"\n}'
    found = _params(load, f"  x = {expression}", head)["x"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ('"${var.n}"', 4),
        ('"${vars.n}"', 4),
        ("vars.n", 4),
        ('"n is ${var.n + 1}"', "n is 5"),
        ('"${var.n / 8}"', 0.5),
        ('"$${var.n} costs $5 and 5%"', "${var.n} costs $5 and 5%"),
        ('"%%{ if }"', "%{ if }"),
        (r'"a \"b\" \\ \n \u00e9 \U0001F600"', 'a "b" \\ \n é 😀'),
        ('"${env:HOME}/x"', "/h/x"),
        ('"${env.HOME}/x"', "/h/x"),
        ("env.HOME", "/h"),
        ('""', ""),
        ("[1, [2, var.n],]", [1, [2, 4]]),
        ('{ a = 1, "b c" : null, in = true }', {"a": 1, "b c": None, "in": True}),
    ],
)
def test_values_and_references(load: Load, expression: str, value: Json) -> None:
    assert _params(load, f"  x = {expression}", "vars {\n n = 4\n}", HOME="/h")["x"] == value


def test_words_of_the_language_can_be_keys(load: Load) -> None:
    assert _params(load, "  if = 1\n  for = 2\n  in = 3\n  null = 4") == {"if": 1, "for": 2, "in": 3, "null": 4}


def test_comments_and_windows_line_ends_are_taken() -> None:
    assert _plain("# a\r\n// b\r\n/* c\r\nd */\r\nforge = 1 # e\r\n") == {"forge": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1 +\n", "recipe.hcl:2:1: this is no HCL: found the end of the file, expected a value"),
        ("a: 3\n", "recipe.hcl:1:2: this is no HCL: found ':', expected '=', '{', '\"' or a name"),
        ("a b\n", "recipe.hcl:2:1: this is no HCL: found the end of the file, expected '{'"),
        ("a = 3 }\n", "recipe.hcl:1:7: this is no HCL: found '}', expected the end of the file"),
        ("a = [1 2]\n", "recipe.hcl:1:8: this is no HCL: found '2', expected ',' or ']'"),
        ("a = 1_000\n", "recipe.hcl:1:5: '1_000' is no number, expected decimal digits"),
        ('a = "x\n', "recipe.hcl:1:5: this is no HCL: a text has no closing quote on its line"),
        ('a = "x\ny"\n', "recipe.hcl:1:5: this is no HCL: a text has no closing quote on its line"),
        ('step "a" "b" {}\n', "recipe.hcl:1:1: a step is written as a block with its id"),
        ("steps = {}\n", "recipe.hcl:1:1: a step is written as a block with its id"),
        ('step "${var.a}" {}\n', "recipe.hcl:1:6: a step id is plain text, without references"),
        ('vars "x" {}\n', "recipe.hcl:1:6: block 'vars' takes no label"),
    ],
)
def test_what_is_no_recipe_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_hcl(Text("recipe.hcl", text))
    assert str(caught.value).splitlines()[0] == message


@pytest.mark.parametrize("opening", ["[", "(", "{ a = ", "a {\n", '"${'])
def test_deep_nesting_is_refused_at_once(opening: str) -> None:
    text = opening * 50_000 if opening.endswith("\n") else "a = " + opening * 50_000
    start = time.perf_counter()
    with pytest.raises(RecipeError, match="nested deeper than 64 levels"):
        parse_hcl(Text("recipe.hcl", text))
    assert time.perf_counter() - start < 3


@pytest.mark.parametrize("chain", [" + 1", ".a", "[0]"])
def test_long_chains_cost_no_recursion(told: Told, chain: str) -> None:
    message = told(f'forge = 1\nstep "a" {{\n use = "op"\n x = var.a{chain * 5_000}\n}}\n', suffix=".hcl")
    assert message.startswith("recipe.hcl:4:6: ")


def test_blocks_without_content_are_none_or_empty() -> None:
    assert parse_hcl(Text("recipe.hcl", "\n# words\n")) is None
    node = parse_hcl(Text("recipe.hcl", "vars {}\n"))
    assert isinstance(node, MapNode)
    assert plain(node) == {"vars": {}}
