"""What a source found, in name order: a million files held as bytes, and made into objects one by one."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from forge_pipeline.digest import DIGEST_BYTES
from forge_pipeline.files import Identity
from forge_pipeline.finder import Entry
from forge_pipeline.names import Names
from forge_pipeline.sample import Location

_NOWHERE = 0
_AT_ONCE = 1000


class _Stem(NamedTuple):
    """What the places of entries have in common: where the name is put, `cut` of its characters left out."""

    archive: str | None
    before: str
    cut: int


class Entries:
    """Entries in name order, or some of them. An entry takes its name's bytes and 8 more, where objects take 300."""

    def __init__(self, found: Iterable[Entry]) -> None:
        """Hold what a source found; what does not come in name order is put into it."""
        self._names = Names()
        self._places = array("I")
        self._stems: list[_Stem] = []
        self._problems: dict[int, str] = {}
        self._hold(found)
        self._rows = self._names.in_order()

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Entry]:
        return map(self._entry, self._rows)

    def __getitem__(self, at: int) -> Entry:
        return self._entry(self._rows[at])

    def part(self, part: slice) -> Entries:
        """Return some that stand side by side."""
        return self._some(self._rows[part])

    def only(self, wanted: Callable[[str], bool]) -> Entries:
        """Return those whose name is wanted."""
        return self._some(array("Q", (row for row in self._rows if wanted(self._name(row)))))

    def names(self) -> Iterator[str]:
        """Return the names alone, which takes a third of the time of entries."""
        return (name.decode() for name in self._names.of(self._rows))

    def spelled(self) -> Iterator[bytes]:
        """Return the names in UTF-8."""
        return self._names.of(self._rows)

    def locations(self) -> Iterator[Location]:
        """Return the places alone."""
        return map(self._location, self._rows)

    def paths(self) -> Iterator[str]:
        """Name the files on disk, those that stand side by side in one archive once."""
        last = None
        for row in self._rows:
            archive = self._stems[self._places[row]].archive
            if archive is None:
                yield self._location(row).path
            elif archive != last:
                yield archive
            last = archive

    def problems(self) -> Iterator[tuple[int, str]]:
        """Name those that must not be read: at which index, and why not."""
        if self._problems:
            yield from ((at, self._problems[row]) for at, row in enumerate(self._rows) if row in self._problems)

    def location(self, at: int) -> Location:
        """Return the place of one."""
        return self._location(self._rows[at])

    def find(self, name: str, near: int = 0) -> int:
        """Return the index of a name; quick where it is `near`. Raises KeyError."""
        return self._names.find(name.encode(), self._rows, near)

    def doubled(self) -> tuple[Entry, Entry] | None:
        """Return the first two that have one name, if any have."""
        found = next(iter(self._names.doubled(self._rows)), None)
        return (self._entry(found[0]), self._entry(found[1])) if found is not None else None

    def _hold(self, found: Iterable[Entry]) -> None:
        numbers: dict[_Stem, int] = {}
        number, stem = 0, None
        for entry in found:
            if entry.problem:
                self._problems[len(self._places)] = entry.problem
            self._names.append(entry.name.encode())
            if stem is None or not _stands_behind(entry, stem):
                stem = _stem(entry)
                number = numbers.setdefault(stem, len(numbers))
                if number == len(self._stems):
                    self._stems.append(stem)
            self._places.append(number)

    def _some(self, rows: Sequence[int]) -> Entries:
        part = Entries.__new__(Entries)
        part.__dict__.update(self.__dict__, _rows=rows)
        return part

    def _entry(self, row: int) -> Entry:
        name = self._name(row)
        return Entry(name, self._placed(row, name), self._problems.get(row, ""))

    def _name(self, row: int) -> str:
        return self._names[row].decode()

    def _location(self, row: int) -> Location:
        return self._placed(row, self._name(row))

    def _placed(self, row: int, name: str) -> Location:
        archive, before, cut = self._stems[self._places[row]]
        place = before + name[cut:]
        return Location(place) if archive is None else Location(archive, place)


def _stands_behind(entry: Entry, stem: _Stem) -> bool:
    """Tell quickly whether an entry shares the place of the one before, as most do."""
    name, location = entry.name, entry.location
    if location.member is None:
        return stem.archive is None and not stem.cut and location.path == stem.before + name
    return location.path == stem.archive and not stem.cut and location.member == stem.before + name


def _stem(entry: Entry) -> _Stem:
    """Part an entry's place into its name and what stands before it, which it shares with others.

    With several paths a name begins with a label that no place has; where the two have nothing in common (an accent
    that is spelled differently) the place is held whole.
    """
    name, location = entry.name, entry.location
    archive, place = (None, location.path) if location.member is None else (location.path, location.member)
    if place.endswith(name):
        return _Stem(archive, place[: len(place) - len(name)], 0)
    cut = name.find("/") + 1
    if cut and place.endswith(name[cut:]):
        return _Stem(archive, place[: len(place) - len(name) + cut], cut)
    return _Stem(archive, place, len(name))


class Found(NamedTuple):
    """One listed file."""

    entry: Entry
    digest: str | None
    """None while it is new or changed, and nobody has read it."""
    identity: Identity | None
    """What told the file apart when its digest was true."""
    fault: str
    """Why it cannot be read, where it cannot."""


class Listing:
    """Entries with what is known of each: its digest, and what tells the file apart."""

    def __init__(self, entries: Entries) -> None:
        count = len(entries)
        self.entries = entries
        self._digests = bytearray(count * DIGEST_BYTES)
        self._known = bytearray(count)
        self._identity_of = array("I", [_NOWHERE]) * count
        self._identities = array("q", [0, 0, 0, 0])
        self._last: Identity | None = None
        self._faults = dict(entries.problems())
        self._near = 0

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Found]:
        for at, entry in enumerate(self.entries):
            if self._known[at] or at in self._faults:
                yield self[at]
            else:
                yield Found(entry, None, self._identity(at), "")

    def __getitem__(self, at: int) -> Found:
        return Found(self.entries[at], self._digest(at), self._identity(at), self._faults.get(at, ""))

    @property
    def whole(self) -> bool:
        """Whether each has a digest and none a fault."""
        return 0 not in self._known and not self._faults

    def digests(self) -> Iterator[str | None]:
        """Return the digests alone."""
        for start in range(0, len(self), _AT_ONCE):
            known = self._known[start : start + _AT_ONCE]
            part = self._digests[start * DIGEST_BYTES : (start + _AT_ONCE) * DIGEST_BYTES]
            names = part.hex("\n", DIGEST_BYTES).split("\n")
            yield from (name if is_known else None for is_known, name in zip(known, names, strict=True))

    def location(self, name: str) -> Location:
        """Say where a file lies; quick where it is the one after the last that was asked for. Raises KeyError."""
        at = self.entries.find(name, self._near)
        self._near = at + 1
        return self.entries.location(at)

    def note(self, at: int, digest: str | None, identity: Identity | None) -> None:
        """Write down what is known of one now."""
        if digest is not None:
            self._digests[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES] = bytes.fromhex(digest)
        self._known[at] = digest is not None
        if identity is None:
            self._identity_of[at] = _NOWHERE
            return
        # The members of an archive have one identity, which is held once where they stand side by side.
        if identity != self._last:
            if identity == self._identity(at):
                return
            self._identities.extend(identity)
            self._last = identity
        self._identity_of[at] = len(self._identities) // 4 - 1

    def refuse(self, at: int, fault: str) -> None:
        """Write down why one cannot be read."""
        self._faults[at] = fault

    def _digest(self, at: int) -> str | None:
        return self._digests[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES].hex() if self._known[at] else None

    def _identity(self, at: int) -> Identity | None:
        number = self._identity_of[at]
        if number == _NOWHERE:
            return None
        size, mtime_ns, ctime_ns, inode = self._identities[4 * number : 4 * number + 4]
        return size, mtime_ns, ctime_ns, inode
