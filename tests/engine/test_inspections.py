"""When an export looks at its rows: while a worker has them at hand, else before it publishes; once, either way."""

from __future__ import annotations

import pytest

from forge_pipeline.cache.store import Payload, Store
from tests.engine.worlds import World

PAIRS = """
    photos: {use: toy.read, with: {path: photos}}
    hr: {use: toy.add, from: photos, with: {amount: 1}}
    lr: {use: toy.add, from: hr, with: {amount: 2}}
    out: {use: toy.pair, from: {a: hr, b: lr}, with: {path: out}}
"""


@pytest.fixture
def payloads_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The payloads that are read back from the store, as they are."""
    found: list[str] = []
    read = Store.read

    def watched(store: Store, payload: Payload) -> bytes:
        found.append(payload.digest)
        return read(store, payload)

    monkeypatch.setattr(Store, "read", watched)
    return found


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_what_is_made_in_one_walk_is_seen_there(world: World, payloads_read: list[str], executor: str) -> None:
    world.recipe(PAIRS)
    ran = world.run(executor=executor)
    assert payloads_read == []
    assert ran.counts("measured") == {"out": 3}
    assert ran.counts("reused") == {}
    assert ran.calls["inspect"] == 3
    assert {row["facts"]["widths"] for row in ran.rows()} == {"equal"}


def test_rows_of_equal_content_are_seen_once(world: World, payloads_read: list[str]) -> None:
    world.files(d="1 2 3")
    world.recipe(PAIRS)
    ran = world.run()
    assert payloads_read == []
    assert ran.calls["inspect"] == 3
    assert ran.counts("measured") == {"out": 3}
    assert ran.counts("reused")["out"] == 1


def test_an_export_that_is_added_later_reads_what_is_kept(world: World, payloads_read: list[str]) -> None:
    world.recipe(PAIRS.replace("with: {path: out}", "with: {path: first}"))
    world.run()
    world.recipe(PAIRS.replace("with: {path: out}", "with: {path: out, crop: true}"))
    ran = world.run()
    assert len(payloads_read) == 6
    assert ran.counts("measured") == {"out": 3}
    clean = world.run_clean()
    assert ran.trees["out"] == clean.trees["out"]


def test_an_image_that_is_given_instead_is_published(world: World, payloads_read: list[str]) -> None:
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        small: {use: toy.shrink, from: photos}
        out: {use: toy.pair, from: {a: photos, b: small}, with: {path: out, crop: true}}
    """)
    ran = world.run()
    assert payloads_read == []
    assert {row["facts"]["widths"] for row in ran.rows()} == {"cropped"}
    assert world.run().counts("measured") == {}


def test_parts_that_are_not_made_from_each_other_wait_for_the_export(world: World, payloads_read: list[str]) -> None:
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        hr: {use: toy.add, from: photos, with: {amount: 1}}
        lr: {use: toy.add, from: photos, with: {amount: 2}}
        out: {use: toy.pair, from: {a: hr, b: lr}, with: {path: out}}
    """)
    ran = world.run()
    assert len(payloads_read) == 6
    assert ran.counts("measured") == {"out": 3}


def test_a_failed_inspection_is_known_to_the_export(world: World, payloads_read: list[str]) -> None:
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        small: {use: toy.shrink, from: photos}
        out: {use: toy.pair, from: {a: photos, b: small}, max_errors: 100%, with: {path: out}}
    """)
    ran = world.run()
    assert payloads_read == []
    assert ran.calls["inspect"] == 3
    assert ran.funnel["out"] == (3, 0, {}, 3)
    ran.same_as(world.run_clean())
