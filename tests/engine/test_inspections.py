"""Rows are inspected while their images are at hand, and by their export where they are not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forge_pipeline import inspection
from forge_pipeline.cache.folder import FolderStore
from forge_pipeline.cache.store import Payload
from forge_pipeline.recipe_graph import compile_recipe
from forge_pipeline.task import grow_branch
from tests.engine.worlds import World

PAIRS = """
    photos: {use: toy.read, with: {path: photos}}
    hr: {use: toy.add, from: photos, with: {amount: 10}}
    lr: {use: toy.add, from: hr, with: {amount: 5}}
    out: {use: toy.pair, from: {a: hr, b: lr}, with: {path: out}}
"""


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is read from the store."""
    digests: list[str] = []
    real = FolderStore.read

    def reading(store: FolderStore, payload: Payload) -> bytes:
        digests.append(payload.digest)
        return real(store, payload)

    monkeypatch.setattr(FolderStore, "read", reading)
    yield digests


@pytest.mark.parametrize("executor", ["inline", "threads"])
@pytest.mark.parametrize("kept", ["", ", cache: keep"])
def test_a_cold_run_reads_nothing_back_to_inspect_it(world: World, read: list[str], executor: str, kept: str) -> None:
    world.recipe(PAIRS.replace("{amount: 5}", "{amount: 5}" + kept))
    ran = world.run(executor=executor)
    assert ran.counts("measured") == {"out": 3}
    assert ran.counts("reused") == {}
    assert dict(ran.calls)["inspect"] == 3
    assert read == []
    again = world.run(executor=executor)
    again.assert_nothing_done()
    again.assert_same_as(ran)


def test_what_is_inspected_early_is_what_the_export_would_have(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.files(d="1 2 3 4")
    world.recipe(
        PAIRS.replace("lr: {use: toy.add, from: hr, with: {amount: 5}}", "lr: {use: toy.shrink, from: hr}").replace(
            "path: out", "path: out, crop: true"
        )
    )
    early = world.run()
    assert {row["facts"]["widths"] for row in early.rows()} == {"cropped"}
    monkeypatch.setattr("forge_pipeline.task._inspections", lambda *_: ())
    late = world.run_clean()
    late.assert_same_as(early)
    assert late.counts("measured") == early.counts("measured") == {"out": 4}


def test_equal_rows_are_inspected_once_and_counted_as_when_the_export_does_it(world: World) -> None:
    world.files(d="7 7", e="7 7")
    world.recipe(PAIRS)
    ran = world.run()
    assert ran.counts("measured") == {"out": 4}
    assert ran.counts("reused")["out"] == 1
    assert dict(ran.calls)["inspect"] == 4


def test_an_export_that_is_new_inspects_what_is_kept(world: World, read: list[str]) -> None:
    world.recipe(PAIRS.replace("out: {use: toy.pair, from: {a: hr, b: lr}", "out: {use: toy.write, from: [hr]"))
    world.run()
    world.recipe(PAIRS.replace("lr: {use: toy.add, from: hr", "lr: {use: toy.add, cache: keep, from: hr"))
    ran = world.run()
    assert ran.counts("measured") == {"out": 3}
    ran.assert_same_as(world.run_clean())


def test_a_fault_of_the_machine_in_an_early_inspection_ends_the_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forge_pipeline.errors import EnvironmentFault

    def refuse(*_: object) -> None:
        raise EnvironmentFault("the disk: no space left")

    world.recipe(PAIRS)
    with monkeypatch.context() as patch:
        patch.setattr(inspection, "guarded", refuse)
        with pytest.raises(EnvironmentFault, match="no space left"):
            world.run()
    world.run().assert_same_as(world.run_clean())


@pytest.mark.parametrize(
    ("steps", "early"),
    [
        (PAIRS, {"hr": ["out"]}),
        (PAIRS.replace("path: out}", "path: out}, resources: {timeout_s: 5}"), {}),
        (PAIRS.replace("lr: {use: toy.add", "lr: {use: toy.keep").replace("{amount: 5}", "{least: 1}"), {}),
        (PAIRS.replace("lr: {use: toy.add, from: hr", "lr: {use: toy.add, from: photos"), {}),
        (PAIRS.replace("{a: hr, b: lr}", "{a: photos, b: lr}"), {"photos": ["out"]}),
        (PAIRS.replace("with: {amount: 5}", "matrix: {amount: [1, 2]}, with: {amount: '${matrix.amount}'}"), {}),
        (PAIRS.replace("lr: {use: toy.add, from: hr, with: {amount: 5}}", "lr: {use: toy.split, from: hr}"), {}),
    ],
    ids=["pairs", "a limit", "a select", "side by side", "two below", "variants", "a fan-out"],
)
def test_which_exports_can_inspect_early(world: World, steps: str, early: dict[str, list[str]]) -> None:
    world.recipe(steps)
    graph, _ = compile_recipe(world.recipe_path, world.options())
    every = frozenset(node.id for node in graph.nodes)
    found = {node.id: [one.node.id for one in grow_branch(graph, node.id, every).inspections] for node in graph.nodes}
    assert {step: exports for step, exports in found.items() if exports} == early
