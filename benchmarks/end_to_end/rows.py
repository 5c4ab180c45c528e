"""Rows of the whole job: forge-run beside the plain script and PepeDP, on one thread and on two."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.case import Row, WrongAnswer
from benchmarks.end_to_end.check import check_same
from benchmarks.end_to_end.engine import cold, write_recipe
from benchmarks.end_to_end.processes import Taken, run_module, take
from benchmarks.end_to_end.sources import write_photographs
from benchmarks.peers import PEERS

_KERNEL = "end_to_end"
# How many times as long as the plain script a run may take on one thread.
_OVERHEAD = 1.35
_TWO_THREADS = 0.9
# PepeDP's `scale`, its photographs, and how many times as long it must take: 1 is exact, 8 its fastest.
_PEPEDP = ((1, 2, 200.0), (8, 20, 3.5))


@dataclass(frozen=True, slots=True)
class _Job:
    folder: Path
    photos: Path
    recipe: Path
    count: int

    def plain(self, processes: int) -> Taken:
        """Let the plain script do the job, in parts by several processes at once."""
        target = self.folder / "plain"
        shutil.rmtree(target, ignore_errors=True)
        parts = [
            run_module("benchmarks.end_to_end.plain", str(self.photos), str(target), str(part), str(processes))
            for part in range(processes)
        ]
        return take(*parts)

    def engine(self, *arguments: str) -> Taken:
        """Let forge-run do the job from nothing."""
        return take(cold(self.recipe, *arguments))


def end_to_end_rows(quick: bool, tell: Callable[[str], None]) -> Iterator[Row]:
    """Measure read + hash + decode + best tile + DPID + two PNGs of photographs of 2K."""
    count, rounds = (40, 2) if quick else (200, 3)
    with tempfile.TemporaryDirectory(prefix="forge-benchmark-") as folder:
        root = Path(folder)
        tell(f"end_to_end: writing {count} photographs")
        size = write_photographs(root / "photos", count)
        job = _Job(root, root / "photos", write_recipe(root, root / "photos"), count)
        name = f"{count} JPEG 2048x1365 of {size // count // 1000} KB -> tile 512 -> x4 -> PNG pairs"
        # Compiles what is not compiled yet: a machine does that once.
        job.plain(1)
        job.engine("--executor", "inline")
        try:
            check_same(root / "plain", root / "pairs")
        except WrongAnswer as wrong:
            yield Row(_KERNEL, name, "plain script", "ms/image", floor=1.0, error=f"wrong answer: {wrong}")
            return
        tell("end_to_end: one thread")
        inline_ms, rows = _one_thread(job, name, rounds)
        yield from rows
        tell("end_to_end: two threads")
        yield _two_threads(job, name, rounds)
        yield from _beside_pepedp(job, name, inline_ms, tell)


def _one_thread(job: _Job, name: str, rounds: int) -> tuple[float, list[Row]]:
    plain, inline, thread = [], [], []
    for _ in range(rounds):
        plain.append(job.plain(1).cpu_s)
        inline.append(job.engine("--executor", "inline").cpu_s)
        thread.append(job.engine("--executor", "threads", "--workers", "1").cpu_s)
    script, *engines = (1000 * statistics.median(taken) / job.count for taken in (plain, inline, thread))
    rows = [
        Row(_KERNEL, f"{name}, cold, {how}", "plain script", "ms/image", ours, script, script / ours, 1 / _OVERHEAD)
        for how, ours in zip(("inline", "one thread"), engines, strict=True)
    ]
    return engines[0], rows


def _two_threads(job: _Job, name: str, rounds: int) -> Row:
    """By the wall clock; the best of all rounds, because other work on the machine only ever slows."""
    engine, script = [], []
    for _ in range(rounds):
        script.append(job.plain(2).wall_s)
        engine.append(job.engine("--executor", "threads", "--workers", "2").wall_s)
    ours, theirs = job.count / min(engine), job.count / min(script)
    peer = "plain script, two processes"
    return Row(_KERNEL, f"{name}, cold, two threads", peer, "images/s", ours, theirs, ours / theirs, _TWO_THREADS)


def _beside_pepedp(job: _Job, name: str, ours_ms: float, tell: Callable[[str], None]) -> Iterator[Row]:
    if not all(PEERS[peer].version for peer in ("PepeDP", "pepedpid", "pepeline")):
        return
    for scale, count, floor in _PEPEDP:
        tell(f"end_to_end: PepeDP at scale {scale}, {count} photographs")
        target = job.folder / f"pepedp-{scale}"
        command = run_module("benchmarks.end_to_end.pepedp", str(job.photos), str(target), str(scale), str(count))
        told = subprocess.run(command, capture_output=True, text=True, check=True)
        theirs = 1000 * float(told.stdout.split()[-1])
        peer = f"PepeDP BestTile(scale={scale}) + pepedpid, {count} photographs"
        yield Row(_KERNEL, name, peer, "ms/image", ours_ms, theirs, theirs / ours_ms, floor, PEERS["PepeDP"].version)
