"""`forge plan` (and `--dry-run`): what a run would do, and why."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from forge_pipeline.cli.arguments import add_machine, add_memory, add_recipe, options, recipe_path, tell_notes
from forge_pipeline.errors import EXIT_DONE

if TYPE_CHECKING:
    from forge_pipeline.api import Options
    from forge_pipeline.plan import PlanReport, PlanRow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed."""
    add_recipe(parser)
    add_machine(parser)
    add_memory(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print the plan with its estimate."""
    recipe = recipe_path(arguments)
    return tell(recipe, options(arguments), estimate=True)


def tell(recipe: Path, given: Options, estimate: bool) -> int:
    """Print the plan of a run with these options."""
    from forge_pipeline import api

    report = api.plan(recipe, given, tell_notes)
    lines = plan_lines(report) + ([estimate_line(report), executor_line(report)] if estimate else [])
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return EXIT_DONE


def plan_lines(report: PlanReport) -> list[str]:
    """Lay out a plan: a row per step, further reasons on lines of their own."""
    from forge_pipeline.report.table import Column, Table, plain_lines

    columns = (Column("step"), Column("operator"), Column("plan"), Column("actions", True), Column("why"))
    rows: list[tuple[str, ...]] = []
    for row in report.rows:
        first, *others = row.reasons or ("",)
        actions = f"{row.actions:,}" if row.actions is not None else "-"
        rows.append((row.step, row.use, _state_text(row), actions, first))
        rows += [("", "", "", "", reason) for reason in others]
    return plain_lines(Table(columns, tuple(rows)))


def estimate_line(report: PlanReport) -> str:
    """Say what the run would take, as far as that is known."""
    from forge_pipeline.report.numbers import bytes_text, seconds_text

    if all(row.state == "reused" for row in report.rows):
        return "estimate: nothing to run"
    if report.seconds is None and report.bytes is None:
        return "estimate: not known yet, nothing like it has run here"
    time = seconds_text(report.seconds) if report.seconds is not None else "unknown time"
    disk = bytes_text(report.bytes) if report.bytes is not None else "an unknown amount"
    return f"estimate: {time} of work, {disk} of disk"


def executor_line(report: PlanReport) -> str:
    """Say where the tasks would run, and why there."""
    return f"executor: {report.choice.name} ({report.choice.reason})"


def _state_text(row: PlanRow) -> str:
    return f"unknown until {row.until}" if row.state == "unknown" else row.state
