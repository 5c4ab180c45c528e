"""Large photographs go through the main job's chain within a budget of memory, in threads and in processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BUDGET_BYTES = 300_000_000
TOLERANCE = 1.25
PHOTO_BYTES = 6000 * 4500 * 3
LARGE_BYTES = 11000 * 9500 * 3


def measured(folder: Path, executor: str, width: int, height: int, count: int) -> dict[str, Any]:
    """Run the chain over photographs in a process of its own."""
    asked = [str(folder), executor, f"{BUDGET_BYTES}B", str(width), str(height), str(count)]
    command = [sys.executable, "-m", "tests.acceptance.large_photos", *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["large"]["status"], told["large"]["failed"]) == ("done", 0)
    assert told["large"]["pairs"] >= 2 * count
    return told


@pytest.mark.slow
def test_threads_keep_to_a_budget_that_two_photographs_fill(tmp_path: Path) -> None:
    large = measured(tmp_path, "threads", 6000, 4500, 6)["large"]
    assert BUDGET_BYTES / 3 < large["estimated_bytes"] < BUDGET_BYTES / 2
    assert large["grew_bytes"] < BUDGET_BYTES * TOLERANCE
    assert large["budget_changes"] == []


@pytest.mark.slow
def test_processes_keep_to_a_budget_that_two_photographs_fill(tmp_path: Path) -> None:
    told = measured(tmp_path, "processes", 6000, 4500, 6)
    # What the workers hold with the small photographs are libraries.
    grew = told["large"]["workers_bytes"] - told["small"]["workers_bytes"] + told["large"]["grew_bytes"]
    assert PHOTO_BYTES < grew < BUDGET_BYTES * TOLERANCE
    assert told["large"]["budget_changes"] == []


@pytest.mark.slow
def test_a_photograph_that_is_larger_than_the_budget_runs_alone(tmp_path: Path) -> None:
    large = measured(tmp_path, "threads", 11000, 9500, 2)["large"]
    assert LARGE_BYTES > BUDGET_BYTES
    assert large["estimated_bytes"] > BUDGET_BYTES
    assert large["photos_out_at_once"] == 1
    assert large["refused_for_memory"] == 1
    assert LARGE_BYTES < large["grew_bytes"] < BUDGET_BYTES * TOLERANCE
