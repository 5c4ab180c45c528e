"""Tools that run a command for each sample are run as they are found on the PATH; one that fails costs no other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.engine_cost.command_tools import Failed, Found, run_tools


def _tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{name} 1.2.3" && exit 0\n{script}\n')
    path.chmod(0o755)


def test_a_tool_that_fails_is_told_and_the_next_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    _tool(tools, "dvc", '[ "$3" != repro ] || exit 7')
    _tool(tools, "snakemake", "exit 0")
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    failed, found = run_tools(tmp_path / "work", 3)
    assert failed == Failed("DVC", 7)
    assert isinstance(found, Found)
    assert (found.tool, found.version) == ("Snakemake", "1.2.3")
    assert len(list((tmp_path / "work" / "snakemake" / "in").iterdir())) == 3


def test_a_tool_that_cannot_tell_its_version_is_told_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "snakemake"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(run_tools(tmp_path / "work", 2)) == [Failed("Snakemake", 3)]
