"""Worlds whose operators break."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.calls import CALLS, SWITCHES
from tests.engine.worlds import World
from tests.executors.clusters import Nodes

STEPS = Path(__file__).with_name("breaking_steps.py")


@pytest.fixture(autouse=True)
def fresh_toys() -> None:
    """Let no switch or call of one test reach the next."""
    SWITCHES.clear()
    CALLS.clear()


@pytest.fixture(scope="package")
def nodes() -> Iterator[Nodes]:
    """One cluster for all tests of this folder: a node takes seconds to start, and elsewhere processes are counted."""
    made = Nodes()
    yield made
    made.end()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world of twelve photos whose recipe imports an operator that breaks."""
    made = World(tmp_path / "world")
    shutil.copy(STEPS, made.root / STEPS.name)
    (made.root / "marks").mkdir()
    made.files(**{f"photo{number:02}": f"{number} 5 9" for number in range(12)})
    return made


def breaking(world: World, resources: str = "{}", **params: object) -> None:
    """Write a recipe whose second step breaks."""
    import json

    spelled = json.dumps({"marks": str(world.root / "marks"), **params})
    world.recipe(
        f"""
        photos: {{use: toy.read, with: {{path: photos}}}}
        more: {{use: toy.add, from: photos}}
        broken: {{use: break.down, from: more, max_errors: 1, resources: {resources}, with: {spelled}}}
        out: {{use: toy.write, from: broken, with: {{path: out}}}}
        """,
        **{"import": ["./toy_steps.py", "./breaking_steps.py"]},
    )
