"""A Python in which numba cannot be imported, asked function by function what it gives."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib import import_module
from types import TracebackType
from typing import Any

from forge_pipeline.errors import DataError

_SERVER = """
import sys, warnings
sys.modules["numba"] = sys.modules["llvmlite"] = None  # as if they were not there
warnings.simplefilter("error")
from tests.steps.bare import serve
serve()
"""


class Bare:
    """A process at the other end of a pipe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Bare:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()

    def ask(self, function: str, arguments: tuple[Any, ...]) -> Any:
        """Call `module:name` there; returns what `call` does."""
        assert self._process.stdin and self._process.stdout
        pickle.dump((function, arguments), self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)

    def ran(self) -> set[str]:
        """Name all functions that ran there, as `module:name`."""
        names: set[str] = self.ask("tests.steps.bare:_ran", ())
        return names


def call(function: str, arguments: tuple[Any, ...]) -> Any:
    """Call `module:name`; a refusal of data is an answer too."""
    module, name = function.split(":")
    try:
        return getattr(import_module(module), name)(*arguments)
    except DataError as error:
        return f"refused: {error}"


_seen: set[str] = set()


def _ran() -> set[str]:
    return _seen


def _see(frame: Any, event: str, argument: Any) -> None:
    if event == "call":
        _seen.add(f"{frame.f_globals.get('__name__')}:{frame.f_code.co_name}")


def serve() -> None:
    """Answer until the pipe is closed."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    while questions.peek(1):
        function, arguments = pickle.load(questions)
        sys.setprofile(_see)
        answer = call(function, arguments)
        sys.setprofile(None)
        pickle.dump(answer, answers)
        answers.flush()
