"""The end of a run: rows joined over ports, inspected, named, and handed to publication with their manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from forge_pipeline.cache.store import Payload, PayloadMissing
from forge_pipeline.compiled import Node
from forge_pipeline.digest import canonical_json, digest_json
from forge_pipeline.errors import BrokenPromise, EnvironmentFault, RunFailed
from forge_pipeline.events import ExportDone, StepFinished
from forge_pipeline.files import read_location
from forge_pipeline.inspection import inspection_inputs
from forge_pipeline.manifest import file_stem, manifest_row, reject_row, write_manifest, write_rejects
from forge_pipeline.publish import Content, PayloadDamaged, Publication, Published, changes, publish, still_published
from forge_pipeline.run.scheduler import Scheduler
from forge_pipeline.sample import Sample
from forge_pipeline.shapes import Export, ExportFile, Joined
from forge_pipeline.task import Outcome, Result, action_key, read_result, through

MANIFEST_FORMAT = 1
_ORPHANS_TOLD = 5
_ATTEMPTS = 10  # bytes that were made again can be lost again


@dataclass
class _Row:
    """One joined row on its way out."""

    key: str
    samples: dict[str, Sample]
    facts: Mapping[str, Any]
    inspected: Mapping[str, Sample] = field(default_factory=dict)
    """What the inspection saw, where it gave an image of its own for one of the samples."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An export ready to be published."""

    node: Node
    publication: Publication
    contents: Mapping[str, Sample]
    """By path of an image file: the sample that fills it."""
    sources: frozenset[str]
    """Paths of files that are filled with a source file's own bytes."""
    replaced: Mapping[str, _Row]
    """By digest of an image that an inspection gave: the row that it saw."""


class Exporter:
    """Prepares and publishes the exports of one run."""

    def __init__(self, scheduler: Scheduler, suffix: str = "") -> None:
        self._run = scheduler
        self._suffix = suffix

    def folder(self, node: Node) -> Path:
        """Say where an export goes: where its path says, or beside that for a partial run."""
        return self._run.settings.directory / self._as_typed(node)

    def _as_typed(self, node: Node) -> Path:
        folder = Path(node.folder)
        return folder.with_name(folder.name + self._suffix) if self._suffix else folder

    def unchanged(self, node: Node) -> Published | None:
        """Tell, without a look at any row, whether an export stands as it was left and should be the same now."""
        run, ledger = self._run, self._run.ledgers[node.id]
        ledger.inputs_digest = self._inputs_digest(node)
        known = run.index.find_dataset(node.id, node.doing.digest, ledger.inputs_digest)
        if known is None:
            return None
        published = still_published(self.folder(node), known.counts["publication"])
        if published is not None:
            ledger.reuse_whole(known.id, published.digest, known.counts)
            run.recorder.tell_failures_of(node.id)
        return published

    def prepare(self, node: Node) -> Prepared:
        """Join, inspect and name the rows of an export; what fails its inspection is quarantined."""
        run, ledger = self._run, self._run.ledgers[node.id]
        ledger.dataset = run.index.begin_dataset(run.run_id, node.id, node.doing.digest)
        run.index.record_config(node.doing.digest, canonical_json(node.doing.config))
        run.index.flush()
        rows = self._joined(node)
        ledger.entered = len(rows)
        if node.inspects:
            rows = self._inspected(node, rows)
        ledger.out = len(rows)
        operator = run.bench.operator(node.doing)
        assert isinstance(operator, Export)
        joined = [self._outside(node, row) for row in rows]
        by_key = {row.key: row for row in rows}
        replaced = _replaced(rows)
        named = list(operator.files(joined))
        filled = [s for f in named if not self._takes_source(f, s := by_key[f.key].samples[f.port])]
        # Bytes that were never kept: of a step that did not feed an export before.
        self._make_again(node, replaced, (s for s in filled if run.index.payload(s.digest) is None))
        files = sorted((self._with_suffix(f, by_key[f.key].samples[f.port]) for f in named), key=lambda f: f.path)
        contents = {file.path: by_key[file.key].samples[file.port] for file in files}
        if len(contents) != len(files):
            raise BrokenPromise(f"operator '{node.use}' gave two samples one file name")
        taken = frozenset(file.path for file in files if self._takes_source(file, contents[file.path]))
        sizes = {path: self._content(path, sample, taken) for path, sample in contents.items()}
        side_files = dict(operator.side_files(joined))
        side_files["manifest.jsonl"] = self._manifest(rows, files, sizes, contents)
        side_files["rejects.jsonl"] = self._rejects(node)
        publication = Publication(self.folder(node), sizes, side_files)
        ledger.rows_digest = publication.images_digest()
        return Prepared(node, publication, contents, taken, replaced)

    def publish(self, prepared: Prepared) -> ExportDone:
        """Make the folder hold what it should; damaged or missing payloads are made again on the way."""
        run, node, publication = self._run, prepared.node, prepared.publication
        ledger = run.ledgers[node.id]
        self._make_again(node, prepared.replaced, self._missing(prepared))
        for _ in range(_ATTEMPTS):
            try:
                done = publish(publication, lambda path: self._open(prepared, path), announce=run.recorder.note)
                break
            except PayloadDamaged as damaged:
                if damaged.path in prepared.sources:
                    raise self._source_changed(prepared, damaged.path) from damaged
                self._make_again(node, prepared.replaced, self._damaged(prepared))
        else:
            raise BrokenPromise(f"export '{node.id}': its payloads keep being damaged")
        for note in done.notes:
            run.recorder.note(note)
        ledger.ran += 1 if done.written or done.deleted else 0
        ledger.reused += 0 if done.written or done.deleted else 1
        ledger.bytes_out += done.bytes_written
        ledger.actions += 1
        ledger.rows_digest = done.digest
        ledger.complete = True
        kept = {**ledger.kept(), "publication": publication.digest()}
        # With a failure of the machine in it, it stands for nothing later: the next run inspects again.
        inputs = ledger.inputs_digest if ledger.lasting else f"run {run.run_id}"
        run.index.complete_dataset(ledger.dataset, inputs, done.digest, kept)
        run.index.flush()
        run.recorder.announce(StepFinished(node.id, ledger.counts()))
        return self.done(node, done)

    def done(self, node: Node, published: Published) -> ExportDone:
        """Say what was published."""
        path = self._as_typed(node)
        return ExportDone(node.id, str(path), published.files, published.written, published.digest, published.deleted)

    # --- joining --------------------------------------------------------------------------------

    def _joined(self, node: Node) -> list[_Row]:
        """Join the datasets of all ports by sample key.

        A port that names all variants of a matrix step has the variant at the end of its keys; ports without it then
        give the same sample to every variant.
        """
        ports: dict[str, dict[str, Sample]] = {}
        bases: dict[str, str] = {}
        for port, refs in node.inputs.items():
            rows = ports[port] = {}
            for ref in refs:
                for sample in self._run.datasets.rows(ref.step):
                    key = through(sample, ref.variant).key
                    if key in rows:
                        raise RunFailed(
                            f"step '{node.id}', sample '{key}': comes in twice at port '{port}'",
                            "give the port one of them, or make them variants of one step with `matrix`",
                        )
                    rows[key] = sample
                    if ref.variant:
                        bases[key] = sample.key
        spread = {bases[key] for key in bases}
        keys = sorted({key for rows in ports.values() for key in rows if key not in spread})
        joined, orphans = [], []
        for key in keys:
            found = {port: rows.get(key, rows.get(bases.get(key, key))) for port, rows in ports.items()}
            samples = {port: sample for port, sample in found.items() if sample is not None}
            if len(samples) == len(ports):
                joined.append(_Row(key, samples, {}))
            else:
                orphans.append((key, samples))
        self._settle_orphans(node, orphans)
        return joined

    def _settle_orphans(self, node: Node, orphans: list[tuple[str, dict[str, Sample]]]) -> None:
        """A row whose other half was rejected or failed further up goes with it; any other orphan is an error."""
        if not orphans:
            return
        gone = {port: self._gone_before(node, port) for port in node.inputs}
        unexplained = []
        for key, samples in orphans:
            missing = [port for port in node.inputs if port not in samples]
            if all(_explained(key, gone[port]) for port in missing):
                sample = replace(next(iter(samples.values())), key=key)
                self._run.recorder.drop(node.id, sample, "unpaired", {"missing": missing})
            else:
                unexplained.append(f"'{key}' has no {', '.join(missing)}")
        if unexplained:
            more = f" and {len(unexplained) - _ORPHANS_TOLD} more" if len(unexplained) > _ORPHANS_TOLD else ""
            raise RunFailed(
                f"step '{node.id}': samples that are not at every port: {'; '.join(unexplained[:_ORPHANS_TOLD])}{more}",
                "the ports of an export must come from one step: put what changes the number of samples before it",
            )

    def _gone_before(self, node: Node, port: str) -> set[str]:
        steps = {step for ref in node.inputs[port] for step in self._run.graph.ancestors(ref.step)}
        return {row.key for step in steps for row in self._run.datasets.rejects(step) if row.kind != "partial"}

    # --- inspecting -----------------------------------------------------------------------------

    def _inspected(self, node: Node, rows: list[_Row]) -> list[_Row]:
        run, ledger = self._run, self._run.ledgers[node.id]
        results: dict[str, Result] = {}
        for row in rows:
            key = action_key(node.doing, inspection_inputs(row.samples))
            known = run.index.known(key)
            ledger.actions += 1
            if known is not None:
                # Inspected when its images were at hand, or by an earlier run.
                if ledger.inspected:
                    ledger.inspected -= 1
                else:
                    ledger.reused += 1
                results[row.key] = read_result(known)
            else:
                self._inspect(node, row, results)
                run.jobs.leave_room()
        run.jobs.drain()
        passed = []
        for row in rows:
            result = results[row.key]
            if result.kind == "value":
                given = {
                    port: replace(row.samples[port], digest=digest, header=header)
                    for port, (digest, header) in result.value["replaced"].items()
                }
                seen = row.samples if given else {}
                passed.append(_Row(row.key, {**row.samples, **given}, result.value["facts"], seen))
            elif result.kind == "reject":
                run.recorder.drop(node.id, self._any(row), result.reason, result.values)
            else:
                self._fail(node, row, result)
        return passed

    def _inspect(self, node: Node, row: _Row, results: dict[str, Result]) -> None:
        run, ledger = self._run, self._run.ledgers[node.id]
        before = dict(row.samples)

        def done(outcome: Outcome) -> None:
            if outcome.missing:
                run.repairs.repair(_lost(before, outcome), lambda: self._inspect(node, row, results))
                return
            assert outcome.inspected is not None
            for payload in outcome.payloads:
                run.index.record_payload(payload)
            results[row.key] = outcome.inspected.result
            ledger.seconds += outcome.seconds
            if outcome.inspected.result.lasting and not run.recorder.record_action(outcome.inspected, node.use):
                ledger.reused += 1
            else:
                ledger.measured += 1
            # A row counts as one image, of the largest that was looked at.
            ledger.work_on([max((s.header for s in before.values()), key=lambda one: one.get("height") or 0)])

        run.jobs.submit_inspection(node, before, done)

    def _inspect_again(self, node: Node, row: _Row) -> None:
        """Make the images that an inspection gave again."""
        run, ledger = self._run, self._run.ledgers[node.id]

        def done(outcome: Outcome) -> None:
            if outcome.missing:
                run.repairs.repair(_lost(row.inspected, outcome), lambda: self._inspect_again(node, row))
                return
            assert outcome.inspected is not None
            for payload in outcome.payloads:
                run.index.record_payload(payload)
            if outcome.inspected.result.lasting:
                run.recorder.record_action(outcome.inspected, node.use)
            ledger.rebuilt += 1
            ledger.seconds += outcome.seconds

        run.jobs.submit_inspection(node, dict(row.inspected), done, doubts=True)

    def _fail(self, node: Node, row: _Row, result: Result) -> None:
        trail = self._any(row).trail
        values = {"digest": {port: sample.digest for port, sample in sorted(row.samples.items())}, **result.values}
        self._run.recorder.fail(node.id, row.key, result.reason, result.message, trail, result.lasting, values)

    def _any(self, row: _Row) -> Sample:
        return replace(next(iter(row.samples.values())), key=row.key)

    # --- bytes ----------------------------------------------------------------------------------

    def _outside(self, node: Node, row: _Row) -> Joined:
        """Show a row to the operator: what it may know to name files."""
        fields = {
            port: {name: sample.fields.get(name) for name in node.doing.fields_read}
            for port, sample in row.samples.items()
        }
        headers = {port: dict(sample.header) for port, sample in row.samples.items()}
        return Joined(row.key, file_stem(row.key), headers, fields)

    def _with_suffix(self, file: ExportFile, sample: Sample) -> ExportFile:
        """A file that was to hold the source's own bytes, but whose pixels a step changed, holds a payload instead."""
        if file.encoding == "payload" or self._takes_source(file, sample):
            return file
        path = str(PurePosixPath(file.path).with_suffix(self._payload(sample).suffix))
        return replace(file, path=path, encoding="payload")

    def _takes_source(self, file: ExportFile, sample: Sample) -> bool:
        return file.encoding == "source" and sample.digest == sample.fields.get("source.content")

    def _content(self, path: str, sample: Sample, taken: frozenset[str]) -> Content:
        if path in taken:
            return Content(str(sample.fields["source.digest"]), int(sample.fields["source.bytes"]))
        payload = self._payload(sample)
        return Content(payload.bytes_digest, payload.size)

    def _payload(self, sample: Sample) -> Payload:
        payload = self._run.index.payload(sample.digest)
        if payload is None:
            raise BrokenPromise(f"the bytes of '{sample.key}' were made again, and are not known")
        return payload

    def _make_again(self, node: Node, replaced: Mapping[str, _Row], samples: Iterable[Sample]) -> None:
        """Make bytes that are missing, each task once for all that it made."""
        lost = {sample.digest: sample for sample in samples}
        inspections = {replaced[digest].key: replaced[digest] for digest in lost if digest in replaced}
        for row in inspections.values():
            self._inspect_again(node, row)
        self._run.repairs.repair_all(sample for digest, sample in lost.items() if digest not in replaced)
        self._run.jobs.drain()

    def _missing(self, prepared: Prepared) -> Iterator[Sample]:
        """Name what publication is going to need and is not there."""
        for path in changes(prepared.publication).write:
            if path in prepared.contents and path not in prepared.sources:
                sample = prepared.contents[path]
                if self._run.bench.stored(sample.digest) is None:
                    yield sample

    def _damaged(self, prepared: Prepared) -> Iterator[Sample]:
        """Name what publication is going to need and is not there whole; what is damaged goes to quarantine."""
        store = self._run.bench.store
        for path in changes(prepared.publication).write:
            if path not in prepared.contents or path in prepared.sources:
                continue
            sample = prepared.contents[path]
            try:
                store.read(self._payload(sample))
            except PayloadMissing as missing:
                self._run.recorder.note(missing.message)
                yield sample

    def _source_changed(self, prepared: Prepared, path: str) -> EnvironmentFault:
        where = self._run.datasets.location_of(prepared.contents[path])
        read_location(where)  # says so itself when the file is gone
        hint = "run again when it is no longer written"
        return EnvironmentFault(f"{where}: changed while the run was reading it", hint)

    def _open(self, prepared: Prepared, path: str) -> bytes | Path:
        sample = prepared.contents[path]
        if path in prepared.sources:
            location = self._run.datasets.location_of(sample)
            return Path(location.path) if location.member is None else read_location(location)
        payload = self._payload(sample)
        try:
            return self._run.bench.store.file(payload)
        except PayloadMissing:  # deleted by somebody else since the store was listed
            raise PayloadDamaged(path, "", payload.bytes_digest) from None

    # --- what was made from what ----------------------------------------------------------------

    def _manifest(
        self,
        rows: list[_Row],
        files: list[ExportFile],
        sizes: Mapping[str, Content],
        contents: Mapping[str, Sample],
    ) -> bytes:
        by_row: dict[str, dict[str, dict[str, Any]]] = {}
        for file in files:
            by_row.setdefault(file.key, {})[file.port] = {
                "path": file.path,
                "digest": contents[file.path].digest,
                "bytes_digest": sizes[file.path].bytes_digest,
            }
        return write_manifest(
            manifest_row(row.key, file_stem(row.key), by_row[row.key], row.samples, row.facts)
            for row in rows
            if row.key in by_row
        )

    def _rejects(self, node: Node) -> bytes:
        return write_rejects(
            reject_row(row.step, row.key, row.kind, row.reason, row.message, row.values, row.trail)  # type: ignore[arg-type]
            for step in self._steps_above(node)
            for row in self._run.datasets.rejects(step)
        )

    def _steps_above(self, node: Node) -> Iterator[str]:
        self._run.index.flush()
        wanted = self._run.graph.ancestors(node.id)
        return (n.id for n in self._run.graph.nodes if n.id in wanted)

    def _inputs_digest(self, node: Node) -> str:
        """Name all that an export's folder follows from: rows, rejects, and the form in which they are written."""
        ledgers = self._run.ledgers
        ports = {
            port: sorted([ledgers[ref.step].rows_digest, ref.variant] for ref in refs)
            for port, refs in node.inputs.items()
        }
        above = self._run.graph.ancestors(node.id) - {node.id}
        rejects = {step: ledgers[step].rejects_digest for step in above}
        return digest_json([MANIFEST_FORMAT, ports, rejects])


def _replaced(rows: Iterable[_Row]) -> dict[str, _Row]:
    return {
        sample.digest: row
        for row in rows
        for port, sample in row.samples.items()
        if row.inspected and sample.digest != row.inspected[port].digest
    }


def _lost(samples: Mapping[str, Sample], outcome: Outcome) -> Sample:
    return next(sample for sample in samples.values() if sample.digest == outcome.missing)


def _explained(key: str, gone: set[str]) -> bool:
    """Tell whether a sample or something it was made from left the recipe further up."""
    while key:
        if key in gone:
            return True
        key = key.rpartition("/")[0]
    return False
