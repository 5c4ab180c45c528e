"""Code that is edited between two runs of the command: nothing old is reused, not even a compiled kernel."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.worlds import RECIPE, World

STEPS = """\
from typing import ClassVar

from forge_pipeline.step import Child, Port, Transform, operator
from mine.maths import added


@operator("mine.add", version=1)
class Add(Transform):
    takes: ClassVar = {"in": Port("image")}
    libraries = ("numpy", "numba")

    def apply(self, value, context):
        yield Child(added(value))
"""
PLAIN = """\
from mine.constants import STEP


def added(value):
    return value // 2 + STEP
"""
COMPILED = """\
import numpy as np
from numba import njit

from mine.constants import step


@njit(cache=True)
def added(value):
    out = np.empty_like(value)
    for y in range(value.shape[0]):
        for x in range(value.shape[1]):
            for c in range(value.shape[2]):
                out[y, x, c] = value[y, x, c] // 2 + step()
    return out
"""
CONSTANTS = """\
from numba import njit

STEP = {step}


@njit
def step():
    return {step}
"""


def _write(world: World, maths: str, step: int) -> None:
    package = world.root / "mine"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "maths.py").write_text(maths)
    _set_step(package / "constants.py", step)
    (world.root / "my_steps.py").write_text(STEPS)
    recipe = RECIPE.replace("seed: 7", "seed: 7\nimport: [./my_steps.py]").replace(
        "from: tiles, with: {keep", "from: added, with: {keep"
    )
    world.recipe.write_text(recipe.replace("  clean:", "  added:  {use: mine.add, from: tiles}\n  clean:"))


def _set_step(path: Path, step: int) -> None:
    """Write a helper of one size, and of one modification time."""
    path.write_text(CONSTANTS.format(step=step))
    os.utime(path, (1_700_000_000, 1_700_000_000))


@pytest.mark.slow
@pytest.mark.parametrize("maths", [PLAIN, COMPILED], ids=["plain", "compiled"])
def test_an_edited_helper_of_an_imported_file_is_seen_behind_its_size_and_time(
    make_world: MakeWorld, maths: str
) -> None:
    world, fresh = make_world("edited"), make_world("fresh")
    _write(world, maths, step=3)
    _write(fresh, maths, step=9)
    in_the_users_folder = {"NUMBA_CACHE_DIR": ""}  # where states of source are told apart by the engine
    first = world.cli(env=in_the_users_folder)
    assert first.returncode == 0, first.stderr
    before = world.outcome()
    _set_step(world.root / "mine" / "constants.py", 9)
    second, alone = (each.cli(env=in_the_users_folder) for each in (world, fresh))
    assert (second.returncode, alone.returncode) == (0, 0), second.stderr + alone.stderr
    assert world.outcome() == fresh.outcome()
    assert world.outcome().files != before.files
    _set_step(world.root / "mine" / "constants.py", 3)
    shutil.rmtree(world.export)
    assert world.cli(env=in_the_users_folder).returncode == 0
    assert world.outcome() == before
