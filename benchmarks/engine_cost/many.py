"""Rows of many small samples: what the engine costs each, cold and unchanged, in time and in memory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.case import Row
from benchmarks.end_to_end.processes import Taken, middle, run_module, take
from benchmarks.engine_cost.command_tools import Failed, run_tools
from benchmarks.engine_cost.recipes import command, write_trivial
from benchmarks.engine_cost.shards import write_shards
from benchmarks.peers import PEERS

_SMALL_PX, _EQUAL_PX = 8, 32
_COLD_MS, _UNCHANGED_S = 0.25, 0.4
_MILLION_UNCHANGED_S, _MILLION_RSS_MB = 20, 1500
_FLAT = 1.15
_LIMIT = "limit"
# So many samples for tools that start a process for each: they take a tenth of a second or more for one.
_TOOLS_COUNT = 100
_HOW = ("cold, threads", "unchanged")
Tell = Callable[[str], None]


def engine_cost_rows(quick: bool, tell: Tell) -> Iterator[Row]:
    """Measure 10,000 samples through a chain of three trivial operators, beside others that remember; then memory."""
    name, count, rounds = "engine_cost", 2_000 if quick else 10_000, 1 if quick else 5
    with tempfile.TemporaryDirectory(prefix="forge-benchmark-") as folder:
        root = Path(folder)
        tell(f"{name}: {count:,} samples, {rounds} rounds")
        write_shards(root / "shards", count, _SMALL_PX)
        cold, again = _cold_and_again(write_trivial(root / "trivial", root / "shards", count), rounds)
        told = _told(count)
        # By CPU time of the whole process: its start is in it, and work of others on the machine is not.
        note = f"{1000 * cold.wall_s / count:.2f} ms by the clock"
        yield _at_most(name, f"{told}, cold, threads", "ms/sample", 1000 * cold.cpu_s / count, _COLD_MS, note)
        note = f"{again.wall_s:.2f} s by the clock"
        yield _at_most(name, f"{told}, unchanged", "s", again.cpu_s, _UNCHANGED_S, note)
        tell(f"{name}: joblib.Memory")
        yield from _beside_joblib(root, count // 10, 1 if quick else 3)
        if not quick:
            tell(f"{name}: DVC and Snakemake, where they are installed")
            yield from _beside_tools(root, _TOOLS_COUNT)
            yield _flat(root, name, tell)


def million_rows(quick: bool, tell: Tell) -> Iterator[Row]:
    """Measure an unchanged run over a million samples; the cold run before it takes minutes."""
    name, count = "million", 20_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="forge-benchmark-") as folder:
        root = Path(folder)
        tell(f"{name}: writing {count:,} samples")
        write_shards(root / "shards", count, _SMALL_PX)
        recipe = write_trivial(root / "trivial", root / "shards", count)
        tell(f"{name}: the cold run")
        cold = take(command(recipe, "--executor", "threads"))
        note = f"{cold.wall_s:.0f} s by the clock"
        yield Row(name, f"{count:,} samples, cold, threads", "", "s", cold.cpu_s, comparable=False, note=note)
        yield Row(name, f"{count:,} samples, cold, threads: peak RSS", "", "MB", cold.peak_rss_mb, comparable=False)
        tell(f"{name}: unchanged")
        again = middle([take(command(recipe, "--executor", "threads")) for _ in range(1 if quick else 5)])
        note = f"{again.wall_s:.1f} s by the clock"
        yield _at_most(name, f"{count:,} samples, unchanged", "s", again.cpu_s, _MILLION_UNCHANGED_S, note)
        yield _at_most(name, f"{count:,} samples, unchanged: peak RSS", "MB", again.peak_rss_mb, _MILLION_RSS_MB)


def _cold_and_again(recipe: Path, rounds: int) -> tuple[Taken, Taken]:
    words = ("--executor", "threads")
    taken = []
    for _ in range(rounds):
        shutil.rmtree(recipe.parent / "cache", ignore_errors=True)
        taken.append((take(command(recipe, *words)), take(command(recipe, *words))))
    cold, again = (middle(one) for one in zip(*taken, strict=True))
    return cold, again


def _beside_joblib(root: Path, count: int, rounds: int) -> Iterator[Row]:
    """Give joblib.Memory few samples, and ours the same: it writes a folder and two files for every call."""
    ours = _ours_of(root, count, rounds)
    script, shards = "benchmarks.engine_cost.joblib_memory", root / f"shards-{count}"
    taken = [[take(run_module(script, shards, root / f"joblib-{n}", count)) for _ in range(2)] for n in range(rounds)]
    cold, again = (middle(one) for one in zip(*taken, strict=True))
    yield from _beside(count, ours, "joblib.Memory", PEERS["joblib"].version, (cold, again))


def _beside_tools(root: Path, count: int) -> Iterator[Row]:
    """Give each tool that is installed few samples, and ours the same; one that fails is told and costs no other."""
    ours = _ours_of(root, count, rounds=3)
    for found in run_tools(root, count):
        peer = f"{found.tool}, one `cp` each"
        if isinstance(found, Failed):
            why = f"not measured: {found.tool} ended with exit code {found.code}"
            for how in _HOW:
                yield Row("engine_cost", f"{_told(count)}, {how}", peer, "s", missing=why)
        else:
            yield from _beside(count, ours, peer, found.version, (found.cold, found.again))


def _ours_of(root: Path, count: int, rounds: int) -> tuple[Taken, Taken]:
    """Run ours on as many samples as a peer has, in archives that hold no others."""
    shards = root / f"shards-{count}"
    write_shards(shards, count, _SMALL_PX)
    return _cold_and_again(write_trivial(root / f"trivial-{count}", shards, count), rounds)


def _beside(
    count: int, ours: tuple[Taken, Taken], peer: str, version: str, theirs: tuple[Taken, Taken]
) -> Iterator[Row]:
    """Compare whole runs over equally many samples, the start of both included: cold, and unchanged."""
    for how, own, other in zip(_HOW, (one.cpu_s for one in ours), (one.cpu_s for one in theirs), strict=True):
        yield Row("engine_cost", f"{_told(count)}, {how}", peer, "s", own, other, other / own, version=version)


def _told(count: int) -> str:
    return f"{count:,} samples, three trivial operators"


def _flat(root: Path, name: str, tell: Tell) -> Row:
    """Compare the peaks of two cold runs over samples of equal size, one with ten times as many."""
    few, many = 10_000, 100_000
    tell(f"{name}: memory at {few:,} and {many:,} samples")
    write_shards(root / "equal", many, _EQUAL_PX)
    small, large = (
        take(command(write_trivial(root / f"flat-{count}", root / "equal", count))).peak_rss_mb for count in (few, many)
    )
    told = f"cold run's peak RSS at {many:,} samples, beside {few:,} of equal size"
    return Row(name, told, f"{few:,} samples", "MB", large, small, small / large, 1 / _FLAT, comparable=False)


def _at_most(kernel: str, what: str, unit: str, ours: float, limit: float, note: str = "") -> Row:
    return Row(kernel, what, _LIMIT, unit, ours, limit, limit / ours, 1.0, comparable=False, note=note)
