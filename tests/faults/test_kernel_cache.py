"""Where compiled kernels are kept when the usual place cannot be used."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from forge_pipeline import kernel_cache


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a home where nothing can be made, and an empty folder for temporary files."""
    (tmp_path / "home").write_text("no folder")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def _placed(monkeypatch: pytest.MonkeyPatch) -> Path:
    placed: list[str | None] = []
    monkeypatch.setattr(kernel_cache, "_place", placed.append)
    kernel_cache.place_kernel_cache()
    assert placed[0] is not None
    return Path(placed[0])


def test_without_a_home_kernels_go_to_a_private_temporary_folder(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _placed(monkeypatch)
    assert _placed(monkeypatch) == first
    (own,) = temporary.iterdir()
    assert own in first.parents
    assert own.stat().st_mode & 0o777 == 0o700


def test_a_temporary_folder_that_others_can_write_to_is_not_trusted(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _placed(monkeypatch)
    (planted,) = temporary.iterdir()
    planted.chmod(0o777)
    assert planted not in _placed(monkeypatch).parents
    assert _placed(monkeypatch) != first
