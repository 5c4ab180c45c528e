"""What a worker has at hand: payloads, what is known, operators ready to use, files that must not change."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from forge_pipeline.batches import Fitting
from forge_pipeline.cache.store import Payload, PayloadMissing, Store
from forge_pipeline.compiled import ClassRef, Doing
from forge_pipeline.digest import canonical_json, digest_bytes, digest_file
from forge_pipeline.errors import DataError, EnvironmentFault, Reject
from forge_pipeline.files import NAMELESS, ReadAhead, SourceFile
from forge_pipeline.registry import Codecs, load_class
from forge_pipeline.reuse import Memory
from forge_pipeline.sample import Sample
from forge_pipeline.shapes import Operator

# Workers in other processes get a new `Doing` with every chunk.
_LATELY_MAX = 1000


class Bench:
    """What a worker has at hand: payloads, what is known, operators ready to use. Safe for many threads."""

    def __init__(
        self,
        store: Store,
        memory: Memory,
        codecs: Codecs | None = None,
        imported: Mapping[str, str] | None = None,
    ) -> None:
        """Lay it out.

        Args:
            imported: where files that the recipe imports lie on this machine, by the path that the recipe gives.
        """
        self.store = store
        self.memory = memory
        self.codecs = Codecs() if codecs is None else codecs
        self.batch_sizes: dict[str, Fitting] = {}
        """By step: how many values at once its model's device had memory for."""
        self.read_ahead = ReadAhead()
        self._imported = imported or {}
        self._looked_for: set[str] | None = None
        """By digest, what was looked for where it lies; None where it is enough to go by what the store was told."""
        self._operators: dict[tuple[ClassRef, str], Operator] = {}
        self._building = threading.Lock()
        # To spell the parameters for every sample costs as much as a small operator.
        self._lately: dict[int, tuple[Doing, Operator]] = {}

    def seeing(self, memory: Memory) -> Bench:
        """Return the same bench with another memory; operators that are ready stay ready."""
        other = Bench(self.store, memory, self.codecs, self._imported)
        other._operators, other._building = self._operators, self._building
        other.batch_sizes, other.read_ahead = self.batch_sizes, self.read_ahead
        other._looked_for = self._looked_for
        return other

    def doubting(self) -> Bench:
        """Return the same bench for one task that looks for each payload where it lies, once."""
        other = self.seeing(self.memory)
        other._looked_for = set()
        return other

    def operator(self, doing: Doing) -> Operator:
        """Return the operator with its parameters, built once."""
        lately = self._lately.get(id(doing))
        if lately is not None and lately[0] is doing:
            return lately[1]
        key = (doing.operator, canonical_json(doing.params))
        with self._building:  # an operator may hold a model: no two threads load it
            if key not in self._operators:
                ref = doing.operator
                cls = load_class(replace(ref, file=self._imported.get(ref.file, ref.file)))
                self._operators[key] = cls(cls.Params.model_validate(dict(doing.params)))
        if len(self._lately) >= _LATELY_MAX:
            self._lately.clear()
        self._lately[id(doing)] = doing, self._operators[key]
        return self._operators[key]

    def stored(self, digest: str) -> Payload | None:
        """Return a payload that is in the store now."""
        payload = self.memory.payload(digest)
        if payload is None:
            return None
        if self._looked_for is not None and digest not in self._looked_for:
            self._looked_for.add(digest)
            return payload if self.store.look(payload) else None
        return payload if self.store.has(payload) else None

    def value(self, sample: Sample) -> Any:
        """Return the value of a sample: a file, or what its payload decodes to. Raises PayloadMissing."""
        if sample.location is not None and sample.kind in ("file", "video"):
            return source_file(sample, self.read_ahead.take(sample.digest))
        payload = self.memory.payload(sample.digest)
        if payload is None:
            raise PayloadMissing(sample.digest)
        codec = self.codecs[sample.kind]
        return codec.freeze(codec.decode(self.store.read(payload)))


def source_file(sample: Sample, data: bytes | None = None) -> CheckedFile:
    """Return the file behind a sample of a source; its bytes too, where they were read when it was named by them."""
    assert sample.location is not None
    return CheckedFile(SourceFile(NAMELESS, sample.digest, sample.location, data))


class CheckedFile:
    """A source file that must still be what it was when it was listed: a result is recorded under that digest."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self.name = file.name
        self.digest = file.digest

    def read(self) -> bytes:
        """Return all bytes, verified."""
        data = self._file.read()
        if self._file.data is None:
            self._check(digest_bytes(data))
        return data

    def open(self) -> BinaryIO:
        """Open the verified bytes."""
        return io.BytesIO(self.read())

    @contextlib.contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Lend a path of a real file; its bytes are verified when the block ends, or gives the sample up."""
        with self._file.on_disk() as path:
            try:
                yield path
            except (DataError, Reject):
                self._check(digest_file(path))  # what was wrong may have been wrong with other bytes
                raise
            self._check(digest_file(path))

    def _check(self, found: str) -> None:
        if found != self.digest:
            raise EnvironmentFault(
                f"{self._file.location}: changed while the run was reading it", "run again when it is no longer written"
            )
