"""A recipe as the engine sees it: every reference resolved, every default filled in, every format alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from forge_pipeline.errors import Where
from forge_pipeline.recipe.tree import ListNode, MapNode, Node
from forge_pipeline.sample import Json


@dataclass(frozen=True, slots=True)
class MaxErrors:
    """How many samples may fail in a step: a count, or a share of those that entered it. One of the two is set."""

    count: int | None = None
    share: float | None = None

    def allows(self, failed: int, entered: int) -> bool:
        """Tell whether that many failures are within the budget."""
        return failed <= self.most(entered)

    def most(self, entered: int) -> int:
        """Return how many of so many samples may fail."""
        if self.count is not None:
            return self.count
        # The decimal that the user wrote, not its binary neighbour: 29 of 100 are within 29%.
        return entered if self.share is None else math.floor(Fraction(repr(float(self.share))) * entered)

    def __str__(self) -> str:
        if self.count is not None:
            return str(self.count)
        return f"{float(Fraction(repr(float(self.share or 0))) * 100):g}%"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for every step that does not say otherwise."""

    on_error: str = "quarantine"
    max_errors: MaxErrors = field(default_factory=lambda: MaxErrors(share=0.05))


@dataclass(frozen=True, slots=True)
class InputRef:
    """A step whose samples come in.

    Attributes:
        step: its id, as in `Recipe.steps`.
        variant: `kind=jpeg` when a bare matrix reference was expanded: samples of several variants meet in one port
            and their keys need it to differ. Empty when the reference named one step.
    """

    step: str
    variant: str = ""


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One step, a matrix step being one for each combination.

    Attributes:
        id: `lr`, or `lr[kind=jpeg]` for a variant of a matrix step.
        use: the operator's name.
        inputs: by port, as written; the port is `in` where `from` is an id or a list. Empty without `from`.
        params: what stands under `with`, references resolved, not yet checked against the operator.
        on_error: `quarantine` or `stop`.
        max_errors: failures that the step may have.
        cache: `auto`, `keep` or `off`.
        resources: `cpus`, `gpus`, `memory_bytes`, where given.
        prioritise: `by` and `order`, or nothing.
        note: words for people.
        matrix: the value of each matrix dimension in this variant.
        base_id: the id as written in the recipe.
        env_paths: paths inside `params` whose value came from an environment variable; only locators may hold one.
    """

    id: str
    use: str
    inputs: Mapping[str, tuple[InputRef, ...]]
    params: Mapping[str, Json]
    on_error: str
    max_errors: MaxErrors
    cache: str
    resources: Mapping[str, Json]
    prioritise: Mapping[str, str]
    note: str
    matrix: Mapping[str, Json]
    base_id: str
    env_paths: frozenset[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe that holds together: what is left to check is each operator's parameters.

    Attributes:
        path: the file, as it was named.
        name: from the recipe, else the file's name without suffix.
        seed: seed of every draw.
        description: words for people.
        defaults: what steps fall back to (already applied to `steps`).
        steps: in the order of writing, matrix steps expanded.
        imports: Python files with operators, relative to the working folder.
        files: every recipe file that was read, this one first.
        vars: values of the vars, but for those that hold something of the environment.
        executor: where tasks run, or an empty string.
        workers: tasks at a time, or None.
    """

    path: Path
    name: str
    seed: int
    description: str
    defaults: Defaults
    steps: tuple[StepSpec, ...]
    imports: tuple[Path, ...]
    files: tuple[Path, ...]
    vars: Mapping[str, Json]
    executor: str = ""
    workers: int | None = None
    tree: MapNode | None = field(default=None, repr=False, compare=False)

    def where(self, step_id: str, *path: str | int, key: bool = False) -> Where:
        """Return the place of a step's value, such as `where("tiles", "with", "size_px")`, or the nearest around it.

        Args:
            step_id: id of a step or of a variant.
            path: keys and list positions from the step down; a list position may be text.
            key: the place of the last key itself, not of its value.
        """
        if self.tree is None:
            return Where(str(self.path))
        base = step_id.split("[", 1)[0]
        return place(self.tree, ("steps", base, *path), key=key or not path)

    def where_key(self, step_id: str, *path: str | int) -> Where:
        """Return the place of a key, such as that of the parameter itself, or the nearest around it."""
        return self.where(step_id, *path, key=True)

    def step(self, step_id: str) -> StepSpec:
        """Return a step by its id."""
        return next(step for step in self.steps if step.id == step_id)


def place(root: Node, path: tuple[str | int, ...], *, key: bool = False) -> Where:
    """Return the place of a value, of its key, or of the nearest thing around it that is written out."""
    node, where = root, root.span.where
    for position, part in enumerate(path):
        last = position == len(path) - 1
        if isinstance(node, MapNode) and (member := node.member(str(part))):
            # The place of a value inside: maps of a block style start at their first key, so a key says more.
            inner = isinstance(member.value, MapNode) and not last
            where = member.key_span.where if inner or (last and key) else member.value.span.where
            node = member.value
        elif isinstance(node, ListNode) and str(part).isdigit() and int(part) < len(node.items):
            node = node.items[int(part)]
            where = node.span.where
        else:
            break
    return where
