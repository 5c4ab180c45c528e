"""The index: what is written by its thread is seen by every reader, and a writer's fault reaches who waits."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from forge_pipeline.cache import index_file
from forge_pipeline.cache.index import Index
from forge_pipeline.cache.index_file import IndexFile
from forge_pipeline.cache.index_rows import FileRow, RejectRow
from forge_pipeline.cache.store import Payload
from forge_pipeline.errors import EnvironmentFault, NondeterministicOperator
from forge_pipeline.sample import Link, Location, Sample


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "index.sqlite")
    yield made
    made.close()


def sample(key: str) -> Sample:
    return Sample(key, "image", f"digest of {key}", {"width": 1}, (Link("photos", {"source.path": key}),))


def test_rows_come_in_key_order_whatever_page_they_are_on(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IndexFile, "page_rows", 2)
    dataset = index.begin_dataset(1, "photos", "config")
    for key in ("e", "a", "ä", "c", "B"):
        index.add_sample(dataset, sample(key))
    index.flush()
    assert list(index.samples(dataset)) == [sample(key) for key in ("B", "a", "c", "e", "ä")]


def test_who_makes_rows_faster_than_they_are_written_waits(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_file, "_WAITING_ROWS", 10)
    made: list[int] = []

    def make() -> None:
        for number in range(100):
            index.record_config(str(number), "{}")
            made.append(number)

    other = sqlite3.connect(index.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # no one else can write now
    maker = threading.Thread(target=make)
    maker.start()
    maker.join(timeout=1)
    assert maker.is_alive()
    assert len(made) < 40  # what the writer took already, and what waits
    other.execute("COMMIT")
    other.close()
    maker.join()
    index.flush()
    assert index.count("configs") == 100


def test_what_was_taken_back_is_unknown_once_it_is_flushed(index: Index) -> None:
    payload = Payload("digest", "bytes digest", 3, ".png")
    index.record_payload(payload)
    assert index.payload("digest") == payload
    index.forget_payload("digest")
    index.flush()
    assert index.payload("digest") is None


def test_what_could_not_be_written_stays_known_until_the_index_is_closed(index: Index) -> None:
    index.record_file(Location("/photos/a.png"), FileRow(1, 2, 3, 2**64, 5, "digest"))  # more than SQLite holds
    index.record_action("key", "config", "[]", "result", 1, 0.0, "toy")
    for number in range(3):
        with pytest.raises(EnvironmentFault):
            index.flush()
        index.record_config(str(number), "{}")
        assert index.known("key") == "result"


def test_rejects_come_in_order_whatever_page_they_are_on(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IndexFile, "page_rows", 2)
    dataset = index.begin_dataset(1, "photos", "config")
    rows = [
        RejectRow("photos", key, kind, reason, "", {"n": 1}, ())
        for key, kind, reason in (
            ("a", "partial", "x"),
            ("a", "rejected", "x"),
            ("a", "rejected", "y"),
            ("b", "failed", "x"),
        )
    ]
    for row in reversed(rows):
        index.add_reject(dataset, row)
    index.flush()
    assert list(index.rejects(dataset, "photos")) == rows


def test_what_was_committed_is_seen_while_rows_are_being_read(index: Index) -> None:
    dataset = index.begin_dataset(1, "photos", "config")
    for key in ("a", "b", "c"):
        index.add_sample(dataset, sample(key))
    index.flush()
    rows = index.samples(dataset)
    next(rows)
    other = index.begin_dataset(1, "tiles", "config")
    index.add_sample(other, sample("t"))
    index.record_action("key", "config", "[]", "result", 1, 0.0, "op")
    index.record_payload(Payload("digest", "bytes", 1, ".png"))
    index.flush()
    assert index.known("key") == "result"
    assert index.payload("digest") is not None
    assert [row.key for row in index.samples(other)] == ["t"]
    assert [row.key for row in rows] == ["b", "c"]


def test_a_path_that_is_no_utf_8_is_kept_as_it_is(index: Index) -> None:
    location = Location("/photos/caf\udce9.png")
    row = FileRow(1, 2, 3, 4, 5, "digest")
    dataset = index.begin_dataset(1, "photos", "config")
    index.record_file(location, row)
    index.add_sample(dataset, Sample("photos/a", "image", "digest", location=location))
    index.flush()
    assert index.file(location) == row
    assert [found.location for found in index.samples(dataset)] == [location]


def test_a_value_that_sqlite_cannot_hold_is_told_to_who_waits(index: Index) -> None:
    index.record_file(Location("/photos/a.png"), FileRow(1, 2, 3, 2**64, 5, "digest"))
    with pytest.raises(EnvironmentFault) as raised:
        index.flush()
    assert "Python int too large to convert to SQLite INTEGER" in raised.value.message


def test_one_key_with_two_results_names_the_operator(index: Index) -> None:
    assert index.record_action("key", "config", "[]", "one", 1, 0.0, "toy.random")
    assert not index.record_action("key", "config", "[]", "one", 1, 0.0, "toy.random")
    with pytest.raises(NondeterministicOperator) as raised:
        index.record_action("key", "config", "[]", "two", 1, 0.0, "toy.random")
    assert raised.value.message == (
        "operator 'toy.random' is not deterministic: the same input and parameters (action key) gave one before "
        "and two now"
    )


def test_every_row_of_a_long_batch_is_written(index: Index) -> None:
    dataset = index.begin_dataset(1, "photos", "config")
    keys = [f"{number:04d}" for number in range(457)]  # several statements, the last ones not full
    for key in keys:
        index.add_sample(dataset, sample(key))
        index.record_action(f"action {key}", "config", "[]", '{"kind":"value"}', 1, 0.5, "toy")
    index.flush()
    assert [one.key for one in index.samples(dataset)] == keys
    assert [index.known(f"action {key}") for key in keys] == ['{"kind":"value"}'] * 457


def test_what_is_forgotten_between_two_records_is_forgotten_in_its_turn(index: Index) -> None:
    kept, forgotten = (Payload(name, "bytes", 3, ".png") for name in ("kept", "forgotten"))
    index.record_payload(forgotten)
    index.record_payload(kept)
    index.forget_payload("kept")
    index.forget_payload("forgotten")
    index.record_payload(kept)
    index.flush()
    assert list(index.payloads()) == [kept]


def test_members_of_an_archive_are_looked_up_in_name_order_from_any_name(index: Index) -> None:
    names = ("a.png", "é/\udcff.png")
    rows = {name: FileRow(1, 2, 3, 4, 5, f"digest {number}") for number, name in enumerate(names)}
    for name, row in rows.items():
        index.record_file(Location("photos.zip", name), row)
    index.record_file(Location("other.zip", "a.png"), FileRow(1, 2, 3, 4, 5, "other"))
    index.flush()
    assert list(index.members("photos.zip", "")[0].items()) == list(rows.items())
    members, more = index.members("photos.zip", "b.png")
    assert (list(members), more) == (["é/\udcff.png"], False)


def test_the_text_of_a_row_spells_its_trail_in_one_way(index: Index) -> None:
    dataset = index.begin_dataset(1, "photos", "config")
    index.add_sample(dataset, Sample("k", "image", "d", {}, (Link("photos", {"z": 1.5, "a": "ä"}),)))
    index.flush()
    assert list(index.sample_texts(dataset)) == [("k", "image", "d", '[["photos",{"a":"ä","z":1.5}]]')]
