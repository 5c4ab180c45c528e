"""What a run tells while it works, and what it says at its end: frozen values, for any report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

# Named tuples where there are many: a frozen dataclass with slots takes 0.8 ms to be made, and these are imported by
# every run, also by one in which nothing has changed; a named tuple takes 0.17 ms.

Status = Literal["done", "failed", "interrupted"]
Phase = Literal["sources", "samples", "exports", "verification", "lock", "closing"]
TaskStatus = Literal["done", "missing", "broke"]
RefusalCause = Literal["memory", "slots"]


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
        worked: images on which something ran; one that three metrics measured counts once.
        worked_pixels: their width times height, summed.
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
    worked: int = 0
    worked_pixels: int = 0
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
    """A sample that broke, the step where, and why; `reproduce` is what is typed to see it break again."""

    step: str
    sample: str
    reason: str
    reproduce: str = ""


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
    executor: str = ""
    workers: int = 0
    peak_rss_bytes: int = 0
    """The most memory that the process and its workers held; pages that they share count once for each."""


# --- the run as a whole ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins; `steps` maps each id to its operator's name, in the order of the graph.

    Attributes:
        run: its number in the index.
    """

    recipe: str
    steps: Mapping[str, str]
    run: int = 0


class ExecutorChosen(NamedTuple):
    """Where the tasks of this run go, and why there.

    Attributes:
        memory_bytes: the working sets that may be in flight together; 0 where nothing bounds them.
    """

    executor: str
    workers: int
    reason: str = ""
    memory_bytes: int = 0


class WorkersCounted(NamedTuple):
    """As many tasks run at once from now on: a cluster has other cores than this machine, and nodes come and go."""

    workers: int


class PhaseBegan(NamedTuple):
    """The run as a whole goes on to something else: the one before it has ended."""

    phase: Phase


# --- steps ----------------------------------------------------------------------------------------


class StepDecided(NamedTuple):
    """A step is walked, sample by sample, for these reasons; or its whole dataset is reused."""

    step: str
    walked: bool
    reasons: tuple[str, ...] = ()


class Decided(NamedTuple):
    """A select decided over its whole dataset, in the scheduler's thread; `reused` when the verdicts were known."""

    step: str
    samples: int
    seconds: float
    reused: bool = False


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


class Quarantined(NamedTuple):
    """A sample broke at a step of this run, and stays out of what comes after it."""

    step: str
    sample: str
    reason: str
    message: str = ""


class ExportPublished(NamedTuple):
    """An export is as it should be; `seconds` of staging, comparing and renaming."""

    export: ExportDone
    seconds: float = 0.0


# --- tasks ----------------------------------------------------------------------------------------


class TaskSubmitted(NamedTuple):
    """A task went to the executor.

    Attributes:
        task: its number in this run.
        step: the step whose samples it takes: where its branch begins.
        samples: how many of them.
        memory_bytes: the working set that is estimated for it.
    """

    task: int
    step: str
    samples: int = 1
    memory_bytes: int = 0


class TaskFinished(NamedTuple):
    """A task came back.

    Attributes:
        status: `done`, `missing` (bytes of its own sample are gone: they are made again, and it is done again) or
            `broke` (a fault of the machine, of a worker, or an exception that has to be located).
        seconds: worker time.
        bytes_out: encoded bytes that it put into the store.
        worker: which one did it: HOST:PROCESS, and of several threads HOST:PROCESS:THREAD; empty where none had it.
    """

    task: int
    step: str
    samples: int = 1
    status: TaskStatus = "done"
    seconds: float = 0.0
    bytes_out: int = 0
    worker: str = ""


class Retried(NamedTuple):
    """The samples of a task are tried again; `attempt` counts from 2.

    Where a step broke and its worker tried it again (`resources.retries`), it is told when the task comes back.
    """

    task: int
    step: str
    samples: int
    attempt: int
    reason: str


class Bisected(NamedTuple):
    """A task broke and is split, to find the sample that is guilty and to keep the others."""

    task: int
    step: str
    samples: int
    reason: str


class BatchHalved(NamedTuple):
    """A model's batch did not fit the device; the same samples are tried again, fewer at once."""

    step: str
    size_before: int
    size_now: int
    reason: str


class WorkerLost(NamedTuple):
    """A worker process or node is gone; the tasks that it had are tried again.

    Attributes:
        worker: as of a task; empty where it went with its node.
    """

    worker: str
    reason: str
    tasks: tuple[int, ...] = ()


class AdmissionRefused(NamedTuple):
    """The next task has to wait. Announced once when a wait begins, not whenever somebody looks.

    Attributes:
        cause: `memory` (working sets in flight fill the budget) or `slots` (every worker has enough to do).
        wanted_bytes: the estimated working set of what waits.
        in_flight_bytes: those of the tasks that are out.
        budget_bytes: the most that these may add up to.
        tasks: how many are out.
    """

    cause: RefusalCause
    wanted_bytes: int = 0
    in_flight_bytes: int = 0
    budget_bytes: int = 0
    tasks: int = 0


class BudgetChanged(NamedTuple):
    """The bytes that may be in flight were changed, because the memory that is really used differs from estimates."""

    bytes_before: int
    bytes_now: int
    reason: str


# --- the machine ----------------------------------------------------------------------------------


class GpuSample(NamedTuple):
    """How busy one GPU is: `busy` from 0 to 1, and its memory, of all processes."""

    name: str
    busy: float
    memory_used_bytes: int
    memory_bytes: int


class MachineSampled(NamedTuple):
    """What the run uses of its machine, about once a second.

    Attributes:
        rss_bytes: of this process.
        workers_rss_bytes: of the processes below it.
        available_bytes: what may still be had, limits of the container honoured.
        cores_busy: cores that this process and those below it used since the last one.
        machine_busy: share of all cores of the machine that any process used since then, 0 to 1.
    """

    rss_bytes: int
    workers_rss_bytes: int
    available_bytes: int
    cores_busy: float
    gpus: tuple[GpuSample, ...] = ()
    machine_busy: float = 0.0


# --- what a person reads --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Note:
    """One line a user should read: waiting for another run, a journal rolled forward, a payload made again."""

    text: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The last event."""

    result: RunResult


Event = (
    RunStarted
    | ExecutorChosen
    | WorkersCounted
    | PhaseBegan
    | StepDecided
    | StepAdvanced
    | StepFinished
    | Decided
    | Quarantined
    | ExportPublished
    | TaskSubmitted
    | TaskFinished
    | Retried
    | Bisected
    | BatchHalved
    | WorkerLost
    | AdmissionRefused
    | BudgetChanged
    | MachineSampled
    | Note
    | RunEnded
)
