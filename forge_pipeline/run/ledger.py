"""What one step has done so far: its counts, its dataset, and whether its error budget holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from forge_pipeline.compiled import Node
from forge_pipeline.events import StepCounts

# What is kept of the counts with a dataset, for the run that reuses it whole.
_KEPT = ("entered", "out", "failed")


@dataclass
class Ledger:
    """The growing account of a step."""

    node: Node
    dataset: int = 0
    same_before: int = 0
    """An earlier run's dataset of the same rows, where the step is walked again only for its images."""
    walked: bool = True
    complete: bool = False
    lasting: bool = True
    reasons: tuple[str, ...] = ()
    entered: int = 0
    out: int = 0
    ran: int = 0
    reused: int = 0
    measured: int = 0
    failed: int = 0
    rebuilt: int = 0
    seconds: float = 0.0
    bytes_out: int = 0
    worked: int = 0
    worked_pixels: int = 0
    rows_digest: str = ""
    rejects_digest: str = ""
    inputs_digest: str = ""
    dropped: Counter[str] = field(default_factory=Counter)
    partial: Counter[str] = field(default_factory=Counter)
    actions: int = 0
    """All actions and measures looked at, run or not: what a run that reuses the step whole reports as reused."""
    inspected: int = 0
    """Rows of an export that were inspected in this run before it came to the export."""
    planned: int = 0
    """Actions that a dry run found to be done."""
    unknown_until: str = ""

    def counts(self) -> StepCounts:
        """Return the account so far."""
        return StepCounts(
            use=self.node.use,
            entered=self.entered,
            out=self.out,
            ran=self.ran,
            reused=self.reused,
            measured=self.measured,
            dropped=dict(sorted(self.dropped.items())),
            failed=self.failed,
            partial=dict(sorted(self.partial.items())),
            rebuilt=self.rebuilt,
            seconds=round(self.seconds, 6),
            bytes_out=self.bytes_out,
            worked=self.worked,
            worked_pixels=self.worked_pixels,
            digest=self.rows_digest,
        )

    def work_on(self, headers: Iterable[Mapping[str, Any]]) -> None:
        """Count images that a worker did something with."""
        for header in headers:
            self.worked += 1
            self.worked_pixels += int(header.get("width") or 0) * int(header.get("height") or 0)

    def kept(self) -> dict[str, Any]:
        """Return what is kept with the dataset."""
        return {
            **{name: getattr(self, name) for name in _KEPT},
            "dropped": dict(self.dropped),
            "partial": dict(self.partial),
            "actions": self.actions,
            "rejects": self.rejects_digest,
            "bytes": self.bytes_out,
            "seconds": self.seconds,
            "ran": self.ran + self.measured,
        }

    def reuse_whole(self, dataset: int, rows_digest: str, kept: dict[str, Any]) -> None:
        """Take over the account of an earlier run's dataset."""
        self.dataset, self.rows_digest, self.walked, self.complete = dataset, rows_digest, False, True
        for name in _KEPT:
            setattr(self, name, kept[name])
        self.dropped = Counter(kept["dropped"])
        self.partial = Counter(kept.get("partial", {}))  # absent in caches older than this count
        self.actions = self.reused = kept["actions"]
        self.rejects_digest = kept["rejects"]

    def over_budget(self) -> str:
        """Say how the error budget is exceeded, or return an empty string."""
        if not self.failed:
            return ""
        from forge_pipeline.recipe.resolved import MaxErrors

        budget = MaxErrors(self.node.max_errors_count, self.node.max_errors_share)
        if budget.allows(self.failed, self.entered):
            return ""
        allowed = budget.most(self.entered)
        return f"{self.failed} of {self.entered} samples failed, `max_errors: {budget}` allows {allowed}"
