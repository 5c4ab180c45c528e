"""Results into the index: actions, payloads, rows and rejects; counted, and told as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from forge_pipeline.cache.index import Index
from forge_pipeline.cache.index_rows import RejectRow
from forge_pipeline.compiled import Graph, Node
from forge_pipeline.digest import canonical_json
from forge_pipeline.errors import RunFailed
from forge_pipeline.events import Event, Failure, Note, Quarantined, StepAdvanced
from forge_pipeline.run.datasets import Datasets
from forge_pipeline.run.ledger import Ledger
from forge_pipeline.sample import Fields, Link, Sample
from forge_pipeline.task import Branch, Done, Inspected, Measure, Result, Visit, cuts, through
from forge_pipeline.walk import DEVICE

_ANNOUNCE_EVERY_S = 0.1
_FAILURES_TOLD = 1000
BUDGET_SPENT = "budget_spent"
"""Why a sample was left that a run with a time limit did not come to."""


class Recorder:
    """The only writer of results."""

    def __init__(
        self,
        graph: Graph,
        index: Index,
        ledgers: Mapping[str, Ledger],
        datasets: Datasets,
        announce: Callable[[Event], None],
    ) -> None:
        self.run_id = 0
        self.failures: list[Failure] = []
        self._told: set[Failure] = set()
        self.failed: dict[str, set[tuple[str, str]]] = {node.id: set() for node in graph.nodes}
        """By select: port and key of the samples whose measuring failed."""
        self.announce = announce
        self._graph = graph
        self._index = index
        self._ledgers = ledgers
        self._datasets = datasets
        self._rebuilt: set[str] = set()
        self._broke: set[str] = set()
        self._announced = 0.0

    # --- what a task did ------------------------------------------------------------------------

    def absorb(
        self,
        sample: Sample,
        branch: Branch,
        visit: Visit,
        rows: bool = True,
        on_cut: Callable[[Node, Sample], None] | None = None,
    ) -> None:
        """Record what was done with a task's sample, and give every child its row.

        Args:
            rows: False where only actions and payloads count: bytes are made again, or the run ends early.
            on_cut: told each child of a step where the chain is cut.
        """
        self._absorb(sample, branch, visit, rows, on_cut)
        self._tell_progress()

    def _absorb(
        self, sample: Sample, branch: Branch, visit: Visit, rows: bool, on_cut: Callable[[Node, Sample], None] | None
    ) -> None:
        if visit.payload is not None:
            self._index.record_payload(visit.payload)
            self._ledgers[branch.step].bytes_out += visit.payload.size
        if visit.measures:
            self._absorb_measures(sample, visit, rows)
        for inspected in visit.inspected:
            self._absorb_inspection(inspected)
        if visit.broke is not None and rows:
            step, result = visit.broke
            self.enter(step)
            self.note_result(step, sample, result)
            # Nor did it come to the steps on the way, and below: none of their datasets is whole.
            for name in _steps_below(branch):
                self._ledgers[name].lasting = False
        for chain, done, visits in visit.chains:
            node, parent = chain.node, through(sample, chain.variant)
            ledger = self._ledgers[node.id]
            if self._count(done, node, ledger, rows):
                # A file, or a video, has no size of its own: what counts is what came out of it.
                read = node.shape == "source" or parent.kind == "video"
                ledger.work_on([c.header for c in done.result.children] if read else [parent.header])
            if rows:
                ledger.entered += 1
                if done.result.kind != "children" or done.result.reason:
                    self.note_result(node.id, parent, done.result)
            for below in visits:
                child = below.sample
                if child.location is not None and child.location is not sample.location:
                    # Read elsewhere, maybe from a copy that was sent there: here it lies where it was listed.
                    child = replace(child, location=sample.location)
                if rows:
                    self.add_row(node, child)
                self._absorb(child, chain.branch, below, rows, on_cut)
                if rows and on_cut is not None and cuts(self._graph, node):
                    on_cut(node, child)

    def _absorb_measures(self, sample: Sample, visit: Visit, rows: bool) -> None:
        worked: set[str] = set()
        for measure, done in visit.measures:
            ledger = self._ledgers[measure.select]
            if self._count(done, self._graph[measure.select], ledger, rows, measured=True):
                worked.add(measure.select)
            if rows:
                self.note_measure(measure, sample, done.result)
        for select in worked:
            self._ledgers[select].work_on([sample.header])

    def _absorb_inspection(self, inspected: Inspected) -> None:
        ledger = self._ledgers[inspected.node.id]
        for payload in inspected.payloads:
            self._index.record_payload(payload)
        ledger.seconds += inspected.done.seconds
        if self.record_action(inspected.done, inspected.node.use):
            ledger.measured += 1
            ledger.inspected += 1
            ledger.work_on([inspected.header])

    def _count(self, done: Done, node: Node, ledger: Ledger, rows: bool, measured: bool = False) -> bool:
        """Count an action; return whether a worker did it now."""
        ledger.seconds += done.seconds
        ledger.actions += rows
        ledger.lasting &= done.result.lasting
        if done.state == "rebuilt":
            ledger.rebuilt += done.key not in self._rebuilt
            self._rebuilt.add(done.key)
            return True
        new = done.state == "ran"
        if new and done.result.lasting and node.cached:
            # Two samples of equal content may have raced: whoever is recorded second was, in effect, reused.
            new = self.record_action(done, node.use)
            if done.result.kind == "failure":
                # One that is known was tried again, since somebody asked for its sample (`--only`).
                new = done.key not in self._broke
                self._broke.add(done.key)
        if not new:
            ledger.reused += rows
        elif measured:
            ledger.measured += 1
        else:
            ledger.ran += 1
        return done.state == "ran"

    def record_action(self, done: Done, use: str) -> bool:
        """Record an action; return whether it is new."""
        key, doing, inputs, result, _, seconds = done
        return self._index.record_action(key, doing.digest, inputs, result.text, self.run_id, seconds, use)

    # --- rows and rejects -----------------------------------------------------------------------

    def enter(self, step: str) -> None:
        """Count a sample that came into a step."""
        self._ledgers[step].entered += 1

    def _tell_progress(self) -> None:
        now = time.monotonic()
        if now - self._announced > _ANNOUNCE_EVERY_S:
            self._announced = now
            for name, ledger in self._ledgers.items():
                if ledger.walked and ledger.entered and not ledger.complete:
                    self.announce(StepAdvanced(name, ledger.counts(), self._expected(name)))

    def _expected(self, step: str) -> int | None:
        if step in self._datasets.listings:
            return len(self._datasets.listings[step])
        above = [self._ledgers[ref.step] for refs in self._graph[step].inputs.values() for ref in refs]
        return sum(ledger.out for ledger in above) if all(ledger.complete for ledger in above) else None

    def note_measure(self, measure: Measure, sample: Sample, result: Result) -> None:
        """Write down what was measured on a sample, or that it broke there."""
        key = through(sample, measure.variant).key
        if result.kind == "value":
            values = {measure.label: canonical_json(result.value)}
            if DEVICE in result.values:
                values[f"{measure.label}.{DEVICE}"] = canonical_json(result.values[DEVICE])
            self._index.add_measures(self._ledgers[measure.select].dataset, measure.port, key, values)
        elif (measure.port, key) not in self.failed[measure.select]:
            self.failed[measure.select].add((measure.port, key))
            self.note_result(measure.select, replace(sample, key=key), result)

    def add_row(self, node: Node, sample: Sample) -> None:
        """Give a sample its row in a step's dataset."""
        ledger = self._ledgers[node.id]
        ledger.out += 1
        self._index.add_sample(ledger.dataset, sample)

    def drop(self, step: str, sample: Sample, reason: str, values: Fields) -> None:
        """Write down that a sample was dropped on purpose."""
        self._ledgers[step].dropped[reason] += 1
        self._reject(step, RejectRow(step, sample.key, "rejected", reason, "", values, sample.trail))

    def leave(self, sample: Sample, branch: Branch) -> None:
        """Write down that nothing is done with a sample in this run: its time is spent."""
        steps = [(chain.node.id, "", chain.variant) for chain in branch.chains]
        steps += [(measure.select, measure.port, measure.variant) for measure in branch.measures]
        for step, port, variant in dict.fromkeys(steps):
            left = through(sample, variant)
            if port:
                self.failed[step].add((port, left.key))
            else:
                self.enter(step)
            self._ledgers[step].lasting = False
            self.drop(step, left, BUDGET_SPENT, {})

    def fail(
        self,
        step: str,
        key: str,
        reason: str,
        message: str,
        trail: tuple[Link, ...],
        lasting: bool = True,
        values: Fields | None = None,
    ) -> None:
        """Write down that a sample broke.

        Args:
            values: the digest of what came in, and of an exception nobody foresaw its traceback.

        Raises:
            RunFailed: the step says `on_error: stop`.
        """
        ledger = self._ledgers[step]
        ledger.failed += 1
        ledger.lasting &= lasting
        self._reject(step, RejectRow(step, key, "failed", reason, message, values or {}, trail))
        self.announce(Quarantined(step, key, reason, message))
        self._tell_failure(step, key, message or reason)

    def tell_failures_of(self, step: str) -> None:
        """Tell the failures of a step that is reused whole, as the run that made them did.

        Raises:
            RunFailed: the step says `on_error: stop`, now.
        """
        if self._ledgers[step].failed:
            for row in self._datasets.rejects(step):
                if row.kind == "failed":
                    self._tell_failure(step, row.key, row.message or row.reason)

    def note(self, text: str) -> None:
        """Tell a user one line."""
        self.announce(Note(text))

    def note_result(self, step: str, sample: Sample, result: Result) -> None:
        """Write down why a sample did not go on, or went on only in part."""
        if result.kind == "failure":
            values = {"digest": sample.digest, **result.values}
            self.fail(step, sample.key, result.reason, result.message, sample.trail, result.lasting, values)
        elif result.kind == "reject":
            self.drop(step, sample, result.reason, result.values)
        elif result.reason:
            self._ledgers[step].partial[result.reason] += 1
            self._reject(step, RejectRow(step, sample.key, "partial", result.reason, "", result.values, sample.trail))

    def _reject(self, step: str, row: RejectRow) -> None:
        # A rank is a link without a step: it belongs to the sample while it waits, not to its story.
        trail = tuple(link for link in row.trail if link.step)
        self._index.add_reject(self._ledgers[step].dataset, replace(row, trail=trail))

    def _tell_failure(self, step: str, key: str, why: str) -> None:
        failure = Failure(step, key, why)
        # A sample that fails at two ports of a select for one reason is told once, as it stands in the rejects.
        if len(self.failures) < _FAILURES_TOLD and failure not in self._told:
            self._told.add(failure)
            self.failures.append(failure)
        if self._ledgers[step].node.on_error == "stop":
            raise RunFailed(f"step '{step}', sample '{key}': {why}", f"set `on_error: quarantine` on '{step}'")


def _steps_below(branch: Branch) -> Iterator[str]:
    yield from (measure.select for measure in branch.measures)
    for chain in branch.chains:
        yield chain.node.id
        yield from _steps_below(chain.branch)
