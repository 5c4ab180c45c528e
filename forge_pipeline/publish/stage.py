"""New files of a publication, written and verified where nobody looks, before anything in the export changes."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from blake3 import blake3

from forge_pipeline.digest import DIGEST_BYTES, digest_bytes
from forge_pipeline.disk import Disk, disk_fault
from forge_pipeline.publish.model import Content, OpenPayload, PayloadDamaged, Publication
from forge_pipeline.publish.where import parents


def stage(
    root: Path, paths: Iterable[str], publication: Publication, open_payload: OpenPayload, disk: Disk
) -> dict[str, Content]:
    """Write files under `root`, and wait until the disk has them.

    Returns what was written, by path.

    Raises:
        PayloadDamaged: the bytes handed over are not the promised ones.
        EnvironmentFault: the disk is full; the hint says by how much.
    """
    wanted = publication.wanted()
    contents = {path: wanted[path] for path in paths}
    left = dict.fromkeys(contents)
    try:
        _write_all(root, contents, left, publication.side_files, open_payload, disk)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        missing = sum(contents[path].size for path in left) - _free_bytes(root)
        raise disk_fault(error, publication.folder, missing) from error
    return contents


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(next(at for at in path.parents if at.exists())).free


def _write_all(
    root: Path,
    contents: Mapping[str, Content],
    left: dict[str, None],
    side_files: Mapping[str, bytes],
    open_payload: OpenPayload,
    disk: Disk,
) -> None:
    """Write files and strike them off `left`."""
    folders = [root, *(root / parent for parent in sorted({parent for path in contents for parent in parents(path)}))]
    for folder in folders:
        disk.mkdir(folder)
    for path, content in contents.items():
        side = side_files.get(path)
        _write(root / path, path, content, open_payload(path) if side is None else side, disk)
        del left[path]
    # All writes first, then all waits: the disk works on the later files while we wait for the first.
    disk.sync_files([root / path for path in contents])
    for folder in folders:
        disk.sync_folder(folder)


def _write(target: Path, path: str, content: Content, payload: bytes | Path, disk: Disk) -> None:
    if isinstance(payload, Path):
        hasher = blake3()
        try:
            disk.copy(payload, target, hasher.update, sync=False)
        except FileNotFoundError:
            if payload.exists():
                raise
            raise PayloadDamaged(path, "", content.bytes_digest) from None
        found = hasher.hexdigest(length=DIGEST_BYTES)
    else:
        found = digest_bytes(payload)
    if found != content.bytes_digest:
        raise PayloadDamaged(path, found, content.bytes_digest)
    if not isinstance(payload, Path):
        disk.write_file(target, payload, sync=False)
