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

from benchmarks.end_to_end.processes import Taken, environment, take

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


def run_tools(folder: Path, count: int) -> Iterator[Found]:
    """Let each tool that is installed copy so many samples. Raises CommandFailed."""
    if dvc := which("dvc"):
        root = _samples(folder / "dvc", count)
        (root / "dvc.yaml").write_text(_DVC)
        (root / "params.yaml").write_text(f"samples: {list(range(count))}\n")
        there = [dvc, "--cd", str(root)]
        take([*there, "init", "--quiet", "--no-scm"])
        take([*there, "config", "core.analytics", "false"])
        command = [*there, "repro", "--quiet"]
        yield Found("DVC", _version(dvc), take(command), take(command))
    if snakemake := which("snakemake"):
        root = _samples(folder / "snakemake", count)
        (root / "Snakefile").write_text(_SNAKEMAKE.format(count=count))
        command = [snakemake, "--quiet", "all", "--cores", "2", "--directory", str(root)]
        command += ["--snakefile", str(root / "Snakefile")]
        yield Found("Snakemake", _version(snakemake), take(command), take(command))


def _samples(root: Path, count: int) -> Path:
    for name in ("in", "out"):
        (root / name).mkdir(parents=True)
    rng = np.random.default_rng(5)
    for number in range(count):
        (root / "in" / f"{number}.raw").write_bytes(rng.bytes(_BYTES))
    return root


def _version(tool: str) -> str:
    told = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True, env=environment())
    return told.stdout.split()[-1]
