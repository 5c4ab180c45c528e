"""Every recipe that a page shows is one: `forge check` takes it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from forge_pipeline.cli.main import forge
from tests.docs.pages import Block, blocks, page_paths

_SAYS_FORGE = re.compile(r'^\s*"?forge"?\s*[:=]\s*1\b', re.MULTILINE)
_SUFFIXES = {"yaml": ".yaml", "hcl": ".hcl", "json": ".json"}


def _is_recipe(block: Block) -> bool:
    return block.language in _SUFFIXES and bool(_SAYS_FORGE.search(block.text))


PAGES = [page for page in page_paths() if any(_is_recipe(block) for block in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_recipe_of_a_page_is_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for block in blocks(page):
        if block.file:
            (tmp_path / block.file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / block.file).write_text(block.text)
    recipes = {
        block.line: block.file or f"line-{block.line}{_SUFFIXES[block.language]}"
        for block in blocks(page)
        if _is_recipe(block)
    }
    for block in blocks(page):
        if block.line in recipes:
            (tmp_path / recipes[block.line]).write_text(block.text)
    for name in [name for name in os.environ if name.startswith("FORGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    wrong = {}
    for line, name in recipes.items():
        code = forge(["check", name])
        told = capsys.readouterr()
        if code:
            wrong[f"{page.name}:{line}"] = told.out + told.err
    assert wrong == {}
