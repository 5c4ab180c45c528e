"""Run commands as processes, and say what they took."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_START = "import sys; from forge_pipeline.cli.main import forge_run; sys.exit(forge_run())"
# A small process of its own starts them: Linux counts the memory of whoever starts a process as that one's peak.
_LAUNCHER = """
import json, os, sys, time
commands, told = json.loads(sys.argv[1])
into = [(os.POSIX_SPAWN_OPEN, 1, told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)]
started = time.perf_counter()
children = [os.posix_spawn(command[0], command, os.environ, file_actions=into) for command in commands]
cpu_s, rss_kb, codes = 0.0, 0, []
for child in children:
    _, status, used = os.wait4(child, 0)
    cpu_s += used.ru_utime + used.ru_stime
    rss_kb = max(rss_kb, used.ru_maxrss // (1024 if sys.platform == "darwin" else 1))
    codes.append(os.waitstatus_to_exitcode(status))
print(json.dumps([cpu_s, time.perf_counter() - started, rss_kb / 1024, codes]))
"""
Word = str | int | Path


@dataclass(frozen=True, slots=True)
class Taken:
    """What one or several processes took together.

    Attributes:
        cpu_s: user and system time of all of them and of their children.
        wall_s: from the first one's start to the last one's end.
        peak_rss_mb: the largest resident set that any one of them had.
    """

    cpu_s: float
    wall_s: float
    peak_rss_mb: float


class CommandFailed(Exception):
    """A command that ended with another exit code than 0."""

    def __init__(self, command: Sequence[str], code: int) -> None:
        super().__init__(f"{' '.join(command)}: exit code {code}")
        self.code = code


def run_module(module: str, *arguments: Word) -> list[str]:
    """Spell a command that runs one of our modules."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def forge_run(*arguments: Word) -> list[str]:
    """Spell a `forge-run` of this environment."""
    return [sys.executable, "-c", _START, *map(str, arguments)]


def take(*commands: Sequence[str], told: Path = Path(os.devnull)) -> Taken:
    """Run commands at once and wait for all.

    Args:
        told: a file for what they print on stdout.

    Raises:
        CommandFailed: one of them failed.
    """
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, json.dumps([[list(c) for c in commands], str(told)])]
    done = subprocess.run(launcher, stdout=subprocess.PIPE, env=environment(), cwd=ROOT, check=True)
    cpu_s, wall_s, peak_rss_mb, codes = json.loads(done.stdout)
    for command, code in zip(commands, codes, strict=True):
        if code:
            raise CommandFailed(command, code)
    return Taken(cpu_s, wall_s, peak_rss_mb)


def best(taken: Sequence[Taken]) -> Taken:
    """Return the least of every figure: other work on the machine only ever adds."""
    return Taken(*(min(getattr(one, name) for one in taken) for name in ("cpu_s", "wall_s", "peak_rss_mb")))


def middle(taken: Sequence[Taken]) -> Taken:
    """Return the median of every figure."""
    return Taken(
        *(statistics.median(getattr(one, name) for one in taken) for name in ("cpu_s", "wall_s", "peak_rss_mb"))
    )


def environment() -> dict[str, str]:
    """Return the environment of a child: it imports this clone, wherever the installed package lies."""
    # `benchmarks` is no installed package.
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "steps")])}
