"""Where a run's time goes: its own profile, summed by part. `python -m benchmarks.end_to_end.parts` prints JSON."""

from __future__ import annotations

import cProfile
import json
import pstats
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.threads import pin_by_environment, pin_imported
from forge_pipeline.own_process import settle_process

# The first of these that a file's path holds is its part.
_PARTS = {
    "forge_steps/read/_decode": "decoding",
    "forge_steps/read": "headers and policies",
    "forge_steps/tile": "best tile",
    "forge_steps/resize": "DPID",
    "forge_steps/_png": "PNG",
    "forge_steps/export": "checks of pairs",
    "forge_steps/_pixels": "digests of pixels",
    "forge_pipeline/digest": "digests of files and keys",
    "forge_pipeline/files": "reading files",
    "forge_pipeline/cache/store": "store",
    "forge_pipeline/cache": "index",
    "forge_pipeline/disk": "store",
    "forge_pipeline/publish": "publication",
    "forge_pipeline/manifest": "manifest",
    "forge_pipeline/run": "scheduling and recording",
    "forge_pipeline/walk": "walking, keys, results",
    "forge_pipeline/task": "walking, keys, results",
    "forge_pipeline/reuse": "walking, keys, results",
    "forge_pipeline/guard": "walking, keys, results",
    "forge_pipeline/inspection": "walking, keys, results",
    "forge_pipeline": "start: recipe, graph, plan",
}
_REST = "rest"
Function = tuple[str, int, str]


def main(recipe: Path, cache: Path, photographs: int) -> None:
    """Run a recipe once to warm up and once under the profiler, and print milliseconds a photograph by part."""
    from forge_pipeline.api import Options, run

    pin_imported()
    settle_process()
    first, second = (Options(executor="inline", cache=cache / name) for name in ("first", "second"))
    run(recipe, first, lambda event: None)
    profile = cProfile.Profile(time.thread_time)
    started = time.process_time(), time.thread_time()
    profile.runcall(run, recipe, second, lambda event: None)
    spent = time.process_time() - started[0], time.thread_time() - started[1]
    parts = by_part(pstats.Stats(profile).stats)  # type: ignore[attr-defined]
    parts["index"] = parts.get("index", 0.0) + spent[0] - spent[1]  # its writer is the only other thread
    print(json.dumps({part: 1000 * seconds / photographs for part, seconds in parts.items()}))


def by_part(stats: Mapping[Function, Any]) -> dict[str, float]:
    """Sum own times; what is in nobody's file (C, the standard library) counts for those who called it."""
    total: dict[str, float] = {}
    for function, (_, _, own_s, _, _) in stats.items():
        for part, share in _shares(function, stats, ()).items():
            total[part] = total.get(part, 0.0) + share * own_s
    return total


def _shares(function: Function, stats: Mapping[Function, Any], below: tuple[Function, ...]) -> dict[str, float]:
    for mark, part in _PARTS.items():
        if mark in function[0]:
            return {part: 1.0}
    callers = {f: edge[3] for f, edge in stats[function][4].items() if f not in below}
    whole = sum(callers.values())
    if not whole or len(below) > 12:
        return {_REST: 1.0}
    found: dict[str, float] = {}
    for caller, spent in callers.items():
        for part, share in _shares(caller, stats, (*below, function)).items():
            found[part] = found.get(part, 0.0) + share * spent / whole
    return found


if __name__ == "__main__":
    pin_by_environment()
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
