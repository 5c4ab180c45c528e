"""A listing holds what it was given, in name order, in few bytes a file."""

from __future__ import annotations

import contextlib
import itertools
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_pipeline import names as names_module
from forge_pipeline.cache.index import Index
from forge_pipeline.cache.index_rows import FileRow
from forge_pipeline.digest import digest_bytes
from forge_pipeline.files import Identity, stat_identity
from forge_pipeline.finder import Entry
from forge_pipeline.run.listing import Entries, Found, Listing
from forge_pipeline.run.sources import look_up
from forge_pipeline.sample import Location

DIGESTS = [f"{number:040x}" for number in (0, 1, 255, 16**40 - 1)]
# Low and high code points, and a byte that is no UTF-8 (in a place only: names are text).
TEXT = st.text("a/b.é\U0001f600", min_size=1, max_size=6)
PLACE = st.text("a/b.é\U0001f600\udcff", min_size=1, max_size=6)


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    found = []
    for name in draw(st.lists(TEXT, max_size=8)):
        place = draw(PLACE) + draw(st.sampled_from([name, name.partition("/")[2], ""]))
        member = draw(st.sampled_from([None, name, place]))
        found.append(Entry(name, Location(place, member), draw(st.sampled_from(["", "it is a device"]))))
    return found


def all_of(held: Entries) -> list[Entry]:
    return [held[at] for at in range(len(held))]


@given(entries())
def test_entries_come_back_as_they_were_in_name_order(found: list[Entry]) -> None:
    held = Entries(iter(found))
    expected = sorted(found, key=lambda entry: entry.name)
    assert all_of(held) == expected
    assert list(held.names()) == [entry.name for entry in expected]
    assert list(held.spelled()) == [entry.name.encode() for entry in expected]
    assert list(held.locations()) == [entry.location for entry in expected]
    assert list(held.problems()) == [(at, entry.problem) for at, entry in enumerate(expected) if entry.problem]


@given(entries())
def test_two_of_one_name_are_told_by_the_first_pair_as_they_came(found: list[Entry]) -> None:
    ordered = sorted(found, key=lambda entry: entry.name)
    pairs = [(one, other) for one, other in itertools.pairwise(ordered) if one.name == other.name]
    assert Entries(found).doubled() == (pairs[0] if pairs else None)


@given(entries(), st.integers(0, 8), st.integers(0, 8))
def test_a_part_of_a_part_is_what_stands_there(found: list[Entry], start: int, stop: int) -> None:
    expected = sorted(found, key=lambda entry: entry.name)[start:stop]
    part = Entries(found).part(slice(start, stop))
    assert all_of(part) == expected
    assert all_of(part.only(lambda name: "a" in name)) == [entry for entry in expected if "a" in entry.name]
    assert all_of(part.part(slice(1))) == expected[:1]


@given(st.sets(TEXT, max_size=8), TEXT, st.integers(0, 9))
def test_a_name_is_found_whatever_it_is_looked_for_near_to(names: set[str], other: str, near: int) -> None:
    held = Entries(Entry(name, Location(f"/x/{name}")) for name in names)
    for name in names:
        assert held[held.find(name, near)].name == name
    if other not in names:
        with pytest.raises(KeyError) as raised:
            held.find(other, near)
        assert raised.value.args == (other.encode(),)


def test_files_on_disk_are_named_once_where_they_stand_side_by_side() -> None:
    places = [Location("a.tar", "1"), Location("a.tar", "2"), Location("x/3"), Location("a.tar", "4")]
    held = Entries(Entry(str(at), place) for at, place in enumerate(places))
    assert list(held.paths()) == ["a.tar", "x/3", "a.tar"]


def test_names_of_more_than_four_gigabytes_have_wider_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_module, "_NARROW_MAX", 5)
    held = names_module.Names()
    for name in (b"abc", b"", b"defg", b"h"):
        held.append(name)
    assert [held[at] for at in range(4)] == [b"abc", b"", b"defg", b"h"]
    assert held.size_bytes == 8 + 5 * 8


def listing(count: int) -> Listing:
    return Listing(
        Entries(Entry(f"{at}", Location(f"/x/{at}"), "it is a device" if at == 1 else "") for at in range(count))
    )


def test_what_is_noted_of_a_file_is_told_again() -> None:
    held = listing(3)
    one, other = (1, 2, 3, 4), (5, -6, 7, 2**63 - 1)
    assert list(held) == [
        Found(Entry("0", Location("/x/0")), None, None, ""),
        Found(Entry("1", Location("/x/1"), "it is a device"), None, None, "it is a device"),
        Found(Entry("2", Location("/x/2")), None, None, ""),
    ]
    held.note(0, None, one)
    held.note(2, DIGESTS[3], other)
    held.note(0, DIGESTS[0], one)
    held.refuse(2, "gone")
    told = [(found.digest, found.identity, found.fault) for found in held]
    assert told == [(DIGESTS[0], one, ""), (None, None, "it is a device"), (DIGESTS[3], other, "gone")]
    assert list(held.digests()) == [DIGESTS[0], None, DIGESTS[3]]
    held.note(2, None, None)
    assert (held[2].digest, held[2].identity) == (None, None)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([*DIGESTS, None]), st.sampled_from([1, 2, 3, None]))))
def test_the_last_note_counts(notes: list[tuple[int, str | None, int | None]]) -> None:
    held = listing(4)
    last: dict[int, tuple[str | None, Identity | None]] = {}
    for at, digest, size in notes:
        identity = None if size is None else (size, 0, 0, 0)
        held.note(at, digest, identity)
        last[at] = digest, identity
    assert [(found.digest, found.identity) for found in held] == [last.get(at, (None, None)) for at in range(4)]


def test_a_listing_is_whole_when_each_file_is_named_and_none_has_a_fault() -> None:
    held = Listing(Entries(Entry(name, Location(name)) for name in "ab"))
    assert not held.whole
    for at in range(2):
        held.note(at, DIGESTS[at], (1, 2, 3, 4))
    assert held.whole
    held.refuse(1, "gone")
    assert not held.whole
    assert Listing(Entries([])).whole


def test_many_digests_are_told_in_their_order() -> None:
    held = Listing(Entries(Entry(f"{at:05d}", Location(f"{at:05d}")) for at in range(2_500)))
    for at in range(0, 2_500, 2):
        held.note(at, f"{at:040x}", None)
    assert list(held.digests()) == [None if at % 2 else f"{at:040x}" for at in range(2_500)]


@pytest.mark.parametrize(("archive", "most"), [(True, 80), (False, 120)])
def test_a_file_takes_few_bytes(archive: bool, most: int) -> None:
    count, folder = 20_000, "/data/photographs"

    def found() -> list[Entry]:
        names = (f"{at:07d}.png" for at in range(count))
        return [Entry(n, Location("a.tar", n) if archive else Location(f"{folder}/{n}")) for n in names]

    tracemalloc.start()
    try:
        held = Listing(Entries(iter(found())))
        for at in range(count):
            held.note(at, f"{at:040x}", (1, 2, 3, 4) if archive else (at, at, at, at))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / count < most


def test_members_are_known_again_whatever_stands_before_them_in_name_order(tmp_path: Path) -> None:
    path = tmp_path / "old.tar"
    path.write_bytes(b"not looked into")
    names = ["a\udce9.png", *(f"{letter}.png" for letter in "bcd")]  # the first is Latin-1
    with contextlib.closing(Index(tmp_path / "index.sqlite")) as index:
        for name in names[1:]:
            row = FileRow(*stat_identity(path), 2**62, digest_bytes(name.encode()))
            index.record_file(Location(str(path), name), row)
        index.flush()
        listing = look_up(Entries(Entry(repr(name), Location(str(path), name)) for name in names), index)
    assert [found.digest is not None for found in listing] == [False, True, True, True]
