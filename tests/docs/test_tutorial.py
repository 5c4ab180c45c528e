"""The tutorial is typed as it stands, and prints what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import DOCS, matches, play


@pytest.mark.slow
def test_the_tutorial_prints_what_it_says(empty_folder: Path, env: dict[str, str]) -> None:
    told = play(DOCS / "tutorials/first-dataset.md", empty_folder, env)
    assert not told, "\n".join(told)


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        (["done in 12 ms"], ["done in 3.4 s"], True),
        (["a   1 kB"], ["a 12 MB"], True),
        (["run of 2026-11-21 03:54:41"], ["run of 2030-01-01 00:00:00"], True),
        (["a", "...", "d"], ["a", "b", "c", "d"], True),
        (["a ... d"], ["a b c d"], True),
        (["...", "a"], ["a"], True),
        (["a"], ["compiling kernels, once for this version on this machine ...", "a"], True),
        (["5 in"], ["6 in"], False),
        (["a"], ["a", "b"], False),
        (["a", "b"], ["a"], False),
    ],
)
def test_only_what_may_differ_may_differ(expected: list[str], found: list[str], same: bool) -> None:
    assert matches(expected, found) is same
