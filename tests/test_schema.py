"""The schema of recipes takes what the loader takes and marks what a user mistypes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest
import yaml
from pydantic import Field

from forge_pipeline import api
from forge_pipeline.recipe.json_format import parse_json
from forge_pipeline.recipe.text import Text
from forge_pipeline.recipe.tree import TermNode, tree_problems
from forge_pipeline.registry import Registry
from forge_pipeline.schema import recipe_schema
from forge_pipeline.step import LOCATOR, Metric, Operator, Params, Source, Transform

RECIPES = Path(__file__).parents[1] / "recipes"


class Border(Params):
    """A mapping inside a parameter."""

    width_px: int = Field(1, ge=0, description="Width.")


class ReadParams(Params):
    """Parameters of a source."""

    path: Annotated[str | list[str], LOCATOR] = Field(description="Folder,\n    or files.")


class TileParams(Params):
    """Parameters of a transform."""

    size_px: int = Field(ge=8, description="Side.")
    weight: float | Literal["auto"] = Field(0.5, alias="lambda", description="Weight.")
    small: Literal["skip", "keep"] = Field("skip", description="Small images.")
    border: Border = Field(Border(width_px=1), description="Border.")
    limits: tuple[int, int] | None = Field(None, description="Limits.")


class Read(Source):
    """Reads.

    More about it.
    """

    name = "my.read"
    Params = ReadParams


class Tile(Transform):
    """Cuts."""

    name = "my.tile"
    Params = TileParams


class Sharpness(Metric):
    """Measures."""

    name = "sharpness"


OPERATORS: dict[str, type[Operator]] = {"my.read": Read, "my.tile": Tile, "sharpness": Sharpness}
SCHEMA = recipe_schema(OPERATORS)

RECIPE: dict[str, Any] = {
    "$schema": "../schemas/recipe.schema.json",
    "forge": 1,
    "name": "mine",
    "seed": 3,
    "vars": {"size": 64, "photos": None},
    "x-mine": [1],
    "defaults": {"on_error": "stop", "max_errors": "1%"},
    "workers": 2,
    "steps": {
        "photos": {"use": "my.read", "with": {"path": ["${vars.photos}", "b"]}, "x-owner": "me"},
        "tiles": {
            "use": "my.tile",
            "from": ["photos"],
            "with": {"size_px": 64, "lambda": "auto", "border": {"width_px": 2}, "limits": [1, 2]},
            "matrix": {"kind": ["a", 1]},
            "cache": "keep",
            "resources": {"cpus": 2},
            "max_errors": 0.5,
        },
    },
}


def _valid(recipe: object, schema: dict[str, Any] = SCHEMA) -> bool:
    return not list(jsonschema.Draft202012Validator(schema).iter_errors(recipe))


def _changed(path: str, value: object) -> dict[str, Any]:
    recipe = copy.deepcopy(RECIPE)
    *parents, last = path.split("/")
    inside: Any = recipe
    for part in parents:
        inside = inside[part]
    inside[last] = value
    return recipe


def test_the_schema_is_a_schema_of_its_draft() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_a_recipe_with_everything_is_taken() -> None:
    assert _valid(RECIPE)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("steps/tiles/with/size_px", "${vars.size}"),
        ("steps/tiles/with/border", "${vars.border}"),
        ("steps/tiles/with/border/width_px", "${matrix.kind}"),
        ("steps/tiles/with/limits", ["${vars.a}", 2]),
        ("steps/tiles/with/lambda", "${vars.l}"),
        ("steps/tiles/with/small", "${matrix.kind}"),
        ("steps/tiles/with", "${vars.all}"),
        ("steps/tiles/use", "my.${vars.op}"),
        ("steps/tiles/from", {"in": ["photos", "x[kind=a]"]}),
        ("steps/tiles/matrix/kind", "${vars.kinds}"),
        ("steps/tiles/max_errors", 7),
        ("workers", "${env:N}"),
        ("seed", "${vars.seed}"),
        ("executor", "inline"),
    ],
)
def test_references_and_other_forms_are_taken(path: str, value: object) -> None:
    assert _valid(_changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("sede", 3),
        ("forge", 2),
        ("seed", -1),
        ("seed", "text"),
        ("name", "a/b"),
        ("defaults/max_errors", "1 percent"),
        ("defaults/max_errors", 1.5),
        ("defaults/on_error", "skip"),
        ("vars/a b", 1),
        ("steps/a b", {"use": "my.read", "with": {"path": "x"}}),
        ("steps/more", {"from": "photos"}),
        ("steps/more", {"use": "my.raed"}),
        ("steps/more", {"use": "sharpness"}),
        ("steps/more", {"use": "my.read", "with": {}}),
        ("steps/tiles/parms", {}),
        ("steps/tiles/cache", "kept"),
        ("steps/tiles/from", 3),
        ("steps/tiles/resources/cpu", 3),
        ("steps/tiles/with/size", 3),
        ("steps/tiles/with/size_px", 3),
        ("steps/tiles/with/size_px", "wide"),
        ("steps/tiles/with/weight", 0.5),
        ("steps/tiles/with/lambda", "autp"),
        ("steps/tiles/with/small", "skp"),
        ("steps/tiles/with/border/width", 3),
        ("steps/tiles/with/limits", [1]),
    ],
)
def test_what_is_mistyped_is_marked(path: str, value: object) -> None:
    assert not _valid(_changed(path, value))


def test_a_recipe_with_an_import_may_use_operators_of_its_own() -> None:
    recipe = _changed("steps/more", {"use": "their.own", "with": {"any": "thing"}})
    assert not _valid(recipe)
    assert _valid({**recipe, "import": ["./my_steps.py"]})


def test_a_recipe_that_includes_another_may_leave_out_what_that_one_has() -> None:
    recipe = {"forge": 1, "include": "base.yaml", "steps": {"tiles": {"override": True, "with": {"size_px": 8}}}}
    assert _valid(recipe)
    assert _valid({"forge": 1, "include": ["base.yaml"]})
    del recipe["include"]
    assert not _valid(recipe)


def test_parameters_stand_under_the_names_that_users_type_with_their_descriptions() -> None:
    params = SCHEMA["$defs"]["my.tile"]["properties"]
    assert list(params) == ["size_px", "lambda", "small", "border", "limits"]
    assert params["lambda"] == {
        "description": "Weight.",
        "default": 0.5,
        "anyOf": [
            {"type": "number"},
            {"const": "auto", "type": "string"},
            {"$ref": "#/$defs/text_with_reference"},
        ],
    }
    assert SCHEMA["$defs"]["my.read"]["properties"]["path"]["description"] == "Folder, or files."
    assert SCHEMA["$defs"]["operator"] == {
        "oneOf": [{"const": "my.read", "description": "Reads."}, {"const": "my.tile", "description": "Cuts."}]
    }


def test_the_schema_does_not_depend_on_the_order_of_operators() -> None:
    again = recipe_schema(dict(reversed(OPERATORS.items())))
    assert json.dumps(again) == json.dumps(SCHEMA)


def test_the_pattern_of_a_reference_is_that_of_the_loader() -> None:
    for text, is_reference in [
        ("${vars.a-b}", True),
        ("${ env:A_1 }", True),
        ("${matrix.k}", True),
        ("${vars}", False),
    ]:
        node = parse_json(Text("r.json", json.dumps(text)))
        assert node is not None
        assert (isinstance(node, TermNode) and not tree_problems(node)) is is_reference
        assert _valid(_changed("seed", text)) is is_reference


@pytest.mark.parametrize(
    "path", sorted(p for p in RECIPES.glob("*.*") if p.suffix in (".yaml", ".json")), ids=lambda p: p.name
)
def test_a_shipped_recipe_is_taken(path: Path) -> None:
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    errors = jsonschema.Draft202012Validator(recipe_schema(Registry.installed().operators())).iter_errors(recipe)
    assert [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in errors] == []


def test_the_schema_in_the_repository_is_fresh() -> None:
    shipped = json.loads((Path(__file__).parents[1] / "schemas/recipe.schema.json").read_text(encoding="utf-8"))
    assert shipped == api.schema(), "stale; mend it with: forge schema --write"
