"""What the engine asks of a store of payloads: encoded values under the digest of their content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from forge_pipeline.errors import ForgeError


@dataclass(frozen=True, slots=True)
class Payload:
    """What is known of kept bytes.

    Attributes:
        digest: name of the content (of an image: its pixels).
        bytes_digest: name of the encoded bytes, by which they are verified.
        size: of the encoded bytes.
        suffix: file suffix of the encoding, such as `.png`.
    """

    digest: str
    bytes_digest: str
    size: int
    suffix: str


class PayloadMissing(ForgeError):
    """The bytes are not in the store: deleted, collected, or damaged and moved to quarantine."""

    def __init__(self, digest: str, message: str = "") -> None:
        super().__init__(message or f"cache: payload {digest[:12]} is missing; it will be made again")
        self.args = (digest, message)
        self.digest = digest


class StoreSpec(NamedTuple):
    """What a store can be opened by in any process: plain values, no secret among them.

    Attributes:
        folder: the cache's folder; where a URL is given, what is read through it is kept under it.
        url: where payloads lie that several machines share; empty where they lie in the folder.
        keep_bytes: how much of what is read from a URL is kept on this machine; 0 stands for the default.
    """

    folder: str
    url: str = ""
    keep_bytes: int = 0


@dataclass(frozen=True, slots=True)
class StoreSize:
    """What a store holds.

    Attributes:
        kept_bytes: of what was read from a shared store and is kept on this machine.
    """

    payloads: int
    payload_bytes: int
    kept_bytes: int = 0


class Store(Protocol):
    """Payloads, safe to use from many threads and processes: a payload appears whole or not at all.

    What a machine or a network refuses is an EnvironmentFault, never a matter of the sample.
    """

    @property
    def spec(self) -> StoreSpec:
        """Say how the same store is opened in another process: see `open_store`."""

    @property
    def shared(self) -> bool:
        """Whether others may keep payloads here that our index does not know."""

    def has(self, payload: Payload) -> bool:
        """Tell whether the bytes are there with the right size; their content is verified when they are read."""

    def look(self, payload: Payload) -> bool:
        """Tell the same from the place itself: what `has` goes by may be older than a deletion by somebody else."""

    def put(self, digest: str, data: bytes, suffix: str) -> Payload:
        """Keep encoded bytes; a kill at any moment leaves no torn payload.

        Raises:
            EnvironmentFault: the disk is full, there is no permission, the network is away.
        """

    def learn(self, payload: Payload) -> None:
        """Take note that another process has put these bytes just now."""

    def read(self, payload: Payload) -> bytes:
        """Return the bytes, verified.

        Raises:
            PayloadMissing: they are not there, or were damaged (then they now lie in quarantine).
            EnvironmentFault: the disk or the network does not give them; no fault of the sample.
        """

    def file(self, payload: Payload) -> Path:
        """Return a local file that should hold the bytes, to be copied and verified now; never to be linked to.

        Raises:
            PayloadMissing, EnvironmentFault: they had to be fetched, and could not be.
        """

    def where(self, payload: Payload) -> str:
        """Say for a person where a payload lies, or would lie."""

    def damage(self, payload: Payload) -> str:
        """Read the bytes where they lie; say what is wrong with them, nothing where they are whole or not there.

        Damaged ones are moved to quarantine.
        """

    def remove(self, payload: Payload) -> int:
        """Delete the bytes, which can always be made again; return how many there were."""

    def remove_strays(self, known: Iterable[Payload]) -> dict[str, int]:
        """Delete payloads that nobody knows; return the bytes of each. Where others keep theirs, there are none."""

    def size(self) -> StoreSize:
        """Measure it."""
