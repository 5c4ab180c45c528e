"""Payloads: encoded values kept in a folder under the digest of their content."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forge_pipeline.digest import digest_bytes
from forge_pipeline.disk import DISK, Disk, disk_fault
from forge_pipeline.errors import EnvironmentFault, ForgeError

_FOLDERS_LOST_MAX = 100


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


class Store:
    """A folder of payloads. Safe to use from many threads and processes: a payload appears whole or not at all."""

    def __init__(self, root: Path, disk: Disk = DISK) -> None:
        self.root = root
        self._disk = disk
        self._payloads = root / "payloads"
        self._incoming = root / "incoming"
        self._quarantine = root / "quarantine"
        self._serial = itertools.count()
        self._folders_made: set[str] = set()

    def path(self, payload: Payload) -> Path:
        """Say where a payload lies, or would lie."""
        return self._payloads / payload.digest[:2] / (payload.digest + payload.suffix)

    def has(self, payload: Payload) -> bool:
        """Tell whether the bytes are there with the right size; their content is verified when they are read."""
        try:
            return self.path(payload).stat().st_size == payload.size
        except OSError:
            return False

    def put(self, digest: str, data: bytes, suffix: str) -> Payload:
        """Keep encoded bytes; written aside and renamed, so that a kill leaves no torn payload.

        Raises:
            EnvironmentFault: the disk is full or not writable.
        """
        payload = Payload(digest, digest_bytes(data), len(data), suffix)
        for _ in range(_FOLDERS_LOST_MAX):
            try:
                self._put(payload, data)
                return payload
            except FileNotFoundError:  # someone deletes the cache's folders while we run: that must be safe
                self._folders_made.clear()
            except OSError as error:
                raise disk_fault(error, self.root, len(data)) from error
        raise EnvironmentFault(f"cache: the folders in {self.root} keep being deleted while they are written to")

    def read(self, payload: Payload) -> bytes:
        """Return the bytes, verified.

        Raises:
            PayloadMissing: they are not there, or were damaged (then they now lie in quarantine).
            EnvironmentFault: the disk does not give them; no fault of the sample.
        """
        path = self.path(payload)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise PayloadMissing(payload.digest) from None
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise EnvironmentFault(f"cache: {path}: cannot be read ({why})", f"ls -ld {path}") from error
        found = digest_bytes(data)
        if found != payload.bytes_digest:
            self.quarantine(path)
            raise PayloadMissing(
                payload.digest,
                f"cache: payload {payload.digest[:12]} is damaged (its bytes have digest {found[:12]}, "
                f"not {payload.bytes_digest[:12]}); moved to quarantine, it will be made again",
            )
        return data

    def quarantine(self, path: Path) -> None:
        """Move a damaged file out of the way, keeping it for a look."""
        try:
            self._quarantine.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # gone already
                self._disk.replace(path, self._quarantine / path.name)
        except OSError as error:
            raise disk_fault(error, self.root) from error

    def sweep_incoming(self) -> None:
        """Remove what a killed run was writing. Only for the holder of the index lock."""
        if self._incoming.is_dir():
            for left in self._incoming.iterdir():
                left.unlink(missing_ok=True)

    def files(self) -> Iterator[Path]:
        """List every payload file."""
        if self._payloads.is_dir():
            for folder in sorted(self._payloads.iterdir()):
                yield from sorted(folder.iterdir())

    def remove(self, path: Path) -> None:
        """Delete one payload file; its bytes can always be made again."""
        path.unlink(missing_ok=True)

    def _put(self, payload: Payload, data: bytes) -> None:
        aside = self._incoming / f"{os.getpid()}-{threading.get_ident()}-{next(self._serial)}"
        self._make_folders(payload.digest[:2])
        self._disk.write_file(aside, data, sync=False)
        self._disk.replace(aside, self.path(payload))

    def _make_folders(self, prefix: str) -> None:
        if prefix not in self._folders_made:
            (self._payloads / prefix).mkdir(parents=True, exist_ok=True)
            self._incoming.mkdir(parents=True, exist_ok=True)
            self._folders_made.add(prefix)
