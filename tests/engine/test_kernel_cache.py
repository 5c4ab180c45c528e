"""Compiled kernels follow the source: an edited helper is seen, a known state is not compiled again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HELPER = """\
from forge_steps.metrics._kernel import kernel


@kernel
def step():
    return {step}
"""
MATHS = """\
from forge_steps.metrics._kernel import kernel
from mine.helper import step


@kernel
def added(value):
    return value + step()
"""
SCRIPT = """\
import json, os
from mine.maths import added

found = added(1)
hits, misses = added.stats.cache_hits, added.stats.cache_misses
print(json.dumps([found, sum(hits.values()), sum(misses.values()), os.environ["NUMBA_CACHE_DIR"]]))
"""


class Package:
    """A package of operators that is installed, as far as Python can tell, and a home for its kernels."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "site"
        self.home = folder / "home"
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"},
            "PYTHONPATH": str(self._folder),
            "XDG_CACHE_HOME": str(self.home),
        }
        (self._folder / "mine").mkdir(parents=True)
        (self._folder / "mine" / "__init__.py").write_text("")
        (self._folder / "mine" / "maths.py").write_text(MATHS)
        named = self._folder / "mine-1.0.dist-info"
        named.mkdir()
        (named / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        (named / "entry_points.txt").write_text("[forge_pipeline.steps]\nmine = mine\n")
        self.edit(10)

    def edit(self, step: int) -> None:
        """Write the helper, of one size and one time: only its content tells that it changed."""
        helper = self._folder / "mine" / "helper.py"
        helper.write_text(HELPER.format(step=step))
        os.utime(helper, (1_700_000_000, 1_700_000_000))

    def run(self, **variables: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-B", "-c", SCRIPT],
            env=self._environment | variables,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path)


@pytest.mark.slow
def test_an_edited_helper_gives_its_new_result_and_a_known_state_is_not_compiled_again(package: Package) -> None:
    first, hits, misses, folder = package.run()
    assert (first, hits, misses) == (11, 0, 1)
    assert Path(folder).parent == package.home / "forge-pipeline" / "numba"
    assert package.run() == [11, 1, 0, folder]
    package.edit(20)
    assert package.run()[:3] == [21, 0, 1]
    package.edit(10)
    assert package.run() == [11, 1, 0, folder]


@pytest.mark.slow
def test_a_state_that_a_parent_process_has_placed_is_not_taken_over(package: Package) -> None:
    *_, folder = package.run()
    package.edit(20)
    assert package.run(NUMBA_CACHE_DIR=folder)[0] == 21


def test_a_folder_that_the_user_names_stays(package: Package, tmp_path: Path) -> None:
    chosen = str(tmp_path / "chosen")
    assert package.run(NUMBA_CACHE_DIR=chosen) == [11, 0, 1, chosen]


def test_states_that_were_not_used_for_long_are_let_go(package: Package) -> None:
    states = package.home / "forge-pipeline" / "numba"
    for age in range(12):
        (states / f"old-{age:02}").mkdir(parents=True)
        os.utime(states / f"old-{age:02}", (1_700_000_000 - age, 1_700_000_000 - age))
    *_, folder = package.run()
    assert sorted(path.name for path in states.iterdir()) == sorted(
        [Path(folder).name, *(f"old-{n:02}" for n in range(7))]
    )
