"""Libraries are held to one thread each while a run works, and have as many as before when it ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from forge_pipeline.executors.library_threads import VARIABLES, LibraryThreads
from forge_pipeline.machine import look_at_cores

# In a process of its own: threads of numba, once launched, are there for good.
IN_A_PROCESS = """
import os
import numpy
from forge_pipeline.executors.library_threads import LibraryThreads

def launch():
    import numba
    numba.njit(lambda values: values + 1, parallel=True)(numpy.zeros(8))
    print(numba.get_num_threads() == numba.config.NUMBA_DEFAULT_NUM_THREADS)

def compile_another():
    import numba
    print(os.environ.get('NUMBA_NUM_THREADS'), numba.njit(lambda value: value + 1)(1))

held = LibraryThreads()
"""
MANY = pytest.mark.skipif(look_at_cores().allowed == 1, reason="all numbers of threads are 1 here")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without any of the variables."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def output(code: str) -> str:
    code = f"{IN_A_PROCESS}{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_nobody_has_said_is_one_until_it_is_released(bare: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    threads = LibraryThreads()
    threads.hold()
    threads.hold()
    assert {name: os.environ[name] for name in VARIABLES} == {**dict.fromkeys(VARIABLES, "1"), "MKL_NUM_THREADS": "3"}
    threads.release()
    assert {name: os.environ[name] for name in VARIABLES if name in os.environ} == {"MKL_NUM_THREADS": "3"}


@MANY
def test_a_parallel_kernel_of_the_callers_breaks_nothing_that_a_run_compiles(bare: None) -> None:
    told = output("launch(); held.hold(); compile_another(); held.release(); compile_another()")
    assert told == "True\nNone 2\nNone 2\n"


@MANY
def test_a_parallel_kernel_of_a_run_breaks_nothing_that_the_caller_compiles(bare: None) -> None:
    told = output("held.hold(); launch(); compile_another(); held.release(); compile_another()")
    assert told == "False\n1 2\n1 2\n"
