"""A folder behind fsspec that fails as a network does: now and then, from some moment on, or half-way through."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem


class FaultySystem:
    """What is to go wrong; requests are counted from 0.

    Attributes:
        fail_every: each so many requests one fails, once.
        gone_after: from this request on all fail.
        cut_upload: the upload of this number ends in the middle of its bytes, once.
        race_folders: another machine makes each level of a folder just before us, which is then a failure.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"faulty://{folder}"
        self.fail_every: int | None = None
        self.gone_after: int | None = None
        self.cut_upload: int | None = None
        self.race_folders = False
        self.error: Exception = OSError(errno.EHOSTUNREACH, "the network is away")
        self.requests = 0
        self.failures = 0
        self._uploads = 0

    def request(self) -> None:
        number, self.requests = self.requests, self.requests + 1
        gone = self.gone_after is not None and number >= self.gone_after
        if gone or (self.fail_every and number % self.fail_every == 0):
            self.failures += 1
            raise self.error

    def upload(self, path: str, data: bytes) -> None:
        number, self._uploads = self._uploads, self._uploads + 1
        if number == self.cut_upload:
            Path(path).write_bytes(data[: len(data) // 2])
            raise OSError(errno.ECONNRESET, "connection reset")


class FaultyFileSystem(LocalFileSystem):
    """Local files, each request of which may fail."""

    protocol = "faulty"
    system: FaultySystem

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return str(path).removeprefix("faulty://")

    def cat_file(self, path: str, *arguments: Any, **options: Any) -> bytes:
        self.system.request()
        return bytes(super().cat_file(path, *arguments, **options))

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        self.system.request()
        self.system.upload(path, value)
        super().pipe_file(path, value, **options)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        if self.system.race_folders:
            missing = [one for one in (Path(path), *Path(path).parents) if not one.exists()]
            if missing:
                missing[-1].mkdir()
                raise OSError("Failure")  # all that OpenSSH says of it
        super().makedirs(path, exist_ok=exist_ok)

    def mv(self, path1: str, path2: str, **options: Any) -> None:
        self.system.request()
        super().mv(path1, path2, **options)

    def ls(self, path: str, detail: bool = False, **options: Any) -> Any:
        self.system.request()
        return super().ls(path, detail=detail, **options)

    def info(self, path: str, **options: Any) -> Any:
        self.system.request()
        return super().info(path, **options)
