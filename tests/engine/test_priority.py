"""What goes first, and what a run with a time limit makes of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from forge_pipeline import api
from forge_pipeline.errors import RecipeError
from forge_pipeline.run import scheduler
from forge_pipeline.run.recorder import BUDGET_SPENT
from tests.engine.calls import CALLS
from tests.engine.worlds import World

STEPS = """
    photos: {use: toy.read, with: {path: photos}}
    clean: {use: toy.keep, from: photos, PRIORITY}
    more: {use: toy.add, from: clean}
    out: {use: toy.write, from: more, with: {path: out}}
"""


def _recipe(world: World, priority: str = "note: none") -> None:
    world.files(a="20 0", b="90 0", c="10 0", d="50 0")
    world.recipe(STEPS.replace("PRIORITY", priority))


@pytest.mark.parametrize(
    ("priority", "order"),
    [
        ("note: none", [20, 90, 10, 50]),
        ("prioritise: {by: mean}", [90, 50, 20, 10]),
        ("prioritise: {by: mean, order: ascending}", [10, 20, 50, 90]),
        ("prioritise: {by: nobody}", [20, 90, 10, 50]),
    ],
)
def test_survivors_go_on_in_the_order_that_is_asked_for(world: World, priority: str, order: list[int]) -> None:
    _recipe(world, priority)
    ran = world.run()
    assert [call for call in CALLS if call.startswith("add")] == [f"add [{first}, 0]" for first in order]
    _recipe(world)
    world.run().assert_nothing_done()
    assert ran.result.status == "done"


@pytest.mark.parametrize(
    ("by", "hint"), [("maen", "; did you mean 'mean'?"), ("quality", "; known: source.bytes, mean")]
)
def test_a_field_that_orders_nothing_is_told(world: World, by: str, hint: str) -> None:
    _recipe(world, f"prioritise: {{by: {by}}}")
    assert world.run().notes == [
        f"step 'clean': no sample has a number in the field '{by}' that `prioritise` goes by{hint}"
    ]


def test_an_order_where_nobody_waits_is_refused(world: World) -> None:
    world.recipe(STEPS.replace("PRIORITY", "note: x").replace("from: clean}", "from: clean, prioritise: {by: mean}}"))
    with pytest.raises(RecipeError) as refused:
        api.check(world.recipe_path, world.options())
    what = "step 'more': toy.add hands each sample on as it comes, so there is none to put first"
    assert str(refused.value).splitlines() == [
        f"{world.recipe_path}:8:49: {what}",
        "      more: {use: toy.add, from: clean, prioritise: {by: mean}}",
        "                                                    ^",
        "  hint: set `prioritise` on a source, or on a filter before it",
    ]


class _Clock:
    """Passes the deadline when so many samples were handed out."""

    def __init__(self, looks: int) -> None:
        self._looks = looks

    def monotonic(self) -> float:
        self._looks -= 1
        return 0.0 if self._looks >= 0 else 1e9

    def __getattr__(self, name: str) -> Any:
        import time

        return getattr(time, name)


def test_a_run_with_a_budget_makes_the_best_part_and_the_next_run_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _recipe(world, "prioritise: {by: mean}")
    expected = world.run(cache="other")
    world.forget_exports()
    lock = (world.root / "toy.lock").read_bytes()
    (world.root / "toy.lock").unlink()
    monkeypatch.setattr(scheduler, "time", _Clock(looks=4 + 2))  # four files with their measures, two additions
    ran = world.run(budget_s=3600.0)
    monkeypatch.undo()
    assert ran.result.status == "done"
    assert list(ran.trees) == ["out.budget"]
    assert sorted(row["key"] for row in ran.rows(export="out.budget")) == ["photos/b.txt", "photos/d.txt"]
    left = [row for row in ran.rows("rejects", "out.budget") if row["reason"] == BUDGET_SPENT]
    assert [(row["step"], row["key"]) for row in left] == [("more", "photos/a.txt"), ("more", "photos/c.txt")]
    assert ran.notes[-1] == (
        f"--budget: the time is spent; 'more' left 2 of 4; to go on: forge-run {world.recipe_path}"
    )
    assert not (world.root / "toy.lock").exists()
    rest = world.run()
    assert rest.calls == {"add": 2}
    assert rest.trees["out"] == expected.trees["out"]
    assert (world.root / "toy.lock").read_bytes() == lock
