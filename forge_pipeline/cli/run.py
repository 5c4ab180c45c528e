"""`forge run` (and `forge-run`): run a recipe."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

from forge_pipeline.cli import plan
from forge_pipeline.cli.arguments import (
    add_machine,
    add_memory,
    add_recipe,
    duration,
    one_of,
    options,
    positive,
    recipe_path,
)
from forge_pipeline.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, CommandError, ForgeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge_pipeline.events import Event, RunResult
    from forge_pipeline.report.base import Report

EXIT_CODES = {"done": EXIT_DONE, "failed": EXIT_FAILED, "interrupted": EXIT_INTERRUPTED}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed."""
    add_recipe(parser)
    add_machine(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would run and why, and run nothing")
    parser.add_argument(
        "--frozen", action="store_true", help="fail when the result would differ from the one that the lock names"
    )
    parser.add_argument(
        "--until", metavar="STEP", help="stop after STEP; nothing is published at its place, the lock stays"
    )
    parser.add_argument(
        "--sample",
        metavar="N",
        type=positive,
        help="take only the first N entries of every source; exports go to PATH.sample-N, the lock stays",
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        type=_shard,
        help="take only the I-th of N parts of every source (I from 1 to N), measure what the first select is going to "
        "decide over, and stop there: one of N machines; `forge cache merge` joins what they did",
    )
    parser.add_argument(
        "--only",
        metavar="KEY",
        help="take only what one sample stands on, by its key as in a message or in rejects.jsonl, and try again what "
        "broke; exports go to PATH.only-STEM, the lock stays",
    )
    parser.add_argument(
        "--executor",
        metavar="NAME",
        type=one_of("auto", "inline", "threads", "processes", "ray"),
        help="where actions run: auto, inline, threads, processes or ray (default: what the recipe says, else auto, "
        "which `forge plan` explains)",
    )
    parser.add_argument(
        "--ray-address",
        metavar="ADDR",
        default="",
        help="run on this Ray cluster: auto (the one that $RAY_ADDRESS names or that runs here, else one is started), "
        "local (one is started here for this run), HOST or HOST:PORT; implies --executor ray",
    )
    parser.add_argument("--workers", metavar="N", type=positive, help="how many run at once (default: one per core)")
    add_memory(parser)
    parser.add_argument(
        "--budget",
        dest="budget_s",
        metavar="TIME",
        type=duration,
        help="begin nothing new after TIME (90s, 30min, 1h30min): with `prioritise` in the recipe, the best "
        "part of the dataset is made first; exports go to PATH.budget, the lock stays",
    )
    parser.add_argument(
        "--verify",
        metavar="N",
        type=positive,
        default=0,
        help="run N known actions again and compare: names an operator that is not deterministic",
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")
    parser.add_argument("--quiet", action="store_true", help="tell only what needs attention")
    parser.epilog = (
        "exit codes: 0 done, 1 the run failed or --frozen found a difference, 2 the recipe or the command is wrong,\n"
        "3 the machine is (disk full, cache not writable, something not installed), 130 interrupted"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run the recipe, tell how it goes on stderr, and return the exit code."""
    recipe = recipe_path(arguments)
    if arguments.dry_run:
        if arguments.json:
            raise CommandError("--json tells the result of a run, and --dry-run has none", hint="leave one of them out")
        return plan.tell(recipe, options(arguments), estimate=False)
    from forge_pipeline import api
    from forge_pipeline.events import RunEnded

    results: list[RunResult] = []
    report = _report(arguments.quiet)

    def announce(event: Event) -> None:
        if isinstance(event, RunEnded):
            results.append(event.result)
        report.announce(event)

    try:
        # Nothing but the JSON object may reach stdout, whatever an operator of a user prints.
        with contextlib.redirect_stdout(sys.stderr), report, _terminated_as_by_ctrl_c():
            result = api.run(recipe, options(arguments), announce)
        return EXIT_CODES[result.status]
    except ForgeError as error:
        if arguments.debug or not results or results[-1].error != str(error):
            raise
        return error.exit_code  # the report has told it, under its table
    finally:
        if arguments.json and results:
            _print_json(results[-1])


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not all(part.isascii() and part.isdigit() for part in (number, count)):
        raise argparse.ArgumentTypeError(f"found '{text}', expected I/N such as 2/8")
    if not 1 <= int(number) <= int(count):
        raise argparse.ArgumentTypeError(f"found '{text}', expected I/N with I from 1 to N, such as 2/8")
    return int(number), int(count)


@contextlib.contextmanager
def _terminated_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM, by which batch systems and containers end a job, record what was done as Ctrl-C does."""
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _report(quiet: bool) -> Report:
    """Choose by who is listening; only a terminal pays for rich."""
    if not quiet and sys.stderr.isatty():
        from forge_pipeline.report.console import ConsoleReport

        return ConsoleReport(sys.stderr)
    from forge_pipeline.report.lines import LineReport, QuietReport

    return QuietReport(sys.stderr) if quiet else LineReport(sys.stderr)


def _print_json(result: RunResult) -> None:
    from forge_pipeline.report.json_report import run_json

    sys.stdout.write(run_json(result) + "\n")
