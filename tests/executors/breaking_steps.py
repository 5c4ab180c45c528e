"""An operator that ends, hangs or slows the worker that runs it; copied beside a test's recipe."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from forge_pipeline.step import MACHINE, Child, Context, DataError, Params, Transform, operator


class BreakParams(Params):
    number: int = Field(default=-1, description="breaks where the first number is this one")
    how: str = Field(default="segv", description="segv, exit, kill, hang, sleep, refuse or raise")
    marks: Annotated[str, MACHINE] = Field(default="", description="a folder that gets a file for every attempt")
    times: Annotated[int, MACHINE] = Field(default=1000, description="so many attempts break")
    slow_s: Annotated[float, MACHINE] = Field(default=0.0, description="takes so long for every image")


@operator("break.down", version=1)
class Break(Transform):
    """Pass images on, but break at one."""

    Params = BreakParams
    libraries = ("numpy",)

    def apply(self, value: Any, context: Context) -> Iterator[Child]:
        first = int(value[0, 0, 0])
        time.sleep(self.params.slow_s)
        if first == self.params.number and self._attempt() <= self.params.times:
            self._break()
        yield Child(value)

    def _attempt(self) -> int:
        if not self.params.marks:
            return 0
        marks = Path(self.params.marks)
        (marks / f"{time.monotonic_ns()}-{os.getpid()}").touch()
        return len(list(marks.iterdir()))

    def _break(self) -> None:
        if self.params.how == "segv":
            ctypes.string_at(0)
        if self.params.how == "exit":
            os._exit(7)
        if self.params.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.params.how == "hang":
            ctypes.PyDLL(None).usleep(60_000_000)  # in native code, the GIL held
        if self.params.how == "sleep":
            time.sleep(60)
        if self.params.how == "refuse":
            raise DataError("refused", "it is refused")
        raise RuntimeError("nobody foresaw this")
