"""A recipe is the same in YAML, HCL and JSON: the shipped ones, and any that Hypothesis thinks of."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_pipeline.recipe import Recipe, StepSpec
from forge_pipeline.recipe.load import load_recipe
from forge_pipeline.recipe.model import STEP_KEYS
from forge_pipeline.sample import Json

RECIPES = Path(__file__).parents[2] / "recipes"
SUFFIXES = (".yaml", ".hcl", ".json")


def _meaning(recipe: Recipe) -> tuple[object, ...]:
    """Everything but the files and places; types count, `1` is not `1.0`."""
    params = [json.dumps([dict(step.params), dict(step.matrix)], sort_keys=True) for step in recipe.steps]
    head = (recipe.name, recipe.seed, recipe.description, recipe.defaults, recipe.executor, recipe.workers)
    return (*head, recipe.steps, params, json.dumps(dict(recipe.vars), sort_keys=True))


@pytest.mark.parametrize("name", sorted({path.stem for path in RECIPES.glob("*.*") if path.suffix in SUFFIXES}))
def test_the_spellings_of_a_shipped_recipe_are_one_recipe(name: str) -> None:
    yaml, hcl, json_ = (_meaning(load_recipe(RECIPES / f"{name}{suffix}", environ={})) for suffix in SUFFIXES)
    assert yaml == hcl
    assert yaml == json_


def test_the_main_recipe_says_what_its_outline_says() -> None:
    recipe = load_recipe(RECIPES / "sr_dataset.yaml", environ={})
    assert [(step.id, step.use) for step in recipe.steps] == [
        ("photos", "read.images"),
        ("videos", "read.videos"),
        ("frames", "video.frames"),
        ("tiles", "tile.best"),
        ("clean", "filter.iqa"),
        ("unique", "dedup.perceptual"),
        ("hr", "augment.deterministic"),
        ("lr", "resize.dpid"),
        ("pairs", "export.pairs"),
    ]
    assert recipe.seed == 20261120
    assert recipe.step("tiles").params == {"size_px": 256, "max_tiles": 4, "min_complexity": 0.01}
    assert recipe.step("lr").params == {"scale": 4, "lambda": 0.5}
    assert recipe.step("pairs").params == {"path": "output/sr_x4", "scale": 4}
    assert all(path.startswith("package:skimage/data/") for path in recipe.step("photos").params["path"])


# --- random recipes -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Var:
    """A reference to a var, which each format spells in its own way."""

    name: str


@dataclass(frozen=True)
class Input:
    """A reference to a step."""

    step: str


_WORDS = st.from_regex(r"[a-z][a-z0-9_-]{0,6}", fullmatch=True).filter(lambda word: word not in STEP_KEYS)
_TRAPS = st.sampled_from(
    [
        "no",
        "yes",
        "on",
        "010",
        "1e3",
        "1:30",
        "~",
        "null",
        "true",
        "NaN",
        ".nan",
        "0x10",
        "1_0",
        "",
        " ",
        "#x",
        "a: b",
        "- a",
    ]
)
_TEXTS = st.one_of(
    _TRAPS,
    st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")) | st.sampled_from("\n\t\"'\\${}%"), max_size=12),
    _WORDS,
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    _TEXTS,
)


def _values(var_names: list[str]) -> st.SearchStrategy[Json]:
    leaves = _SCALARS | st.sampled_from([Var(name) for name in var_names]) if var_names else _SCALARS
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS.filter(_is_key), inner, max_size=3),
        max_leaves=5,
    )


def _is_key(text: str) -> bool:
    return "${" not in text


@st.composite
def _recipes(draw: st.DrawFn) -> dict[str, Json]:
    variables = draw(st.dictionaries(_WORDS, _SCALARS.filter(lambda value: value is not None), max_size=3))
    recipe: dict[str, Json] = {"forge": 1, "seed": draw(st.integers(0, 2**64 - 1)), "vars": variables, "steps": {}}
    if draw(st.booleans()):
        recipe["defaults"] = {"max_errors": draw(st.sampled_from(["1%", "0.5 %", 3, 0.25]))}
    ids = draw(st.lists(_WORDS, min_size=1, max_size=4, unique=True))
    for position, step_id in enumerate(ids):
        step: dict[str, Json] = {"use": draw(st.sampled_from(["tile.best", "x"]))}
        if position:
            before = st.sampled_from([Input(other) for other in ids[:position]])
            several = st.lists(before, min_size=1, max_size=3, unique=True)
            step["from"] = draw(before | several | st.dictionaries(_WORDS, before | several, min_size=1, max_size=2))
        if draw(st.booleans()):
            step["note"] = draw(_TEXTS)
        step["with"] = draw(st.dictionaries(_WORDS, _values(list(variables)), max_size=3))
        # Rare by chance, and the point of the test: words that formats resolve, references, and what looks like one.
        step["with"]["traps"] = draw(st.lists(_TRAPS, min_size=3, max_size=6))
        step["with"]["refs"] = ["${vars.a}", "$${", *(Var(name) for name in variables)]
        recipe["steps"][step_id] = step
    return recipe


def _escaped(text: str) -> str:
    return text.replace("${", "$${")


def _as_data(value: Json) -> Json:
    """Return what JSON holds: references as text."""
    if isinstance(value, Var):
        return "${vars." + value.name + "}"
    if isinstance(value, Input):
        return value.step
    if isinstance(value, str):
        return _escaped(value)
    if isinstance(value, list):
        return [_as_data(item) for item in value]
    return {key: _as_data(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def _as_yaml(value: Json, indent: str = "") -> str:
    """Write block style, with plain scalars where YAML 1.2 reads them as text."""
    if isinstance(value, dict) and value:
        return "".join(
            f"\n{indent}{json.dumps(k, ensure_ascii=False)}: {_as_yaml(v, indent + '  ')}" for k, v in value.items()
        )
    if isinstance(value, list) and value:
        return "".join(f"\n{indent}- {_as_yaml(item, indent + '  ')}" for item in value)
    if (
        isinstance(value, str)
        and re.fullmatch(r"[a-z]+|NaN|1:30|1_0", value)
        and value not in ("true", "null", "false")
    ):
        return value
    return json.dumps(value, ensure_ascii=False)


def _as_hcl_value(value: Json) -> str:
    if isinstance(value, Var):
        return f"var.{value.name}"
    if isinstance(value, Input):
        return f"step.{value.step}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("${", "\\u0024{").replace("%{", "\\u0025{")
    if isinstance(value, list):
        return f"[{', '.join(map(_as_hcl_value, value))}]"
    if isinstance(value, dict):
        return "{\n" + "".join(f"{_as_hcl_value(key)} = {_as_hcl_value(inner)}\n" for key, inner in value.items()) + "}"
    return json.dumps(value)


def _as_hcl(recipe: dict[str, Json]) -> str:
    lines = [f"forge = {recipe['forge']}", f"seed = {recipe['seed']}"]
    for block in ("vars", "defaults"):
        if block in recipe:
            lines += [f"{block} {{", *(f"{key} = {_as_hcl_value(v)}" for key, v in recipe[block].items()), "}"]
    for step_id, step in recipe["steps"].items():
        lines.append(f'step "{step_id}" {{')
        lines += [f"{key} = {_as_hcl_value(value)}" for key, value in step.items() if key != "with"]
        lines += [f"{name} = {_as_hcl_value(value)}" for name, value in step["with"].items()]
        lines.append("}")
    return "\n".join(lines) + "\n"


@pytest.mark.slow
@settings(derandomize=True, max_examples=60, deadline=None)
@given(_recipes())
def test_any_recipe_is_the_same_in_three_spellings(recipe: dict[str, Json]) -> None:
    data = _as_data(recipe)
    with tempfile.TemporaryDirectory() as folder:
        spelled = {".yaml": _as_yaml(data), ".hcl": _as_hcl(recipe), ".json": json.dumps(data)}
        meanings = []
        for suffix, text in spelled.items():
            path = Path(folder, f"recipe{suffix}")
            path.write_text(text, encoding="utf-8", newline="")
            meanings.append(_meaning(load_recipe(path, environ={})))
    assert meanings[0] == meanings[1]
    assert meanings[0] == meanings[2]
    steps: tuple[StepSpec, ...] = meanings[0][6]  # type: ignore[assignment]
    for step in steps:
        written = recipe["steps"][step.id]["with"]
        assert json.dumps(dict(step.params)) == json.dumps(_put_in(written, recipe["vars"]))


def _put_in(value: Json, variables: dict[str, Json]) -> Json:
    if isinstance(value, Var):
        return variables[value.name]
    if isinstance(value, list):
        return [_put_in(item, variables) for item in value]
    return {key: _put_in(inner, variables) for key, inner in value.items()} if isinstance(value, dict) else value
