"""What a journal says of its run: how fast each step was, where the time went, and what held it up."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge_pipeline.report.journal import FILE, FOLDER, RUN_ID, is_being_written, journal_folders, read_lines

BEFORE = "before"
"""The phase before the first one that a run announces: the recipe is read and compiled, the cache opened."""

_TAIL_BYTES = 1 << 20  # the last line holds the counts of every step: 400 bytes each


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run in the list of runs.

    Attributes:
        id: the name of its journal.
        at: when it began, in UTC, as `2026-11-21T14:56:39Z`.
        status: `done`, `failed`, `interrupted`, `broke` (by a bug, or a second Ctrl-C), `running`, `cut off` (killed).
        steps_ran: steps in which something was done; None where the run did not get as far as to say so.
        steps_reused: the others.
        failures: samples that broke.
    """

    id: str
    recipe: str
    at: str
    status: str
    seconds: float
    steps_ran: int | None = None
    steps_reused: int | None = None
    failures: int | None = None


@dataclass(frozen=True, slots=True)
class StepStory:
    """How one step went.

    Attributes:
        images: those on which something ran.
        megapixels: of these.
        seconds: worker time.
        active_seconds: from the first sample that came in until the last was through.
        reused_whole: it was not walked.
        reasons: why it was walked.
        export: its work is done after that of all other steps.
    """

    use: str
    images: int = 0
    megapixels: float = 0.0
    seconds: float = 0.0
    active_seconds: float = 0.0
    entered: int = 0
    out: int = 0
    reused: int = 0
    failed: int = 0
    reused_whole: bool = False
    reasons: tuple[str, ...] = ()
    export: bool = False

    @property
    def images_per_s(self) -> float:
        """How many images came through in a second of the time in which the step was active."""
        return self.images / self.active_seconds if self.active_seconds else 0.0

    @property
    def megapixels_per_s(self) -> float:
        """The same in megapixels."""
        return self.megapixels / self.active_seconds if self.active_seconds else 0.0

    @property
    def seconds_per_image(self) -> float:
        """Worker time for one image."""
        return self.seconds / self.images if self.images else 0.0


@dataclass(frozen=True, slots=True)
class Story:
    """One run.

    Attributes:
        phases: seconds of each, in order; they add up to `seconds`.
        tasks: that came back.
        task_seconds: worker time of tasks that came back, by phase.
        workers: how many tasks ran at once, last.
        worker_seconds: that workers had, by phase: on a cluster their number changes.
        task_longest_s: worker time of the longest.
        waited_for_memory_s: while the next task was refused, until one was let in.
        deciding_seconds: of selects, in the scheduler's thread.
        publishing_seconds: of exports, in the scheduler's thread.
        cores_busy: mean while samples were walked and exports made; None where that was too short to be measured.
        machine_busy: the same of all cores and all processes, also those of others, as a share.
        gpu_busy: the same of the busiest GPU; None without one.
        available_least_bytes: the least memory that was still to be had; None as above.
        events: how often each event stands in the journal.
    """

    id: str
    recipe: str
    at: str
    status: str
    seconds: float
    error: str
    executor: str
    workers: int
    reason: str
    cores: int
    peak_rss_bytes: int
    budget_bytes: int
    steps: Mapping[str, StepStory]
    phases: Mapping[str, float]
    tasks: int
    task_seconds: Mapping[str, float]
    worker_seconds: Mapping[str, float]
    task_longest_s: float
    waited_for_memory_s: float
    deciding_seconds: Mapping[str, float]
    publishing_seconds: Mapping[str, float]
    cores_busy: float | None
    machine_busy: float | None
    gpu_busy: float | None
    available_least_bytes: int | None
    events: Mapping[str, int]

    def busy(self, *phases: str) -> float | None:
        """Return the share of the workers' time that tasks took while phases lasted; None where no task ran."""
        had = sum(self.worker_seconds.get(phase, 0.0) for phase in phases)
        used = sum(self.task_seconds.get(phase, 0.0) for phase in phases)
        return min(1.0, used / had) if had and used else None


def list_runs(cache: Path) -> list[RunLine]:
    """List the runs of a cache whose journals are kept, the newest first. Only their ends are read."""
    found = (_run_line(folder) for folder in reversed(journal_folders(cache / FOLDER)))
    return [line for line in found if line is not None]


def find_run(cache: Path, name: str) -> Path | None:
    """Return the folder of a run by its ID, its number in the index (the newest of that number), or `last`."""
    folders = journal_folders(cache / FOLDER)
    if name == "last":
        return folders[-1] if folders else None
    for folder in reversed(folders):
        numbered = RUN_ID.fullmatch(folder.name)
        if folder.name == name or (name.isdigit() and numbered and int(numbered[1]) == int(name)):
            return folder
    return None


def read_story(folder: Path) -> Story:
    """Read a journal."""
    reader = _Reader(folder)
    for line in read_lines(folder / FILE):
        reader.take(line)
    return reader.story()


def _run_line(folder: Path) -> RunLine | None:
    path = folder / FILE
    try:
        first = next(read_lines(path), None)
        last = _last_line(path)
    except OSError:
        return None
    if first is None or first["event"] != "run_started":
        return None
    status, counts = _status(path, last), last.get("steps")
    if last["event"] != "run_ended" or counts is None:
        return RunLine(folder.name, first["recipe"], first["at"], status, last["t"])
    ran = sum(1 for one in counts.values() if one["ran"] + one["measured"] + one["rebuilt"])
    failures = sum(one["failed"] for one in counts.values())
    return RunLine(folder.name, first["recipe"], first["at"], status, last["seconds"], ran, len(counts) - ran, failures)


def _last_line(path: Path) -> dict[str, Any]:
    with open(path, "rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        for line in reversed(stream.read().splitlines()):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict) and "event" in found:
                return found
    return {"t": 0.0, "event": ""}


def _status(path: Path, last: Mapping[str, Any]) -> str:
    if last["event"] == "run_ended":
        return str(last["status"])
    if last["event"] == "run_broke":
        return "broke"
    return "running" if is_being_written(path) else "cut off"


@dataclass
class _Step:
    use: str
    counts: dict[str, Any] = field(default_factory=dict)
    first_s: float | None = None
    last_s: float = 0.0
    walked: bool = True
    reasons: tuple[str, ...] = ()
    export: bool = True


class _Reader:
    """Adds up the lines of one journal."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[str, Any] = {}
        self._chosen: dict[str, Any] = {}
        self._workers = 1
        self._worker_seconds: defaultdict[str, float] = defaultdict(float)
        self._workers_since = 0.0
        self._last: dict[str, Any] = {"t": 0.0, "event": ""}
        self._steps: dict[str, _Step] = {}
        self._phase = BEFORE
        self._phase_began = 0.0
        self._phases: dict[str, float] = {}
        self._tasks = 0
        self._task_seconds: defaultdict[str, float] = defaultdict(float)
        self._task_longest_s = 0.0
        self._came_back_at = 0.0
        self._refused_at: float | None = None
        self._waited_s = 0.0
        self._deciding: Counter[str] = Counter()
        self._publishing: Counter[str] = Counter()
        self._cores_busy: list[float] = []
        self._machine_busy: list[float] = []
        self._gpu_busy: list[float] = []
        self._available: list[int] = []
        self._workers_peak = 0
        self._rss_peak = 0
        self._events: Counter[str] = Counter()
        self._takers: dict[str, Callable[[dict[str, Any]], None]] = {
            "run_started": self._take_start,
            "executor_chosen": self._take_choice,
            "workers_counted": self._take_workers,
            "phase_began": self._take_phase,
            "step_decided": self._take_decision,
            "step_advanced": self._take_counts,
            "step_finished": self._take_counts,
            "decided": lambda line: self._deciding.update({line["step"]: line["seconds"]}),
            "export_published": lambda line: self._publishing.update({line["export"]["step"]: line["seconds"]}),
            "task_submitted": self._take_submission,
            "task_finished": self._take_task,
            "admission_refused": self._take_refusal,
            "machine_sampled": self._take_sample,
        }

    def take(self, line: dict[str, Any]) -> None:
        """Take in one line."""
        self._events[line["event"]] += 1
        taker = self._takers.get(line["event"])
        if taker is not None:
            taker(line)
        # The first line is older than what was announced before the run had its number.
        if line["t"] >= self._last["t"]:
            self._last = line

    def story(self) -> Story:
        """Return what all lines say together."""
        last = self._last
        if last["event"] != "run_ended":
            self._count_what_is_out(last["t"])
        self._end_phase(last["t"])
        for step, counts in last.get("steps", {}).items() if last["event"] == "run_ended" else ():
            self._steps.setdefault(step, _Step(counts["use"])).counts = counts
        return Story(
            id=self._folder.name,
            recipe=self._started.get("recipe", ""),
            at=self._started.get("at", ""),
            status=_status(self._folder / FILE, last),
            seconds=last["t"],
            error=last.get("error", ""),
            executor=self._chosen.get("executor", ""),
            workers=self._workers,
            reason=self._chosen.get("reason", ""),
            cores=self._started.get("cores", 0),
            peak_rss_bytes=last.get("peak_rss_bytes", self._rss_peak),
            budget_bytes=self._chosen.get("memory_bytes", 0),
            steps={name: self._step_story(step) for name, step in self._steps.items()},
            phases=self._phases,
            tasks=self._tasks,
            task_seconds=dict(self._task_seconds),
            worker_seconds=dict(self._worker_seconds),
            task_longest_s=self._task_longest_s,
            waited_for_memory_s=self._waited_s,
            deciding_seconds=dict(self._deciding),
            publishing_seconds=dict(self._publishing),
            cores_busy=_mean(self._cores_busy),
            machine_busy=_mean(self._machine_busy),
            gpu_busy=_mean(self._gpu_busy),
            available_least_bytes=min(self._available, default=None),
            events=dict(self._events),
        )

    def _count_what_is_out(self, now: float) -> None:
        """Count the tasks that have not come back as work: since the last one did, as many as there are workers."""
        out = self._events["task_submitted"] - self._tasks
        since = now - max(self._came_back_at, self._phase_began)
        if out > 0:
            self._task_seconds[self._phase] += min(out, self._workers) * max(0.0, since)

    def _step_story(self, step: _Step) -> StepStory:
        counts = step.counts
        seconds = counts.get("seconds", 0.0)
        # Progress is told every 0.1 s at most: a quick step is over before it is told that it began.
        began = min(step.last_s if step.first_s is None else step.first_s, step.last_s - seconds / self._workers)
        return StepStory(
            use=step.use,
            images=counts.get("worked", 0),
            megapixels=counts.get("worked_pixels", 0) / 1e6,
            seconds=seconds,
            active_seconds=max(0.0, step.last_s - max(0.0, began)),
            entered=counts.get("entered", 0),
            out=counts.get("out", 0),
            reused=counts.get("reused", 0),
            failed=counts.get("failed", 0),
            reused_whole=not step.walked,
            reasons=step.reasons,
            export=step.export,
        )

    def _take_start(self, line: dict[str, Any]) -> None:
        self._started = line
        for step, use in line["steps"].items():
            self._steps.setdefault(step, _Step(use))

    def _take_choice(self, line: dict[str, Any]) -> None:
        self._chosen = line
        self._take_workers(line)

    def _take_workers(self, line: dict[str, Any]) -> None:
        self._count_workers_until(line["t"])
        self._workers = int(line["workers"]) or 1

    def _count_workers_until(self, at: float) -> None:
        self._worker_seconds[self._phase] += self._workers * max(0.0, at - self._workers_since)
        self._workers_since = max(at, self._workers_since)

    def _take_phase(self, line: dict[str, Any]) -> None:
        self._end_phase(line["t"])
        self._phase, self._phase_began = line["phase"], line["t"]

    def _end_phase(self, at: float) -> None:
        self._count_workers_until(at)
        self._phases[self._phase] = self._phases.get(self._phase, 0.0) + max(0.0, at - self._phase_began)

    def _take_decision(self, line: dict[str, Any]) -> None:
        step = self._steps[line["step"]]
        step.walked, step.reasons, step.export = line["walked"], tuple(line["reasons"]), False

    def _take_counts(self, line: dict[str, Any]) -> None:
        step = self._steps[line["step"]]
        step.counts, step.last_s = line["counts"], line["t"]
        if step.first_s is None:
            # An export hears of no sample before its phase begins.
            step.first_s = self._phase_began if self._phase == "exports" else line["t"]
        step.walked &= not line.get("reused_whole", False)

    def _take_submission(self, line: dict[str, Any]) -> None:
        if self._refused_at is not None:
            self._waited_s += line["t"] - self._refused_at
            self._refused_at = None

    def _take_refusal(self, line: dict[str, Any]) -> None:
        if line["cause"] == "memory":
            self._refused_at = line["t"]

    def _take_task(self, line: dict[str, Any]) -> None:
        self._tasks += 1
        self._came_back_at = line["t"]
        self._task_seconds[self._phase] += line["seconds"]
        self._task_longest_s = max(self._task_longest_s, line["seconds"])

    def _take_sample(self, line: dict[str, Any]) -> None:
        self._available.append(line["available_bytes"])
        self._rss_peak = max(self._rss_peak, line["rss_bytes"] + line["workers_rss_bytes"])
        if self._phase not in ("samples", "exports"):
            return
        if self._events["machine_sampled"] > 1:  # the first has nothing to be compared with
            self._cores_busy.append(line["cores_busy"])
            self._machine_busy.append(line["machine_busy"])
        if line["gpus"]:
            self._gpu_busy.append(max(gpu["busy"] for gpu in line["gpus"]))


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
