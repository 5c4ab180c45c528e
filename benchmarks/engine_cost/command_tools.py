"""Tools that run a command for each sample, DVC and Snakemake, where they are on the PATH: mostly in their own Python.

They are given less to do than the engine: one `cp` a sample, which no operator in Python can undercut.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import numpy as np

from benchmarks.end_to_end.processes import CommandFailed, Taken, environment, take

_BYTES = 192

_DVC = """\
stages:
  chain:
    foreach: ${samples}
    do:
      cmd: cp in/${item}.raw out/${item}.raw
      deps: ["in/${item}.raw"]
      outs: ["out/${item}.raw"]
"""
_SNAKEMAKE = """\
rule all:
    input: expand("out/{{n}}.raw", n=range({count}))
rule chain:
    input: "in/{{n}}.raw"
    output: "out/{{n}}.raw"
    shell: "cp {{input}} {{output}}"
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A tool that has run: cold, and again with nothing changed."""

    tool: str
    version: str
    cold: Taken
    again: Taken


@dataclass(frozen=True, slots=True)
class Failed:
    """A tool that is there and does not work; what it says of it is on stderr."""

    tool: str
    code: int


def run_tools(folder: Path, count: int) -> Iterator[Found | Failed]:
    """Let each tool that is installed copy so many samples."""
    for tool, program, run in (("DVC", "dvc", _dvc), ("Snakemake", "snakemake", _snakemake)):
        if path := which(program):
            try:
                yield Found(tool, _version(path), *run(path, _samples(folder / program, count), count))
            except CommandFailed as failed:
                yield Failed(tool, failed.code)


def _dvc(dvc: str, root: Path, count: int) -> tuple[Taken, Taken]:
    (root / "dvc.yaml").write_text(_DVC)
    (root / "params.yaml").write_text(f"samples: {list(range(count))}\n")
    there = [dvc, "--cd", str(root)]
    take([*there, "init", "--quiet", "--no-scm"])
    take([*there, "config", "core.analytics", "false"])
    command = [*there, "repro", "--quiet"]
    return take(command), take(command)


def _snakemake(snakemake: str, root: Path, count: int) -> tuple[Taken, Taken]:
    (root / "Snakefile").write_text(_SNAKEMAKE.format(count=count))
    command = [snakemake, "--quiet", "all", "--cores", "2", "--directory", str(root)]
    command += ["--snakefile", str(root / "Snakefile")]
    return take(command), take(command)


def _samples(root: Path, count: int) -> Path:
    for name in ("in", "out"):
        (root / name).mkdir(parents=True)
    rng = np.random.default_rng(5)
    for number in range(count):
        (root / "in" / f"{number}.raw").write_bytes(rng.bytes(_BYTES))
    return root


def _version(tool: str) -> str:
    command = [tool, "--version"]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if told.returncode:
        raise CommandFailed(command, told.returncode)
    return told.stdout.split()[-1]
