"""Where a worker is: it says which step of which task it is in, and how long that may take, for whoever watches it."""

from __future__ import annotations

import contextlib
import math
import mmap
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_STEP_BYTES = 240
_RECORD = struct.Struct(f"<qqd{_STEP_BYTES}s")
# A reader that meets a writer tries again; writing takes microseconds.
_READINGS = 100


class Position(NamedTuple):
    """A task, a step in it (empty between steps), and until when (monotonic seconds) that step may take."""

    task: int
    step: str
    deadline_s: float = math.inf


NOWHERE = Position(0, "")


@dataclass
class _Entered:
    step: str
    left_s: float
    since_s: float


class Beacon:
    """Kept by a worker, read by another thread. Only a step's own time counts: what hangs below it has its own."""

    def __init__(self) -> None:
        self.position = NOWHERE
        self._task = 0
        self._entered: list[_Entered] = []

    @contextlib.contextmanager
    def task(self, number: int) -> Iterator[None]:
        """Say which task is being done."""
        self._task = number
        self._entered.clear()
        self._tell()
        try:
            yield
        finally:
            self._task = 0
            self._entered.clear()
            self._tell()

    def within(self, step: str, timeout_s: float | None) -> _Within:
        """Say which step is being done; a step entered within another's stops the other's time."""
        return _Within(self, step, math.inf if timeout_s is None else timeout_s)

    def _enter(self, step: str, left_s: float) -> None:
        now = time.monotonic()
        if self._entered:
            outer = self._entered[-1]
            outer.left_s -= now - outer.since_s
        self._entered.append(_Entered(step, left_s, now))
        self._tell()

    def _leave(self) -> None:
        self._entered.pop()
        if self._entered:
            self._entered[-1].since_s = time.monotonic()
        self._tell()

    def _tell(self) -> None:
        if self._entered:
            inner = self._entered[-1]
            self.position = Position(self._task, inner.step, inner.since_s + inner.left_s)
        else:
            self.position = Position(self._task, "")


class _Within:
    """A class and no generator: it is entered four times a sample, and a generator takes three times as long."""

    __slots__ = ("_beacon", "_left_s", "_step")

    def __init__(self, beacon: Beacon, step: str, left_s: float) -> None:
        self._beacon, self._step, self._left_s = beacon, step, left_s

    def __enter__(self) -> None:
        self._beacon._enter(self._step, self._left_s)

    def __exit__(self, *error: object) -> None:
        self._beacon._leave()


class SharedBeacon(Beacon):
    """A beacon in a file in memory that another process reads: also after this one was killed."""

    def __init__(self, path: Path) -> None:
        self._record = _opened(path)
        path.unlink()  # the reader has it: whichever of both is killed now, no file is left behind
        self._written = 0
        super().__init__()

    def _tell(self) -> None:
        super()._tell()
        task, step, deadline_s = self.position
        name = step.encode()[:_STEP_BYTES]
        # An odd number while it is being written: a reader takes only what stands under one even number.
        self._record[:8] = struct.pack("<q", self._written + 1)
        self._written += 2
        self._record[8 : _RECORD.size] = _RECORD.pack(self._written, task, deadline_s, name)[8:]
        self._record[:8] = struct.pack("<q", self._written)


class BeaconReader:
    """Reads the beacon of another process; makes the file, which that process removes."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(_RECORD.size))
        self._record = _opened(path)

    def read(self) -> Position:
        """Return where that process is, or was when it ended."""
        for _ in range(_READINGS):
            before = bytes(self._record[: _RECORD.size])
            if before == bytes(self._record[: _RECORD.size]) and _RECORD.unpack(before)[0] % 2 == 0:
                break
        _, task, deadline_s, name = _RECORD.unpack(before)
        return Position(task, name.rstrip(b"\0").decode(errors="replace"), deadline_s or math.inf)


def _opened(path: Path) -> mmap.mmap:
    with open(path, "r+b") as stream:
        return mmap.mmap(stream.fileno(), _RECORD.size)
