"""The journal of a run: everything that it announces, a JSON line an event, in a folder of its own under the cache."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Self, get_args

from forge_pipeline.disk import DISK, Disk
from forge_pipeline.events import (
    AdmissionRefused,
    Event,
    Note,
    RunEnded,
    RunResult,
    RunStarted,
    StepAdvanced,
    TaskSubmitted,
)
from forge_pipeline.machine import look_at_cores, look_at_memory
from forge_pipeline.report.meter import Meter

FOLDER = "runs"
FILE = "events.jsonl"
KEPT = 50
RUN_ID = re.compile(r"\d{8}T\d{6}Z-(\d{6,})")

_TICK_S = 1.0
_PENDING_MAX = 4096  # events that wait to be written: half a megabyte, should the writer fall behind


class Journal:
    """Writes down the events of a run; a second's worth at a time, in a thread of its own that wakes after a second.

    Never raises and never stops a run: a journal that cannot be written says so once, and is silent from then on.

    Args:
        cache: the cache's folder.
        tell: who is told, once, that the journal cannot be written.
        meter: asked once a second what the run uses of its machine.
    """

    def __init__(
        self,
        cache: Path,
        tell: Callable[[Event], None],
        meter: Meter | None = None,
        clock: Callable[[], float] = time.monotonic,
        disk: Disk = DISK,
    ) -> None:
        self._cache = cache
        self._tell = tell
        self._meter = meter or Meter()
        self._clock = clock
        self._disk = disk
        self._began = clock()
        self._pending: deque[tuple[float, Event]] = deque()
        self._writing = threading.Lock()
        self._stream: BinaryIO | None = None
        self._path = cache / FOLDER
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._refused = ""
        self._slots_told = False
        self._advanced_at: dict[str, float] = {}
        self._ended = False

    @property
    def meter(self) -> Meter:
        """What measures the run."""
        return self._meter

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: object) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        with self._writing:
            self._write_pending()
            if not self._ended and kind is not None:
                # Ended by what no report is told of: a second Ctrl-C, or a bug.
                said = " ".join(str(fault).split())
                self._write([_broken_line(self._since_start(), f"{kind.__name__}: {said}" if said else kind.__name__)])
            if self._stream is not None:
                self._stream.close()

    def announce(self, event: Event) -> None:
        """Take in one event of the run, from any thread."""
        if isinstance(event, RunStarted):
            self._begin(event)
            return
        now = self._since_start()
        if self._told_already(event, now):
            return
        self._pending.append((now, event))
        if len(self._pending) > _PENDING_MAX and self._writing.acquire(blocking=False):
            try:
                self._write_pending()
            finally:
                self._writing.release()

    def _told_already(self, event: Event, now: float) -> bool:
        match event:
            case AdmissionRefused():
                # A task that waits for a worker is how it should be: once a run shows that it happens.
                told = event.cause in (self._refused, self._slots_told and "slots")
                self._refused = event.cause
                self._slots_told |= event.cause == "slots"
                return told
            case TaskSubmitted():
                self._refused = ""
            case StepAdvanced():
                if now - self._advanced_at.get(event.step, -_TICK_S) < _TICK_S:
                    return True
                self._advanced_at[event.step] = now
        return False

    def _since_start(self) -> float:
        return self._clock() - self._began

    # --- beginning ------------------------------------------------------------------------------

    def _begin(self, event: RunStarted) -> None:
        runs = self._cache / FOLDER
        at = datetime.now(UTC)
        folder = runs / f"{at:%Y%m%dT%H%M%SZ}-{event.run:06d}"
        self._path = folder / FILE
        with self._writing:
            try:
                self._disk.mkdir(folder)
                self._disk.about_to("create", self._path)
                self._stream = open(self._path, "ab", buffering=0)  # noqa: SIM115 - closed in __exit__
                _hold(self._stream)
                forget_old(runs, self._disk)
            except OSError as error:
                self._give_up(error)
                return
            self._write([_started_line(self._since_start(), event, at)])
        self._thread = threading.Thread(target=self._tick, name="forge-journal", daemon=True)
        self._thread.start()

    # --- writing --------------------------------------------------------------------------------

    def _tick(self) -> None:
        while not self._closing.wait(_TICK_S):
            sampled = self._meter.sample()
            self._pending.append((self._since_start(), sampled))
            with self._writing:
                self._write_pending()

    def _write_pending(self) -> None:
        lines = []
        for _ in range(len(self._pending)):
            at, event = self._pending.popleft()
            if self._ended:  # by it a reader tells that a run has ended: a look at the machine may come too late
                continue
            self._ended |= isinstance(event, RunEnded)
            lines.append(event_line(at, event))
        self._write(lines)

    def _write(self, lines: list[str]) -> None:
        if self._stream is None or not lines:
            return
        try:
            self._disk.append(self._stream, self._path, "".join(lines).encode("ascii"))
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
        why = (error.strerror or str(error)).lower()
        self._tell(Note(f"{self._path}: the journal of this run could not be written: {why}"))


def event_line(at: float, event: Event) -> str:
    """Spell an event as a line: `t` in seconds since the run began, `event` its name, then its fields.

    The end of a run is spelled without what other lines have said: its exports, its failures.
    """
    if isinstance(event, RunEnded):
        return _line(at, "run_ended", _result_fields(event.result))
    return _line(at, EVENT_NAMES[type(event)], _fields(event))


def field_names(kind: type) -> tuple[str, ...]:
    """Name the fields of an event."""
    return tuple(kind._fields if issubclass(kind, tuple) else kind.__dataclass_fields__)  # type: ignore[attr-defined]


def forget_old(runs: Path, disk: Disk = DISK) -> None:
    """Delete all but the last journals; what is not a journal's folder stays."""
    for folder in journal_folders(runs)[:-KEPT]:
        disk.remove_tree(folder)


def journal_folders(runs: Path) -> list[Path]:
    """List the journals, oldest first: their names begin with the time, to the second, then the number in the index."""
    with contextlib.suppress(FileNotFoundError), os.scandir(runs) as listing:
        return [runs / name for name in sorted(entry.name for entry in listing) if RUN_ID.fullmatch(name)]
    return []


def _line(at: float, name: str, fields: Mapping[str, Any]) -> str:
    return _ENCODER.encode({"t": round(at, 4), "event": name, **fields}) + "\n"


def _started_line(at: float, event: RunStarted, now: datetime) -> str:
    facts = {
        "at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "host": os.uname().nodename if sys.platform != "win32" else os.environ.get("COMPUTERNAME", ""),
        "pid": os.getpid(),
        "cores": look_at_cores().usable,
        "memory_bytes": look_at_memory().usable_bytes,
    }
    return _line(at, "run_started", {**_fields(event), **facts})


def _broken_line(at: float, error: str) -> str:
    return _line(at, "run_broke", {"error": error})


def _result_fields(result: RunResult) -> dict[str, Any]:
    fields = _fields(result)
    del fields["recipe"], fields["exports"], fields["failures"]
    return fields


def _fields(value: Any) -> dict[str, Any]:
    return {name: _plain(getattr(value, name)) for name in field_names(type(value))}


def _plain(value: Any) -> Any:
    """Round a number; make a named tuple an object, which JSON would else write as an array."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, tuple):
        return _fields(value) if hasattr(value, "_fields") else [_plain(one) for one in value]
    return value


EVENT_NAMES = {kind: re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in get_args(Event)}
"""By class: `TaskFinished` is written as `task_finished`."""

_ENCODER = json.JSONEncoder(separators=(",", ":"), default=_fields)


# --- whether somebody still writes ----------------------------------------------------------------

if sys.platform != "win32":
    import fcntl


def _hold(stream: BinaryIO) -> None:
    """Mark a journal as being written; the system lets go when the process is gone, however it went."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_being_written(path: Path) -> bool:
    """Tell whether the run of a journal still goes on."""
    if sys.platform == "win32":
        return False
    try:
        with open(path, "rb") as stream:
            fcntl.flock(stream.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a journal; one that a crash cut off, or tore, is left out."""
    with open(path, "rb") as stream:
        for line in stream:
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict) and "event" in found:
                    yield found
