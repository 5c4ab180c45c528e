"""`forge runs`: the last runs of a cache, and the story of one of them."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from forge_pipeline.cli.arguments import add_cache, add_directory, cache_folder
from forge_pipeline.errors import EXIT_DONE, CommandError

if TYPE_CHECKING:
    from forge_pipeline.report.bottleneck import Bottleneck
    from forge_pipeline.report.story import RunLine, StepStory, Story


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed."""
    parser.add_argument("verb", metavar="show", nargs="?", help="tell of one run; without it, list the last runs")
    parser.add_argument("run", metavar="ID", nargs="?", help="which run: its ID, its number, or last (default: last)")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")
    add_directory(parser)
    add_cache(parser)
    parser.epilog = (
        "forge runs            list the last 50 runs, the newest first\n"
        "forge runs show last  how fast each step was, where the time went, and what held the run up"
    )


def execute(arguments: argparse.Namespace) -> int:
    """List the runs, or show one."""
    from forge_pipeline import api

    folder = cache_folder(arguments)
    if arguments.verb not in (None, "show"):
        raise CommandError(f"forge runs: found '{arguments.verb}', expected show", hint="forge runs show last")
    if arguments.verb is None:
        runs = api.runs(folder)
        if arguments.json:
            _print_json([_run_json(run) for run in runs])
        else:
            _print(list_lines(runs) if runs else [f"{folder}: no run has left a journal yet"])
        return EXIT_DONE
    story, bottleneck = api.run_story(folder, arguments.run or "last")
    if arguments.json:
        _print_json(story_json(story, bottleneck))
    else:
        _print(story_lines(story, bottleneck))
    return EXIT_DONE


# --- the list -------------------------------------------------------------------------------------


def list_lines(runs: list[RunLine]) -> list[str]:
    """Lay out the list of runs."""
    from forge_pipeline.report.numbers import seconds_text
    from forge_pipeline.report.table import Column, Table, plain_lines

    columns = (
        *(Column(heading) for heading in ("id", "recipe", "when", "status")),
        *(Column(heading, numeric=True) for heading in ("time", "ran", "reused", "quarantined")),
    )
    rows = tuple(
        (
            run.id,
            run.recipe,
            _when(run.at),
            run.status,
            seconds_text(run.seconds),
            *(_count(number) for number in (run.steps_ran, run.steps_reused, run.failures)),
        )
        for run in runs
    )
    return plain_lines(Table(columns, rows))


def _run_json(run: RunLine) -> dict[str, Any]:
    return {
        "id": run.id,
        "recipe": run.recipe,
        "at": run.at,
        "status": run.status,
        "seconds": run.seconds,
        "steps_ran": run.steps_ran,
        "steps_reused": run.steps_reused,
        "failures": run.failures,
    }


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _when(at: str) -> str:
    """Spell a time in UTC as the clock here shows it."""
    from datetime import datetime

    return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}"


# --- one run --------------------------------------------------------------------------------------


def story_lines(story: Story, bottleneck: Bottleneck) -> list[str]:
    """Lay out the story of one run."""
    return [
        *_head_lines(story),
        *_step_lines(story),
        *_time_lines(story),
        *_incident_lines(story),
        "",
        f"bottleneck: {bottleneck.sentence}",
        *([f"  hint: {bottleneck.advice}"] if bottleneck.advice else []),
    ]


def _head_lines(story: Story) -> list[str]:
    from forge_pipeline.report.numbers import bytes_text, count_text, seconds_text

    cores = count_text(story.cores, "core")
    # The journal is of the run's own machine, and workers of a cluster may be on others.
    where = f"{story.executor}, {count_text(story.workers, 'worker')} " + (
        f"of a cluster, the run itself on {cores}" if story.executor == "ray" else f"on {cores}"
    )
    memory = f"peak memory {bytes_text(story.peak_rss_bytes) if story.peak_rss_bytes else 'was not measured'}"
    if story.available_least_bytes is not None:
        memory += f", and never less than {bytes_text(story.available_least_bytes)} to be had"
    return [
        f"{story.id}: {story.recipe}, {story.status} after {seconds_text(story.seconds)}, {_when(story.at)}",
        f"{where}: {story.reason.partition(';')[0]}" if story.reason else where,
        memory,
        *story.error.splitlines(),
    ]


def _step_lines(story: Story) -> list[str]:
    from forge_pipeline.report.numbers import count_text, each_text, seconds_text
    from forge_pipeline.report.table import Column, Table, plain_lines

    worked = {name: step for name, step in story.steps.items() if step.images or step.seconds}
    others = len(story.steps) - len(worked)
    lines: list[str] = []
    if worked:
        total = sum(step.seconds for step in worked.values())
        headings = ("images", "images/s", "MP/s", "an image", "worker time", "share")
        columns = (Column("step"), *(Column(heading, numeric=True) for heading in headings))
        rows = tuple(
            (
                name,
                f"{step.images:,}",
                _rate(step.images_per_s),
                _rate(step.megapixels_per_s),
                each_text(step.seconds_per_image) if step.images else "-",
                seconds_text(step.seconds),
                f"{100 * step.seconds / total:.0f} %" if total else "-",
            )
            for name, step in worked.items()
        )
        lines = ["", *plain_lines(Table(columns, rows))]
        lines += [f"{name}: {', '.join(step.reasons)}" for name, step in worked.items() if step.reasons]
    return [*lines, *([f"{count_text(others, 'step')} had nothing to do"] if others else [])]


def _time_lines(story: Story) -> list[str]:
    from forge_pipeline.report.numbers import seconds_text
    from forge_pipeline.report.table import Column, Table, plain_lines

    rows: list[tuple[str, ...]] = []
    for phase, seconds in story.phases.items():
        busy = story.busy(phase)
        share = f"{100 * seconds / story.seconds:.0f} %" if story.seconds else "-"
        rows.append((phase, seconds_text(seconds), share, "-" if busy is None else f"{100 * busy:.0f} %"))
    columns = (Column("time went to"), Column("time", True), Column("share", True), Column("workers busy", True))
    lines = ["", *plain_lines(Table(columns, tuple(rows)))]
    if story.cores_busy is not None:
        whose = " of the run's own machine" if story.executor == "ray" else ""
        told = f"cores in use: {story.cores_busy:.1f} of {story.cores}{whose} on average"
        machine = "" if story.machine_busy is None else f"; the machine was busy {100 * story.machine_busy:.0f} %"
        lines.append(told + machine)
    if story.gpu_busy is not None:
        lines.append(f"GPU in use: {100 * story.gpu_busy:.0f} % of the time on average")
    if story.waited_for_memory_s:
        lines.append(f"tasks waited {seconds_text(story.waited_for_memory_s)} for memory")
    return lines


def _incident_lines(story: Story) -> list[str]:
    from forge_pipeline.report.numbers import count_text

    told = {
        "quarantined": "sample",
        "retried": "task",
        "bisected": "task",
        "batch_halved": "batch",
        "worker_lost": "worker",
        "budget_changed": "budget",
    }
    words = {"batch_halved": "halved", "worker_lost": "lost", "budget_changed": "changed"}
    counted = [
        f"{count_text(story.events[event], noun)} {words.get(event, event)}"
        for event, noun in told.items()
        if story.events.get(event)
    ]
    return [", ".join(counted)] if counted else []


def _rate(value: float) -> str:
    return "-" if not value else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def story_json(story: Story, bottleneck: Bottleneck) -> dict[str, Any]:
    """Return the story as JSON has it."""
    return {
        **_run_facts(story),
        "steps": {name: _step_json(step) for name, step in story.steps.items()},
        "phases": {
            name: {"seconds": round(seconds, 4), "workers_busy": _rounded(story.busy(name))}
            for name, seconds in story.phases.items()
        },
        "tasks": story.tasks,
        "task_longest_s": round(story.task_longest_s, 4),
        "waited_for_memory_s": round(story.waited_for_memory_s, 4),
        "cores_busy": _rounded(story.cores_busy),
        "machine_busy": _rounded(story.machine_busy),
        "gpu_busy": _rounded(story.gpu_busy),
        "available_least_bytes": story.available_least_bytes,
        "events": dict(sorted(story.events.items())),
        "bottleneck": {
            "kind": bottleneck.kind,
            "share": round(bottleneck.share, 4),
            "sentence": bottleneck.sentence,
            "advice": bottleneck.advice,
        },
    }


def _run_facts(story: Story) -> dict[str, Any]:
    names = ("id", "recipe", "at", "status", "seconds", "error", "executor", "workers", "reason", "cores")
    return {**{name: getattr(story, name) for name in names}, "peak_rss_bytes": story.peak_rss_bytes}


def _step_json(step: StepStory) -> dict[str, Any]:
    return {
        "use": step.use,
        "reused_whole": step.reused_whole,
        "reasons": list(step.reasons),
        "in": step.entered,
        "out": step.out,
        "reused": step.reused,
        "failed": step.failed,
        "images": step.images,
        "images_per_s": round(step.images_per_s, 4),
        "megapixels_per_s": round(step.megapixels_per_s, 4),
        "seconds_per_image": round(step.seconds_per_image, 6),
        "seconds": step.seconds,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _print(lines: list[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
