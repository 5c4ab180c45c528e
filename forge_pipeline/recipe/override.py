"""`--set vars.scale=2`: values from the command line, put into the tree; only what is named changes."""

from __future__ import annotations

from collections.abc import Sequence

from forge_pipeline.errors import Problem, RecipeError, Where
from forge_pipeline.recipe.model import STEP_KEYS, is_free_key
from forge_pipeline.recipe.suggest import did_you_mean
from forge_pipeline.recipe.text import Text
from forge_pipeline.recipe.tree import MapNode, Node, ScalarNode, tree_problems

_SETTABLE = ("vars", "steps", "defaults", "seed", "name", "description", "executor", "workers")


class _Refused(Exception):
    """An assignment that names nothing of this recipe."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def with_overrides(root: MapNode, sets: Sequence[str]) -> tuple[MapNode, list[Problem]]:
    """Return the tree with `NAME=VALUE` assignments in it; values are read as YAML 1.2 (`2`, `text`, `[a, b]`)."""
    problems: list[Problem] = []
    for assignment in sets:
        name, equals, value = assignment.partition("=")
        where = Where(f"--set {assignment}")
        try:
            if not equals:
                raise _Refused("no '=' in it, expected NAME=VALUE", "--set vars.scale=2")
            path = name.strip().split(".")
            _check(root, path)
            root = _put(root, tuple(path), _value(assignment, value))
        except _Refused as refused:
            problems.append(Problem(where, refused.message, refused.hint))
        except RecipeError as error:
            hint = "put the value in quotes: --set 'NAME=\"VALUE\"'"
            problems += [Problem(where, problem.message, hint) for problem in error.problems]
    return root, problems


def _value(assignment: str, value: str) -> Node:
    from forge_pipeline.recipe.yaml_format import parse_yaml

    text = Text(f"--set {assignment}", value, inline=True)
    node = parse_yaml(text) or ScalarNode(None, text.span(0))
    if problems := tree_problems(node):
        raise RecipeError(problems)
    return node


def _check(root: MapNode, path: list[str]) -> None:
    """Refuse what names nothing: a new var or step, or a step's key in the place of a parameter."""
    top = path[0]
    if top not in _SETTABLE:
        raise _Refused(f"'{top}' cannot be set", did_you_mean(top, _SETTABLE))
    if top in ("vars", "defaults", "steps") and (len(path) < 2 or not path[1]):
        raise _Refused(f"'{top}' is set key by key", "--set vars.NAME=VALUE" if top == "vars" else "")
    if top == "vars":
        _known(root, "vars", path[1], "var")
    if top != "steps":
        return
    step = path[1].split("[", 1)[0]
    _known(root, "steps", step, "step")
    if step != path[1]:
        raise _Refused("a variant is not set alone; its step is", f"--set steps.{step}.with.NAME=VALUE")
    if len(path) < 3:
        raise _Refused(f"step '{step}' is set key by key", f"--set steps.{step}.with.NAME=VALUE")
    if path[2] not in STEP_KEYS - {"override"} and not is_free_key(path[2]):
        inside = _at(root, ("steps", step, "with", path[2])) is not None
        hint = (
            f"did you mean 'steps.{step}.with.{path[2]}'?"
            if inside
            else did_you_mean(path[2], sorted(STEP_KEYS - {"override"}))
        )
        raise _Refused(f"step '{step}' has no key '{path[2]}'", hint)


def _known(root: MapNode, section: str, name: str, word: str) -> None:
    here = root.value(section)
    names = [member.key for member in here.members] if isinstance(here, MapNode) else []
    if name not in names:
        raise _Refused(f"{word} '{name}' is not in the recipe", did_you_mean(name, names))


def _at(node: Node, path: tuple[str, ...]) -> Node | None:
    for part in path:
        inner = node.value(part) if isinstance(node, MapNode) else None
        if inner is None:
            return None
        node = inner
    return node


def _put(node: MapNode, path: tuple[str, ...], value: Node) -> MapNode:
    head, rest = path[0], path[1:]
    if not head:
        raise _Refused("an empty name stands between two dots")
    member = node.member(head)
    key_span = member.key_span if member else value.span
    if not rest:
        # Errors about the value point to the command line; a key that was written keeps its place.
        return node.replaced(head, key_span, value)
    inner = member.value if member else MapNode((), value.span)
    if not isinstance(inner, MapNode):
        raise _Refused(f"'{head}' is no mapping, so nothing inside it can be set", "set it whole")
    return node.replaced(head, key_span, _put(inner, rest, value))
