"""Rows of the whole job: forge-run beside the plain script and PepeDP, on one thread and on two."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.case import Row, WrongAnswer
from benchmarks.end_to_end.check import check_same
from benchmarks.end_to_end.job import Job
from benchmarks.end_to_end.processes import ROOT, best, environment, run_module
from benchmarks.peers import PEERS

_KERNEL = "end_to_end"
_PLAIN = "plain script of our kernels"
# How many times as long as the plain script a run may take on one thread.
_OVERHEAD = 1.35
_TWO_THREADS = 0.9
# How many times as long as two threads two processes may take.
_PROCESSES = 1.15
# PepeDP's `scale`, its photographs, and how many times as long it must take: 1 is exact, 8 its fastest.
_PEPEDP = ((1, 2, 200.0), (8, 20, 3.5))
Tell = Callable[[str], None]


def end_to_end_rows(quick: bool, tell: Tell) -> Iterator[Row]:
    """Measure read + hash + decode + best tile + DPID + two PNGs of photographs of 2K."""
    count, rounds = (20, 1) if quick else (200, 3)
    with tempfile.TemporaryDirectory(prefix="forge-benchmark-") as folder:
        tell(f"{_KERNEL}: writing {count} photographs")
        job = Job(Path(folder), count)
        name = f"{count} JPEG 2048x1365 -> tile 512 -> x4 -> PNG pairs"
        # Compiles what is not compiled yet: a machine does that once.
        plain, ours = job.folder(), job.folder()
        job.plain(1, folder=plain)
        job.engine("--executor", "inline", folder=ours)
        try:
            check_same(plain, ours / "pairs")
        except WrongAnswer as wrong:
            yield Row(_KERNEL, name, _PLAIN, "ms/image", floor=1.0, error=f"wrong answer: {wrong}")
            return
        tell(f"{_KERNEL}: one thread, {rounds} rounds")
        inline_ms, rows = _one_thread(job, name, rounds)
        yield from rows
        if not quick:
            tell(f"{_KERNEL}: where the time goes")
            yield from _parts(job)
        tell(f"{_KERNEL}: two threads")
        yield from _two_at_once(job, name, rounds)
        if not quick:
            yield from _beside_pepedp(job, name, inline_ms, tell)


def _one_thread(job: Job, name: str, rounds: int) -> tuple[float, list[Row]]:
    """By CPU time, the best of all rounds; and without what a process takes to start, which 200 images hardly hide."""
    one = job.one_photograph()
    taken = [
        (
            job.plain(1),
            job.engine("--executor", "inline"),
            job.engine("--executor", "threads", "--workers", 1),
            job.plain(1, photos=one),
            job.engine("--executor", "inline", photos=one),
        )
        for _ in range(rounds)
    ]
    script, inline, thread, script_start, inline_start = (1000 * best(one).cpu_s for one in zip(*taken, strict=True))
    note = f"files of {job.bytes_each // 1000} KB"
    rows = [
        Row(_KERNEL, f"{name}, cold, {how}", _PLAIN, "ms/image", ours, theirs, theirs / ours, 1 / _OVERHEAD, note=note)
        for how, ours, theirs in (
            ("inline", inline / job.count, script / job.count),
            ("one thread", thread / job.count, script / job.count),
        )
    ]
    ours, theirs = (inline - inline_start) / (job.count - 1), (script - script_start) / (job.count - 1)
    rows.append(Row(_KERNEL, "the same inline, each further image", _PLAIN, "ms/image", ours, theirs, theirs / ours))
    ratio = script_start / inline_start
    rows.append(Row(_KERNEL, "one photograph: what the start costs", _PLAIN, "ms", inline_start, script_start, ratio))
    return inline / job.count, rows


def _parts(job: Job) -> Iterator[Row]:
    """Tell by the profiler where a run's time goes; its own cost is in every figure, most in that of many calls."""
    folder = job.folder()
    command = run_module("benchmarks.end_to_end.parts", job.recipe(folder), folder, job.count)
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment())
    parts = json.loads(told.stdout)
    for part, ms in sorted(parts.items(), key=lambda item: -item[1]):
        yield Row(_KERNEL, f"of that, under a profiler: {part}", "", "ms/image", ms, comparable=False)


def _two_at_once(job: Job, name: str, rounds: int) -> Iterator[Row]:
    """By the wall clock; the best of all rounds, because other work on the machine only ever slows."""
    one = job.one_photograph()
    by_threads, by_processes = (("--executor", name, "--workers", 2) for name in ("threads", "processes"))
    taken = [
        (
            job.plain(2),
            job.engine(*by_threads),
            job.engine(*by_processes),
            job.engine(*by_threads, photos=one),
            job.engine(*by_processes, photos=one),
        )
        for _ in range(rounds)
    ]
    script, threads, processes, *starts = (best(one).wall_s for one in zip(*taken, strict=True))
    peer, told = f"{_PLAIN}, two processes", f"{name}, cold, two threads"
    yield _per_second(told, peer, job.count, threads, script, _TWO_THREADS)
    peer, told = "two threads", f"{name}, cold, two processes"
    yield _per_second(told, peer, job.count, processes, threads, 1 / _PROCESSES)
    told = "the same by two processes, each further image"
    yield _per_second(told, peer, job.count - 1, processes - starts[1], threads - starts[0], None)


def _per_second(told: str, peer: str, count: int, ours_s: float, theirs_s: float, floor: float | None) -> Row:
    ours, theirs = count / ours_s, count / theirs_s
    return Row(_KERNEL, told, peer, "images/s", ours, theirs, ours / theirs, floor)


def _beside_pepedp(job: Job, name: str, ours_ms: float, tell: Tell) -> Iterator[Row]:
    version = PEERS["PepeDP"].version
    absent = [peer for peer in ("PepeDP", "pepedpid", "pepeline") if not PEERS[peer].version]
    for scale, count, floor in _PEPEDP:
        peer = f"PepeDP BestTile(scale={scale}) + pepedpid, {count} photographs"
        if absent:
            why = f"not measured: {' and '.join(absent)} not installed"
            yield Row(_KERNEL, name, peer, "ms/image", floor=floor, missing=why)
            continue
        tell(f"{_KERNEL}: PepeDP at scale {scale}, {count} photographs")
        command = run_module("benchmarks.end_to_end.pepedp", job.photos, job.folder() / "pepedp", scale, count)
        told = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment(), check=False)
        if told.returncode:
            last = " ".join(told.stderr.strip().splitlines()[-1:])
            why = f"not measured: PepeDP {version} cannot be run: {last}"
            yield Row(_KERNEL, name, peer, "ms/image", floor=floor, missing=why)
            continue
        theirs = 1000 * float(told.stdout.split()[-1])
        yield Row(_KERNEL, name, peer, "ms/image", ours_ms, theirs, theirs / ours_ms, floor, version)
