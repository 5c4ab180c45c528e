"""The JSON Schema of recipes, from the models: an editor completes and checks every operator's parameters with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from forge_pipeline.params import Params
from forge_pipeline.recipe.model import RecipeModel
from forge_pipeline.recipe.terms import NAME
from forge_pipeline.sample import Json
from forge_pipeline.shapes import Metric, Operator

Schema = dict[str, Any]

_REFERENCE = r"\$\{\s*(vars\.[A-Za-z_]|matrix\.[A-Za-z_]|env:[A-Za-z_])[A-Za-z0-9_-]*\s*\}"
_WRITTEN_OUT = ("forge", "include", "import", "steps", "vars")
_KINDS = "${vars.NAME}, ${matrix.NAME}, or ${env:NAME} where a path is expected"
_PLAIN_TEXT: Schema = {"type": "string"}
_ALONE: Schema = {"$ref": "#/$defs/reference"}
_IN_TEXT: Schema = {"$ref": "#/$defs/text_with_reference"}


def recipe_schema(operators: Mapping[str, type[Operator]]) -> Schema:
    """Make the schema (draft 2020-12) of recipes in YAML and JSON.

    Args:
        operators: by name; metrics among them are left out, for no step uses one.

    Returns:
        The schema. Where a number, list or mapping is expected, a lone reference (`${vars.scale}`) is taken too. A
        recipe with an `import` may use operators that are not among these.
    """
    usable = {name: cls for name, cls in sorted(operators.items()) if not issubclass(cls, Metric)}
    schema: Schema = _cleaned(RecipeModel.model_json_schema(by_alias=True))
    definitions: dict[str, Schema] = schema.pop("$defs")
    for definition in definitions.values():
        _allow_references(definition)
    _allow_references(schema, but=_WRITTEN_OUT)
    _complete_top(schema)
    _complete_step(definitions["StepModel"], list(usable))
    for name, cls in usable.items():
        definitions |= _params_definitions(name, cls.Params)
    definitions["operator"] = {"oneOf": [_operator(name, cls) for name, cls in usable.items()]}
    definitions["reference"] = {**_text_like(f"^{_REFERENCE}$"), "description": f"A reference: {_KINDS}."}
    definitions["text_with_reference"] = {**_text_like(_REFERENCE), "description": f"Text with a reference: {_KINDS}."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Forge Pipeline recipe",
        **schema,
        "$defs": dict(sorted(definitions.items())),
    }


def _complete_top(schema: Schema) -> None:
    """Add what the model leaves to the loader: names, keys of users and editors, which operators there are."""
    schema["patternProperties"] = {"^x-": {}}
    schema["properties"]["$schema"] = {**_PLAIN_TEXT, "description": "This schema, for editors of JSON."}
    del schema["properties"]["name"]["default"]
    for section in ("vars", "steps"):
        schema["properties"][section]["propertyNames"] = {"pattern": f"^{NAME}$"}
    known = {"properties": {"use": {"anyOf": [{"$ref": "#/$defs/operator"}, _IN_TEXT]}}}
    # An imported file may bring operators; an included recipe may hold the steps, and the `use` of one to override.
    whole = {"required": ["steps"], "properties": {"steps": {"additionalProperties": {"required": ["use"]}}}}
    schema["required"] = ["forge"]
    schema["allOf"] = [
        {
            "if": {"not": {"required": ["import"]}},
            "then": {"properties": {"steps": {"additionalProperties": known}}},
        },
        {"if": {"not": {"required": ["include"]}}, "then": whole},
    ]


def _complete_step(step: Schema, operators: list[str]) -> None:
    """Choose the parameters by the operator."""
    step["patternProperties"] = {"^x-": {}}
    del step["required"]
    for key in ("on_error", "max_errors"):
        del step["properties"][key]["default"]  # the default is what `defaults` says
    step["allOf"] = [
        {
            "if": {"properties": {"use": {"const": name}}, "required": ["use"]},
            "then": {"properties": {"with": {"anyOf": [{"$ref": f"#/$defs/{name}"}, _ALONE]}}},
        }
        for name in operators
    ]


def _operator(name: str, cls: type[Operator]) -> Schema:
    lines = (cls.__doc__ or "").strip().splitlines()
    return {"const": name, "description": lines[0]} if lines else {"const": name}


def _params_definitions(name: str, params: type[Params]) -> dict[str, Schema]:
    """Return the definition of an operator's parameters, and of the models inside them, under names of their own."""
    schema: Schema = _cleaned(params.model_json_schema(by_alias=True))
    inner = {f"{name}/{part}": definition for part, definition in schema.pop("$defs", {}).items()}
    definitions = {name: schema, **inner}
    for definition in definitions.values():
        _rename_references(definition, name)
        _allow_references(definition)
    return definitions


def _rename_references(schema: Json, name: str) -> None:
    if isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
        part = schema["$ref"].removeprefix("#/$defs/")
        schema["$ref"] = f"#/$defs/{name}~1{part}"
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _rename_references(inner, name)


def _cleaned(schema: Json) -> Json:
    """Drop titles, which repeat the names, defaults that say nothing, and line ends inside descriptions."""
    if isinstance(schema, list):
        return [_cleaned(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            cleaned[key] = {name: _cleaned(inner) for name, inner in value.items()}
        elif key == "description":
            cleaned[key] = re.sub(r"\s+", " ", value).strip()
        elif key not in ("title", "default") or (key == "default" and value is not None):
            cleaned[key] = value if key in ("default", "const", "enum", "examples") else _cleaned(value)
    return cleaned


def _allow_references(schema: Schema, but: tuple[str, ...] = ()) -> None:
    """Take a reference in the place of every value of a model's fields."""
    for name, value in schema.get("properties", {}).items():
        if name not in but:
            schema["properties"][name] = _or_reference(value)


def _or_reference(value: Schema) -> Schema:
    """Widen one value, and what is inside it; descriptions and defaults stay outside, where editors look."""
    kept = {key: part for key, part in value.items() if key in ("description", "default")}
    inner = {key: part for key, part in value.items() if key not in kept}
    if not inner or inner == _PLAIN_TEXT:
        return value
    for key in ("items", "additionalProperties"):
        if isinstance(inner.get(key), dict) and inner[key]:
            inner[key] = _or_reference(inner[key])
    if "prefixItems" in inner:
        inner["prefixItems"] = [_or_reference(item) for item in inner["prefixItems"]]
    arms = [_or_reference(arm) for arm in inner["anyOf"]] if set(inner) == {"anyOf"} else [inner]
    return {**kept, "anyOf": _with_reference(arms)}


def _with_reference(alternatives: list[Schema]) -> list[Schema]:
    """Join nested alternatives, each once, and add the reference: where text is taken it may stand among other text."""
    arms: list[Schema] = []
    for alternative in alternatives:
        for arm in alternative["anyOf"] if set(alternative) == {"anyOf"} else [alternative]:
            if arm not in (*arms, _ALONE, _IN_TEXT):
                arms.append(arm)
    if _PLAIN_TEXT in arms:
        return arms
    return [*arms, _IN_TEXT if any(arm.get("type") == "string" for arm in arms) else _ALONE]


def _text_like(pattern: str) -> Schema:
    return {"type": "string", "pattern": pattern}
