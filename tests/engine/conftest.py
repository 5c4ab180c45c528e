"""What every test of the engine has at hand: a world of toy files, and operators that remember nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.calls import CALLS, SWITCHES
from tests.engine.worlds import PHOTOS, World


@pytest.fixture(autouse=True)
def fresh_toys() -> Iterator[None]:
    """Let no switch or call of one test reach the next."""
    SWITCHES.clear()
    CALLS.clear()
    yield
    SWITCHES.clear()


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: what is tested here is what a run decides (tests/faults pull the plug)."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world with three photos and no recipe yet."""
    made = World(tmp_path / "world")
    made.files(**PHOTOS)
    return made
