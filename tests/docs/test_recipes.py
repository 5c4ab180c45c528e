"""Every recipe that a page shows is one: `forge check` takes it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import Block, blocks, page_paths

_SAYS_FORGE = re.compile(r'^\s*"?forge"?\s*[:=]\s*1\b', re.MULTILINE)
_SUFFIXES = {"yaml": ".yaml", "hcl": ".hcl", "json": ".json"}


def _is_recipe(block: Block) -> bool:
    return block.language in _SUFFIXES and bool(_SAYS_FORGE.search(block.text))


PAGES = [page for page in page_paths() if any(_is_recipe(block) for block in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_recipe_of_a_page_is_in_order(page: Path, tmp_path: Path, env: dict[str, str]) -> None:
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
    wrong = {}
    for line, name in recipes.items():
        done = subprocess.run(
            ["forge", "check", name], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            wrong[f"{page.name}:{line}"] = done.stdout + done.stderr
    assert wrong == {}
