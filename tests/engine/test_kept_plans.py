"""A compiled recipe is kept between runs, and compiled anew as soon as anything that it was made from changes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from forge_pipeline import graph as graph_module
from tests.engine.worlds import Ran, World

STEPS = """
    photos: {use: toy.read, with: {path: photos}}
    add: {use: toy.add, from: photos, with: {amount: 1}}
    out: {use: toy.write, from: add, with: {path: out}}
"""


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every recipe that is compiled, by name."""
    names: list[str] = []
    compile_graph = graph_module.compile_graph

    def counted(recipe, *rest):  # type: ignore[no-untyped-def]
        names.append(recipe.name)
        return compile_graph(recipe, *rest)

    monkeypatch.setattr(graph_module, "compile_graph", counted)
    return names


def added(ran: Ran) -> set[int]:
    return {row["trail"][1]["fields"]["added"] for row in ran.rows()}


def test_an_unchanged_recipe_is_compiled_once(world: World, compiled: list[str]) -> None:
    world.recipe(STEPS)
    world.settle()
    world.run()
    world.run()
    assert compiled == ["toy"]


def test_a_recipe_whose_time_is_not_before_its_reading_is_not_trusted(world: World, compiled: list[str]) -> None:
    world.recipe(STEPS)
    soon_ns = time.time_ns() + 10**10
    os.utime(world.recipe_path, ns=(soon_ns, soon_ns))
    world.run()
    world.run()
    assert compiled == ["toy", "toy"]


def test_an_edit_of_the_same_length_right_after_a_run_is_seen(world: World) -> None:
    world.recipe(STEPS)
    world.run()
    world.recipe(STEPS.replace("amount: 1", "amount: 2"))
    assert added(world.run()) == {2}


def test_a_link_turned_to_another_recipe_is_seen(world: World) -> None:
    link = world.root / "base.yaml"
    for amount in (1, 2):
        step = f"add: {{use: toy.add, from: photos, with: {{amount: {amount}}}}}"
        world.file(f"base{amount}.yaml", f"forge: 1\nsteps:\n  {step}\n")
    link.symlink_to("base1.yaml")
    world.recipe(STEPS.replace("    add: {use: toy.add, from: photos, with: {amount: 1}}\n", ""), include=["base.yaml"])
    world.settle()
    assert added(world.run()) == {1}
    link.unlink()
    link.symlink_to("base2.yaml")
    assert added(world.run()) == {2}


def test_a_variable_of_the_environment_is_seen_in_the_recipe_and_on_the_command_line(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.files("others", z="1 1")
    world.recipe(STEPS.replace("path: photos", 'path: "${env:TOY_PHOTOS}"'))
    world.settle()
    keys = []
    for folder in ("photos", "others"):
        monkeypatch.setenv("TOY_PHOTOS", folder)
        keys.append([row["key"] for row in world.run().rows()])
        keys.append([row["key"] for row in world.run(sets=("steps.photos.with.path=${env:TOY_PHOTOS}",)).rows()])
    assert keys == [["photos/a.txt", "photos/b.txt", "photos/c.txt"]] * 2 + [["photos/z.txt"]] * 2


def test_a_relative_side_file_is_that_of_the_working_folder(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.recipe(STEPS.replace("toy.add", "toy.table").replace("amount: 1", "table: table.txt"))
    digests = []
    for name, number in (("one", "10"), ("two", "20")):
        folder = tmp_path / name
        for path, text in (("photos/a.txt", "1 2"), ("table.txt", number)):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        world.settle()
        monkeypatch.chdir(folder)
        ran = world.run(directory=Path())
        assert (ran.result.status, ran.calls["table"]) == ("done", 1)
        digests.append(ran.digests["add"])
    assert digests[0] != digests[1]
