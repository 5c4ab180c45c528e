"""What is measured: one input of one kernel, ours beside its peers, with the floors that the project has set itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Call = Callable[[], object]


class WrongAnswer(Exception):
    """A kernel whose answer is not what an independent reference says: it is not timed."""


@dataclass(frozen=True, slots=True)
class Case:
    """One input of one kernel.

    Attributes:
        kernel: its name in the table and for `--only`.
        input: what it is given, in words; with the kernel's name it identifies the case.
        ours: does the work once.
        check: raises WrongAnswer; called before anything is timed.
        peers: by name, each doing the same work once; only those that are installed.
        versions: of the peers that are other people's, by name.
        floors: how many times as long a peer must take, by the peer's name.
        at_most_ms: how long ours may take, where the floor is a time.
        sizes: what tells the bytes of each result, ours under `ours`, where they are compared too; called after the
            check.
        size_floors: how many times as large a peer's result must be, by the peer's name.
        slow: left out by `--quick`.
    """

    kernel: str
    input: str
    ours: Call
    check: Callable[[], None]
    peers: Mapping[str, Call]
    versions: Mapping[str, str] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    at_most_ms: float | None = None
    sizes: Mapping[str, Callable[[], float]] = field(default_factory=dict)
    size_floors: Mapping[str, float] = field(default_factory=dict)
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison in the table: ours beside one peer; the ratio is peer over ours, so more is better.

    Attributes:
        unit: of `ours` and `theirs`: `ms` and `s` (CPU time, for two or more workers wall time), `KB`, `MB`; `images/s`
            and `%` (where the ratio is ours over peer).
        floor: the least ratio that the project has set itself, None where the row is only told.
        comparable: whether the ratio means the same on another machine; a time limit does not.
        error: what is wrong: nothing was measured, and the command fails.
        missing: what is not there (a library), or a peer that does not work: nothing was measured, and ours is not to
            blame.
        note: what else was found, in words, beside the input; no part of the name, so it may differ from run to run.
    """

    kernel: str
    input: str
    peer: str
    unit: str
    ours: float = 0.0
    theirs: float = 0.0
    ratio: float = 0.0
    floor: float | None = None
    version: str = ""
    comparable: bool = True
    error: str = ""
    missing: str = ""
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the floor is reached; None where there is none, or nothing to judge."""
        return None if self.floor is None or self.missing else not self.error and self.ratio >= self.floor

    @property
    def name(self) -> str:
        """Identify the row in a baseline."""
        return f"{self.kernel} | {self.input} | {self.peer} | {self.unit}"
