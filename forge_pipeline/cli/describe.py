"""What can be said of an operator or a metric from its class alone: for `forge steps` and the reference pages."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from forge_pipeline.shapes import Operator

_BOUNDS = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
_SHAPES = ("source", "transform", "select", "export", "metric")


@dataclass(frozen=True, slots=True)
class ParamText:
    """One parameter as a user sees it. `role` is `keyed`, `locator` or `machine`."""

    name: str
    type: str
    default: str
    role: str
    description: str


@dataclass(frozen=True, slots=True)
class OperatorText:
    """One operator or metric as a user sees it. `facts` are label and text, such as (`reads`, `pixels`)."""

    name: str
    version: int
    shape: str
    summary: str
    story: str
    facts: tuple[tuple[str, str], ...]
    params: tuple[ParamText, ...]


def describe(cls: type[Operator]) -> OperatorText:
    """Say everything that the class declares."""
    story = inspect.cleandoc(cls.__doc__ or "")
    return OperatorText(
        name=cls.name,
        version=cls.version,
        shape=shape_of(cls),
        summary=" ".join(story.partition("\n\n")[0].split()),
        story=story,
        facts=tuple(_facts(cls)),
        params=tuple(_params(cls)),
    )


def shape_of(cls: type[Operator]) -> str:
    """Name which of the shapes it is: source, transform, select, export or metric."""
    bases = {base.__name__.lower() for base in cls.__mro__ if base.__module__ == "forge_pipeline.shapes"}
    return next(shape for shape in _SHAPES if shape in bases)


def _facts(cls: type[Operator]) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = [("reads", cls.reads)]
    shape = shape_of(cls)
    if shape == "metric":
        facts += _metric_facts(cls)
    else:
        facts.append(("takes", _ports(cls)))
        facts += [("makes", cls.makes)] if hasattr(cls, "makes") else []
        if told := getattr(cls, "tells", ()):
            facts.append(("fields", ", ".join(f"source.{name}" for name in ("path", "digest", *told))))
        if getattr(cls, "many", False):
            facts.append(("samples", "one to many: each child's key gets a suffix"))
        if cls.draws:
            facts.append(("draws", "yes: the recipe's seed and the step's salt enter its keys"))
    facts.append(("libraries", ", ".join(cls.libraries) or "none"))
    return facts


def _metric_facts(cls: Any) -> list[tuple[str, str]]:
    low, high = cls.range
    span = f"{'-inf' if low is None else f'{low:g}'} .. {'inf' if high is None else f'{high:g}'}"
    unit = f" {cls.unit}" if cls.unit else ""
    return [("direction", cls.direction), ("range", span + unit), ("source", cls.source or "not stated")]


def _ports(cls: type[Operator]) -> str:
    ports = []
    for name, port in cls.takes.items():
        text = f"{name} ({port.kind}{', optional' if port.optional else ''})"
        ports.append(f"{text}: {port.description}" if port.description else text)
    return "; ".join(ports) or "nothing"


def _params(cls: type[Operator]) -> list[ParamText]:
    schema = cls.Params.model_json_schema(by_alias=True)
    properties = schema.get("properties", {})
    found = []
    for name, info in cls.Params.model_fields.items():
        shown = info.alias or name
        found.append(
            ParamText(
                name=shown,
                type=_type_text(properties.get(shown, {}), schema.get("$defs", {})),
                default="required" if info.is_required() else _value_text(info.get_default(call_default_factory=True)),
                role=_role(info),
                description=" ".join((info.description or "").split()),
            )
        )
    return found


def _role(info: FieldInfo) -> str:
    from forge_pipeline.params import Role

    return next((mark.name for mark in info.metadata if isinstance(mark, Role)), "keyed")


def _value_text(value: Any) -> str:
    """Spell a default as it is typed in YAML or JSON."""
    import json

    from pydantic_core import to_jsonable_python

    return json.dumps(to_jsonable_python(value, by_alias=True), ensure_ascii=False)


def _type_text(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Spell a JSON Schema type in a few words: `integer >= 1`, `"skip" or "keep"`, `list of number`."""
    if "$ref" in schema:
        return _type_text(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "const" in schema or "enum" in schema:
        return " or ".join(_value_text(value) for value in schema.get("enum", [schema.get("const")]))
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_type_text(option, definitions) for option in schema[union]))
    if schema.get("type") == "array":
        if "prefixItems" in schema:
            return "[" + ", ".join(_type_text(item, definitions) for item in schema["prefixItems"]) + "]"
        return f"list of {_type_text(schema.get('items', {}), definitions)}"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"mapping to {_type_text(values, definitions)}" if isinstance(values, dict) and values else "mapping"
    bounds = [f"{sign} {schema[bound]:g}" for bound, sign in _BOUNDS if bound in schema]
    return " ".join([str(schema.get("type", "anything")), " and ".join(bounds)]).strip()
