"""Rows are inspected while their images are at hand, and by their export where they are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from forge_pipeline import inspection
from forge_pipeline.cache.folder import FolderStore
from forge_pipeline.cache.store import Payload
from forge_pipeline.recipe_graph import compile_recipe
from forge_pipeline.task import Result, grow_branch
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


CRASH = "import os; os.path.exists({mark!r}) and {when} and os.abort()"


@pytest.mark.slow
@pytest.mark.parametrize("where", ["inspection", "operator", "metric"])
def test_a_sample_that_ended_its_worker_comes_back_when_that_is_mended(world: World, where: str) -> None:
    """Whatever crashed, the steps above it are not taken for complete without the sample."""
    world.files(d="77 1")
    mark = world.root / "mark"
    before = {
        "inspection": 'CALLS.append(f"inspect {a} {b}")',
        "operator": 'CALLS.append(f"add {values}")',
        "metric": 'CALLS.append(f"mean {',
    }[where]
    when = {"inspection": "a[0] == 87", "operator": "values[0] == 87", "metric": "numbers(value)[0] == 92"}[where]
    world.edit_code(before, f"{CRASH.format(mark=str(mark), when=when)}; {before}")
    mark.touch()
    steps = PAIRS.replace("path: out}", "path: out}, max_errors: 100%").replace("5}}", "5}, max_errors: 100%}")
    if where == "metric":
        steps += """
    bright: {use: toy.keep, from: lr, max_errors: 100%, with: {least: 0}}
    more: {use: toy.write, from: bright, with: {path: more}}
"""
    world.recipe(steps)
    crashed = world.run(executor="processes", workers=1)
    assert crashed.result.status == "done"
    assert [failure.sample for failure in crashed.result.failures] == ["photos/d.txt"]
    if where == "inspection":  # it costs its row alone
        assert crashed.funnel["lr"][:2] == (4, 4)
        assert [(row["step"], row["key"]) for row in crashed.rows("rejects")] == [("out", "photos/d.txt")]
    mark.unlink()
    mended = world.run(executor="processes", workers=1)
    assert mended.result.failures == ()
    mended.assert_same_as(world.run_clean())


def test_memory_refused_to_an_inspection_is_not_held_against_the_steps_above(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.recipe(PAIRS)
    real, refused = inspection.guarded, []

    def refuse_once(look: Callable[[], Result]) -> Result:
        if not refused:
            refused.append(look)
            raise MemoryError
        return real(look)

    monkeypatch.setattr(inspection, "guarded", refuse_once)
    ran = world.run()
    assert (ran.result.status, len(refused)) == ("done", 1)
    assert ran.counts("measured") == {"out": 3}
    ran.assert_same_as(world.run_clean())


def test_an_inspection_that_needs_more_than_all_else_waits_for_its_export(world: World) -> None:
    world.recipe(PAIRS.replace("path: out}", f"path: out}}, max_errors: 100%, resources: {{memory_bytes: {1 << 50}}}"))
    ran = world.run()
    assert ran.funnel["lr"] == (3, 3, {}, 0)
    assert [(row["step"], row["reason"]) for row in ran.rows("rejects")] == [("out", "too_large")] * 3


def test_what_is_made_by_an_operator_that_breaks_afterwards_is_not_counted(world: World) -> None:
    last = 'yield Child(image(changed), fields={"added": self.params.amount + more})'
    world.edit_code(last, f'{last}\n        if values[0] == 87:\n            raise DataError("late", "too late")')
    world.files(d="77 1")
    world.recipe(PAIRS.replace("5}}", "5}, max_errors: 100%}"))
    ran = world.run()
    assert ran.funnel["lr"] == (4, 3, {}, 1)
    assert ran.counts("measured") == {"out": 3}
    assert ran.counts("reused") == {}


def test_rows_of_nested_branches_are_all_inspected_early(world: World, read: list[str]) -> None:
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        hr: {use: toy.add, from: photos}
        mid: {use: toy.add, from: hr, with: {amount: 2}}
        lr: {use: toy.add, from: mid, with: {amount: 3}}
        last: {use: toy.add, from: mid, with: {amount: 4}}
        out: {use: toy.pair, from: {a: hr, b: lr}, with: {path: out}}
        two: {use: toy.pair, from: {a: mid, b: last}, with: {path: two}}
    """)
    ran = world.run()
    assert ran.counts("measured") == {"out": 3, "two": 3}
    assert read == []


def test_a_repair_inspects_nothing(world: World) -> None:
    world.recipe(
        PAIRS.replace("5}}", "5}, cache: keep}").replace(
            "out: {use: toy.pair, from: {a: hr, b: lr}", "out: {use: toy.write, from: lr"
        )
    )
    world.run()
    for path in world.payloads():
        path.unlink()
    world.recipe(PAIRS.replace("5}}", "5}, cache: keep}"))
    ran = world.run()
    assert ran.counts("measured") == {"out": 3}
    assert dict(ran.calls)["inspect"] == 3
    ran.assert_same_as(world.run_clean())
