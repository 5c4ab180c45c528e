"""The store of one machine: a folder of payloads."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from forge_pipeline.cache.store import Payload, PayloadMissing, StoreSize, StoreSpec
from forge_pipeline.digest import digest_bytes, digest_file
from forge_pipeline.disk import DISK, Disk, disk_fault
from forge_pipeline.errors import EnvironmentFault

_FOLDERS_LOST_MAX = 100


class FolderStore:
    """A folder of payloads that one index knows."""

    shared = False

    def __init__(self, root: Path, disk: Disk = DISK) -> None:
        self.root = root
        self._disk = disk
        self._payloads = root / "payloads"
        self._incoming = root / "incoming"
        self._quarantine = root / "quarantine"
        self._serial = itertools.count()
        self._folders_made: set[str] = set()

    @property
    def spec(self) -> StoreSpec:
        """Say how the same store is opened in another process."""
        return StoreSpec(str(self.root))

    def path(self, payload: Payload) -> Path:
        """Say where a payload lies, or would lie."""
        return self._payloads / payload.digest[:2] / (payload.digest + payload.suffix)

    def file(self, payload: Payload) -> Path:
        """Say where a payload lies, or would lie."""
        return self.path(payload)

    def where(self, payload: Payload) -> str:
        """Say where a payload lies, or would lie."""
        return str(self.path(payload))

    def has(self, payload: Payload) -> bool:
        """Tell whether the bytes are there with the right size; their content is verified when they are read."""
        try:
            return self.path(payload).stat().st_size == payload.size
        except OSError:
            return False

    def look(self, payload: Payload) -> bool:
        """Tell the same: the folder is looked at each time."""
        return self.has(payload)

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

    def learn(self, payload: Payload) -> None:
        """Do nothing: the folder is looked at each time."""

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
            self._put_aside(path)
            raise PayloadMissing(
                payload.digest,
                f"cache: payload {payload.digest[:12]} is damaged (its bytes have digest {found[:12]}, "
                f"not {payload.bytes_digest[:12]}); moved to quarantine, it will be made again",
            )
        return data

    def damage(self, payload: Payload) -> str:
        """Read the bytes and say what is wrong with them; damaged ones are moved to quarantine."""
        path = self.path(payload)
        try:
            found = digest_file(path)
        except FileNotFoundError:
            return ""
        if found == payload.bytes_digest:
            return ""
        self._put_aside(path)
        return f"its bytes have digest {found[:12]}, not {payload.bytes_digest[:12]}; moved to quarantine"

    def remove(self, payload: Payload) -> int:
        """Delete the bytes, which can always be made again; return how many there were."""
        path = self.path(payload)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return 0
        path.unlink(missing_ok=True)
        return size

    def remove_strays(self, known: Iterable[Payload]) -> dict[str, int]:
        """Delete the files that no payload of our one index explains; return how large each was."""
        wanted = {self.path(payload) for payload in known}
        strays = {str(path): path.stat().st_size for path in self._files() if path not in wanted}
        for path in strays:
            Path(path).unlink(missing_ok=True)
        return strays

    def size(self) -> StoreSize:
        """Measure it."""
        sizes = [path.stat().st_size for path in self._files()]
        return StoreSize(len(sizes), sum(sizes))

    def sweep_incoming(self) -> None:
        """Remove what a killed run was writing. Only for the holder of the index lock."""
        if self._incoming.is_dir():
            for left in self._incoming.iterdir():
                left.unlink(missing_ok=True)

    def _files(self) -> Iterator[Path]:
        if self._payloads.is_dir():
            for folder in sorted(self._payloads.iterdir()):
                yield from sorted(folder.iterdir())

    def _put_aside(self, path: Path) -> None:
        """Move a damaged file out of the way, keeping it for a look."""
        try:
            self._quarantine.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # gone already
                self._disk.replace(path, self._quarantine / path.name)
        except OSError as error:
            raise disk_fault(error, self.root) from error

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
