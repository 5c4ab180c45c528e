"""Run `forge-run` in this process with a fault ordered for it: `driver.py ORDERS_AS_JSON RECIPE ...`.

A moment is one change to the store, the export or the lock (`Disk.about_to`), or one commit of the index, before it.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import Any

from forge_pipeline.cache import index_file
from forge_pipeline.cli.main import forge_run
from forge_pipeline.disk import Disk

_LOCK = threading.Lock()
_PAUSE_MAX_S = 60


def order(orders: dict[str, Any]) -> None:
    """Arrange faults.

    Args:
        orders:
            count: a file that gets one line a moment.
            kill: SIGKILL at that moment, counted from 1, or [operation, part of a path, number]: counted among those
                alone; a write is torn in its middle.
            full: from that moment on there is no space.
            pause: [operation, part of a path, file to wait for, file to make first]: a moment that takes its time.
            slow: [seconds, file to make first]: every task takes that much longer.
            rows: the index commits every so many rows, without waiting.
            pages: the index may not grow beyond so many pages.
            obey_modes: file modes count for root too.
            cv2_threads: OpenCV's threads.
            features: a file that is told which features of the processor the libraries used.
    """
    moments = _Moments(orders)
    Disk.about_to = lambda self, operation, path: moments.come(operation, path)  # type: ignore[method-assign]
    commit = index_file.IndexFile._commit

    def watched_commit(self: index_file.IndexFile, connection: sqlite3.Connection, rows: Any) -> None:
        if rows:
            moments.come("commit", self.path)
        if "pages" in orders:
            connection.execute(f"PRAGMA max_page_count = {orders['pages']}")
        commit(self, connection, rows)

    index_file.IndexFile._commit = watched_commit  # type: ignore[method-assign]
    if "rows" in orders:
        index_file._COMMIT_ROWS = orders["rows"]
    if "slow" in orders:
        _slow_down(*orders["slow"])
    if "obey_modes" in orders:
        _obey_modes()
    if "cv2_threads" in orders:
        import cv2

        cv2.setNumThreads(orders["cv2_threads"])


class _Moments:
    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders
        self._passed = 0
        self._killing = 0

    def come(self, operation: str, path: Path) -> None:
        with _LOCK:
            self._passed += 1
            number = self._passed
            ends = self._ends(operation, path)
        if "count" in self._orders:
            with open(self._orders["count"], "a") as stream:
                stream.write(f"{operation} {path}\n")
        if ends:
            if operation == "write":
                path.write_bytes(b"\x89PNG torn")
            os.kill(os.getpid(), signal.SIGKILL)
        if number >= self._orders.get("full", sys.maxsize) and operation in ("write", "create", "mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if "pause" in self._orders:
            wanted, part, release, begun = self._orders["pause"]
            if operation == wanted and part in str(path) and not Path(begun).exists():
                Path(begun).touch()
                until = time.monotonic() + _PAUSE_MAX_S
                while not Path(release).exists() and time.monotonic() < until:
                    time.sleep(0.01)

    def _ends(self, operation: str, path: Path) -> bool:
        kill = self._orders.get("kill")
        wanted, part, at = kill if isinstance(kill, list) else (operation, "", kill)
        self._killing += operation == wanted and part in str(path)
        return operation == wanted and part in str(path) and self._killing == at


def _slow_down(seconds: float, begun: str) -> None:
    from forge_pipeline import worker

    run_task = worker.run_task

    def slow_task(task: Any, bench: Any, beacon: Any) -> Any:
        Path(begun).touch()
        time.sleep(seconds)
        return run_task(task, bench, beacon)

    worker.run_task = slow_task  # type: ignore[assignment]


def _obey_modes() -> None:
    """Give up root's right to pass by the modes of files (and nothing else)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    data = (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    for place in (0, 1):  # effective, permitted
        data[place] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if libc.capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")


def tell_features(path: str) -> None:
    """Write down what numpy, OpenCV and numba chose among, and took."""
    import cv2
    from numba.core.codegen import get_host_cpu_features
    from numba.core.config import CPU_FEATURES
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    told = {
        "numpy": [name for name in __cpu_dispatch__ if __cpu_features__.get(name)],
        "opencv": cv2.getCPUFeaturesLine(),
        "numba": get_host_cpu_features() if CPU_FEATURES is None else CPU_FEATURES,
    }
    Path(path).write_text(json.dumps(told))


if __name__ == "__main__":
    orders = json.loads(sys.argv[1])
    order(orders)
    code = forge_run(sys.argv[2:])
    if "features" in orders:
        tell_features(orders["features"])
    sys.exit(code)
