"""One worker that is a process: started when it is first needed, replaced when it dies, killed when it hangs."""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from forge_pipeline.beacon import BeaconReader, Position
from forge_pipeline.cache.store import StoreSpec
from forge_pipeline.disk import disk_fault
from forge_pipeline.errors import EnvironmentFault, ForgeError
from forge_pipeline.executors.library_threads import ONE_EACH
from forge_pipeline.task import Chunk, ChunkOutcome, Outcome, Whereabouts
from forge_pipeline.worker import worker_name

# How often a worker that has a step with a time limit is looked at.
_LOOK_EVERY_S = 0.1
# A process that ends before it has done anything, so often in a row, will not do better.
_STARTS_MAX = 3
# By whom is unknown: a system short of memory, or a person. It costs a start each time, and may pass.
_KILLS_MAX = 20
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a process needs to become a worker: plain values only.

    Attributes:
        store: how the store of payloads is opened; None where payloads are carried.
        index: the index on this machine, to look up what was not sent along; None where it cannot be reached.
        imported: where files that the recipe imports lie here, by the path that the recipe gives.
        folder: where it works, for relative paths; empty for where this process does.
    """

    store: StoreSpec | None
    index: str | None = None
    imported: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""


class WorkerProcess:
    """A process that does one chunk at a time. For one thread."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._pool: Any = None
        self._processes: list[Any] = []
        self._starts = 0
        """How often in a row it ended by itself before it had done anything."""
        self._kills = 0
        """How often in a row it was killed before it had done anything."""
        self._beacon: BeaconReader
        """Of the process that was started last."""
        self._beacon_path: Path | None = None
        """Its file, until the process has it too."""

    def begin(self) -> None:
        """Start the process before there is work for it, and let it import what every worker needs.

        Raises:
            EnvironmentFault: no process can be started.
        """
        self._start()
        self.prepare([])

    def prepare(self, modules: Iterable[str]) -> None:
        """Let a process that was begun import what its work will need; what breaks in it breaks again at the work."""
        from joblib.externals.loky.process_executor import BrokenProcessPool

        if self._pool is not None:
            with contextlib.suppress(BrokenProcessPool):
                self._pool.submit(_prepare, sorted(modules))
                self._processes = list(self._pool._processes.values()) or self._processes

    def run(self, chunk: Chunk) -> ChunkOutcome:
        """Let the process do a chunk.

        Raises:
            EnvironmentFault: no process can be started.
        """
        packed = pickle.dumps(chunk, pickle.HIGHEST_PROTOCOL)
        while (outcome := self._try(chunk, packed)) is None:
            pass
        return outcome

    def _try(self, chunk: Chunk, packed: bytes) -> ChunkOutcome | None:
        """Do a chunk; None where the process was killed before it had begun: that is no matter of the chunk."""
        from joblib.externals.loky.process_executor import BrokenProcessPool

        if self._pool is None:
            self._start()
        expired: Position | None = None
        try:
            future = self._pool.submit(_work, packed)
            # Kept here: the pool forgets them when it breaks, and with them how they ended.
            self._processes = list(self._pool._processes.values()) or self._processes
            while True:
                try:
                    outcome: ChunkOutcome = pickle.loads(future.result(timeout=_LOOK_EVERY_S))
                    self._starts = self._kills = 0
                    return outcome
                except NotYet:
                    position = self._beacon.read()
                    if time.monotonic() > position.deadline_s:
                        expired = position
                        self.kill()
        except BrokenProcessPool:
            return self._lost(chunk, expired)

    def kill(self) -> None:
        """End the process at once."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        self._remove_beacon()

    def close(self) -> None:
        """End the process, which must have done what it was to do."""
        if self._pool is not None:
            # It has nothing to do, and nothing to say: to let it clear up its libraries takes tenths of a second.
            self._pool.shutdown(wait=True, kill_workers=True)
            self._pool = None
        self._remove_beacon()

    def _start(self) -> None:
        from joblib.externals.loky.backend import get_context
        from joblib.externals.loky.process_executor import ProcessPoolExecutor

        self._starts += 1
        if self._starts > _STARTS_MAX:
            raise EnvironmentFault(
                f"a worker process ended {_STARTS_MAX} times before it had done anything",
                "forge doctor, or --executor threads",
            )
        self._remove_beacon()
        self._beacon_path, self._beacon = _new_beacon()
        # 'loky' starts a new interpreter, as spawn does, but never imports the caller's own script in it.
        context = get_context("loky")
        # A pool of one: when a process dies, its chunk alone is lost, and which one that was is known.
        self._pool = ProcessPoolExecutor(
            1,
            context=context,
            initializer=_begin,
            initargs=(self._spec, str(self._beacon_path), os.getpid()),
            env=dict(ONE_EACH),
        )

    def _remove_beacon(self) -> None:
        """Remove the file of a process that ended before it had it."""
        path, self._beacon_path = self._beacon_path, None
        if path is not None:
            path.unlink(missing_ok=True)

    def _lost(self, chunk: Chunk, expired: Position | None) -> ChunkOutcome | None:
        position = self._beacon.read()
        broken, self._pool = self._pool, None
        broken.shutdown(wait=True, kill_workers=True)
        codes = [process.exitcode for process in self._processes]
        worker = worker_name(self._processes[-1].pid) if self._processes else ""
        if position.task and position.step:
            self._starts = self._kills = 0  # it had begun to work: what it did is to blame, not its start
        if expired is not None:
            at = Whereabouts(expired.task, expired.step)
            return ChunkOutcome(chunk.number, lost="took too long", expired=True, at=at, worker=worker)
        code = next((code for code in codes if code), None)
        if code == -signal.SIGKILL and not position.task:
            self._starts -= 1
            self._kills += 1
            if self._kills >= _KILLS_MAX:
                raise EnvironmentFault(
                    f"a worker process was killed {_KILLS_MAX} times before it had done anything",
                    "fewer --workers, where memory is short: `forge doctor` tells what there is",
                )
            return None
        at_step = Whereabouts(position.task, position.step) if position.task else None
        killed = code == -signal.SIGKILL
        return ChunkOutcome(chunk.number, lost=_end(code), killed=killed, at=at_step, worker=worker)


def _new_beacon() -> tuple[Path, BeaconReader]:
    """Make the file in which a process tells where it is: in memory, or on disk where that is full or not there.

    Raises:
        EnvironmentFault: neither takes it.
    """
    refused = OSError()
    for folder in (_SHARED_MEMORY, Path(tempfile.gettempdir())):
        path = folder / f"forge-beacon-{os.getpid()}-{uuid.uuid4().hex}"
        try:
            return path, BeaconReader(path)
        except OSError as error:
            refused = error
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    raise disk_fault(refused, path) from refused


def _end(code: int | None) -> str:
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


# --- in the process -------------------------------------------------------------------------------

_WORKPLACE: Any = None
_UNFIT: EnvironmentFault | None = None
"""Why this process could not become a worker."""


def _begin(spec: WorkerSpec, beacon: str, parent: int) -> None:
    """Make this process a worker."""
    global _WORKPLACE, _UNFIT
    from joblib.externals.loky import process_executor

    from forge_pipeline.executors.workplace import end_with

    # A big image is no leak: loky would replace the process after 300 MB of growth, and look at all processes of the
    # machine every second to know. The run watches memory itself.
    process_executor._MAX_MEMORY_LEAK_SIZE = process_executor._MEMORY_LEAK_CHECK_DELAY = float("inf")
    # Ctrl-C reaches every process of the terminal, and a batch system's SIGTERM every process of the job; what they
    # mean is for the run to say. An orphan ends by itself.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end_with(parent)
    try:
        _WORKPLACE = _workplace(spec, beacon)
    except ForgeError as error:
        _UNFIT = EnvironmentFault(f"a worker process could not begin: {error.message}", error.hint)
    except Exception as error:  # noqa: BLE001 - raised here, it would end this process, and nobody would hear of it
        what = error if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        _UNFIT = EnvironmentFault(f"a worker process could not begin: {what}", "forge doctor, or --executor threads")


def _workplace(spec: WorkerSpec, beacon: str) -> Any:
    from forge_pipeline.beacon import SharedBeacon
    from forge_pipeline.executors.workplace import Workplace

    if spec.folder and Path(spec.folder).is_dir():
        os.chdir(spec.folder)
    return Workplace(spec.store, spec.index, SharedBeacon(Path(beacon)), spec.imported)


def _prepare(modules: Sequence[str]) -> None:
    """Import modules, and what they import late in their own package, while nothing else is to be done."""
    from forge_pipeline.fingerprint import import_closure
    from forge_pipeline.kernel_cache import ready_compiler
    from forge_pipeline.registry import Codecs

    for module in modules or Codecs().modules():
        for name in import_closure(module).files:
            if ":" not in name:  # the others are data
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
    ready_compiler()


def _work(packed: bytes) -> bytes:
    chunk = pickle.loads(packed)
    if _UNFIT is not None:
        return pickle.dumps(ChunkOutcome(chunk.number, (Outcome(chunk.tasks[0].number, fault=_UNFIT),)))
    outcome = _WORKPLACE.run(chunk)
    try:
        return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001 - a fault that cannot travel must be told all the same
        faults = [one.fault for one in outcome.outcomes if one.fault is not None]
        fault = EnvironmentFault(f"a worker met {faults or 'something'} and could not send it back: {error}")
        return pickle.dumps(replace(outcome, outcomes=(outcome.outcomes[-1]._replace(visit=None, fault=fault),)))
