"""`matrix:` makes several steps of one: every combination of its values, each with an id of its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from forge_pipeline.recipe.model import choice_text
from forge_pipeline.sample import Json

MAX_VARIANTS = 256
"""Steps that one matrix may make."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One combination: its label (`kind=jpeg,quality=50`, dimensions by name) and its values."""

    label: str
    values: Mapping[str, Json]

    def id_of(self, base_id: str) -> str:
        """Return the id of the step that this variant makes."""
        return f"{base_id}[{self.label}]"


def variant_count(matrix: Mapping[str, list[Json]]) -> int:
    """Count the combinations without making them."""
    return math.prod(len(choices) for choices in matrix.values())


def variants(matrix: Mapping[str, list[Json]]) -> tuple[Variant, ...]:
    """Combine the values: dimensions in the order of their names, so that formats cannot differ; values as written."""
    names = sorted(matrix)
    made = []
    for combination in itertools.product(*(matrix[name] for name in names)):
        label = ",".join(f"{name}={choice_text(choice)}" for name, choice in zip(names, combination, strict=True))
        made.append(Variant(label, dict(zip(names, combination, strict=True))))
    return tuple(made)
