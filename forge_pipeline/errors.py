"""Every error a user can meet: one tree, each with its exit code and at most one hint that can be typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_WRONG = 2
EXIT_ENVIRONMENT = 3
EXIT_INTERRUPTED = 130


class ForgeError(Exception):
    """Base of all errors that are told to a user without a traceback.

    Args:
        message: `where: what is wrong, with the value found and the one expected`, in lower case.
        hint: one thing that can be typed to mend it, or an empty string.
    """

    exit_code = EXIT_FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message + (f"\n  hint: {self.hint}" if self.hint else "")


class CommandError(ForgeError):
    """The command line, or a path that it names, is wrong."""

    exit_code = EXIT_WRONG


class RunFailed(ForgeError):
    """The run ended without publishing: the error budget is spent or a step was told to stop."""


class FrozenDiffers(ForgeError):
    """`--frozen` was given and the result would not be the one that the lock names."""


class EnvironmentFault(ForgeError):
    """The machine does not let us: disk full, no permission, a missing extra. Never cached."""

    exit_code = EXIT_ENVIRONMENT


class CacheLocked(EnvironmentFault):
    """Another run holds the cache and we were told not to wait."""


class PublicationError(ForgeError):
    """An export cannot be published without touching what is not ours."""


class BrokenPromise(ForgeError):
    """Something the engine or an operator promised did not hold."""

    def __str__(self) -> str:
        return super().__str__() + "\n  [this is a bug]"


class NondeterministicOperator(BrokenPromise):
    """One action key gave two results."""


class DataError(ForgeError):
    """This sample cannot be used: its bytes, shape or mode. A result like any other, and cached.

    Args:
        reason: a short slug that reports count by, such as `truncated` or `unsupported_mode`.
        message: the whole sentence.
        hint: one thing that can be typed, or an empty string.
    """

    def __init__(self, reason: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.args = (reason, message, hint)
        self.reason = reason


class TooLarge(ForgeError):
    """This sample needs more memory than this machine, or its device, has: another machine may do it. Never cached."""


class Reject(ForgeError):
    """This sample is dropped on purpose. Not a failure: it never counts against `max_errors`.

    Args:
        reason: a short slug that reports count by, such as `small` or `low_complexity`.
        values: the measured values that led to it; JSON types only.
    """

    def __init__(self, reason: str, values: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.values = dict(values or {})
        self.args = (reason, self.values)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a recipe's text. Lines and columns count from 1; column 0 means the whole line."""

    file: str
    line: int = 0
    column: int = 0
    source_line: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a recipe, with the place to look at."""

    where: Where
    message: str
    hint: str = ""

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.message}"]
        if self.where.source_line:
            lines.append(f"    {self.where.source_line}")
            if self.where.column:
                # A tab stays a tab, so that the caret stands under its column in every terminal.
                before = self.where.source_line[: self.where.column - 1]
                lines.append("    " + "".join("\t" if c == "\t" else " " for c in before) + "^")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class RecipeError(ForgeError):
    """Everything wrong with a recipe at once, sorted by place."""

    exit_code = EXIT_WRONG
    partial: Any = None
    """What could be read of the recipe all the same, so that its operators can be checked in the same breath."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.where.file, p.where.line, p.where.column, p.message)))
        super().__init__("\n".join(str(problem) for problem in self.problems))
        self.args = (self.problems,)


class ProfileError(RecipeError):
    """Everything wrong with a machine's profile at once, sorted by place."""
