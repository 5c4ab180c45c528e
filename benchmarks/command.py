"""The command: choose, measure, print, store, compare."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.baseline import Measurement, gone, join, read, regressions, store
from benchmarks.case import Row
from benchmarks.kernel_rows import kernel_rows
from benchmarks.kernels import NAMES
from benchmarks.machine import machine
from benchmarks.page import write_page
from benchmarks.peers import missing
from benchmarks.table import text_table, verdict

# Whole jobs, each a function of its own; the last is left out unless it is asked for: it takes a quarter of an hour.
JOBS = ("end_to_end", "recipe", "engine_cost", "executors", "million")
ORDER = (*NAMES, *JOBS)
ONLY_WHEN_NAMED = ("million",)
_NOT_QUICK = ("million", "video")  # to make the clip takes longer than to measure it


def main(given: Sequence[str]) -> int:
    """Run the benchmark; 1 where an answer is wrong or `--compare` finds a regression, else 0."""
    arguments = _parser().parse_args(given)
    measured = join(map(read, arguments.join), ORDER) if arguments.join else _measured(arguments.only, arguments.quick)
    rows = measured.rows
    print(text_table(rows))
    print(verdict(rows))
    if arguments.json:
        store(arguments.json, measured)
    if arguments.write_page:
        write_page(measured)
    before = read(arguments.compare).rows if arguments.compare else []
    lost = regressions(rows, before)
    for line in lost:
        print(f"slower than in {arguments.compare}: {line}")
    if not arguments.quick:
        for line in gone(rows, before):
            print(f"in {arguments.compare}, not measured now: {line}")
    return 1 if lost or any(row.error for row in rows) else 0


def _measured(only: Sequence[str] | None, quick: bool) -> Measurement:
    for line in missing():
        _tell(line)
    found = machine()  # before anything is measured: it tells what other work the machine has
    chosen = only or [name for name in ORDER if name not in (_NOT_QUICK if quick else ONLY_WHEN_NAMED)]
    words = ["python -m benchmarks", *(f"--only {name}" for name in only or ()), *(["--quick"] if quick else [])]
    return Measurement(list(_rows(chosen, quick)), [" ".join(words)], found)


def _rows(chosen: Sequence[str], quick: bool) -> Iterator[Row]:
    for name in chosen:
        if name in NAMES:
            yield from kernel_rows(name, quick, _tell)
        else:
            yield from _job(name)(quick, _tell)


def _job(name: str) -> Callable[[bool, Callable[[str], None]], Iterator[Row]]:
    from benchmarks.end_to_end.recipe_rows import recipe_rows
    from benchmarks.end_to_end.rows import end_to_end_rows
    from benchmarks.engine_cost.many import engine_cost_rows, million_rows
    from benchmarks.engine_cost.waiting import executor_rows

    return {
        "end_to_end": end_to_end_rows,
        "recipe": recipe_rows,
        "engine_cost": engine_cost_rows,
        "executors": executor_rows,
        "million": million_rows,
    }[name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure every kernel and the whole job beside the peers that are installed: in turns in one "
        "process, by CPU time on one thread, on real photographs, answers checked first.",
        epilog="a ratio is the peer's figure over ours: 30x means that the peer takes thirty times as long",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--only", action="append", choices=ORDER, metavar="NAME", help=", ".join(ORDER))
    what.add_argument(
        "--join",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="measure nothing, take stored measurements (--json) together; of a kernel in several the last counts",
    )
    parser.add_argument("--quick", action="store_true", help="fewer readings and images, without the slowest cases")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurement for machines")
    parser.add_argument(
        "--compare", type=Path, metavar="BASELINE", help="name ratios that lost over 10 %% (exit code 1)"
    )
    parser.add_argument(
        "--write-page", action="store_true", help="write the table in docs/explanation/performance.md anew"
    )
    return parser


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
