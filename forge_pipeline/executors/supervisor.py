"""What stands between a cluster's worker and the process that does the work: looks what is there, fetches the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from forge_pipeline.disk import disk_fault
from forge_pipeline.errors import EnvironmentFault
from forge_pipeline.executors.carried import Parcel
from forge_pipeline.executors.elsewhere import Outlook, Setting, file_stamp, look_around, machine_identity
from forge_pipeline.executors.elsewhere import unseen_side_file as unseen
from forge_pipeline.executors.process import WorkerProcess, WorkerSpec
from forge_pipeline.executors.scratch import in_use, new_scratch, sweep_scratches
from forge_pipeline.sample import Location
from forge_pipeline.task import Chunk, ChunkOutcome, InspectionTask, Outcome, Task

_FROM_FILES = ("file", "video")
"""Kinds of samples whose bytes are those of a source file."""


@dataclass(frozen=True, slots=True)
class Cargo:
    """Bytes that the run's machine sends along for those who cannot see them.

    Attributes:
        payloads: of the store, by digest; None where nobody asked for them.
        files: of sources, by location; None where nobody asked for them.
    """

    payloads: Mapping[str, bytes] | None = None
    files: Mapping[Location, bytes] | None = None


class Wants(NamedTuple):
    """The answer of a worker that cannot begin without cargo."""

    payloads: bool
    files: bool
    why: str


@dataclass(frozen=True, slots=True)
class Order:
    """A chunk on its way to a worker.

    Attributes:
        stamps: size and time of every source file that it reads, on the run's machine.
    """

    chunk: Chunk
    stamps: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def source_location(task: Task | InspectionTask) -> Location | None:
    """Return the source file that a task reads."""
    if isinstance(task, InspectionTask) or task.sample.kind not in _FROM_FILES:
        return None
    return task.sample.location


class Supervisor:
    """Lives as long as a cluster's worker serves one run; the work itself is done by a process of its own.

    So a crash in native code, a hang, a kill by the system cost a process that is replaced in a moment and tells in
    which step it was, as with the executor `processes`; the cluster's own worker stays.
    """

    def __init__(self, setting: Setting, host: str) -> None:
        self._host = host
        self._here = machine_identity() == setting.machine
        sweep_scratches()
        self._scratch = new_scratch()
        self._outlook: Outlook = look_around(setting, self._scratch / "imported")
        store = self._outlook.store if self._outlook.sees_store else None
        spec = WorkerSpec(store, self._outlook.index, dict(self._outlook.imported), setting.folder)
        self._process = WorkerProcess(spec)
        self._checked: set[str] = set()

    def run(self, order: Order, cargo: Callable[[], Cargo]) -> ChunkOutcome | Wants:
        """Do a chunk, or say what is missing for it.

        Args:
            cargo: fetches what was sent along; asked only where something cannot be seen from here.
        """
        chunk = order.chunk
        fault = self._outlook.refusal or self._unseen_file(chunk)
        if fault is not None:
            return _broken(chunk, fault)
        blind = not self._outlook.sees_store
        far = {path for path, stamp in order.stamps.items() if file_stamp(path) != stamp}
        sent = cargo() if blind or far else Cargo()
        wants = Wants(blind and sent.payloads is None, bool(far) and sent.files is None, self._why(blind, far))
        if wants.payloads or wants.files:
            return wants
        try:
            with self._unpacked() if self._outlook.sent or far else contextlib.nullcontext():
                tasks = tuple(_with_file(task, sent.files or {}, far, self._scratch) for task in chunk.tasks)
                payloads = sent.payloads or {}
                parcel = Parcel(chunk.number, tasks, payloads=payloads) if blind else replace(chunk, tasks=tasks)
                return self._told_from_here(self._process.run(parcel))
        except EnvironmentFault as error:
            return _broken(chunk, self._named(error))
        except OSError as error:
            return _broken(chunk, self._named(disk_fault(error, self._scratch)))

    def close(self) -> None:
        """End the process behind it."""
        self._process.close()

    def _told_from_here(self, outcome: ChunkOutcome) -> ChunkOutcome:
        """Name this machine in a fault that a task met: at the run's end nobody else can say whose disk is full."""
        if self._here:
            return outcome
        faults = [one.fault for one in outcome.outcomes]
        named = (self._named(fault) if isinstance(fault, EnvironmentFault) else fault for fault in faults)
        outcomes = tuple(one._replace(fault=fault) for one, fault in zip(outcome.outcomes, named, strict=True))
        return replace(outcome, outcomes=outcomes)

    def _named(self, fault: EnvironmentFault) -> EnvironmentFault:
        """Say on which machine it was."""
        return EnvironmentFault(f"ray: on {self._host}: {fault.message}", fault.hint)

    @contextlib.contextmanager
    def _unpacked(self) -> Iterator[None]:
        """Have a folder with what was sent along, for one chunk: Ray ends its workers without a word between chunks."""
        with in_use(self._scratch):
            for path, data in self._outlook.sent.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            yield

    def _unseen_file(self, chunk: Chunk) -> EnvironmentFault | None:
        if self._here:
            return None
        faults = (unseen(task, self._checked) for task in chunk.tasks)
        return next((fault for fault in faults if fault is not None), None)

    def _why(self, blind: bool, far: set[str]) -> str:
        if blind:
            return f"{self._host} does not see the store ({self._outlook.why}): images travel with their tasks"
        return f"{self._host} does not see {min(far)}: source files travel with their tasks" if far else ""


def _broken(chunk: Chunk, fault: EnvironmentFault) -> ChunkOutcome:
    return ChunkOutcome(chunk.number, (Outcome(chunk.tasks[0].number, fault=fault),))


def _with_file(
    task: Task | InspectionTask, files: Mapping[Location, bytes], far: set[str], folder: Path
) -> Task | InspectionTask:
    """Let a task find the bytes that were sent for it."""
    location = source_location(task)
    if location is None or location.path not in far or location not in files:
        return task
    assert isinstance(task, Task)
    # Some operators tell formats by suffix; a member of an archive is an ordinary file here.
    path = folder / f"{task.number}{PurePosixPath(location.member or location.path).suffix}"
    path.write_bytes(files[location])
    return task._replace(sample=replace(task.sample, location=Location(str(path))))
