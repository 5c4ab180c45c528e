"""What an export's folder holds against what it should hold: decided here, done elsewhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from forge_pipeline.errors import PublicationError
from forge_pipeline.publish.model import Content, Publication, Published
from forge_pipeline.publish.record import Owned, Record, described, digest_there, read_record, status_of, unchanged
from forge_pipeline.publish.where import check_names, is_unfinished, parents, real_folder

_UNFINISHED = "another publication is under way or was interrupted"


@dataclass(frozen=True, slots=True)
class Changes:
    """What a publication would change in its folder.

    Attributes:
        write: relative paths whose bytes are needed: `open_payload` is asked for those that are image files.
        delete: files of ours that are no longer wanted.
        put_back: files of ours that were changed behind our back; they are kept aside before `write` mends them.
        reason: why anything has to be done, for a user; empty when the folder is as it should be.
    """

    write: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    put_back: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """The same, with all that is needed to do it.

    Attributes:
        write: by path: the file of ours that is there now, or None for a free name.
        delete: by path: the file of ours.
        changed: by path: a file of ours that was changed; to be kept aside.
        kept: by path: files that are as they should be.
        left: files that were ours, were changed, and are not wanted: their owner's now.
    """

    write: Mapping[str, Owned | None]
    delete: Mapping[str, Owned]
    changed: Mapping[str, Owned]
    kept: Mapping[str, Owned]
    left: tuple[str, ...]


def changes(publication: Publication) -> Changes:
    """Say what publishing would do, and why, without writing anything.

    Raises PublicationError where somebody else's file stands in the way.
    """
    folder = real_folder(publication.folder)
    if is_unfinished(folder):
        needed = (path for path, content in publication.wanted().items() if not _holds(folder / path, content))
        return Changes(write=tuple(needed), reason=_UNFINISHED)
    if still_published(publication.folder, publication.digest()):
        return Changes()
    if not folder.exists():
        return Changes(write=tuple(publication.wanted()), reason="nothing is published there yet")
    found = compare(folder, publication.wanted(), read_record(folder))
    return Changes(tuple(found.write), tuple(found.delete), tuple(found.changed), _reason(found))


def still_published(folder: Path, digest: str) -> Published | None:
    """Tell by stat alone whether a publication stands in its folder as it was left; None when it does not.

    Args:
        folder: the publication's folder.
        digest: `Publication.digest()` of what should be there.
    """
    real = real_folder(folder)
    record = read_record(real)
    if record.publication != digest or is_unfinished(real):
        return None
    root = f"{real}{os.sep}"
    for path, owned in record.files.items():
        try:
            status = os.lstat(root + path)  # a string: building 10,000 Path objects takes as long as the stats
        except OSError:
            return None
        if not unchanged(owned, status, record.written_ns) and digest_there(Path(root + path), status) != owned.digest:
            return None
    return Published(folder, record.image_count, 0, 0, record.images)


def compare(folder: Path, wanted: Mapping[str, Content], record: Record) -> Difference:
    """Find what differs between a folder that exists and what it should hold.

    Raises PublicationError where somebody else's file, or a file of ours that was edited, stands in the way.
    """
    check_names(wanted)
    _check_folders(folder, wanted)
    write: dict[str, Owned | None] = {}
    changed: dict[str, Owned] = {}
    kept: dict[str, Owned] = {}
    occupied: list[tuple[str, str]] = []
    for path, content in wanted.items():
        there, ours = _there(folder, path, record), record.files.get(path)
        if there is None:
            write[path] = None
        elif there.digest == content.bytes_digest:
            kept[path] = there
        elif ours is not None and there.digest == ours.digest:
            write[path] = there
        elif ours is not None and there.digest and ours.digest == content.bytes_digest:
            write[path], changed[path] = there, there
        else:
            occupied.append((path, _occupant(folder / path, ours)))
    if occupied:
        raise _occupied(folder, occupied)
    delete, left = _unwanted(folder, wanted, record)
    return Difference(write, delete, changed, kept, left)


def _there(folder: Path, path: str, record: Record) -> Owned | None:
    status = status_of(folder / path)
    if status is None:
        return None
    ours = record.files.get(path)
    if ours is not None and unchanged(ours, status, record.written_ns):
        return ours
    return described(status, digest_there(folder / path, status))


def _unwanted(folder: Path, wanted: Mapping[str, Content], record: Record) -> tuple[dict[str, Owned], tuple[str, ...]]:
    delete, left = {}, []
    # On a file system that ignores case, `A.png` may be the very file that is wanted as `a.png`.
    folded = {path.casefold() for path in wanted}
    for path, ours in record.files.items():
        if path in wanted:
            continue
        there = _there(folder, path, record)
        if there is None:
            continue
        if there.digest != ours.digest:
            left.append(path)
        elif path.casefold() not in folded or not _same(folder, path, wanted):
            delete[path] = there
    return delete, tuple(left)


def _same(folder: Path, path: str, wanted: Mapping[str, Content]) -> bool:
    status = (folder / path).lstat()
    names = (name for name in wanted if name.casefold() == path.casefold())
    others = (status_of(folder / name) for name in names)
    return any(other is not None and os.path.samestat(status, other) for other in others)


def _check_folders(folder: Path, wanted: Iterable[str]) -> None:
    """Refuse folders that would lead our renames elsewhere: links, other file systems, files."""
    device = folder.stat().st_dev
    for parent in sorted({parent for path in wanted for parent in parents(path)}):
        status = status_of(folder / parent)
        if status is None:
            continue
        where, hint = folder / parent, f"move it away: mv {folder / parent} {folder / parent}.mine"
        if stat.S_ISLNK(status.st_mode):
            raise PublicationError(f"{where}: is a link, expected a folder of the export's own", hint)
        if not stat.S_ISDIR(status.st_mode):
            raise PublicationError(f"{where}: is a file, and the export needs a folder of that name", hint)
        if status.st_dev != device:
            raise PublicationError(f"{where}: is on another file system than {folder}, expected the same")


def _occupant(path: Path, ours: Owned | None) -> str:
    status = status_of(path)
    if status is not None and stat.S_ISDIR(status.st_mode):
        return "is a folder, and the export needs a file of that name"
    if status is not None and stat.S_ISLNK(status.st_mode):
        return "is a link, and the export needs a file of that name"
    if ours is not None:
        return "was changed after it was published, and the export now needs other content there"
    return "is not ours, and the export needs its name"


def _occupied(folder: Path, occupied: list[tuple[str, str]]) -> PublicationError:
    (path, why), others = occupied[0], len(occupied) - 1
    more = f" (and {others} more)" if others else ""
    return PublicationError(f"{folder / path}: {why}{more}", f"move it away: mv {folder / path} {folder / path}.mine")


def _reason(found: Difference) -> str:
    missing = sum(1 for there in found.write.values() if there is None)
    counts = (
        (missing, "to write"),
        (len(found.write) - missing - len(found.changed), "to replace"),
        (len(found.changed), "to put back (changed after it was published)"),
        (len(found.delete), "to delete"),
    )
    return ", ".join(f"{count} {what}" for count, what in counts if count)


def _holds(path: Path, content: Content) -> bool:
    status = status_of(path)
    return status is not None and digest_there(path, status) == content.bytes_digest
