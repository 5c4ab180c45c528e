"""Is an executor there? One that is not, or whose library is not installed, is told as missing and judged by nobody."""

from __future__ import annotations

from benchmarks.end_to_end.processes import CommandFailed

_WHY = {
    2: "this version has no such executor",
    3: "its library is not installed",
}


def why_missing(executor: str, failed: CommandFailed) -> str:
    """Say why a run with an executor was refused; raises the failure where it has another cause."""
    if failed.code not in _WHY:
        raise failed
    return f"not measured: `{executor}`: {_WHY[failed.code]}"
