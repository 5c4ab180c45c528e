"""Journals that tests write with a clock of their own."""

from __future__ import annotations

from pathlib import Path

from forge_pipeline.disk import Disk
from forge_pipeline.events import (
    Decided,
    Event,
    ExecutorChosen,
    ExportDone,
    ExportPublished,
    MachineSampled,
    PhaseBegan,
    Quarantined,
    RunEnded,
    RunResult,
    RunStarted,
    StepAdvanced,
    StepCounts,
    StepDecided,
    StepFinished,
    TaskFinished,
    TaskSubmitted,
)
from forge_pipeline.report.journal import Journal, journal_folders

PHOTOS = StepCounts(
    "read.images", entered=41, out=40, ran=41, failed=1, seconds=2.0, worked=40, worked_pixels=80_000_000
)
LR = StepCounts("resize.dpid", entered=40, out=40, ran=40, seconds=14.0, worked=40, worked_pixels=80_000_000)
OUT = StepCounts(
    "export.pairs", entered=40, out=40, ran=1, measured=40, seconds=1.0, worked=40, worked_pixels=80_000_000
)
RESULT = RunResult(
    "sr",
    "done",
    11.5,
    {"photos": PHOTOS, "lr": LR, "out": OUT},
    executor="threads",
    workers=2,
    peak_rss_bytes=900_000_000,
)

Timed = tuple[float, Event]


def usual_run() -> list[Timed]:
    """Return a run of 11.5 s: compiled in 0.5 s, two workers busy for 8 of 9 s, published in 1 s."""
    return [
        (0.5, RunStarted("sr", {"photos": "read.images", "lr": "resize.dpid", "out": "export.pairs"}, 1)),
        (0.5, ExecutorChosen("threads", 2, "every step releases the lock; 2 workers for 2 cores", 1_000_000_000)),
        (0.5, PhaseBegan("sources")),
        (1.0, StepDecided("photos", True, ("first run",))),
        (1.0, StepDecided("lr", True, ("first run",))),
        (1.0, PhaseBegan("samples")),
        (1.0, TaskSubmitted(1, "photos", 20)),
        (1.0, TaskSubmitted(2, "photos", 21)),
        (1.1, Quarantined("photos", "photos/a.jpg", "truncated")),
        (2.0, StepAdvanced("photos", PHOTOS)),
        (2.0, StepAdvanced("lr", LR)),
        (3.0, MachineSampled(300_000_000, 0, 4_000_000_000, 0.0, (), 0.0)),
        (4.0, MachineSampled(300_000_000, 0, 3_000_000_000, 1.8, (), 0.95)),
        (9.0, TaskFinished(1, "photos", 20, seconds=8.0)),
        (10.0, TaskFinished(2, "photos", 21, seconds=8.0)),
        (10.0, StepFinished("photos", PHOTOS)),
        (10.0, StepFinished("lr", LR)),
        (10.0, PhaseBegan("exports")),
        (10.5, TaskFinished(3, "out", 40, seconds=1.0)),
        (11.0, StepFinished("out", OUT)),
        (11.0, ExportPublished(ExportDone("out", "output/sr", 80, 85, "ab"), 0.4)),
        (11.0, PhaseBegan("lock")),
        (11.5, RunEnded(RESULT)),
    ]


def without(timed: list[Timed], *kinds: type[Event]) -> list[Timed]:
    """Leave out some kinds of events."""
    return [(at, event) for at, event in timed if not isinstance(event, kinds)]


def deciding(seconds: float) -> Timed:
    """Return a select's long decision."""
    return (9.0, Decided("lr", 40, seconds))


def write_journal(cache: Path, timed: list[Timed]) -> Path:
    """Write a journal as a run of these events would have; return its folder."""
    now = [0.0]
    with Journal(cache, lambda event: None, clock=lambda: now[0], disk=Disk()) as journal:
        for at, event in sorted(timed, key=lambda one: one[0]):
            now[0] = at
            journal.announce(event)
    return journal_folders(cache / "runs")[-1]
