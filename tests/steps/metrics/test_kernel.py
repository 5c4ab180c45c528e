"""Compiling kernels is told once it takes over a second, and not before."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from forge_steps.metrics._kernel import CompilationWatch

LINE = "compiling kernels, once for this version on this machine ..."


def _compile(watch: CompilationWatch, seconds: float, nested: int = 0) -> None:
    watch.notify(SimpleNamespace(is_start=True))
    for _ in range(nested):
        watch.notify(SimpleNamespace(is_start=True))
        watch.notify(SimpleNamespace(is_start=False))
    time.sleep(seconds)
    watch.notify(SimpleNamespace(is_start=False))


def test_one_line_tells_of_a_long_compilation_while_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    watch = CompilationWatch(untold_s=0.02)
    watch.notify(SimpleNamespace(is_start=True))
    time.sleep(0.3)
    assert caplog.record_tuples == [("forge_steps", logging.WARNING, LINE)]
    watch.notify(SimpleNamespace(is_start=False))
    _compile(watch, 0.1)
    assert len(caplog.records) == 1


def test_many_short_compilations_add_up(caplog: pytest.LogCaptureFixture) -> None:
    watch = CompilationWatch(untold_s=0.4)
    for _ in range(10):
        _compile(watch, 0.06, nested=2)
    assert caplog.messages == [LINE]


def test_a_short_compilation_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    _compile(CompilationWatch(untold_s=0.3), 0.01, nested=3)
    time.sleep(0.4)
    assert caplog.messages == []


def test_without_numba_a_kernel_is_the_function_itself_or_its_twin() -> None:
    script = (
        "import sys; sys.modules['numba'] = None  # as if it were not there\n"
        "from forge_steps.metrics._kernel import COMPILED, kernel, kernel_or\n"
        "print(COMPILED, kernel(len) is len, kernel_or(max)(len) is max)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]


@pytest.mark.parametrize("error", ["OSError('no libllvmlite.so')", "ImportError('Numba needs NumPy 2.4 or less')"])
def test_a_numba_that_does_not_load_is_told_and_done_without(tmp_path: Path, error: str) -> None:
    (tmp_path / "numba.py").write_text(f"raise {error}\n")
    script = "from forge_steps.metrics._kernel import COMPILED; print(COMPILED)"
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert done.stderr == (
        f"numba cannot be imported ({error.split(chr(39))[1]}): kernels run in numpy, with the same pixels, 3 to 100 "
        "times slower; hint: pip install numba\n"
    )
