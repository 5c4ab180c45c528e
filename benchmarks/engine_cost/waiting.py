"""Rows of operators that wait: what executors cost beside each other, and whether a slow step keeps workers busy."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.case import Row
from benchmarks.end_to_end.processes import Taken, take
from benchmarks.engine_cost.recipes import command, write_waiting
from benchmarks.engine_cost.shards import write_shards
from benchmarks.peers import PEERS

_NAME = "executors"
_WORKERS = 2
_SIDE_PX = 512
_RAY_BESIDE_PROCESSES = 1.15
_BUSY = 0.9
_FLAT = 1.15
Tell = Callable[[str], None]
Spans = list[tuple[float, float]]


def executor_rows(quick: bool, tell: Tell) -> Iterator[Row]:
    """Compare Ray with processes on tasks of 0.5 s, and look how busy workers are behind a slow step."""
    with tempfile.TemporaryDirectory(prefix="forge-benchmark-") as folder:
        waits = _Waits(Path(folder), 16 if quick else 120)
        if not quick:  # to start Ray takes longer than all of this
            yield _ray_beside_processes(waits, tell)
        for waits_ms in ((5, 200), (200, 5)):
            for executor in ("threads",) if quick else ("threads", "processes"):
                yield from _busy(waits, waits_ms, executor, quick, tell)


@dataclass
class _Waits:
    """Runs of recipes that wait."""

    root: Path
    count: int
    _made: int = field(default=0)

    def __post_init__(self) -> None:
        write_shards(self.root / "shards", self.count, _SIDE_PX)
        self.run(2, (1, 1), "threads")  # compiles what is not compiled yet: a machine does that once

    def run(self, count: int, waits_ms: tuple[int, ...], executor: str) -> tuple[Taken, Spans]:
        """Run one cold; return what it took, and when each wait began and ended, in order."""
        self._made += 1
        recipe = write_waiting(self.root / f"run-{self._made}", self.root / "shards", count, waits_ms)
        # A cluster of its own: one that runs here already has other work, and may go away.
        ray = ("--ray-address", "local") if executor == "ray" else ()
        taken = take(command(recipe, "--executor", executor, "--workers", _WORKERS, *ray))
        lines = (recipe.parent / "waits.log").read_text().splitlines()
        return taken, sorted((float(start), float(end)) for start, end in map(str.split, lines))

    def journal(self) -> Path:
        """Return the journal of the newest run."""
        (path,) = (self.root / f"run-{self._made}").glob("cache/runs/*/events.jsonl")
        return path


def _ray_beside_processes(waits: _Waits, tell: Tell) -> Row:
    """Compare the pace once both workers have begun: to start Ray takes seconds, once."""
    first, further = 2 * _WORKERS, 20
    told, peer = f"{further} further tasks of 0.5 s, ray, {_WORKERS} workers", "processes"
    version = PEERS["Ray"].version
    if not version:
        return Row(_NAME, told, peer, "s", missing="not measured: Ray is not installed")
    took: dict[str, list[float]] = {"processes": [], "ray": []}
    for _ in range(3):
        for executor, found in took.items():
            tell(f"{_NAME}: tasks of 0.5 s, {executor}")
            spans = waits.run(first + further, (500,), executor)[1]
            found.append(max(end for _, end in spans) - max(end for _, end in spans[:first]))
    theirs, ours = (statistics.median(found) for found in took.values())
    note = f"Ray {version}"
    return Row(_NAME, told, peer, "s", ours, theirs, theirs / ours, 1 / _RAY_BESIDE_PROCESSES, note=note)


def _busy(waits: _Waits, waits_ms: tuple[int, int], executor: str, quick: bool, tell: Tell) -> Iterator[Row]:
    """Sum how long workers had tasks, as a share of the time from the first one's begin to the last one's end."""
    first, second = waits_ms
    told = f"a step of {second} ms behind one of {first} ms, {executor}, {_WORKERS} workers"
    tell(f"{_NAME}: {told}")
    few, many = (waits.count, waits.count) if quick else (40, waits.count)
    small, _ = waits.run(few, waits_ms, executor)
    large, _ = (small, None) if quick else waits.run(many, waits_ms, executor)
    busy = _share_busy(waits.journal())
    yield Row(_NAME, f"{told}: busy", "all the time", "%", 100 * busy, 100, busy, _BUSY, comparable=False)
    if not quick:
        rss, before = large.peak_rss_mb, small.peak_rss_mb
        peer = f"{few} samples of 0.8 MB"
        what = f"{told}: peak RSS at {many} samples"
        yield Row(_NAME, what, peer, "MB", rss, before, before / rss, 1 / _FLAT, comparable=False)


def _share_busy(journal: Path) -> float:
    events = map(json.loads, journal.read_text().splitlines())
    tasks = [(event["t"], event["seconds"]) for event in events if event["event"] == "task_finished"]
    whole = max(end for end, _ in tasks) - min(end - seconds for end, seconds in tasks)
    return sum(seconds for _, seconds in tasks) / (_WORKERS * whole)
