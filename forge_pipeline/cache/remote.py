"""The store of many machines: payloads behind a URL, read through a folder of this machine.

A payload's name carries the digest of its content and that of its encoded bytes. So whoever knows a payload can tell
from a listing alone whether it is there, two encodings of one content never meet under one name, and an index needs no
other source than itself: nothing is ever looked up by content in what others have put there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from forge_pipeline.cache.far import Far
from forge_pipeline.cache.kept import Kept
from forge_pipeline.cache.store import Payload, PayloadMissing, StoreSize, StoreSpec
from forge_pipeline.cache.url import read_store_url
from forge_pipeline.digest import digest_bytes

_PAYLOADS = "payloads"
_QUARANTINE = "quarantine"
KEPT = "read"
"""Where, under the cache's folder, payloads of a shared store are kept."""


class RemoteStore:
    """Payloads behind a URL.

    What is there is listed once a process for each of 256 folders, when it is first asked for. What our own workers in
    other processes add later is told to `learn`. What others add later is sent again if we make it too (the same bytes,
    under the same name); what others delete later is found missing when it is read, and made again by a task that
    believes no listing (`look`): any other process may have one from before the deletion.

    Args:
        folder: of the cache; what is kept on this machine lies under it.
        keep_bytes: how much of it, roughly; 0 stands for the default.
        waits_s: seconds before each further attempt of a request, if not the usual ones.

    Raises:
        CommandError: the URL is none, or holds a secret.
    """

    shared = True

    def __init__(self, url: str, folder: Path, keep_bytes: int = 0, waits_s: Sequence[float] | None = None) -> None:
        self.folder = folder
        self._far = Far(read_store_url(url), waits_s)
        self._kept = Kept(folder / KEPT, keep_bytes)
        self._keep_bytes = keep_bytes
        self._listed: dict[str, dict[str, int]] = {}
        self._lock = threading.Lock()

    @property
    def spec(self) -> StoreSpec:
        """Say how the same store is opened in another process."""
        return StoreSpec(str(self.folder), self._far.url.text, self._keep_bytes)

    def has(self, payload: Payload) -> bool:
        """Tell whether the bytes are there with the right size, as far as we were told."""
        return self._folder(payload).get(_name(payload)) == payload.size

    def look(self, payload: Payload) -> bool:
        """Ask what is behind the URL, and correct our listing."""
        size = self._far.size(_path(payload))
        self._note(payload, size)
        return size == payload.size

    def put(self, digest: str, data: bytes, suffix: str) -> Payload:
        """Keep encoded bytes; what is there already is not sent again."""
        payload = Payload(digest, digest_bytes(data), len(data), suffix)
        name = _name(payload)
        # Kept first: an export is going to ask for it soon.
        self._kept.put(name, data)
        if not self.has(payload):
            self._far.write(_path(payload), data)
            self._note(payload, payload.size)
        return payload

    def learn(self, payload: Payload) -> None:
        """Take note that another process has put these bytes just now: our listing may be older."""
        if not self.has(payload):
            self._note(payload, payload.size)

    def read(self, payload: Payload) -> bytes:
        """Return the bytes, verified; what is kept on this machine is taken from there.

        Raises:
            PayloadMissing: they are not there, or were damaged (then they now lie in quarantine).
            EnvironmentFault: the store cannot be reached; no fault of the sample.
        """
        name = _name(payload)
        data = self._kept.get(name)
        if data is not None:
            if digest_bytes(data) == payload.bytes_digest:
                return data
            self._kept.forget(name)
        data = self._fetched(payload)
        self._kept.put(name, data)
        return data

    def file(self, payload: Payload) -> Path:
        """Return a local file that should hold the bytes, fetched if it was not kept."""
        name = _name(payload)
        if not self._kept.has(name, payload.size):
            self._kept.put(name, self._fetched(payload))
        return self._kept.path(name)

    def where(self, payload: Payload) -> str:
        """Say where a payload lies, or would lie."""
        return self._far.where(_path(payload))

    def damage(self, payload: Payload) -> str:
        """Read the bytes where they lie and say what is wrong with them; damaged ones are moved to quarantine."""
        data = self._far.read(_path(payload))
        return "" if data is None else self._damage(payload, data)[0]

    def remove(self, payload: Payload) -> int:
        """Delete the bytes for everybody; return how many there were."""
        size = self._folder(payload).get(_name(payload), 0)
        self._kept.forget(_name(payload))
        if size:
            self._far.delete(_path(payload))
            self._note(payload, None)
        return size

    def remove_strays(self, known: Iterable[Payload]) -> dict[str, int]:
        """Delete nothing: what we do not know, others do."""
        return {}

    def size(self) -> StoreSize:
        """Measure all that anybody has put there, and what is kept of it here."""
        sizes = list(self._far.all_sizes(_PAYLOADS))
        return StoreSize(len(sizes), sum(sizes), self._kept.size())

    def _fetched(self, payload: Payload) -> bytes:
        data = self._far.read(_path(payload))
        if data is None:
            self._note(payload, None)
            raise PayloadMissing(payload.digest)
        problem, data = self._damage(payload, data)
        if problem:
            raise PayloadMissing(
                payload.digest,
                f"store {self._far.url.text}: payload {payload.digest[:12]} is damaged ({problem}), "
                "it will be made again",
            )
        return data

    def _damage(self, payload: Payload, data: bytes) -> tuple[str, bytes]:
        """Say what is wrong with bytes that were read, and return them, or better ones from a second look."""
        if digest_bytes(data) == payload.bytes_digest:
            return "", data
        # On the way or where it lies? Others use it too: only what is damaged twice is moved aside.
        again = self._far.read(_path(payload))
        if again is not None and digest_bytes(again) == payload.bytes_digest:
            return "", again
        self._far.move(_path(payload), f"{_QUARANTINE}/{_name(payload)}")
        self._note(payload, None)
        found = digest_bytes(data if again is None else again)
        return (
            f"its bytes have digest {found[:12]}, not {payload.bytes_digest[:12]}; moved to quarantine",
            data,
        )

    def _folder(self, payload: Payload) -> dict[str, int]:
        """Return what lies beside a payload: name to size."""
        folder = payload.digest[:2]
        listed = self._listed.get(folder)
        if listed is None:
            found = self._far.sizes(f"{_PAYLOADS}/{folder}")
            with self._lock:
                # What another thread has noted since then is newer than our listing.
                listed = self._listed.setdefault(folder, found)
        return listed

    def _note(self, payload: Payload, size: int | None) -> None:
        with self._lock:
            listed = self._listed.get(payload.digest[:2])
            if listed is None:
                return
            if size is None:
                listed.pop(_name(payload), None)
            else:
                listed[_name(payload)] = size


def _name(payload: Payload) -> str:
    return f"{payload.digest}-{payload.bytes_digest}{payload.suffix}"


def _path(payload: Payload) -> str:
    return f"{_PAYLOADS}/{payload.digest[:2]}/{_name(payload)}"
