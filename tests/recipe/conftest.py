"""Fixtures of the recipe tests: a folder to write recipes in, and a way to load one that stands in the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from forge_pipeline.errors import RecipeError
from forge_pipeline.recipe import Recipe
from forge_pipeline.recipe.load import load_recipe

Load = Callable[..., Recipe]
Told = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in an empty folder, so that messages name files without it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def load(folder: Path) -> Load:
    """Return a function that writes `recipe.yaml` (or another suffix) and other files, and loads it."""

    def write_and_load(
        text: str, *sets: str, suffix: str = ".yaml", environ: dict[str, str] | None = None, **files: str
    ) -> Recipe:
        for name, content in files.items():
            Path(name.replace("__", ".")).write_text(content, encoding="utf-8")
        path = Path(f"recipe{suffix}")
        path.write_text(text, encoding="utf-8")
        return load_recipe(path, sets, environ or {})

    return write_and_load


@pytest.fixture
def told(load: Load) -> Told:
    """Return a function that loads a recipe which is wrong, and returns everything that is told about it."""

    def load_and_catch(text: str, *sets: str, **options: object) -> str:
        with pytest.raises(RecipeError) as caught:
            load(text, *sets, **options)
        return str(caught.value)

    return load_and_catch
