"""The renames and deletes of one publication, written down before the first so that any later run can end it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from forge_pipeline.disk import Disk
from forge_pipeline.errors import PublicationError
from forge_pipeline.publish.model import HIDDEN
from forge_pipeline.publish.record import (
    TICK_S,
    Owned,
    Record,
    described,
    digest_there,
    looks_same,
    read_record,
    status_of,
    write_record,
)
from forge_pipeline.publish.where import journal_file, parents, staging

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Journal:
    """What has to happen in a folder, in this order. Every step may be done twice.

    Attributes:
        publication, images, image_count: as in Record, once all is done.
        set_aside: by path: where the changed file goes, both relative to the folder.
        delete: by path: the file of ours that is there.
        replace: by path: the staged file, and the file that it may replace (None: nothing); the manifest last.
        kept: by path: files that stay, where the record did not know them so.
        left: paths that are no longer ours.
    """

    publication: str
    images: str
    image_count: int
    set_aside: Mapping[str, str] = field(default_factory=dict)
    delete: Mapping[str, Owned] = field(default_factory=dict)
    replace: Mapping[str, tuple[Owned, Owned | None]] = field(default_factory=dict)
    kept: Mapping[str, Owned] = field(default_factory=dict)
    left: Sequence[str] = ()


def write_journal(folder: Path, journal: Journal, disk: Disk) -> None:
    """Write the journal down: from here on the publication will be ended, by us or by the next run."""
    # By way of the staging folder, so that a torn one is swept away with it.
    draft = staging(folder) / HIDDEN / "journal.json"
    disk.mkdir(draft.parent)
    disk.write_file(draft, json.dumps({"forge": FORMAT, **asdict(journal)}, separators=(",", ":")).encode())
    disk.replace(draft, journal_file(folder))
    disk.sync_folder(journal_file(folder).parent)


def read_journal(folder: Path) -> Journal | None:
    """Read what is left to do; None where nothing is. Raises PublicationError for a damaged journal."""
    path = journal_file(folder)
    try:
        value = json.loads(path.read_bytes())
        if value.pop("forge") != FORMAT:
            raise ValueError("another format")
        return Journal(
            **{
                **value,
                "delete": {name: Owned(*owned) for name, owned in value["delete"].items()},
                "kept": {name: Owned(*owned) for name, owned in value["kept"].items()},
                "replace": {name: (Owned(*new), old and Owned(*old)) for name, (new, old) in value["replace"].items()},
            }
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"{path}: the journal of an interrupted publication is damaged"
        raise PublicationError(message, f"move the whole export away and run again: mv {folder} {folder}.old") from None


def roll_forward(folder: Path, journal: Journal, disk: Disk) -> None:
    """Do what a journal says, whatever part of it was done before, and put the journal away.

    Raises PublicationError where somebody put a file in the way meanwhile; the journal stays.
    """
    for path, aside in journal.set_aside.items():
        _set_aside(folder, path, aside, disk)
    for path, ours in journal.delete.items():
        if _is_ours(folder / path, ours):
            disk.unlink(folder / path)
    touched = {folder, folder / HIDDEN}
    for path, (new, old) in journal.replace.items():
        _replace(folder, path, new, old, disk)
        touched.update(folder / parent for parent in parents(path))
    touched.update(_sweep(folder, journal, disk))
    for at in sorted(touched):
        disk.sync_folder(at)
    write_record(folder, _record(folder, journal), disk)
    disk.remove_tree(staging(folder))
    disk.unlink(journal_file(folder))
    disk.sync_folder(folder / HIDDEN)


def _set_aside(folder: Path, path: str, aside: str, disk: Disk) -> None:
    if (folder / aside).exists() or status_of(folder / path) is None:
        return
    disk.mkdir((folder / aside).parent)
    disk.replace(folder / path, folder / aside)


def _replace(folder: Path, path: str, new: Owned, old: Owned | None, disk: Disk) -> None:
    staged, target = staging(folder) / path, folder / path
    if status_of(staged) is None:  # done before we were interrupted
        return
    disk.mkdir(target.parent)
    if status_of(target) is not None and not _is_ours(target, old, new):
        message = f"{target}: appeared or was changed while the export was being published"
        raise PublicationError(message, f"move it away and run again: mv {target} {target}.mine")
    disk.replace(staged, target)


def _is_ours(path: Path, *ours: Owned | None) -> bool:
    """Tell that one of these files is what lies there."""
    status = status_of(path)
    known = [one for one in ours if one is not None]
    if status is None or not known:
        return False
    return any(looks_same(one, status) for one in known) or digest_there(path, status) in {one.digest for one in known}


def _sweep(folder: Path, journal: Journal, disk: Disk) -> set[Path]:
    """Delete folders that our deletes left empty; return those that lost a name."""
    lost: set[Path] = set()
    for parent in sorted({parent for path in journal.delete for parent in parents(path)}, reverse=True):
        at = folder / parent
        lost.add(at)
        with contextlib.suppress(OSError):  # it holds something, or is gone already
            if at.is_dir() and not any(at.iterdir()):
                disk.rmdir(at)
                lost.add(at.parent)
    return {at for at in lost if at.is_dir()}


def _record(folder: Path, journal: Journal) -> Record:
    time.sleep(TICK_S)
    gone = {*journal.delete, *journal.left}
    files = {path: ours for path, ours in read_record(folder).files.items() if path not in gone}
    files.update(journal.kept)
    whole = True
    for path, (new, old) in journal.replace.items():
        status = status_of(folder / path)
        there = _recognised(folder / path, status, new, old) if status is not None else None
        if there is not None:
            files[path] = there
        else:
            files.pop(path, None)
        whole = whole and there is not None and there.digest == new.digest
    return Record(files, journal.publication if whole else "", journal.images, journal.image_count)


def _recognised(path: Path, status: os.stat_result, new: Owned, old: Owned | None) -> Owned | None:
    """Describe the file that stands where we put one; None when it is neither the new nor the old one."""
    # A rename keeps everything but ctime.
    if (status.st_size, status.st_mtime_ns, status.st_ino) == (new.size, new.mtime_ns, new.inode):
        return described(status, new.digest)
    digest = digest_there(path, status)
    return described(status, digest) if digest in {new.digest, old and old.digest} else None
