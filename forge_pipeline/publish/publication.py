"""One publication from start to end: stage, write the journal, rename, record; and the end of one that was cut off."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from forge_pipeline.disk import DISK, Disk, disk_fault, held
from forge_pipeline.errors import PublicationError
from forge_pipeline.publish.compare import Difference, compare, still_published
from forge_pipeline.publish.journal import Journal, read_journal, roll_forward, write_journal
from forge_pipeline.publish.model import HIDDEN, OpenPayload, Publication, Published
from forge_pipeline.publish.record import (
    TICK_S,
    Owned,
    Record,
    digest_there,
    owned_now,
    read_record,
    status_of,
    write_record,
)
from forge_pipeline.publish.stage import stage
from forge_pipeline.publish.where import (
    check_names,
    first_staging,
    is_unfinished,
    journal_file,
    lock_file,
    real_folder,
    staging,
)

Announce = Callable[[str], None]


def publish(
    publication: Publication, open_payload: OpenPayload, *, announce: Announce | None = None, disk: Disk = DISK
) -> Published:
    """Make a folder hold exactly what it should, and touch nothing that is not ours.

    Either everything is published or, whatever happens, the folder keeps its old content and the next call ends what
    was begun. A folder that is as it should be is checked by stat and not written to.

    Args:
        publication: what the folder should hold.
        open_payload: asked for the image files that have to be written, one by one.
        announce: told one line when we wait for another process, or end an interrupted publication.
        disk: where all changes go through.

    Raises:
        PublicationError: somebody else's file stands in the way.
        PayloadDamaged: handed-over bytes are not the promised ones.
        EnvironmentFault: disk full, no permission.
    """
    if done := still_published(publication.folder, publication.digest()):
        return done
    with _alone(publication.folder, announce, disk) as folder:
        _finish(folder, announce, disk)
        if folder.exists():
            return _update(folder, publication, open_payload, disk)
        return _first(folder, publication, open_payload, disk)


def recover(folder: Path, *, announce: Announce | None = None, disk: Disk = DISK) -> bool:
    """End a publication that was cut off. Returns whether there was one."""
    if not is_unfinished(real_folder(folder)):
        return False
    with _alone(folder, announce, disk) as real:
        return _finish(real, announce, disk)


@contextlib.contextmanager
def _alone(folder: Path, announce: Announce | None, disk: Disk) -> Iterator[Path]:
    """Hold the folder's lock, and say for a user what the machine refuses."""
    real = real_folder(folder)

    def waiting() -> None:
        if announce:
            announce(f"{folder}: waiting for another run that publishes there")

    try:
        lock = lock_file(real)
        disk.mkdir(lock.parent)
        with held(lock, disk, waiting):
            yield real
    except OSError as error:
        raise disk_fault(error, folder) from error


def _finish(folder: Path, announce: Announce | None, disk: Disk) -> bool:
    """Roll a left journal forward; sweep away what was staged without one."""
    found = False
    if journal := read_journal(folder):
        roll_forward(folder, journal, disk)
        found = True
        if announce:
            announce(f"{folder}: ended an interrupted publication")
    for left in (staging(folder), first_staging(folder)):
        if status_of(left) is not None:
            disk.remove_tree(left)
            found = True
    return found


def _first(folder: Path, publication: Publication, open_payload: OpenPayload, disk: Disk) -> Published:
    wanted = publication.wanted()
    check_names(wanted)
    root = first_staging(folder)
    with _swept(root, disk):
        stage(root, wanted, publication, open_payload, disk)
        time.sleep(TICK_S)
        owned = {path: owned_now(root / path, content.bytes_digest) for path, content in wanted.items()}
        write_record(root, _record(publication, owned), disk)
        disk.sync_folder(root)
        try:
            disk.rename(root, folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            message = f"{folder}: appeared while the export was being published"
            raise PublicationError(message, f"move it away and run again: mv {folder} {folder}.mine") from None
    disk.sync_folder(folder.parent)
    return _published(publication, list(wanted), 0, ())


def _update(folder: Path, publication: Publication, open_payload: OpenPayload, disk: Disk) -> Published:
    before = read_record(folder)
    found = compare(folder, publication.wanted(), before)
    notes = _notes(publication.folder, found)
    if not found.write and not found.delete:
        record = _record(publication, found.kept)
        if replace(record, written_ns=before.written_ns) != before:  # touched, adopted or no longer ours
            write_record(folder, record, disk)
        return _published(publication, [], 0, notes)
    root = staging(folder)
    with _swept(root, disk, journal_file(folder)):
        staged = stage(root, found.write, publication, open_payload, disk)
        asides = {path: _aside(folder, path, there.digest) for path, there in found.changed.items()}
        journal = Journal(
            publication.digest(),
            publication.images_digest(),
            len(publication.files),
            # One that is there already holds the same bytes: nothing to keep.
            set_aside={path: aside for path, aside in asides.items() if status_of(folder / aside) is None},
            delete=found.delete,
            replace={
                path: (owned_now(root / path, content.bytes_digest), found.write[path])
                for path, content in staged.items()
            },
            kept={path: there for path, there in found.kept.items() if before.files.get(path) != there},
            left=found.left,
        )
        write_journal(folder, journal, disk)
    roll_forward(folder, journal, disk)
    return _published(publication, list(found.write), len(found.delete), notes)


@contextlib.contextmanager
def _swept(root: Path, disk: Disk, journal: Path | None = None) -> Iterator[None]:
    """Sweep the staging folder when the block fails, so that a full disk has its space back."""
    try:
        yield
    except BaseException:
        if journal is None or not journal.exists():
            with contextlib.suppress(OSError):
                disk.remove_tree(root)
        raise


def _aside(folder: Path, path: str, digest: str) -> str:
    """Name the place for a file of ours that was changed: by its content, so that none overwrites another."""
    name = f"{HIDDEN}/changed/{digest[:8]}/{path}"
    count = 2
    while (status := status_of(folder / name)) and digest_there(folder / name, status) != digest:
        name = f"{HIDDEN}/changed/{digest[:8]}-{count}/{path}"
        count += 1
    return name


def _notes(folder: Path, found: Difference) -> tuple[str, ...]:
    put_back = (
        f"{folder / path}: was changed after it was published; put back, the changed file is kept in "
        f"{folder / HIDDEN / 'changed'}"
        for path in found.changed
    )
    left = (
        f"{folder / path}: was changed after it was published and is no longer part of the export; left to you"
        for path in found.left
    )
    return (*put_back, *left)


def _record(publication: Publication, owned: Mapping[str, Owned]) -> Record:
    return Record(owned, publication.digest(), publication.images_digest(), len(publication.files))


def _published(publication: Publication, written: list[str], deleted: int, notes: tuple[str, ...]) -> Published:
    wanted = publication.wanted()
    size = sum(wanted[path].size for path in written)
    count = len(publication.files)
    return Published(publication.folder, count, len(written), deleted, publication.images_digest(), size, notes)
