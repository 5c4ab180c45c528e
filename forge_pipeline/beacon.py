"""Where a worker is: it says which step of which task it is in, and how long that may take, for whoever watches it."""

from __future__ import annotations

import contextlib
import math
import mmap
import struct
import time
from collections.abc import Iterator
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


class _Entered(NamedTuple):
    """A step that was entered, and what it was entered from.

    `left_s` is what was left of its time when another was entered within it.
    """

    task: int
    step: str
    deadline_s: float
    left_s: float
    outer: _Entered | None


class Beacon:
    """Kept by a worker, read by another thread. Only a step's own time counts: what hangs below it has its own.

    What is entered is one value, put in place at once: a reader in another thread sees it whole. The clock is looked
    at only where a step has a limit.
    """

    def __init__(self) -> None:
        self._task = 0
        self._inner: _Entered | None = None

    @property
    def position(self) -> Position:
        """Where the worker is."""
        inner = self._inner
        return Position(self._task, "") if inner is None else Position(inner.task, inner.step, inner.deadline_s)

    def begin(self, task: int) -> None:
        """Say which task is being done."""
        self._task = task
        self._inner = None

    def end(self) -> None:
        """Say that the task is through."""
        self.begin(0)

    def enter(self, step: str, timeout_s: float | None) -> None:
        """Say which step is being done; a step entered within another stops the other's time."""
        outer = self._inner
        now = 0.0
        if timeout_s is not None or (outer is not None and outer.deadline_s != math.inf):
            now = time.monotonic()
        if outer is not None and outer.deadline_s != math.inf:
            outer = outer._replace(left_s=outer.deadline_s - now)
        deadline_s = math.inf if timeout_s is None else now + timeout_s
        self._inner = _Entered(self._task, step, deadline_s, math.inf, outer)

    def leave(self) -> None:
        """Say that the step that was entered last is through."""
        assert self._inner is not None
        outer = self._inner.outer
        if outer is not None and outer.left_s != math.inf:
            outer = outer._replace(deadline_s=time.monotonic() + outer.left_s)
        self._inner = outer

    @contextlib.contextmanager
    def within(self, step: str, timeout_s: float | None) -> Iterator[None]:
        """Enter a step, and leave it when the block ends."""
        self.enter(step, timeout_s)
        try:
            yield
        finally:
            self.leave()


class SharedBeacon(Beacon):
    """A beacon in a file in memory that another process reads: also after this one was killed."""

    def __init__(self, path: Path) -> None:
        self._record = _opened(path)
        path.unlink()  # the reader has it: whichever of both is killed now, no file is left behind
        self._written = 0
        super().__init__()

    def begin(self, task: int) -> None:
        """Say which task is being done."""
        super().begin(task)
        self._write()

    def enter(self, step: str, timeout_s: float | None) -> None:
        """Say which step is being done."""
        super().enter(step, timeout_s)
        self._write()

    def leave(self) -> None:
        """Say that the step that was entered last is through."""
        super().leave()
        self._write()

    def _write(self) -> None:
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
