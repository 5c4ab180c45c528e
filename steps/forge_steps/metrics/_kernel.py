"""The one way in which this package compiles a loop: serial, strict IEEE, without the GIL, cached on disk; or not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from forge_pipeline.kernel_cache import place_kernel_cache

_Loop = TypeVar("_Loop", bound=Callable[..., Any])

# Compiling shorter than this is not worth a line.
_UNTOLD_S = 1.0


def _import_numba() -> Any:
    place_kernel_cache()
    try:
        import numba
        import numba.core.event
        import numba.extending
    except (ImportError, OSError) as error:  # OSError: it is there, and the LLVM that it loads is not
        _tell_of_numpy(f"numba cannot be imported ({error})", "pip install numba")
        return None
    if getattr(numba.config, "DISABLE_JIT", 0):
        _tell_of_numpy("numba compiles nothing (NUMBA_DISABLE_JIT is set)", "unset NUMBA_DISABLE_JIT")
        return None
    return numba


def _tell_of_numpy(why: str, hint: str) -> None:
    logging.getLogger("forge_steps").warning(
        "%s: kernels run in numpy, with the same pixels, 3 to 100 times slower; hint: %s", why, hint
    )


_numba = _import_numba()

COMPILED = _numba is not None
"""Whether kernels are compiled. Where numba cannot be used, other functions give the same bits more slowly."""


def kernel(loop: _Loop) -> _Loop:
    """Compile a loop on its first call; leave it as it is where numba cannot be imported.

    `fastmath` stays off, so that sums keep their order and no multiply-add is fused: the same bits whatever
    vector width the machine has. `error_model="numpy"` drops the division checks that keep loops from vectorising.
    """
    if _numba is None:
        return loop
    return cast(_Loop, _numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(loop))


def kernel_or(twin: _Loop) -> Callable[[_Loop], _Loop]:
    """Compile a loop as `kernel` does; where numba cannot be imported let its twin stand for it.

    Args:
        twin: the same operations in the same order on whole arrays of numpy, hence the same bits. Reductions of floats
            add step by step, as numpy's own `sum` hangs on the CPU; integers are widened before they are added, as
            numba does it unasked.
    """
    return kernel if COMPILED else lambda loop: twin


def intrinsic(generate: _Loop) -> _Loop:
    """Name a machine instruction to compiled loops by what generates it; nothing else may call it."""
    return generate if _numba is None else cast(_Loop, _numba.extending.intrinsic(generate))


def overload(function: Callable[..., Any]) -> Callable[[_Loop], _Loop]:
    """Let compiled loops call another function in place of `function`, inline, chosen by the types of its arguments."""
    return (lambda chosen: chosen) if _numba is None else _numba.extending.overload(function, inline="always")


class CompilationWatch:
    """Logs one line, to the logger `forge_steps`, when compiling kernels takes over a second; hears numba's events."""

    def __init__(self, untold_s: float = _UNTOLD_S) -> None:
        self._left_s = untold_s
        self._depth = 0
        self._since = 0.0
        self._timer = threading.Timer(0, self._tell)
        self._told = False

    def notify(self, event: Any) -> None:
        """Hear that numba begins or ends to compile a function; it does so in one thread at a time, nested."""
        self._depth += 1 if event.is_start else -1
        if event.is_start and self._depth == 1 and not self._told:
            self._since = time.monotonic()
            self._timer = threading.Timer(self._left_s, self._tell)
            self._timer.daemon = True
            self._timer.start()
        elif self._depth == 0:
            self._timer.cancel()
            self._left_s = max(0.0, self._left_s - (time.monotonic() - self._since))

    def _tell(self) -> None:
        self._told = True
        logging.getLogger("forge_steps").warning("compiling kernels, once for this version on this machine ...")


if _numba is not None:
    # It is made known as a listener by name: its class has to exist where numba cannot be imported, too.
    _numba.core.event.Listener.register(CompilationWatch)
    _numba.core.event.register("numba:compile", CompilationWatch())
