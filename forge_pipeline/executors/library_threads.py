"""Libraries' own threads, held to one for each worker: the scheduler alone owns the parallelism."""

from __future__ import annotations

import contextlib
import os
import sys

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
"""Of the environment: by which libraries are told how many threads they may have."""

ONE_EACH = dict.fromkeys(VARIABLES, "1")
"""What libraries read when they are loaded: the environment of a worker that is a process of its own."""

# OpenCV's word for its default number.
_CV2_DEFAULT = -1


class LibraryThreads:
    """Holds what is loaded, and by the environment what will be, to one thread each until it is released."""

    def __init__(self) -> None:
        self._release: contextlib.ExitStack | None = None

    def hold(self) -> None:
        """Hold them; once is enough."""
        if self._release is not None:
            return
        self._release = contextlib.ExitStack()
        for name, value in ONE_EACH.items():
            if name not in os.environ:
                self._release.callback(_set, name, None)
                _set(name, value)
        from threadpoolctl import threadpool_limits

        self._release.enter_context(threadpool_limits(1))
        cv2 = sys.modules.get("cv2")
        if cv2 is not None:
            self._release.callback(cv2.setNumThreads, cv2.getNumThreads())
            cv2.setNumThreads(1)
        else:  # it will be loaded within a task, and then has one; whoever uses it afterwards gets its default
            self._release.callback(_default_cv2)

    def release(self) -> None:
        """Let each library have as many as before."""
        release, self._release = self._release, None
        if release is not None:
            release.close()


def _set(name: str, value: str | None) -> None:
    if name == "NUMBA_NUM_THREADS" and sys.modules.get("numba") is not None:
        # It counts when it is loaded. Told another number afterwards it launches as many all the same, and where they
        # run already, refuses to compile anything more.
        return
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _default_cv2() -> None:
    cv2 = sys.modules.get("cv2")
    if cv2 is not None:
        cv2.setNumThreads(_CV2_DEFAULT)
