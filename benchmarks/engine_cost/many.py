"""Rows of many small samples: what the engine costs each, cold and unchanged, in time and in memory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.case import Row
from benchmarks.end_to_end.processes import Taken, middle, run_module, take
from benchmarks.engine_cost.command_tools import run_tools
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
Tell = Callable[[str], None]


def engine_cost_rows(quick: bool, tell: Tell) -> Iterator[Row]:
    """Measure 10,000 samples through a chain of three trivial operators, beside others that remember; then memory."""
    name, count, rounds = "engine_cost", 2_000 if quick else 10_000, 1 if quick else 5
    with tempfile.TemporaryDirectory(prefix="forge-benchmark-") as folder:
        root = Path(folder)
        tell(f"{name}: {count:,} samples, {rounds} rounds")
        write_shards(root / "shards", count, _SMALL_PX)
        recipe = write_trivial(root / "trivial", root / "shards", count)
        cold, again = (middle(one) for one in zip(*(_cold_and_again(recipe) for _ in range(rounds)), strict=True))
        told = f"{count:,} samples, three trivial operators"
        # By CPU time of the whole process: its start is in it, and work of others on the machine is not.
        note = f"{1000 * cold.wall_s / count:.2f} ms by the clock"
        yield _at_most(name, f"{told}, cold, threads", "ms/sample", 1000 * cold.cpu_s / count, _COLD_MS, note)
        note = f"{again.wall_s:.2f} s by the clock"
        yield _at_most(name, f"{told}, unchanged", "s", again.cpu_s, _UNCHANGED_S, note)
        ours = 1000 * cold.cpu_s / count, 1000 * again.cpu_s / count
        tell(f"{name}: joblib.Memory")
        yield from _beside_joblib(root, count, 1 if quick else 3, told, ours)
        if not quick:
            tell(f"{name}: DVC and Snakemake, where they are installed")
            for found in run_tools(root, _TOOLS_COUNT):
                peer = f"{found.tool}, {_TOOLS_COUNT} samples, one `cp` each"
                yield from _beside(told, ours, peer, found.version, found.cold, found.again, _TOOLS_COUNT)
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


def _cold_and_again(recipe: Path) -> tuple[Taken, Taken]:
    shutil.rmtree(recipe.parent / "cache", ignore_errors=True)
    words = ("--executor", "threads")
    return take(command(recipe, *words)), take(command(recipe, *words))


def _beside_joblib(root: Path, count: int, rounds: int, told: str, ours: tuple[float, float]) -> Iterator[Row]:
    """Give joblib.Memory a tenth of the samples: it writes a folder and two files for every call."""
    few = count // 10
    script = "benchmarks.engine_cost.joblib_memory"
    taken = [
        [take(run_module(script, root / "shards", root / f"joblib-{n}", few)) for _ in range(2)] for n in range(rounds)
    ]
    cold, again = (middle(one) for one in zip(*taken, strict=True))
    peer = f"joblib.Memory, {few:,} samples"
    yield from _beside(told, ours, peer, PEERS["joblib"].version, cold, again, few)


def _beside(
    told: str, ours: tuple[float, float], peer: str, version: str, cold: Taken, again: Taken, count: int
) -> Iterator[Row]:
    """Compare milliseconds a sample: ours are cold and unchanged; the peer did `count`."""
    for own, how, theirs in zip(ours, ("cold, threads", "unchanged"), (cold, again), strict=True):
        each = 1000 * theirs.cpu_s / count
        yield Row("engine_cost", f"{told}, {how}", peer, "ms/sample", own, each, each / own, version=version)


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
