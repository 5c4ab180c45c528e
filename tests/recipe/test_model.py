"""The model's keys are sorted into those that change bytes and those that cannot; budgets count exactly."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from forge_pipeline.recipe import MaxErrors
from forge_pipeline.recipe.load import max_errors_of
from forge_pipeline.recipe.model import (
    BYTE_KEYS,
    MACHINE_KEYS,
    STEP_KEYS,
    TOP_KEYS,
    DefaultsModel,
    RecipeModel,
    ResourcesModel,
    StepModel,
    choice_text,
)


def test_every_key_either_changes_bytes_or_is_of_the_machine() -> None:
    assert BYTE_KEYS.isdisjoint(MACHINE_KEYS)
    assert BYTE_KEYS | MACHINE_KEYS == STEP_KEYS | TOP_KEYS
    assert {"resources", "executor", "workers"} <= MACHINE_KEYS


@pytest.mark.parametrize("model", [RecipeModel, StepModel, DefaultsModel, ResourcesModel])
def test_every_field_is_described(model: type[BaseModel]) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("written", "budget", "spelled"),
    [
        (3, MaxErrors(count=3), "3"),
        (0, MaxErrors(count=0), "0"),
        (0.01, MaxErrors(share=0.01), "1%"),
        (1.0, MaxErrors(share=1.0), "100%"),
        ("1%", MaxErrors(share=0.01), "1%"),
        ("0.1 %", MaxErrors(share=0.001), "0.1%"),
        ("29%", MaxErrors(share=0.29), "29%"),
    ],
)
def test_a_budget_is_a_count_or_a_share(written: int | float | str, budget: MaxErrors, spelled: str) -> None:
    assert max_errors_of(written) == budget
    assert str(budget) == spelled


@pytest.mark.parametrize(
    ("budget", "failed", "entered", "allowed"),
    [
        (MaxErrors(count=0), 0, 10, True),
        (MaxErrors(count=0), 1, 10, False),
        (MaxErrors(count=5), 5, 5, True),
        (MaxErrors(share=0.29), 29, 100, True),
        (MaxErrors(share=0.29), 30, 100, False),
        (MaxErrors(share=0.05), 1, 20, True),
        (MaxErrors(share=0.05), 1, 19, False),
        (MaxErrors(share=0.01), 0, 0, True),
        (MaxErrors(share=0.0), 1, 10**9, False),
    ],
)
def test_a_share_is_counted_as_it_is_written(budget: MaxErrors, failed: int, entered: int, allowed: bool) -> None:
    assert budget.allows(failed, entered) is allowed


@pytest.mark.parametrize(("choice", "text"), [("jpeg", "jpeg"), (1, "1"), (0.5, "0.5"), (True, "true"), ([], "")])
def test_a_matrix_value_has_one_spelling(choice: object, text: str) -> None:
    assert choice_text(choice) == text
