"""The last words of a run under its table: what broke, what was published, how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

from forge_pipeline.events import ExportDone, Failure, RunResult, StepCounts
from forge_pipeline.report.numbers import count_text, seconds_text
from forge_pipeline.report.table import plain_lines, reasons_lines, steps_table

FAILURES_SHOWN = 5


def end_lines(result: RunResult) -> list[str]:
    """Lay out the whole end of a run: the table of its steps, and the closing lines.

    A run that failed before its first sample has no table: rows of zeros would only hide why.
    """
    if result.status == "failed" and not any(_moved(counts) for counts in result.steps.values()):
        return _closing_lines(result)
    return ["", *plain_lines(steps_table(result.steps)), "", *_closing_lines(result)]


def failure_lines(result: RunResult) -> list[str]:
    """Show the first few samples that broke, and where all of them are listed."""
    # A run that reuses a step whole knows how many broke there, and their reasons are in rejects.jsonl.
    count = max(len(result.failures), sum(counts.failed for counts in result.steps.values()))
    if not count:
        return []
    shown = result.failures[:FAILURES_SHOWN]
    listed = [str(PurePath(_short(export.path)) / "rejects.jsonl") for export in result.exports]
    lines = _failures(shown)
    if shown and count > len(shown):
        lines.append(f"  and {count - len(shown):,} more" + ("" if listed else "; --json lists them"))
    lines += [f"  all are listed in {', '.join(listed)}"] if listed else []
    return [f"{count_text(count, 'sample')} quarantined{':' if lines else ''}", *lines]


def empty_lines(result: RunResult) -> list[str]:
    """Name the exports that hold nothing: seldom what was meant."""
    return [_export_line(export) for export in result.exports if not export.files]


def error_lines(result: RunResult) -> list[str]:
    """Say why the run as a whole failed."""
    return result.error.splitlines()


def _closing_lines(result: RunResult) -> list[str]:
    """Say how the run ended, after what was dropped, what broke and what was published."""
    exports = [_export_line(export) for export in result.exports]
    return [*reasons_lines(result.steps), *failure_lines(result), *exports, *_status_lines(result)]


def _moved(counts: StepCounts) -> int:
    return counts.entered + counts.ran + counts.reused + counts.measured + counts.failed


def _failures(failures: Sequence[Failure]) -> list[str]:
    """Spell failures, each hint once: many samples break for one reason."""
    lines: list[str] = []
    for failure in failures:
        reason, *hints = failure.reason.splitlines()
        lines.append(f"  step '{failure.step}', sample '{failure.sample}': {reason}")
        lines += [hint for hint in hints if hint not in lines]
        lines += [f"    reproduce: {failure.reproduce}"] if failure.reproduce else []
    return lines


def _export_line(export: ExportDone) -> str:
    # The files written are all: side files and manifests too.
    written = f"{count_text(export.written, 'file')} written" if export.written else "nothing to write"
    deleted = f", {export.deleted:,} deleted" if export.deleted else ""
    empty = "" if export.files else "; no sample reached it"
    return f"{export.step}: {count_text(export.files, 'image')} in {_short(export.path)} ({written}{deleted}){empty}"


def _short(path: str) -> str:
    """Spell a path as a person here would type it."""
    try:
        return str(PurePath(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path


def _status_lines(result: RunResult) -> list[str]:
    duration = seconds_text(result.seconds)
    if result.status == "interrupted":
        return [
            f"{result.recipe}: interrupted after {duration}; what was finished is kept",
            "  hint: type the same command again to go on from here",
        ]
    if result.status == "failed":
        return [f"{result.recipe}: failed after {duration}", *error_lines(result)]
    work = sum(counts.ran + counts.measured for counts in result.steps.values())
    return [f"{result.recipe}: done in {duration}" + ("" if work else "; nothing had to run")]
