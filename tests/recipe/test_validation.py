"""What pydantic says of an operator's parameters is told in our words, at their places."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field, ValidationError, field_validator

from forge_pipeline.recipe.validation import known_keys, param_problems
from forge_pipeline.step import Params
from tests.recipe.conftest import Load


class Inner(Params):
    """A mapping inside a parameter."""

    depth: int = Field(1, description="Depth.")


class Sizes(Params):
    """Parameters of every kind that a message has words for."""

    size_px: int = Field(ge=8, le=512, description="Side.")
    weight: float = Field(0.5, gt=0, lt=1, alias="lambda", description="Weight.")
    files: str | list[str] = Field("a", description="Files.")
    kind: Literal["jpeg", "webp"] = Field("jpeg", description="Kind.")
    flag: bool = Field(True, description="Flag.")
    inner: Inner = Field(Inner(depth=1), description="Inner.")
    many: list[Inner] = Field([], description="Many.")
    two: tuple[int, int] | None = Field(None, description="Two.")
    short: list[int] = Field([1], min_length=1, description="Short.")
    even: int = Field(2, multiple_of=2, description="Even.")
    checked: int = Field(0, description="Checked.")

    @field_validator("checked")
    @classmethod
    def _check(cls, value: int) -> int:
        if value:
            raise ValueError("zero alone is taken")
        return value


@pytest.mark.parametrize(
    ("written", "message", "hint", "place"),
    [
        ("size_px: wide", 'size_px is "wide", expected an integer', "", "wide"),
        ("size_px: 4", "size_px is 4, expected at least 8", "", "4"),
        ("size_px: 1000", "size_px is 1000, expected at most 512", "", "1000"),
        ("size_px: 8.5", "size_px is 8.5, expected an integer", "", "8.5"),
        ("size_px: 8, lambda: 1", "lambda is 1, expected less than 1", "", "1"),
        ("size_px: 8, lambda: 0", "lambda is 0, expected more than 0", "", "0"),
        ("size_px: 8, files: 3", "files is 3, expected text or a list", "", "3"),
        ("size_px: 8, files: [a, 3]", "files[1] is 3, expected text", "", "3"),
        ("size_px: 8, kind: jpg", 'kind is "jpg", expected "jpeg" or "webp"', "did you mean 'jpeg'?", "jpg"),
        ("size_px: 8, flag: maybe", 'flag is "maybe", expected true or false', "", "maybe"),
        ("size_px: 8, inner: 3", "inner is 3, expected a mapping", "", "3"),
        ("size_px: 8, inner: {depth: x}", 'inner.depth is "x", expected an integer', "", "x"),
        ("size_px: 8, many: [{}, {depth: x}]", 'many[1].depth is "x", expected an integer', "", "x"),
        ("size_px: 8, two: 3", "two is 3, expected a list", "", "3"),
        ("size_px: 8, short: []", "short is [], expected at least 1 entry", "", "[]"),
        ("size_px: 8, even: 3", "even is 3, expected a multiple of 2", "", "3"),
        ("size_px: 8, checked: 3", "checked: zero alone is taken", "", "3"),
    ],
)
def test_a_wrong_value_is_told_with_what_was_expected(
    load: Load, written: str, message: str, hint: str, place: str
) -> None:
    text = f"forge: 1\nsteps:\n  s: {{use: my.op, with: {{{written}}}}}\n"
    recipe = load(text)
    with pytest.raises(ValidationError) as caught:
        Sizes.model_validate(dict(recipe.step("s").params))
    (problem,) = param_problems(caught.value, recipe, "s", "my.op", Sizes)
    assert (problem.message, problem.hint) == (f"step 's': {message}", hint)
    assert problem.where.source_line[problem.where.column - 1 :].startswith(place)


def test_unknown_and_missing_parameters_are_told(load: Load) -> None:
    recipe = load("forge: 1\nsteps:\n  s:\n    use: my.op\n    with: {size: 3, inner: {dept: 1}, weight: 0.5}\n")
    with pytest.raises(ValidationError) as caught:
        Sizes.model_validate(dict(recipe.step("s").params))
    told = "\n".join(str(problem) for problem in param_problems(caught.value, recipe, "s", "my.op", Sizes))
    assert told == (
        "recipe.yaml:5:5: step 's': my.op needs the parameter 'size_px'\n"
        "        with: {size: 3, inner: {dept: 1}, weight: 0.5}\n"
        "        ^\n"
        "  hint: size_px: ...  # Side.\n"
        "recipe.yaml:5:29: step 's': unknown parameter 'dept' of my.op\n"
        "        with: {size: 3, inner: {dept: 1}, weight: 0.5}\n"
        "                                ^\n"
        "  hint: did you mean 'depth'?\n"
        "recipe.yaml:5:12: step 's': unknown parameter 'size' of my.op\n"
        "        with: {size: 3, inner: {dept: 1}, weight: 0.5}\n"
        "               ^\n"
        "  hint: did you mean 'size_px'?\n"
        "recipe.yaml:5:39: step 's': unknown parameter 'weight' of my.op\n"
        "        with: {size: 3, inner: {dept: 1}, weight: 0.5}\n"
        "                                          ^\n"
        "  hint: known: size_px, lambda, files, kind, flag, inner, many, two, short, even, checked"
    )


def test_hints_are_spelled_in_the_format_of_the_file(load: Load) -> None:
    recipe = load('forge = 1\nstep "s" { use = "my.op" }\n', suffix=".hcl")
    with pytest.raises(ValidationError) as caught:
        Sizes.model_validate(dict(recipe.step("s").params))
    (problem,) = param_problems(caught.value, recipe, "s", "my.op", Sizes)
    assert problem.hint == "size_px = ...  # Side."


def test_known_keys_are_found_inside_lists_and_mappings() -> None:
    assert known_keys(Sizes, ("inner",)) == ("depth",)
    assert known_keys(Sizes, ("many", 3)) == ("depth",)
    assert known_keys(Sizes, ("files", 0)) == ()
    assert known_keys(Sizes, ())[:2] == ("size_px", "lambda")
