"""What a run tells while it works, and what it says at its end: frozen values, for any report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["done", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class StepCounts:
    """What one step did.

    Attributes:
        use: the operator's name.
        entered: samples that came in (for a source: files found).
        out: samples that went out.
        ran: actions executed; a decide, and an export that wrote anything, count 1 each.
        reused: actions whose result was known.
        measured: measures executed (not in `ran`).
        dropped: rejects by reason.
        failed: samples that broke.
        partial: samples that could be used only in part, by reason.
        rebuilt: actions run again only because bytes were missing.
        seconds: worker time.
        bytes_out: encoded bytes that were stored or exported.
        digest: digest of the step's dataset (an export: of names and bytes of its image files).
    """

    use: str
    entered: int = 0
    out: int = 0
    ran: int = 0
    reused: int = 0
    measured: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: int = 0
    partial: Mapping[str, int] = field(default_factory=dict)
    rebuilt: int = 0
    seconds: float = 0.0
    bytes_out: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True)
class ExportDone:
    """What one export published: `files` images, of which some were `written` or, no longer wanted, `deleted`."""

    step: str
    path: str
    files: int
    written: int
    digest: str
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A sample that broke, the step where, and why."""

    step: str
    sample: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunResult:
    """The end of a run; `report.json_report` spells it as the `--json` contract."""

    recipe: str
    status: Status
    seconds: float
    steps: Mapping[str, StepCounts]
    exports: tuple[ExportDone, ...] = ()
    failures: tuple[Failure, ...] = ()
    error: str = ""
    """Why it failed, for a person; not part of the contract."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins; `steps` maps each id to its operator's name, in the order of the graph."""

    recipe: str
    steps: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StepAdvanced:
    """A step's counts moved. `expected` is how many samples will enter it, once that is known."""

    step: str
    counts: StepCounts
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class StepFinished:
    """All samples of a step are through; `reused_whole` when the step was not walked at all."""

    step: str
    counts: StepCounts
    reused_whole: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """One line a user should read: waiting for another run, a journal rolled forward, a payload made again."""

    text: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The last event."""

    result: RunResult


Event = RunStarted | StepAdvanced | StepFinished | Note | RunEnded
