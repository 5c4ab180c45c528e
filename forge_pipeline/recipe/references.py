"""`from:` of every step: which steps it names, whether they are there, and whether the steps go in a circle."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from forge_pipeline.errors import Problem, Where
from forge_pipeline.recipe.matrix import Variant
from forge_pipeline.recipe.resolved import InputRef
from forge_pipeline.recipe.suggest import did_you_mean
from forge_pipeline.recipe.terms import NAME
from forge_pipeline.sample import Json

Inputs = dict[str, tuple[InputRef, ...]]

_REFERENCE = re.compile(rf"({NAME})(?:\[([^\[\]]*)\])?")


@dataclass(frozen=True, slots=True)
class Named:
    """One reference as written: the port it fills, its text, and its path inside `from`."""

    port: str
    text: str
    path: tuple[str | int, ...]


def named_in(source: Json) -> Iterator[Named]:
    """Return the references of a `from` whose form is right: an id, a list, or a mapping of ports to either."""
    if isinstance(source, dict):
        for port, ids in source.items():
            yield from _in_port(port, ids, (port,))
    else:
        yield from _in_port("in", source, ())


def _in_port(port: str, ids: Json, path: tuple[str | int, ...]) -> Iterator[Named]:
    if isinstance(ids, list):
        for position, one in enumerate(ids):
            yield Named(port, one, (*path, position))
    else:
        yield Named(port, ids, path)


@dataclass(frozen=True, slots=True)
class Directory:
    """The ids of a recipe: each step, and the variants that its matrix makes (an empty tuple without one)."""

    steps: Mapping[str, tuple[Variant, ...]]
    broken: frozenset[str] = frozenset()
    """Steps whose matrix has a problem of its own: references to them are let through."""

    def inputs(
        self, step_id: str, source: Json, where: Callable[[tuple[str | int, ...]], Where]
    ) -> tuple[Inputs, list[Problem]]:
        """Find the steps that a `from` names."""
        inputs: Inputs = {}
        problems: list[Problem] = []
        for named in named_in(source):
            found, problem = self._found(named.text, step_id)
            if problem:
                message, hint = problem
                problems.append(Problem(where(named.path), f"step '{step_id}': {message}", hint))
                continue
            before = inputs.get(named.port, ())
            twice = next((ref.step for ref in found if ref.step in {old.step for old in before}), None)
            if twice:
                message = f"step '{step_id}': '{twice}' comes in twice, expected each step once"
                problems.append(Problem(where(named.path), message))
                continue
            inputs[named.port] = before + found
        return inputs, problems

    def _found(self, text: str, for_step: str) -> tuple[tuple[InputRef, ...], tuple[str, str] | None]:
        written = _REFERENCE.fullmatch(text)
        base, label = (written[1], written[2]) if written else (text, None)
        if base not in self.steps:
            return (), (
                f"'{text}' is no step of this recipe",
                did_you_mean(base, [s for s in self.steps if s != for_step]),
            )
        if base in self.broken:
            return (), None
        made = self.steps[base]
        if label is None:
            refs = tuple(InputRef(variant.id_of(base), variant.label) for variant in made)
            return refs or (InputRef(base),), None
        if not made:
            return (), (f"step '{base}' has no matrix, so '{text}' names no variant", base)
        matching = [variant for variant in made if _matches(variant, label)]
        if not matching:
            return (), (f"'{text}' is no variant of step '{base}'", did_you_mean(text, _variant_names(base, made)))
        if len(matching) == 1 and matching[0].label.count(",") == label.count(","):
            return (InputRef(matching[0].id_of(base)),), None
        return tuple(InputRef(variant.id_of(base), variant.label) for variant in matching), None


def _variant_names(base: str, made: Sequence[Variant]) -> list[str]:
    """Return what could have been meant: one value, or a whole variant."""
    parts = [f"{base}[{part}]" for variant in made for part in variant.label.split(",")]
    return parts + [variant.id_of(base) for variant in made]


def _matches(variant: Variant, label: str) -> bool:
    """Tell whether a variant has all values that a reference names, in any order."""
    have = dict(part.split("=", 1) for part in variant.label.split(","))
    wanted = [part.strip().split("=", 1) for part in label.split(",")]
    return all(len(pair) == 2 and have.get(pair[0].strip()) == pair[1].strip() for pair in wanted)


def circles(inputs: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """Find circles among steps, each as the ids in the direction of the data, starting at the step written first.

    Args:
        inputs: by step id, the ids of the steps that it takes from, in the order of writing.
    """
    order = {step: rank for rank, step in enumerate(inputs)}
    found: list[tuple[str, ...]] = []
    done: set[str] = set()
    for start in inputs:
        if start in done:
            continue
        path: list[str] = [start]
        todo: list[Iterator[str]] = [iter(inputs[start])]
        while path:
            step = next(todo[-1], None)
            if step is None:
                done.add(path.pop())
                todo.pop()
            elif step in path:
                found.append(_circle(path[path.index(step) :], order))
            elif step not in done and step in inputs:
                path.append(step)
                todo.append(iter(inputs[step]))
    return list(dict.fromkeys(found))


def _circle(path: list[str], order: Mapping[str, int]) -> tuple[str, ...]:
    """Turn a way against the data (a takes from b) into one along it, closed."""
    along = list(reversed(path))
    first = along.index(min(along, key=order.__getitem__))
    along = along[first:] + along[:first]
    return (*along, along[0])
