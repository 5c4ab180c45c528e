"""The README shows what is shipped, and CI runs what it says."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_recipe_shown_is_the_recipe_shipped() -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert shown == (ROOT / "recipes/sr_dataset.yaml").read_text()


def test_ci_finds_the_test_command() -> None:
    [block] = re.findall(r"<!-- tests -->(.*?)<!-- end -->", README, re.DOTALL)
    [command] = [line for line in block.splitlines() if line.startswith("python3 ")]
    assert command.endswith(".venv/bin/pytest -m 'not slow' -n 4")


def test_each_of_the_two_commands_is_one_line() -> None:
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert len(commands) == 2
    assert all("-c constraints.txt" in command for command in commands)
