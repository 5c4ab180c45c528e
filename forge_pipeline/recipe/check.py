"""Everything that can be wrong in a merged recipe without knowing an operator, told at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from forge_pipeline.errors import Problem, RecipeError, Where
from forge_pipeline.recipe.matrix import MAX_VARIANTS, Variant, variant_count, variants
from forge_pipeline.recipe.model import MACHINE_KEYS, STEP_KEYS, TOP_KEYS, RecipeModel, StepModel, is_free_key, shown
from forge_pipeline.recipe.references import Directory, Inputs, circles
from forge_pipeline.recipe.resolve import Resolved, Resolver
from forge_pipeline.recipe.resolved import place
from forge_pipeline.recipe.suggest import did_you_mean
from forge_pipeline.recipe.terms import NAME, UNRESOLVED
from forge_pipeline.recipe.tree import MapNode, Member, Node
from forge_pipeline.recipe.validation import Finding, assignment, findings, known_keys, wrong_value
from forge_pipeline.sample import Json

_STEPS_HINT = "steps: {ID: {use: OPERATOR}}"
_STEPS_HINTS = {".hcl": 'step "ID" { use = "OPERATOR" }', ".json": '"steps": {"ID": {"use": "OPERATOR"}}'}
_TOLD_ELSEWHERE = frozenset(("include", "import", "$schema"))


@dataclass(slots=True)
class Draft:
    """A step on its way to a StepSpec: one for each variant."""

    base: str
    variant: Variant | None
    data: Json
    env_paths: frozenset[tuple[str, ...]]
    inputs: Inputs = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The id of the step that it becomes."""
        return self.variant.id_of(self.base) if self.variant else self.base


@dataclass(frozen=True, slots=True)
class Checked:
    """A recipe without problems: the model, a draft for each step, and the vars that the environment has no part in."""

    model: RecipeModel
    drafts: tuple[Draft, ...]
    vars: Mapping[str, Json]


class Check:
    """One recipe under examination: a tree, and the problems found in it so far."""

    def __init__(self, root: MapNode, problems: list[Problem], environ: Mapping[str, str]) -> None:
        self._root = root
        self._problems = problems
        self._resolver = Resolver(self._vars(), environ, problems)

    def checked(self) -> Checked:
        """Check everything. Raises RecipeError with all that is wrong."""
        values = self._resolver.all_vars()
        self._check_keys(self._root, TOP_KEYS, "the recipe")
        self._check_names("vars", "var")
        self._check_names("steps", "step id")
        top = self._top()
        drafts = self._drafts()
        self._check_references(drafts)
        data = {**top, "vars": {}} if isinstance(top.get("vars"), dict) else dict(top)
        if isinstance(self._root.value("steps"), MapNode):
            data["steps"] = {draft.id: draft.data for draft in drafts}
        model = self._validated(data)
        if self._problems or model is None:
            # A matrix step says the same for each variant.
            error = RecipeError(list(dict.fromkeys(self._problems)))
            error.partial = tuple(drafts)
            raise error
        known = {name: value.data for name, value in values.items() if not value.from_env}
        return Checked(model, tuple(drafts), known)

    def _vars(self) -> dict[str, Node]:
        node = self._root.value("vars")
        return {member.key: member.value for member in node.members} if isinstance(node, MapNode) else {}

    def _check_keys(self, node: MapNode, known: frozenset[str], subject: str) -> None:
        for member in node.members:
            if member.key not in known and not is_free_key(member.key):
                message = f"unknown key '{member.key}' in {subject}"
                self._problems.append(
                    member.key_span.problem(message, did_you_mean(member.key, sorted(known - {"$schema"})))
                )

    def _check_names(self, section: str, word: str) -> None:
        node = self._root.value(section)
        for member in node.members if isinstance(node, MapNode) else ():
            if not re.fullmatch(NAME, member.key):
                message = f"{word} {shown(member.key)} is not made of letters, digits, '_' and '-', a letter first"
                self._problems.append(member.key_span.problem(message))

    def _top(self) -> dict[str, Json]:
        """Resolve what stands at the top, but for the steps."""
        data: dict[str, Json] = {}
        for member in self._root.members:
            if member.key not in TOP_KEYS or member.key in _TOLD_ELSEWHERE:
                continue
            if member.key in ("steps", "vars") and isinstance(member.value, MapNode):
                data[member.key] = dict.fromkeys((m.key for m in member.value.members), None)
                continue
            resolved = self._resolver.resolved(member.value)
            refused = self._refuses_environment(member, resolved, "the recipe")
            data[member.key] = UNRESOLVED if refused else resolved.data
        return data

    def _drafts(self) -> list[Draft]:
        steps = self._root.value("steps")
        drafts: list[Draft] = []
        for member in steps.members if isinstance(steps, MapNode) else ():
            if isinstance(member.value, MapNode):
                self._check_keys(member.value, STEP_KEYS, f"step '{member.key}'")
                for variant in self._variants(member.key, member.value):
                    drafts.append(self._draft(member.key, member.value, variant))
            else:
                drafts.append(Draft(member.key, None, self._resolver.resolved(member.value).data, frozenset()))
        return drafts

    def _variants(self, step_id: str, step: MapNode) -> Sequence[Variant | None]:
        """Return the variants of a step: one None for a step without a matrix, or with a broken one."""
        member = step.member("matrix")
        if member is None:
            return (None,)
        matrix = self._resolver.resolved(member.value)
        if matrix.env_paths:
            return (None,)  # told with the other keys of the step
        try:
            StepModel.model_validate({"use": "any", "matrix": matrix.data})
        except ValidationError:
            return (None,)  # told when the whole is validated
        if (count := variant_count(matrix.data)) > MAX_VARIANTS:
            message = f"step '{step_id}': matrix makes {count:,} steps, expected at most {MAX_VARIANTS}"
            self._problems.append(member.key_span.problem(message))
            return (None,)
        return variants(matrix.data)

    def _draft(self, step_id: str, step: MapNode, variant: Variant | None) -> Draft:
        data: dict[str, Json] = {}
        env_paths: frozenset[tuple[str, ...]] = frozenset()
        for member in step.members:
            if member.key not in STEP_KEYS:
                continue
            broken_matrix = variant is None and step.member("matrix") is not None
            values = _AnyValue() if broken_matrix else variant.values if variant else None
            resolved = self._resolver.resolved(member.value, values)
            inside_with = member.key == "with" and () not in resolved.env_paths
            if inside_with:
                env_paths = resolved.env_paths
            refused = not inside_with and self._refuses_environment(member, resolved, f"step '{step_id}'")
            data[member.key] = UNRESOLVED if refused else resolved.data
        return Draft(step_id, variant, data, env_paths)

    def _refuses_environment(self, member: Member, resolved: Resolved, subject: str) -> bool:
        """Refuse a variable of the environment but in keys of the machine: elsewhere it would change bytes unseen."""
        key, value = member.key, member.value
        if key == "resources" and _sets_fallback(resolved):
            key = "resources.cpu_fallback"
            value = (value.value("cpu_fallback") if isinstance(value, MapNode) else None) or value
        elif not resolved.env_paths or key in MACHINE_KEYS:
            return False
        message = f"an environment variable enters '{key}' of {subject}, where it would change the result"
        self._problems.append(value.span.problem(message, "give it by --set"))
        return True

    def _check_references(self, drafts: Sequence[Draft]) -> None:
        made: dict[str, tuple[Variant, ...]] = {}
        broken = set()
        for draft in drafts:
            made[draft.base] = (*made.get(draft.base, ()), *((draft.variant,) if draft.variant else ()))
            if draft.variant is None and isinstance(draft.data, dict) and "matrix" in draft.data:
                broken.add(draft.base)
        directory = Directory(made, frozenset(broken))
        for draft in drafts:
            source = draft.data.get("from") if isinstance(draft.data, dict) else None
            if source is None or not _is_from(source):
                continue
            place_in = _PlaceIn(self._root, ("steps", draft.base, "from"))
            draft.inputs, problems = directory.inputs(draft.base, source, place_in)
            self._problems += problems
        self._check_circles(drafts)

    def _check_circles(self, drafts: Sequence[Draft]) -> None:
        takes = {draft.id: [ref.step for refs in draft.inputs.values() for ref in refs] for draft in drafts}
        for circle in circles(takes):
            base = circle[0].split("[", 1)[0]
            where = place(self._root, ("steps", base, "from"), key=True)
            if len(circle) == 2:
                self._problems.append(Problem(where, f"step '{circle[0]}' takes from itself"))
            else:
                self._problems.append(Problem(where, f"steps go in a circle: {' -> '.join(circle)}"))

    def _validated(self, data: dict[str, Json]) -> RecipeModel | None:
        try:
            return RecipeModel.model_validate(data)
        except ValidationError as error:
            for finding in findings(error, data):
                if finding.value is not UNRESOLVED:
                    self._problems.append(self._told(finding))
            return None

    def _told(self, finding: Finding) -> Problem:
        subject, inner = _subject(finding.path)
        if finding.kind == "missing":
            where = place(self._root, _base_path(finding.path[:-1]), key=True)
            key = str(finding.path[-1])
            hint = _STEPS_HINTS.get(Path(where.file).suffix, _STEPS_HINT) if key == "steps" else ""
            hint = hint or assignment(where, key, {"forge": "1", "use": "OPERATOR"}.get(key, "..."))
            return Problem(where, f"{subject or 'the recipe'} has no '{key}'", hint)
        if finding.kind == "unknown":
            names = known_keys(RecipeModel, finding.path[:-1])
            section = f"'{inner[0]}' of {subject}" if len(inner) > 1 else subject or "the recipe"
            message = f"unknown key '{finding.path[-1]}' in {section}"
            return Problem(self._place(finding.path, True), message, did_you_mean(str(finding.path[-1]), names))
        short = Finding(inner, finding.kind, finding.value, finding.text)
        if not inner:
            return Problem(
                self._place(finding.path, False), f"{subject} is {_kind(finding.value)}, expected {finding.text}"
            )
        return wrong_value(short, f"{subject}: " if subject else "", lambda _, key: self._place(finding.path, key))

    def _place(self, path: tuple[str | int, ...], key: bool) -> Where:
        return place(self._root, _base_path(path), key=key)


class _AnyValue(dict[str, Any]):
    """Stands for the values of a matrix that has a problem of its own."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Any:
        return UNRESOLVED


@dataclass(frozen=True, slots=True)
class _PlaceIn:
    """Finds places below a path of the tree."""

    root: MapNode
    path: tuple[str, ...]

    def __call__(self, inner: tuple[str | int, ...]) -> Where:
        return place(self.root, (*self.path, *inner))


def _is_from(source: Json) -> bool:
    """Tell whether a `from` has one of the forms; the model tells what is wrong with another."""
    ids = list(source.values()) if isinstance(source, dict) else [source]
    flat = [one for part in ids for one in (part if isinstance(part, list) else [part])]
    return bool(flat) and all(isinstance(one, str) for one in flat)


def _sets_fallback(resources: Resolved) -> bool:
    """Tell whether a variable of the environment says, or is in the var that says, where pixels are computed."""
    whole = () in resources.env_paths and isinstance(resources.data, dict) and "cpu_fallback" in resources.data
    return whole or ("cpu_fallback",) in resources.env_paths


def _subject(path: tuple[str | int, ...]) -> tuple[str, tuple[str | int, ...]]:
    """Split a path into the words for what it is in, and the rest."""
    if path[:1] == ("steps",) and len(path) > 1:
        return f"step '{path[1]}'", path[2:]
    if path[:1] == ("defaults",) and len(path) > 1:
        return "defaults", path[1:]
    return "", path


def _base_path(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Replace the id of a variant by that of the step which is written."""
    if path[:1] == ("steps",) and len(path) > 1:
        return ("steps", str(path[1]).split("[", 1)[0], *path[2:])
    return path


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else shown(value)
