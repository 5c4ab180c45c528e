"""The datasets of a run: rows in key order, merged over ports, with files where they lie now."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from forge_pipeline.cache.index import Index
from forge_pipeline.cache.index_rows import RejectRow
from forge_pipeline.compiled import Doing, Graph, InputRef, Node
from forge_pipeline.digest import canonical_json, digest_chunks, digest_json, spell_text
from forge_pipeline.errors import RunFailed
from forge_pipeline.run.ledger import Ledger
from forge_pipeline.run.listing import Listing
from forge_pipeline.sample import Fields, Json, Link, Location, Sample
from forge_pipeline.task import FILE_KIND, ranked, through
from forge_pipeline.walk import DEVICE
from forge_pipeline.worker import Columns

_ROWS_AT_ONCE = 1000


class Datasets:
    """What the steps of a run have come to, read from the index."""

    def __init__(self, graph: Graph, index: Index, ledgers: Mapping[str, Ledger]) -> None:
        self.listings: dict[str, Listing] = {}
        """By source: the files found in this run."""
        self._graph = graph
        self._index = index
        self._ledgers = ledgers

    # --- rows -----------------------------------------------------------------------------------

    def rows(self, step: str) -> Iterator[Sample]:
        """Read a dataset in key order."""
        return (self._placed(step, sample) for sample in self._index.samples(self._ledgers[step].dataset))

    def row(self, step: str, key: str) -> Sample | None:
        """Read one row, also of a step that is under way."""
        ledger = self._ledgers[step]
        sample = self._index.sample(ledger.same_before or ledger.dataset, key)
        if sample is None:  # it may have been recorded a moment ago
            self._index.flush()
            sample = self._index.sample(ledger.dataset, key)
        return self._placed(step, sample) if sample is not None else None

    def rejects(self, step: str) -> Iterator[RejectRow]:
        """Read who did not go on from a step."""
        return self._index.rejects(self._ledgers[step].dataset, step)

    def merged(self, node: Node, port: str) -> Iterator[tuple[str, Sample]]:
        """Read the datasets that come in at a port as one, in key order.

        Raises:
            RunFailed: two of them hold the same key.
        """
        refs = node.inputs.get(port, ())
        columns: list[Iterable[tuple[str, str, Sample]]] = [self._keyed(ref) for ref in refs]
        if any(ref.variant for ref in refs):  # an appended variant can change the order
            columns = [sorted(rows, key=_by_key) for rows in columns]
        before: tuple[str, str] | None = None
        for key, step, sample in heapq.merge(*columns, key=_by_key):
            if before is not None and before[0] == key:
                raise _two_with_one_key(node, key, before[1], step)
            before = (key, step)
            yield key, sample

    def ranked(self, taker: Node, step: str, variant: str) -> Iterator[Sample]:
        """Read the rows that one producer gives to a transform, each with its rank among those of all producers."""
        ranks = {key: index for index, (key, _) in enumerate(self.merged(taker, "in"))}
        for sample in self.rows(step):
            yield ranked(sample, ranks[through(sample, variant).key])

    def columns(self, node: Node, port: str, failed: set[tuple[str, str]]) -> Columns:
        """Read what a select decides over: the rows of a port that were measured, as columns."""
        dataset = self._ledgers[node.id].dataset
        rows = [(key, sample) for key, sample in self.merged(node, port) if (port, key) not in failed]
        columns: dict[str, tuple[Any, ...]] = {}
        for label in node.metrics.get(port, {}):
            measured = self._index.measures(dataset, port, label)
            columns[label] = tuple(measured[key] for key, _ in rows)
        own = {"sample.key": tuple(key for key, _ in rows), "sample.index": tuple(range(len(rows)))}
        for name in node.doing.fields_read:
            columns[name] = own[name] if name in own else tuple(sample.fields.get(name) for _, sample in rows)
        return Columns(tuple(key for key, _ in rows), tuple(sample.digest for _, sample in rows), columns)

    def devices(self, node: Node) -> dict[tuple[str, str], Fields]:
        """By port and sample key: which measures were taken elsewhere than on the device that they want, and where."""
        found: dict[tuple[str, str], Fields] = {}
        for port, metrics in node.metrics.items():
            for name in (f"{label}.{DEVICE}" for label in metrics):
                for key, device in self._index.measures(self._ledgers[node.id].dataset, port, name).items():
                    found[port, key] = {**found.get((port, key), {}), name: device}
        return found

    def _keyed(self, ref: InputRef) -> Iterator[tuple[str, str, Sample]]:
        for sample in self._index.samples(self._ledgers[ref.step].dataset):
            yield through(sample, ref.variant).key, ref.step, sample

    def refuse_two_of_one_key(self, node: Node) -> None:
        """Look for a sample that came into a step from two of its producers.

        Whether both went on or both were turned away, only one of them would be told of: the one that came last.

        Raises:
            RunFailed: there is one.
        """
        for port, refs in node.inputs.items():
            if any(ref.variant for ref in refs):
                for _ in self.merged(node, port):  # raises
                    continue
                continue
            for one, other in itertools.combinations(refs, 2):
                key = self._index.shared_key(self._ledgers[one.step].dataset, self._ledgers[other.step].dataset)
                if key:
                    raise _two_with_one_key(node, key, one.step, other.step)

    # --- files ----------------------------------------------------------------------------------

    def file_of(self, row: Sample) -> Sample:
        """Return the file that a source's row was loaded from, as the load takes it."""
        step = row.trail[0].step
        facts = {n: v for n, v in row.trail[0].fields.items() if n.startswith("source.") and n != "source.content"}
        return replace(row, kind=FILE_KIND, digest=facts["source.digest"], header={}, trail=(Link(step, facts),))

    def location_of(self, sample: Sample) -> Location:
        """Say where the source file of a sample lies now."""
        source = sample.trail[0].step
        return self.listings[source].location(sample.trail[0].fields["source.path"])

    def _placed(self, step: str, sample: Sample) -> Sample:
        """A source's files are where they were listed in this run, not where they were when a row was written."""
        if step not in self.listings:
            return sample
        return replace(sample, location=self.listings[step].location(sample.key.removeprefix(f"{step}/")))

    # --- digests --------------------------------------------------------------------------------

    def inputs_digest(self, node: Node) -> str | None:
        """Name all that comes into a step, or return None while that is not known."""
        ports: dict[str, Json] = {}
        for port, refs in node.inputs.items():
            ledgers = [self._ledgers[ref.step] for ref in refs]
            if not all(ledger.complete and ledger.rows_digest for ledger in ledgers):
                return None
            ports[port] = sorted([self._ledgers[ref.step].rows_digest, ref.variant] for ref in refs)
        return digest_json(ports)

    def rows_digest(self, step: str) -> str:
        """Name everything in a step's rows: what manifests, locks and exports follow from."""
        return digest_chunks(_spell_rows(self._index.sample_texts(self._ledgers[step].dataset)))

    def rejects_digest(self, step: str) -> str:
        """Name everything in a step's rejects."""
        return digest_chunks(_spell_rejects(self.rejects(step)))


def content_digest(doing: Doing, tables: Mapping[str, Columns]) -> str:
    """Name what a decide sees: keys, contents and the fields it declares; measures follow from the contents."""

    def spell() -> Iterator[bytes]:
        for port, table in sorted(tables.items()):
            yield port.encode() + b"\n"
            declared = [table.columns[name] for name in doing.fields_read]
            for row in zip(table.keys, table.digests, *declared, strict=True):
                yield _line(row)

    return digest_chunks(spell())


def _spell_rows(rows: Iterable[tuple[str, str, str, str]]) -> Iterator[bytes]:
    """Spell rows as canonical JSON, many at once; their trails are that already."""
    spelled = (
        f"[{spell_text(key)},{spell_text(kind)},{spell_text(digest)},{trail}]\n" for key, kind, digest, trail in rows
    )
    while part := "".join(itertools.islice(spelled, _ROWS_AT_ONCE)):
        yield part.encode("utf-8", "surrogatepass")


def _spell_rejects(rejects: Iterable[RejectRow]) -> Iterator[bytes]:
    for row in rejects:
        yield _line([row.key, row.kind, row.reason, row.message, dict(row.values), _links(row.trail)])


def _links(trail: Iterable[Link]) -> Json:
    return [[link.step, dict(link.fields)] for link in trail]


def _line(value: Json) -> bytes:
    return canonical_json(value).encode("utf-8", "surrogatepass") + b"\n"


def _by_key(row: tuple[str, str, Sample]) -> str:
    return row[0]


def _two_with_one_key(node: Node, key: str, first: str, second: str) -> RunFailed:
    return RunFailed(
        f"step '{node.id}', sample '{key}': comes in twice, from '{first}' and from '{second}'",
        "give the step one of them, or make them variants of one step with `matrix`",
    )
