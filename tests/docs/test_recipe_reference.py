"""The reference of recipes names exactly the keys that the model has."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel

from forge_pipeline.errors import EXIT_DONE, EXIT_ENVIRONMENT, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_WRONG
from forge_pipeline.recipe.include import MAX_BYTES
from forge_pipeline.recipe.matrix import MAX_VARIANTS
from forge_pipeline.recipe.model import MACHINE_KEYS, DefaultsModel, RecipeModel, ResourcesModel, StepModel, keys_of
from forge_pipeline.recipe.tree import MAX_DEPTH
from tests.docs.pages import DOCS

TEXT = (DOCS / "reference/recipes.md").read_text(encoding="utf-8")


def _section(heading: str) -> str:
    return TEXT.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize(
    ("heading", "model", "extra"),
    [
        ("The recipe", RecipeModel, ["$schema"]),
        ("defaults", DefaultsModel, []),
        ("A step", StepModel, []),
        ("resources", ResourcesModel, []),
    ],
)
def test_every_key_is_on_the_page(heading: str, model: type[BaseModel], extra: list[str]) -> None:
    documented = re.findall(r"^\| `([^`]+)` \|", _section(heading), re.MULTILINE)
    assert sorted(documented) == sorted([*keys_of(model), *extra])


def test_keys_of_the_machine_are_those_of_the_page() -> None:
    sentence = _section("What can change a result").strip().partition("enters an action key")[0]
    assert set(re.findall(r"`([^`]+)`", sentence)) == MACHINE_KEYS


def test_limits_are_those_of_the_page() -> None:
    limits = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", _section("Limits"), re.MULTILINE))
    assert (limits["a recipe file"], MAX_BYTES) == ("1 MiB", 1 << 20)
    assert limits["nesting"] == f"{MAX_DEPTH} levels"
    assert limits["steps of one matrix"] == str(MAX_VARIANTS)


def test_exit_codes_are_those_of_the_page() -> None:
    codes = re.findall(r"^\| (\d+) \|", _section("Exit codes"), re.MULTILINE)
    known = [EXIT_DONE, EXIT_FAILED, EXIT_WRONG, EXIT_ENVIRONMENT, EXIT_INTERRUPTED]
    assert [int(code) for code in codes] == known
