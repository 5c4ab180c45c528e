"""The opening of a run: what lies at the sources, which steps are reused whole, and why the others are not."""

from __future__ import annotations

import heapq
import itertools
from operator import itemgetter
from pathlib import Path

from forge_pipeline.bench import Bench
from forge_pipeline.cache.index import Index
from forge_pipeline.cache.index_rows import DatasetRow, RejectRow
from forge_pipeline.compiled import Graph, Node
from forge_pipeline.reuse import StepDecision, decide_step
from forge_pipeline.run.datasets import Datasets
from forge_pipeline.run.ledger import Ledger
from forge_pipeline.run.part import Part, no_such_entry
from forge_pipeline.run.sources import list_entries, listing_digest, look_up
from forge_pipeline.task import stores


class Opening:
    """Decides which steps of a run are walked."""

    def __init__(self, graph: Graph, index: Index, ledgers: dict[str, Ledger], datasets: Datasets, recipe: str) -> None:
        self._graph = graph
        self._index = index
        self._ledgers = ledgers
        self._datasets = datasets
        last = index.last_run(recipe)
        self._before = last[1] if last else {}
        self.entries: dict[str, int] = {}
        """By source: how many entries it has, taken or not."""

    def decide(self, bench: Bench, directory: Path, part: Part) -> frozenset[str]:
        """List the sources, and name the steps that are walked.

        Raises:
            CommandError: no source has what `part.only` stands on.
        """
        listed = {n.id: list_entries(n, bench, directory) for n in self._graph.nodes if n.shape == "source"}
        self.entries = {step: len(entries) for step, entries in listed.items()}
        taken = {step: part.take(step, entries) for step, entries in listed.items()}
        if part.only and not any(taken.values()):
            raise no_such_entry(part.only, listed)
        for node in self._graph.nodes:
            if node.shape == "source":
                self._datasets.listings[node.id] = look_up(taken[node.id], self._index)
            if node.shape != "export":
                self._try_whole(node, retried=bool(part.only))
        self._walk_what_is_not_kept()
        return frozenset(n.id for n in self._graph.nodes if self._ledgers[n.id].walked and n.shape != "export")

    def last_counts(self, step: str) -> dict[str, float] | None:
        """Return the account of a step in the last finished run."""
        before = self._last(step)
        return before.counts if before else None

    def step_decision(self, node: Node, known: bool) -> StepDecision:
        """Decide for a step, with the reasons."""
        before = self._last(node.id)
        last_config = self._index.config(before.config) if before else None
        reasons = [] if known else self._input_reasons(node, before)
        return decide_step(known, node.doing.config, last_config, reasons)

    def _try_whole(self, node: Node, retried: bool) -> None:
        ledger = self._ledgers[node.id]
        if node.shape == "source":
            inputs = listing_digest(node, self._datasets.listings[node.id])
            ledger.inputs_digest = inputs or ""
        else:
            inputs = self._datasets.inputs_digest(node)
        known = self._index.find_dataset(node.id, node.doing.digest, inputs) if inputs and node.cached else None
        if known is not None and retried and known.counts["failed"]:
            ledger.reasons = ("what broke is tried again",)
            return
        ledger.reasons = self.step_decision(node, known is not None).reasons
        if known is not None:
            ledger.reuse_whole(known.id, known.rows_digest, known.counts)

    def _walk_what_is_not_kept(self) -> None:
        """A step reused whole can feed a walked one only from kept bytes; else it is walked too, action by action."""
        for node in reversed(self._graph.nodes):
            if self._ledgers[node.id].walked or node.shape not in ("source", "transform"):
                continue
            takers = [taker for taker, _, _ in self._graph.consumers[node.id] if taker.shape != "export"]
            needed = any(self._ledgers[taker.id].walked for taker in takers)
            if needed and node.makes == "image" and not stores(self._graph, node.id):
                why = "its images are not kept, and a step below needs them"
                known = self._ledgers[node.id].dataset
                self._ledgers[node.id] = Ledger(node, same_before=known, reasons=(why,))

    def _input_reasons(self, node: Node, before: DatasetRow | None) -> list[str]:
        if node.shape == "source":
            return self._listing_reasons(node, before) if before is not None else []
        refs = [ref for refs in node.inputs.values() for ref in refs]
        return [f"'{ref.step}' differs" for ref in refs if self._ledgers[ref.step].walked]

    def _listing_reasons(self, node: Node, before: DatasetRow) -> list[str]:
        listing = self._datasets.listings[node.id]
        names = (f"{node.id}/{name}" for name in listing.entries.names())
        rows = ((row.key, "was", row.fields.get("source.digest")) for row in self._index.samples(before.id))
        rejects = ((row.key, "was", _file_digest(row)) for row in self._index.rejects(before.id, node.id))
        now = ((name, "now", digest) for name, digest in zip(names, listing.digests(), strict=True))
        counted = {"new": 0, "changed": 0, "removed": 0}
        # All come in key order: a source of a million files is compared without a table of them.
        for _, same in itertools.groupby(heapq.merge(rows, rejects, now, key=itemgetter(0)), key=itemgetter(0)):
            digests = {when: digest for _, when, digest in same}
            if "was" not in digests:
                counted["new"] += 1
            elif "now" not in digests:
                counted["removed"] += 1
            elif digests["was"] != digests["now"]:
                counted["changed"] += 1
        return [f"{count} {word} input{'s' if count > 1 else ''}" for word, count in counted.items() if count]

    def _last(self, step: str) -> DatasetRow | None:
        return self._index.dataset(self._before[step]) if step in self._before else None


def _file_digest(row: RejectRow) -> str | None:
    return row.trail[0].fields.get("source.digest") if row.trail else None
