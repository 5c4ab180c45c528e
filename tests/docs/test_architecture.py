"""The page on architecture names the floors that the linter knows, and pages name files that are there."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, page_paths

_PATH = re.compile(r"`((?:forge_pipeline|steps|tests|recipes|schemas)/[\w./-]*)`")


def test_the_floors_are_those_that_the_linter_checks() -> None:
    linter = configparser.ConfigParser()
    linter.read(ROOT / ".importlinter")
    layers = linter["importlinter:contract:floors"]["layers"].split("\n")
    checked = [sorted(re.findall(r"\w+", layer)) for layer in layers if layer.strip()]
    page = (DOCS / "explanation/architecture.md").read_text()
    section = page.split("\n## The floors\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    assert [sorted(re.findall(r"\w+", row)) for row in rows] == checked


@pytest.mark.parametrize("page", page_paths(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = _PATH.findall(page.read_text(encoding="utf-8"))
    # `steps/forge_steps/GROUP/NAME.py` stands for any.
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []
