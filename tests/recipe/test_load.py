"""A recipe file becomes a Recipe: defaults, places, limits, and everything that is wrong at once."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from forge_pipeline.errors import CommandError, RecipeError, Where
from forge_pipeline.recipe import Defaults, InputRef, MaxErrors, StepSpec
from forge_pipeline.recipe.include import MAX_BYTES
from forge_pipeline.recipe.load import load_recipe
from tests.recipe.conftest import Load, Told

ONE_STEP = "forge: 1\nsteps:\n  photos: {use: read.images}\n"


def test_a_small_recipe_is_filled_with_defaults(load: Load) -> None:
    recipe = load(ONE_STEP)
    assert recipe.name == "recipe"
    assert recipe.seed == 0
    assert recipe.defaults == Defaults("quarantine", MaxErrors(share=0.05))
    assert (recipe.imports, recipe.files, recipe.vars) == ((), (Path("recipe.yaml"),), {})
    assert (recipe.executor, recipe.workers) == ("", None)
    assert recipe.steps == (
        StepSpec(
            id="photos",
            use="read.images",
            inputs={},
            params={},
            on_error="quarantine",
            max_errors=MaxErrors(share=0.05),
            cache="auto",
            resources={},
            prioritise={},
            note="",
            matrix={},
            base_id="photos",
            env_paths=frozenset(),
        ),
    )


def test_every_key_arrives(load: Load) -> None:
    recipe = load(
        """\
forge: 1
name: all.of-it
description: words
seed: 18446744073709551615
defaults: {on_error: stop, max_errors: 3}
executor: inline
workers: 4
x-mine: {anything: [goes]}
steps:
  a: {use: read.images, with: {path: [x, y], deep: {er: 1.5}}}
  b:
    use: tile.best
    from: a
    on_error: quarantine
    max_errors: 2.5 %
    cache: keep
    resources: {cpus: 2, gpus: 0.5, memory_bytes: 1000000}
    note: more words
    x-owner: me
"""
    )
    assert (recipe.name, recipe.description, recipe.seed) == ("all.of-it", "words", 2**64 - 1)
    assert (recipe.executor, recipe.workers) == ("inline", 4)
    a, b = recipe.steps
    assert (a.on_error, a.max_errors, a.params) == (
        "stop",
        MaxErrors(count=3),
        {"path": ["x", "y"], "deep": {"er": 1.5}},
    )
    assert (b.on_error, b.max_errors, b.cache, b.note) == ("quarantine", MaxErrors(share=0.025), "keep", "more words")
    assert b.inputs == {"in": (InputRef("a"),)}
    assert b.resources == {"cpus": 2.0, "gpus": 0.5, "memory_bytes": 1000000}


def test_inputs_are_an_id_a_list_or_ports(load: Load) -> None:
    recipe = load(
        "forge: 1\nsteps:\n"
        "  a: {use: x}\n  b: {use: x}\n"
        "  c: {use: x, from: b}\n  d: {use: x, from: [b, a]}\n  e: {use: x, from: {lr: [d, a], hr: c}}\n"
    )
    assert [recipe.step(step).inputs for step in "abcde"] == [
        {},
        {},
        {"in": (InputRef("b"),)},
        {"in": (InputRef("b"), InputRef("a"))},
        {"lr": (InputRef("d"), InputRef("a")), "hr": (InputRef("c"),)},
    ]


def test_a_file_that_is_not_there_is_the_commands_fault(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(ONE_STEP, encoding="utf-8")
    with pytest.raises(CommandError) as caught:
        load_recipe(Path("recipe.yml"))
    assert str(caught.value) == "recipe recipe.yml is not there\n  hint: did you mean recipe.yaml?"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.toml", b"", "r.toml: suffix '.toml' is unknown, expected .yaml, .yml, .hcl, .json"),
        ("r.yaml", b"a" * (MAX_BYTES + 1), "r.yaml: the file has 1,048,577 bytes, a recipe has at most 1,048,576"),
        ("r.json", b'{"a": "\xff"}', "r.json:1:8: byte 0xff is no UTF-8, expected text in UTF-8"),
        ("r.yaml", b"", "r.yaml: the file is empty, expected a recipe"),
        (
            "r.yaml",
            b"- a",
            "r.yaml:1:1: the file holds a list, expected a mapping with 'forge' and 'steps'\n    - a\n    ^",
        ),
        (
            "r.json",
            b"3",
            "r.json:1:1: the file holds a single value, expected a mapping with 'forge' and 'steps'\n    3\n    ^",
        ),
    ],
)
def test_what_is_no_recipe_file_is_refused(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(Path(name))
    assert str(caught.value) == message


def test_a_folder_is_no_recipe(folder: Path) -> None:
    (folder / "r.yaml").mkdir()
    with pytest.raises(RecipeError) as caught:
        load_recipe(Path("r.yaml"))
    assert str(caught.value) == "r.yaml: this is no file, expected a recipe"


def test_a_byte_order_mark_is_no_content(load: Load) -> None:
    assert load("\ufeff" + ONE_STEP).steps[0].id == "photos"


PLACED = """\
forge: 1
vars: {size: 3}
steps:
  a: {use: x}
  b:
    use: tile.best
    from: [a]
    matrix: {k: [1, 2]}
    with:
      size_px: "${vars.size}"
      files:
        - one
        - {name: two}
"""


@pytest.mark.parametrize(
    ("path", "key", "line", "column"),
    [
        (("b",), False, 5, 3),
        (("b[k=2]",), False, 5, 3),
        (("b", "use"), False, 6, 10),
        (("b", "use"), True, 6, 5),
        (("b", "with", "size_px"), False, 10, 16),
        (("b[k=1]", "with", "size_px"), True, 10, 7),
        (("b", "with", "files", 1, "name"), False, 13, 18),
        (("b", "with", "files", "1", "name"), True, 13, 12),
        (("b", "with", "files", "7"), False, 12, 9),
        (("b", "with", "nothing"), True, 9, 5),
        (("b", "cache"), False, 5, 3),
        (("a", "with", "nothing"), False, 4, 3),
        (("nobody",), False, 3, 1),
    ],
)
def test_a_place_is_the_values_or_the_nearest_around_it(
    load: Load, path: tuple[str, ...], key: bool, line: int, column: int
) -> None:
    recipe = load(PLACED)
    where = recipe.where_key(*path) if key else recipe.where(*path)
    assert (where.file, where.line, where.column) == ("recipe.yaml", line, column)
    assert where.source_line == PLACED.splitlines()[line - 1]


def test_a_recipe_made_by_hand_has_the_place_of_its_file(load: Load) -> None:
    from dataclasses import replace

    recipe = replace(load(ONE_STEP), tree=None)
    assert recipe.where("photos", "use") == Where("recipe.yaml")


def test_a_recipe_survives_pickling(load: Load) -> None:
    recipe = load(PLACED)
    again = pickle.loads(pickle.dumps(recipe))
    assert again == recipe
    assert again.where("b", "use") == recipe.where("b", "use")


def test_all_that_is_wrong_is_told_at_once(told: Told) -> None:
    message = told(
        """\
forge: 1
sede: 1
vars: {a: "${vars.nowhere}"}
steps:
  a: {use: x, from: zz, with: {p: "${vars.a}", p: 1, q: .nan}}
  a: {use: x}
  b: {from: b, chache: keep}
"""
    )
    assert [line.split(": ", 1)[1] for line in message.splitlines() if line.startswith("recipe.yaml")] == [
        "unknown key 'sede' in the recipe",
        "var 'nowhere' is not in the recipe",
        "step 'a': 'zz' is no step of this recipe",
        "key 'p' is written twice; the first stands at recipe.yaml:5:32",
        ".nan is no number that a recipe can hold",
        "key 'a' is written twice; the first stands at recipe.yaml:5:3",
        "step 'b' has no 'use'",
        "step 'b' takes from itself",
        "unknown key 'chache' in step 'b'",
    ]


def test_keys_of_the_user_hold_what_they_like(load: Load, told: Told) -> None:
    free = "x-mine: {a: 1, a: 2, cost: '${5}', n: .nan}\n"
    step = "steps: {s: {use: op, x-mine: '${env:NOWHERE} ${x', with: {x-ray: 1}}}\n"
    assert load("forge: 1\n" + free + step).step("s").params == {"x-ray": 1}
    assert told("forge: 1\n" + free + free + step) == (
        "recipe.yaml:3:1: key 'x-mine' is written twice; the first stands at recipe.yaml:2:1\n"
        "    x-mine: {a: 1, a: 2, cost: '${5}', n: .nan}\n"
        "    ^\n"
        "  hint: remove or rename one of the two"
    )


def test_an_anchor_under_a_key_of_the_user_is_checked_where_it_is_used(told: Told) -> None:
    assert told("forge: 1\nx-c: &c {n: .nan}\nsteps: {s: {use: op, with: *c}}\n") == (
        "recipe.yaml:2:13: .nan is no number that a recipe can hold\n"
        "    x-c: &c {n: .nan}\n"
        "                ^\n"
        "  hint: put it in quotes where text is meant"
    )


def test_a_thousand_steps_in_a_row_cost_no_recursion(load: Load) -> None:
    lines = ["forge: 1", "steps:", "  s0: {use: x}"]
    lines += [f"  s{n}: {{use: x, from: s{n - 1}}}" for n in range(1, 1500)]
    assert len(load("\n".join(lines)).steps) == 1500
