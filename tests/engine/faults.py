"""Disks that break: every n-th change fails, or the process is gone from there on."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

from forge_pipeline.disk import Disk


class Killed(BaseException):
    """The process is gone: nothing catches this, and no clean-up reaches the disk."""


class QuietDisk(Disk):
    """Announces every change and does it, without waiting for the hardware; `operations` lists them."""

    def __init__(self) -> None:
        self.operations: list[tuple[str, str]] = []

    def about_to(self, operation: str, path: Path) -> None:
        self.operations.append((operation, path.name))

    def sync_file(self, path: Path) -> None:
        self.about_to("sync", path)

    def sync_folder(self, path: Path) -> None:
        self.about_to("sync_folder", path)

    def _sync_all(self, path: Path) -> bool:
        return False

    def _sync(self, stream: BinaryIO, path: Path) -> None:
        self.about_to("sync", path)


class DyingDisk(QuietDisk):
    """Dies before the n-th change (counted from 1), and stays dead."""

    def __init__(self, nth: int) -> None:
        super().__init__()
        self.nth = nth

    def about_to(self, operation: str, path: Path) -> None:
        super().about_to(operation, path)
        if len(self.operations) >= self.nth:
            raise Killed(operation, path)


class FullDisk(QuietDisk):
    """Has no space for the n-th change (counted from 1), nor for any later one when `stays` is set; deleting works."""

    def __init__(self, nth: int, stays: bool) -> None:
        super().__init__()
        self.nth = nth
        self.stays = stays

    def about_to(self, operation: str, path: Path) -> None:
        super().about_to(operation, path)
        full = len(self.operations) == self.nth or (self.stays and len(self.operations) > self.nth)
        if full and operation not in ("unlink", "rmdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
