"""Which files of an export are ours: a hidden record that lets an unchanged folder be checked by stat alone."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from forge_pipeline.digest import digest_file
from forge_pipeline.disk import Disk
from forge_pipeline.errors import PublicationError
from forge_pipeline.manifest import read_manifest
from forge_pipeline.publish.model import HIDDEN, MANIFEST

FORMAT = 1
TICK_S = 0.02
"""Longer than a tick of the clock that file systems stamp with (4 to 10 ms on Linux): waited for before files are
described, so that a record is always younger than the files that it describes."""
_NAME = "owned.json"


class Owned(NamedTuple):
    """A file that we wrote: its content, and what stat said of it then (-1 where we do not know)."""

    digest: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Record:
    """The files that are ours.

    Attributes:
        files: by relative path.
        publication: digest of the publication that stands complete in the folder, or an empty string.
        images: digest of its image files.
        image_count: how many they are.
        written_ns: when this record was written, by the file system's clock.
    """

    files: Mapping[str, Owned] = field(default_factory=dict)
    publication: str = ""
    images: str = ""
    image_count: int = 0
    written_ns: int = 0


def read_record(folder: Path) -> Record:
    """Read what is ours. Without a record (deleted, or a copy of the folder without it) the manifest tells."""
    path = folder / HIDDEN / _NAME
    try:
        value = json.loads(path.read_bytes())
        if value["forge"] == FORMAT:
            files = {name: Owned._make(owned) for name, owned in value["files"].items()}
            counts = value["publication"], value["images"], value["image_count"]
            return Record(files, *counts, written_ns=path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return Record(_owned_by_manifest(folder))


def write_record(root: Path, record: Record, disk: Disk) -> None:
    """Write the record of an export folder, or of the folder that becomes one."""
    files = {name: list(record.files[name]) for name in sorted(record.files)}
    value = {
        "forge": FORMAT,
        "publication": record.publication,
        "images": record.images,
        "image_count": record.image_count,
        "files": files,
    }
    disk.mkdir(root / HIDDEN)
    disk.write_atomic(root / HIDDEN / _NAME, json.dumps(value, separators=(",", ":")).encode())


def owned_now(path: Path, digest: str) -> Owned:
    """Describe a file of ours that has this digest."""
    return described(path.lstat(), digest)


def described(status: os.stat_result, digest: str) -> Owned:
    """Describe a file by its digest and what stat says."""
    return Owned(digest, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def looks_same(owned: Owned, status: os.stat_result) -> bool:
    """Tell by stat alone that a file is the one described."""
    return (
        owned.mtime_ns == status.st_mtime_ns
        and owned.ctime_ns == status.st_ctime_ns
        and owned.size == status.st_size
        and owned.inode == status.st_ino
    )


def unchanged(owned: Owned, status: os.stat_result, written_ns: int) -> bool:
    """Tell by stat alone that a file is as the record written at that time says.

    One changed in the tick of the clock in which the record was written could look the same: not trusted, as in git.
    """
    return looks_same(owned, status) and owned.ctime_ns < written_ns


def status_of(path: Path) -> os.stat_result | None:
    """Return a path's own stat (not that of a link's target), or None where there is nothing."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def digest_there(path: Path, status: os.stat_result) -> str:
    """Name what lies at a path; a folder, link or device has no digest of ours."""
    return digest_file(path) if stat.S_ISREG(status.st_mode) else ""


def _owned_by_manifest(folder: Path) -> dict[str, Owned]:
    path = folder / MANIFEST
    try:
        rows = read_manifest(path)
        owned = {MANIFEST: Owned(digest_file(path), -1, -1, -1, -1)}
    except (OSError, PublicationError):  # somebody else's file of that name: nothing here is ours
        return {}
    for row in rows:
        for file in row["files"].values():
            owned[file["path"]] = Owned(file["bytes_digest"], -1, -1, -1, -1)
    return owned
