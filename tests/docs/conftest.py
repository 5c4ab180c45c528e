"""Folders and an environment as a reader of the documentation has them."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, environment

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


@pytest.fixture(scope="session")
def env() -> dict[str, str]:
    """Return a reader's environment."""
    return environment()


@pytest.fixture
def empty_folder(tmp_path: Path) -> Path:
    """Return a folder with nothing in it."""
    folder = tmp_path / "first"
    folder.mkdir()
    return folder


@pytest.fixture
def media_folder(tmp_path: Path) -> Path:
    """Return a folder with four photographs in photos/ and a clip in videos/."""
    folder = tmp_path / "work"
    (folder / "photos").mkdir(parents=True)
    (folder / "videos").mkdir()
    spec = importlib.util.find_spec("skimage")
    assert spec is not None and spec.submodule_search_locations
    for name in PHOTOGRAPHS:
        shutil.copy(Path(spec.submodule_search_locations[0], "data", name), folder / "photos")
    shutil.copy(ROOT / "recipes/media/panned.mp4", folder / "videos")
    return folder
