"""What pydantic found wrong, in the words and at the places of a recipe; for recipes and for operators' parameters."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from forge_pipeline.errors import Problem, Where
from forge_pipeline.recipe.model import shown
from forge_pipeline.recipe.resolved import Recipe
from forge_pipeline.recipe.suggest import did_you_mean

Path = tuple[str | int, ...]

_EXPECTED = {
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "int_parsing_size": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "nothing (null)",
    "path_type": "a path",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text of the form {pattern}",
    "too_short": "at least {min_length} {entries}",
    "too_long": "at most {max_length} {entries}",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit a model.

    Attributes:
        path: keys and list positions from the top of the checked data.
        kind: an unknown key, a missing one, a wrong value, or a sentence of the model's own.
        value: what was found.
        text: what was expected; of the model's own sentence, the whole.
    """

    path: Path
    kind: Literal["unknown", "missing", "wrong", "told"]
    value: Any = None
    text: str = ""

    @property
    def name(self) -> str:
        """The path as people write it: `files[2]`, `matrix.kind`."""
        name = ""
        for part in self.path:
            name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
        return name


def findings(error: ValidationError, data: Any) -> list[Finding]:
    """Tell what does not fit, one finding a place: the arms of a union are joined by `or`."""
    found: dict[tuple[Path, str], list[Finding]] = {}
    for detail in error.errors(include_url=False):
        made, in_union = _found(detail, data)
        for finding in made:
            found.setdefault((finding.path, finding.kind if in_union else f"{finding.kind}!"), []).append(finding)
    deepest = {path for path, _ in found}
    result = []
    for (path, group), same in found.items():
        # An arm that took the list and then met a wrong entry says more than the arms that wanted no list.
        inside = any(len(other) > len(path) and other[: len(path)] == path for other in deepest)
        if inside and not group.endswith("!"):
            continue
        expected = list(dict.fromkeys(finding.text for finding in same))
        result.append(Finding(path, same[0].kind, same[0].value, " or ".join(expected)))
    return result


def param_problems(
    error: ValidationError, recipe: Recipe, step_id: str, use: str, params: type[BaseModel]
) -> list[Problem]:
    """Tell what is wrong with the parameters of a step, at their places.

    Args:
        error: what `params.model_validate` raised.
        recipe: the recipe, for places.
        step_id: id of the step or variant.
        use: the operator's name.
        params: the operator's model, for the names that would have been right.
    """
    step = recipe.step(step_id)

    def where(path: Path, key: bool) -> Where:
        return recipe.where(step_id, "with", *path, key=key)

    problems = []
    for finding in findings(error, dict(step.params)):
        if finding.kind == "unknown":
            names = known_keys(params, finding.path[:-1])
            message = f"step '{step_id}': unknown parameter '{finding.path[-1]}' of {use}"
            problems.append(Problem(where(finding.path, True), message, did_you_mean(str(finding.path[-1]), names)))
        elif finding.kind == "missing":
            place = where(finding.path, True)
            message = f"step '{step_id}': {use} needs the parameter '{finding.name}'"
            problems.append(Problem(place, message, _blank(place, params, finding.path)))
        else:
            problems.append(wrong_value(finding, f"step '{step_id}': ", where))
    return problems


def _blank(place: Where, params: type[BaseModel], path: Path) -> str:
    """Spell a missing parameter to be filled in, with what it means where the format has comments."""
    name = str(path[-1])
    known = [field for key, field in params.model_fields.items() if name in (key, field.alias)]
    meaning = known[0].description if len(path) == 1 and known else ""
    comment = f"  # {meaning}" if meaning and not place.file.endswith(".json") else ""
    return assignment(place, name, "...") + comment


def wrong_value(finding: Finding, subject: str, where: Callable[[Path, bool], Where]) -> Problem:
    """Tell of a value that does not fit: `SUBJECT NAME is FOUND, expected WHAT`."""
    if finding.kind == "told":
        joint = "" if finding.text.startswith(":") else " "
        sentence = f"{finding.name}{joint}{finding.text}" if finding.path else finding.text
        return Problem(where(finding.path, False), subject + sentence)
    hint = ""
    if isinstance(finding.value, str) and finding.text.count('"') >= 2:
        hint = did_you_mean(finding.value, finding.text.split('"')[1::2])
        hint = hint if hint.startswith("did you mean") else ""
    return Problem(
        where(finding.path, False), f"{subject}{finding.name} is {shown(finding.value)}, expected {finding.text}", hint
    )


def assignment(where: Where, key: str, value: str) -> str:
    """Spell a key with its value in the format of the file that a place is in."""
    if where.file.endswith(".hcl"):
        return f"{key} = {value}" if value in ("1", "...") else f'{key} = "{value}"'
    if where.file.endswith(".json"):
        return f'"{key}": {value}' if value in ("1", "...") else f'"{key}": "{value}"'
    return f"{key}: {value}"


def known_keys(model: Any, path: Sequence[str | int]) -> tuple[str, ...]:
    """Return the keys that a model takes at a path inside it, as users type them."""
    here = _models(model)
    for part in path:
        here = [inner for one in here for inner in _inside(one, part)]
    keys: list[str] = []
    for one in here:
        if isinstance(one, type) and issubclass(one, BaseModel):
            keys += [field.alias or name for name, field in one.model_fields.items()]
    return tuple(dict.fromkeys(keys))


def _found(detail: Any, data: Any) -> tuple[list[Finding], bool]:
    """Translate one of pydantic's errors; the second value tells whether it comes from an arm of a union."""
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    keyed = kind in ("missing", "extra_forbidden")
    path, in_union = _real_path(detail["loc"][:-1] if keyed else detail["loc"], data)
    if keyed:
        return [Finding((*path, detail["loc"][-1]), "missing" if kind == "missing" else "unknown", value)], in_union
    if kind == "recipe":
        told = context["problems"]
        return [Finding((*path, *inner), "told", _at(value, inner), sentence) for sentence, inner in told], in_union
    if kind in ("value_error", "assertion_error"):
        path = path or tuple(detail["loc"][:1])  # a parameter that was left out, and must not be
        return [Finding(path, "told", value, _sentence(str(context["error"]), path))], in_union
    expected = {name: _quoted(bound) for name, bound in context.items()}
    expected["entries"] = "entry" if 1 in context.values() else "entries"
    text = _EXPECTED[kind].format(**expected) if kind in _EXPECTED else detail["msg"][:1].lower() + detail["msg"][1:]
    return [Finding(path, "wrong", value, text)], in_union


def _at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value


def _sentence(told: str, path: Path) -> str:
    """Put an author's sentence behind the name of what it is about."""
    return f": {told}" if path else told


def _quoted(value: Any) -> str:
    """Spell a bound, or pydantic's list of choices with the quotes that values have in our messages."""
    return (
        str(value).replace("'", '"')
        if isinstance(value, str)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _real_path(location: Iterable[str | int], data: Any) -> tuple[Path, bool]:
    """Drop from pydantic's location what is no part of the data: the names of a union's arms."""
    path: list[str | int] = []
    in_union = False
    for part in location:
        in_list = isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
        if in_list or (isinstance(data, dict) and part in data):
            path.append(part)
            data = data[part]
        elif part != "[key]":
            in_union = True
    return tuple(path), in_union


def _models(annotation: Any) -> list[Any]:
    """Return the arms of an annotation, without Annotated and Optional around them."""
    if annotation is None or annotation is type(None):
        return []
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _models(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [model for arm in typing.get_args(annotation) for model in _models(arm)]
    return [annotation]


def _inside(annotation: Any, part: str | int) -> list[Any]:
    """Return what an annotation says of its member of that key or position."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if part in (field.alias, name):
                return _models(field.annotation)
        return []
    arguments = typing.get_args(annotation)
    return _models(arguments[-1] if arguments[-1] is not Ellipsis else arguments[0]) if arguments else []
