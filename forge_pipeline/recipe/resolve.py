"""Nodes into data: vars, environment and matrix values put where they are named, and what came from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from forge_pipeline.errors import Problem
from forge_pipeline.recipe.suggest import did_you_mean
from forge_pipeline.recipe.terms import UNRESOLVED, Reference, TermError, Value, evaluate
from forge_pipeline.recipe.tree import BrokenNode, ListNode, MapNode, Node, ScalarNode, TermNode
from forge_pipeline.sample import Json

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resolved:
    """Data, and the paths in it whose value came from an environment variable."""

    data: Json
    env_paths: frozenset[Path] = frozenset()


@dataclass(slots=True)
class Resolver:
    """Knows the vars and the environment. Each var is computed once; what is wrong is noted, not raised."""

    vars: Mapping[str, Node]
    environ: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    _known: dict[str, Value] = field(default_factory=dict)
    _under_way: list[str] = field(default_factory=list)

    def all_vars(self) -> dict[str, Value]:
        """Compute every var."""
        return {name: self._var(name) for name in self.vars}

    def resolved(self, node: Node, matrix: Mapping[str, Json] | None = None) -> Resolved:
        """Compute a node; an unresolvable part of it is UNRESOLVED."""
        env_paths: set[Path] = set()
        data = self._data(node, (), matrix, env_paths)
        return Resolved(data, frozenset(env_paths))

    def _data(self, node: Node, path: Path, matrix: Mapping[str, Json] | None, env_paths: set[Path]) -> Json:
        if isinstance(node, ScalarNode):
            return node.value
        if isinstance(node, BrokenNode):
            return UNRESOLVED
        if isinstance(node, ListNode):
            return [self._data(item, (*path, str(i)), matrix, env_paths) for i, item in enumerate(node.items)]
        if isinstance(node, MapNode):
            return {
                member.key: self._data(member.value, (*path, member.key), matrix, env_paths) for member in node.members
            }
        value = self._term(node, matrix)
        if value.from_env:
            env_paths.add(path)
        return value.data

    def _term(self, node: TermNode, matrix: Mapping[str, Json] | None) -> Value:
        def lookup(reference: Reference) -> Value:
            value = self._referred(reference, matrix)
            if value.data is UNRESOLVED:
                raise _Told
            return value

        try:
            return evaluate(node.term, lookup)
        except TermError as error:
            self.problems.append(error.span.problem(error.message, error.hint))
        except _Told:
            pass
        return Value(UNRESOLVED)

    def _referred(self, reference: Reference, matrix: Mapping[str, Json] | None) -> Value:
        if reference.kind == "vars":
            return self._var(reference.name, reference)
        if reference.kind == "env":
            return self._env(reference)
        if matrix is None:
            message = f"'{reference}' stands outside of a step with a matrix"
            raise TermError(reference.span, message, "matrix: {" + reference.name + ": [VALUE, VALUE]}")
        if reference.name not in matrix:
            message = f"matrix has no '{reference.name}'"
            raise TermError(reference.span, message, did_you_mean(reference.name, matrix))
        return Value(matrix[reference.name])

    def _env(self, reference: Reference) -> Value:
        if reference.name not in self.environ:
            message = f"environment variable '{reference.name}' is not set"
            raise TermError(reference.span, message, f"export {reference.name}=VALUE")
        return Value(self.environ[reference.name], from_env=True)

    def _var(self, name: str, reference: Reference | None = None) -> Value:
        if name in self._known:
            return self._known[name]
        if name not in self.vars:
            assert reference is not None
            raise TermError(reference.span, f"var '{name}' is not in the recipe", did_you_mean(name, self.vars))
        node = self.vars[name]
        if name in self._under_way:
            circle = " -> ".join((*self._under_way[self._under_way.index(name) :], name))
            self._known[name] = Value(UNRESOLVED)
            raise TermError(node.span, f"vars refer to each other in a circle: {circle}")
        self._under_way.append(name)
        value = self._computed(name, node)
        self._under_way.pop()
        # A circle marks its members unresolved while they are still under way; that stands.
        return self._known.setdefault(name, value)

    def _computed(self, name: str, node: Node) -> Value:
        if isinstance(node, ScalarNode) and node.value is None:
            self.problems.append(node.span.problem(f"var '{name}' has no value", f"--set vars.{name}=VALUE"))
            return Value(UNRESOLVED)
        resolved = self.resolved(node)
        broken = _holds_unresolved(resolved.data)
        return Value(UNRESOLVED) if broken else Value(resolved.data, bool(resolved.env_paths))


class _Told(Exception):
    """A term needs a value that has a problem of its own."""


def _holds_unresolved(data: Json) -> bool:
    if isinstance(data, list):
        return any(map(_holds_unresolved, data))
    if isinstance(data, dict):
        return any(map(_holds_unresolved, data.values()))
    return data is UNRESOLVED
