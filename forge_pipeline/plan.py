"""What a run would do, and why, before it does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from forge_pipeline.compiled import Node
from forge_pipeline.executors.choose import Choice
from forge_pipeline.run.exports import Exporter
from forge_pipeline.run.scheduler import Scheduler
from forge_pipeline.task import stores

State = Literal["reused", "to run", "unknown"]

# For an operator that never ran here: the median of our own at a photograph of two megapixels.
_UNSEEN_ACTION_S = 0.05
_UNSEEN_IMAGE_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What would happen to one step.

    Attributes:
        state: `reused`, `to run`, or `unknown` (until the step `until` has run).
        reasons: what differs from the last run.
        actions: how many are known to run; None where that cannot be known yet.
    """

    step: str
    use: str
    state: State
    until: str
    reasons: tuple[str, ...]
    actions: int | None


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What a run would do, and where; `seconds` of worker time and `bytes` of disk are estimates."""

    rows: tuple[PlanRow, ...]
    seconds: float | None
    bytes: int | None
    choice: Choice


def report(scheduler: Scheduler, exporter: Exporter, choice: Choice) -> PlanReport:
    """Read off a dry run what a real one would do."""
    rows = []
    estimate = _Estimate(scheduler)
    for node in scheduler.graph.nodes:
        if node.shape == "export" and not scheduler.settings.decides:
            continue
        row = _export_row(scheduler, exporter, node) if node.shape == "export" else _row(scheduler, node)
        estimate.add(node, row)
        rows.append(row)
    return PlanReport(tuple(rows), round(estimate.seconds, 1), estimate.bytes, choice)


def _row(scheduler: Scheduler, node: Node) -> PlanRow:
    ledger = scheduler.ledgers[node.id]
    if node.shape == "source" and ledger.walked:
        # Only now is it known which of the files that were touched have changed.
        ledger.reasons = scheduler.opening.step_decision(node, known=False).reasons
    if ledger.planned:
        return PlanRow(node.id, node.use, "to run", "", ledger.reasons, ledger.planned)
    if ledger.unknown_until:
        return PlanRow(node.id, node.use, "unknown", ledger.unknown_until, ledger.reasons, None)
    return PlanRow(node.id, node.use, "reused", "", ledger.reasons if node.shape == "source" else (), 0)


def _export_row(scheduler: Scheduler, exporter: Exporter, node: Node) -> PlanRow:
    for refs in node.inputs.values():
        for ref in refs:
            above = scheduler.ledgers[ref.step]
            if above.planned or above.unknown_until:
                return PlanRow(node.id, node.use, "unknown", above.unknown_until or ref.step, (), None)
    if exporter.unchanged(node) is not None:
        return PlanRow(node.id, node.use, "reused", "", (), 0)
    reasons = scheduler.opening.step_decision(node, known=False).reasons or (
        f"{exporter.folder(node)} is not as it should be",
    )
    return PlanRow(node.id, node.use, "to run", "", reasons, 1)


class _Estimate:
    """Adds up worker time and bytes from what the same steps took before."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._out: dict[str, float] = {}
        self.seconds = 0.0
        self.bytes = 0

    def add(self, node: Node, row: PlanRow) -> None:
        """Add a step; those above it have been added."""
        ledger = self._scheduler.ledgers[node.id]
        before = self._scheduler.opening.last_counts(node.id)
        entered = self._entered(node)
        growth = before["out"] / before["entered"] if before and before["entered"] else 1.0
        self._out[node.id] = ledger.out if row.state == "reused" else entered * growth
        if row.state == "reused":
            return
        actions = row.actions if row.actions is not None else round(entered)
        self.seconds += actions * self._seconds_per_action(node, before)
        share = actions / before["entered"] if before and before["entered"] else 0.0
        if before:
            self.bytes += round(before["bytes"] * min(1.0, share))
        elif node.shape == "export" or stores(self._scheduler.graph, node.id):
            self.bytes += round(self._out[node.id] * _UNSEEN_IMAGE_BYTES)

    def _entered(self, node: Node) -> float:
        if node.id in self._scheduler.datasets.listings:
            return len(self._scheduler.datasets.listings[node.id])
        return sum(self._out[ref.step] for refs in node.inputs.values() for ref in refs)

    def _seconds_per_action(self, node: Node, before: dict[str, float] | None) -> float:
        known = self._scheduler.index.seconds_per_action(node.doing.digest)
        if known is not None:
            return known
        if before and before["ran"]:
            return before["seconds"] / before["ran"]
        return _UNSEEN_ACTION_S
