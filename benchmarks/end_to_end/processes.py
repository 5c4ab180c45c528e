"""Run commands as processes, and say what they took."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Taken:
    """What one or several processes took together.

    Attributes:
        cpu_s: user and system time of all of them.
        wall_s: from the first one's start to the last one's end.
    """

    cpu_s: float
    wall_s: float


def run_module(module: str, *arguments: str) -> list[str]:
    """Spell a command that runs one of our modules."""
    return [sys.executable, "-m", module, *arguments]


def forge_run(*arguments: str) -> list[str]:
    """Spell a `forge-run` of this environment."""
    start = "import sys; from forge_pipeline.cli.main import forge_run; sys.exit(forge_run())"
    return [sys.executable, "-c", start, *arguments]


def take(*commands: Sequence[str]) -> Taken:
    """Run commands at once and wait for all.

    Raises:
        RuntimeError: one of them failed.
    """
    # From the root of the clone: `benchmarks` is no installed package.
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    started = time.perf_counter()
    children = [os.posix_spawn(command[0], list(command), environment) for command in commands]
    cpu_s = 0.0
    for child, command in zip(children, commands, strict=True):
        _, status, used = os.wait4(child, 0)
        cpu_s += used.ru_utime + used.ru_stime
        if status:
            raise RuntimeError(f"{' '.join(command)}: exit code {os.waitstatus_to_exitcode(status)}")
    return Taken(cpu_s, time.perf_counter() - started)
