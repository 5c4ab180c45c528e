"""Payloads that travel with a chunk and come back with its outcome, for a worker that cannot see the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from forge_pipeline.cache.store import Payload, PayloadMissing, StoreSize, StoreSpec
from forge_pipeline.digest import digest_bytes
from forge_pipeline.errors import EnvironmentFault
from forge_pipeline.task import Chunk, ChunkOutcome

CARRIED_MAX_BYTES = 512 << 20
"""What may travel with one chunk, there or back. What is larger belongs into a store that all machines see."""

_HINT = "give all machines one store (--store URL), or the cache's folder and the sources at the same shared paths"


@dataclass(frozen=True, slots=True)
class Parcel(Chunk):
    """A chunk, and the bytes of the payloads that it may read."""

    payloads: Mapping[str, bytes] = field(default_factory=dict)
    """By digest."""


@dataclass(frozen=True, slots=True)
class Made:
    """Bytes that a worker would have put into the store."""

    digest: str
    data: bytes
    suffix: str


@dataclass(frozen=True, slots=True)
class Delivery(ChunkOutcome):
    """What came of a parcel, and what it put."""

    made: tuple[Made, ...] = ()


class CarriedStore:
    """Holds what came with one chunk, and collects what its tasks put."""

    shared = True  # others may keep payloads where these are going

    def __init__(self) -> None:
        self._given: Mapping[str, bytes] = {}
        self._made: dict[str, Made] = {}

    @property
    def spec(self) -> StoreSpec:
        """Refuse: nobody else sees what is in here."""
        raise AssertionError("a carried store lives in one worker")

    def begin(self, given: Mapping[str, bytes]) -> None:
        """Begin with what came with a chunk."""
        self._given = given
        self._made = {}

    def end(self) -> tuple[Made, ...]:
        """Return what was put, and let everything go."""
        made = tuple(self._made.values())
        self.begin({})
        return made

    def has(self, payload: Payload) -> bool:
        """Tell whether the bytes came along, or were put."""
        return payload.digest in self._given or payload.digest in self._made

    def look(self, payload: Payload) -> bool:
        """Tell the same: nobody else deletes what is at hand."""
        return self.has(payload)

    def put(self, digest: str, data: bytes, suffix: str) -> Payload:
        """Keep bytes until the chunk is done.

        Raises:
            EnvironmentFault: they are too much to travel.
        """
        total = sum(len(made.data) for made in self._made.values()) + len(data)
        refuse_too_much(total, "a chunk's new images")
        self._made[digest] = Made(digest, bytes(data), suffix)
        return Payload(digest, digest_bytes(data), len(data), suffix)

    def learn(self, payload: Payload) -> None:
        """Do nothing: only what came along can be read here."""

    def read(self, payload: Payload) -> bytes:
        """Return the bytes, verified. Raises PayloadMissing."""
        made = self._made.get(payload.digest)
        data = made.data if made is not None else self._given.get(payload.digest)
        if data is None or (made is None and digest_bytes(data) != payload.bytes_digest):
            raise PayloadMissing(payload.digest)
        return data

    def file(self, payload: Payload) -> Path:
        """Refuse: there is no file."""
        raise PayloadMissing(payload.digest)

    def where(self, payload: Payload) -> str:
        """Say for a person where a payload lies."""
        return f"with its task ({payload.digest})"

    def damage(self, payload: Payload) -> str:
        """Find nothing: what travels is verified when it is read."""
        return ""

    def remove(self, payload: Payload) -> int:
        """Delete nothing: it goes with the chunk."""
        return 0

    def remove_strays(self, known: Iterable[Payload]) -> dict[str, int]:
        """Delete nothing."""
        return {}

    def size(self) -> StoreSize:
        """Measure what is at hand."""
        sizes = [*map(len, self._given.values()), *(len(made.data) for made in self._made.values())]
        return StoreSize(len(sizes), sum(sizes))


def refuse_too_much(count_bytes: int, what: str) -> None:
    """Raise EnvironmentFault where so many bytes should not travel with a chunk."""
    if count_bytes > CARRIED_MAX_BYTES:
        raise EnvironmentFault(
            f"ray: {what} are {count_bytes >> 20} MiB and would have to travel with a task, at most "
            f"{CARRIED_MAX_BYTES >> 20} MiB do",
            _HINT,
        )
