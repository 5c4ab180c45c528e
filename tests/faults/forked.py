"""Run `forge-run` with faults in a process that a prepared one forks: what a run imports is imported once for all."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forge_pipeline.cli.main import forge_run
from tests.faults.driver import order

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.faults.prepared"])
_LIMIT_S = 120


def run_forked(
    folder: Path, recipe: str, words: Sequence[str], orders: Mapping[str, Any]
) -> subprocess.CompletedProcess[str]:
    """Run a recipe of a folder with faults ordered for it (see `driver.py`), and wait for its end.

    Meant for runs that are killed: one that ends has no part in what Python does when a process of its own ends.
    """
    told = folder.with_name(f"{folder.name}.err")
    process = _FORKS.Process(target=_run, args=(str(folder), recipe, list(words), dict(orders), str(told)))
    process.start()
    process.join(_LIMIT_S)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
        raise subprocess.TimeoutExpired([recipe, *words], _LIMIT_S, stderr=told.read_bytes())
    process.close()
    return subprocess.CompletedProcess([recipe, *words], code, "", told.read_text())


def _run(folder: str, recipe: str, words: list[str], orders: dict[str, Any], told: str) -> None:
    os.chdir(folder)
    stream = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(stream, sys.stdout.fileno())
    os.dup2(stream, sys.stderr.fileno())
    order(orders)
    sys.exit(forge_run([recipe, *words]))
