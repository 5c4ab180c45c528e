"""Rows of many small samples: what the engine costs each, cold and unchanged, in time and in memory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.case import Row
from benchmarks.end_to_end.processes import Taken, best, run_module, take
from benchmarks.engine_cost.recipes import command, write_trivial
from benchmarks.engine_cost.shards import write_shards
from benchmarks.peers import PEERS

_SMALL_PX, _EQUAL_PX = 8, 32
_COLD_MS, _UNCHANGED_S = 0.25, 0.4
_MILLION_UNCHANGED_S, _MILLION_RSS_MB = 20, 1500
_FLAT = 1.15
_LIMIT = "limit"
Tell = Callable[[str], None]


def engine_cost_rows(quick: bool, tell: Tell) -> Iterator[Row]:
    """Measure 10,000 samples through a chain of three trivial operators, beside joblib.Memory."""
    name, count, rounds = "engine_cost", 2_000 if quick else 10_000, 1 if quick else 5
    with tempfile.TemporaryDirectory(prefix="forge-benchmark-") as folder:
        root = Path(folder)
        tell(f"{name}: {count:,} samples, {rounds} rounds")
        write_shards(root / "shards", count, _SMALL_PX)
        recipe = write_trivial(root / "trivial", root / "shards", count)
        cold, again = zip(*(_cold_and_again(recipe) for _ in range(rounds)), strict=True)
        told = f"{count:,} samples, three trivial operators"
        # By CPU time of the whole process: its start is in it, and work of others on the machine is not.
        cold_ms = 1000 * best(cold).cpu_s / count
        yield _at_most(name, f"{told}, cold, threads", "ms/sample", cold_ms, _COLD_MS)
        yield _at_most(name, f"{told}, unchanged", "s", best(again).cpu_s, _UNCHANGED_S)
        yield from _beside_joblib(root, count, rounds, cold_ms, best(again).cpu_s)


def scale_rows(quick: bool, tell: Tell) -> Iterator[Row]:
    """Measure memory at 10,000 and 100,000 samples, and an unchanged run over a million; the cold one takes minutes."""
    name, count = "scale", 20_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="forge-benchmark-") as folder:
        root = Path(folder)
        if not quick:
            yield _flat(root, name, tell)
        tell(f"{name}: writing {count:,} samples")
        write_shards(root / "shards", count, _SMALL_PX)
        recipe = write_trivial(root / "trivial", root / "shards", count)
        tell(f"{name}: the cold run")
        cold = take(command(recipe))
        yield Row(name, f"{count:,} samples, cold, threads", "", "s", cold.cpu_s, comparable=False)
        yield Row(name, f"{count:,} samples, cold, threads: peak RSS", "", "MB", cold.peak_rss_mb, comparable=False)
        tell(f"{name}: unchanged")
        again = best([take(command(recipe)) for _ in range(1 if quick else 3)])
        yield _at_most(name, f"{count:,} samples, unchanged", "s", again.cpu_s, _MILLION_UNCHANGED_S)
        yield _at_most(name, f"{count:,} samples, unchanged: peak RSS", "MB", again.peak_rss_mb, _MILLION_RSS_MB)


def _cold_and_again(recipe: Path) -> tuple[Taken, Taken]:
    shutil.rmtree(recipe.parent / "cache", ignore_errors=True)
    words = ("--executor", "threads")
    return take(command(recipe, *words)), take(command(recipe, *words))


def _beside_joblib(root: Path, count: int, rounds: int, cold_ms: float, again_s: float) -> Iterator[Row]:
    """Give joblib.Memory a tenth of the samples: it writes a folder and two files for every call."""
    few, version = count // 10, PEERS["joblib"].version
    script = "benchmarks.engine_cost.joblib_memory"
    taken = [
        [take(run_module(script, root / "shards", root / f"joblib-{n}", few)) for _ in range(2)] for n in range(rounds)
    ]
    cold, again = (best(one).cpu_s for one in zip(*taken, strict=True))
    per_sample, told = 1000 * cold / few, f"of {few:,} samples"
    yield Row(
        "engine_cost",
        f"{count:,} samples, three trivial operators, cold, threads",
        f"joblib.Memory, {told}",
        "ms/sample",
        cold_ms,
        per_sample,
        per_sample / cold_ms,
        version=version,
    )
    ours_ms, theirs_ms = 1000 * again_s / count, 1000 * again / few
    yield Row(
        "engine_cost",
        f"{count:,} samples, three trivial operators, unchanged",
        f"joblib.Memory, {told}",
        "ms/sample",
        ours_ms,
        theirs_ms,
        theirs_ms / ours_ms,
        version=version,
    )


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


def _at_most(kernel: str, what: str, unit: str, ours: float, limit: float) -> Row:
    return Row(kernel, what, _LIMIT, unit, ours, limit, limit / ours, 1.0, comparable=False)
