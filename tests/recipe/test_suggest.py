"""The nearest of the right names is found, by spelling or by what other tools call it."""

from __future__ import annotations

import pytest

from forge_pipeline.recipe.suggest import did_you_mean, suggest

STEP = ("cache", "from", "note", "on_error", "use", "with")


@pytest.mark.parametrize(
    ("word", "choices", "found"),
    [
        ("min_widht", ("max_width", "min_width"), "min_width"),
        ("parms", STEP, "with"),
        ("Operator", STEP, "use"),
        ("form", STEP, "from"),
        ("on_eror", STEP, "on_error"),
        ("TILE.BEST", ("tile.best", "tile.grid"), "tile.best"),
        ("zebra", STEP, ""),
        ("x", (), ""),
        ("aa", ("ab", "ac"), ""),
        ("aab", ("aac", "aad"), "aac"),
    ],
)
def test_the_nearest_name_is_found_and_the_first_of_equals(word: str, choices: tuple[str, ...], found: str) -> None:
    assert suggest(word, choices) == found


def test_a_hint_names_the_nearest_else_the_few_that_there_are() -> None:
    assert did_you_mean("scal", ["scale", "size"]) == "did you mean 'scale'?"
    assert did_you_mean("zebra", ["scale", "size"]) == "known: scale, size"
    assert did_you_mean("zebra", [f"name{n}" for n in range(50)]) == ""
    assert did_you_mean("zebra", []) == ""
