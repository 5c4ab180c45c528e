"""What lies at the sources now: files listed, and named by their bytes without reading what is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from forge_pipeline.bench import Bench
from forge_pipeline.cache.index import Index
from forge_pipeline.cache.index_rows import FileRow, spell_path
from forge_pipeline.compiled import Node
from forge_pipeline.digest import digest_chunks
from forge_pipeline.errors import BrokenPromise, CommandError, DataError, EnvironmentFault
from forge_pipeline.files import NAMELESS, Identifier, Identity, SourceFile, is_settled, stat_identity
from forge_pipeline.finder import Entry, Finder
from forge_pipeline.guard import guarded
from forge_pipeline.registry import load_class
from forge_pipeline.reuse import decide_action
from forge_pipeline.run.listing import Entries, Found, Listing
from forge_pipeline.sample import Link, Location, Sample
from forge_pipeline.shapes import Source
from forge_pipeline.task import FILE_KIND, Result


def finder(node: Node, bench: Bench) -> Finder | Source:
    """Return what finds a source's files: its operator is imported only where nothing else does."""
    if node.finder is not None:
        made: Finder = load_class(node.finder)(node.doing.params)
        return made
    operator = bench.operator(node.doing)
    assert isinstance(operator, Source)
    return operator


def list_entries(node: Node, bench: Bench, directory: Path) -> Entries:
    """List a source's files in name order."""
    try:
        entries = Entries(map(_speakable, finder(node, bench).entries(directory)))
    except CommandError as error:
        raise CommandError(f"step '{node.id}', {error.message}", error.hint) from error
    if (doubled := entries.doubled()) is not None:
        one, other = doubled
        where = f"{one.location} and {other.location}"
        raise BrokenPromise(f"operator '{node.use}' gave two files one name, '{one.name}': {where}")
    return entries


def look_up(entries: Entries, index: Index) -> Listing:
    """Look at files, and name by their digests those that have not changed since they were read."""
    look, listing = _Look(index), Listing(entries)
    for at, location in enumerate(entries.locations()):
        listing.note(at, *look.at(location))
    return listing


def _speakable(entry: Entry) -> Entry:
    """Return an entry whose name is text: bytes that are no UTF-8 stand in it as \\xe9, as keys and JSON need it."""
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        name = entry.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return replace(entry, name=name)
    return entry


class _Look:
    """Looks what is known of source files; members of an archive a page at once, for they mostly come in name order."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._identities: dict[str, Identity | None] = {}
        self._archive = ""
        self._members: Mapping[str, FileRow] = {}
        self._first, self._last = "", ""
        """All that is known of the archive's members between these names is at hand."""
        self._all = False
        """And of those beyond."""

    def at(self, location: Location) -> tuple[str | None, Identity | None]:
        """Return the digest of a file that has not changed since it was read, and what tells it apart now."""
        if location.member is None:
            identity, row = _identity(location.path), self._index.file(location)
        else:
            row = self._member(location)
            identity = self._identities[location.path]
        if row is None or not is_settled(row.mtime_ns, row.ctime_ns, row.seen_ns):
            return None, identity
        return (row.digest if identity == (row.size, row.mtime_ns, row.ctime_ns, row.inode) else None), identity

    def _member(self, location: Location) -> FileRow | None:
        name = location.member or ""
        if location.path not in self._identities:
            self._identities[location.path] = _identity(location.path)
            self._archive, self._first, self._last, self._all = location.path, name, "", False
        if location.path != self._archive or name < self._first:
            # Come back to: one by one, so that no order of names reads an archive many times.
            return self._index.file(location)
        if name > self._last and not self._all:
            self._members, more = self._index.members(self._archive, name)
            self._first, self._last = name, max(self._members, default=name)
            # Names that are no UTF-8 are held as bytes, which the index sorts behind all others: beyond one of them it
            # finds no more, whatever there is.
            self._all = not more and isinstance(spell_path(name), str)
        return self._members.get(name)


def _identity(path: str) -> Identity | None:
    try:
        return stat_identity(path)
    except OSError:
        return None


def identified(listing: Listing, index: Index) -> Iterator[tuple[Found, bytes | None]]:
    """Read the files of a listing that are new or changed, and remember what they are, one after the other.

    Returns:
        Each file as it is now, with a fault where it cannot be read; and the bytes of one that was read, where they
        are few enough to be kept.
    """
    identifier = Identifier()
    for at, found in enumerate(listing):
        if found.digest is not None or found.fault:
            yield found, None
            continue
        entry = found.entry
        try:
            digest, identity, seen_ns, data = identifier.identify(entry.location)
        except (OSError, EnvironmentFault, DataError) as error:
            listing.refuse(at, str(error))
            yield listing[at], None
            continue
        listing.note(at, digest, identity)
        index.record_file(entry.location, FileRow(*identity, seen_ns, digest))
        yield Found(entry, digest, identity, ""), data


def file_sample(node: Node, found: Found, bench: Bench, index: Index, run: int, data: bytes | None = None) -> Sample:
    """Return the sample that a source's load takes: the file, with the facts of its header.

    Args:
        data: the bytes, where they have just been read.
    """
    assert found.digest is not None
    assert node.facts is not None
    name, location = found.entry.name, found.entry.location
    bare = Sample(f"{node.id}/{name}", FILE_KIND, found.digest, location=location)
    decision = decide_action(bench.memory, node.facts, bare)
    result = decision.known
    if result is None:
        operator = bench.operator(node.doing)
        assert isinstance(operator, Source)
        file = SourceFile(NAMELESS, found.digest, location, data)
        result = guarded(lambda: Result("value", value=dict(operator.facts(file))))
        if data is None or location.member is None:  # it may have looked at the file on disk
            _check_unchanged(found)
        if result.kind == "value":
            index.record_action(decision.key, node.facts.digest, decision.inputs, result.text, run, 0.0, node.use)
    facts = result.value if result.kind == "value" else {}
    own = {"source.path": name, "source.digest": found.digest}
    return Sample(bare.key, FILE_KIND, found.digest, {}, (Link(node.id, {**facts, **own}),), location)


def _check_unchanged(found: Found) -> None:
    """Refuse facts that may be those of other bytes than the digest's."""
    location = found.entry.location
    try:
        unchanged = stat_identity(location.path) == found.identity
    except OSError:
        unchanged = False
    if not unchanged:
        hint = "run again when it is no longer written"
        raise EnvironmentFault(f"{location}: changed while the run was reading it", hint)


def listing_digest(node: Node, listing: Listing) -> str | None:
    """Name all that a source found: names and contents. None while a file is new, changed or unreadable."""
    return digest_of(node, listing) if listing.whole else None


def digest_of(node: Node, listing: Listing) -> str:
    """Name a listing as it is, faults and all."""
    assert node.facts is not None
    return digest_chunks(_spell(node.facts.digest, listing))


def _spell(facts_digest: str, listing: Listing) -> Iterator[bytes]:
    yield facts_digest.encode()
    for digest, name in zip(listing.digests(), listing.entries.spelled(), strict=True):
        yield b"\n%b %b" % ((digest or "unreadable").encode(), name)
