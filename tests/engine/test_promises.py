"""What an operator may not do is told with its name; what it may read of the engine's own is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge_pipeline.errors import BrokenPromise, CommandError
from tests.engine.worlds import Ran, World

HEAD = """
from typing import ClassVar
import numpy as np
from forge_pipeline.step import *
from forge_pipeline.step import DataError

def image(*values):
    return np.array(values, np.uint8).reshape(1, -1, 1)
"""
ONE = """
@operator("my.op", version=1)
class Op(Transform):
    libraries = ("numpy",)
    many = {many}

    def apply(self, value, context):
        {body}
"""
SELECT = """
class First(Metric):
    name = "my.first"
    version = 1
    libraries = ("numpy",)

    def measure(self, value):
        {measure}

@operator("my.op", version=1)
class Op(Select):
    libraries = ("numpy",)

    def metrics(self, port):
        return {{"first": First(Params())}}

    def fields_read(self):
        return frozenset({{"sample.key", "sample.index"}})

    def decide(self, tables):
        table = tables["in"]
        {body}
"""
STEPS = """
    photos: {use: toy.read, with: {path: photos}}
    mine: {use: my.op, from: photos}
    out: {use: toy.write, from: mine, with: {path: out}}
"""


def run_with(world: World, text: str) -> Ran:
    (world.root / "my_steps.py").write_text(HEAD + text)
    world.recipe(STEPS, **{"import": ["./toy_steps.py", "./my_steps.py"]})
    return world.run()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("many", "body", "told"),
    [
        (False, "yield Child(value, 'p0')", "operator 'my.op' gave a child suffix 'p0', expected no suffix"),
        (True, "yield Child(value)", "operator 'my.op' gave a child suffix '', expected a suffix without '/'"),
        (
            True,
            "yield Child(value, 'a/b')",
            "operator 'my.op' gave a child suffix 'a/b', expected a suffix without '/'",
        ),
        (
            True,
            "yield Child(value, 'a'); yield Child(value, 'a')",
            "operator 'my.op' gave two children of one input the suffix 'a'",
        ),
        (
            True,
            "yield Child(value, 'a'); raise Reject('late')",
            "operator 'my.op' rejected a sample after it had yielded a child",
        ),
        (
            False,
            "yield Child(value, fields={'score': float('nan')})",
            "operator 'my.op' gave {'score': nan}, which is no JSON value: "
            "Out of range float values are not JSON compliant",
        ),
        (False, "context.draw('x'); yield Child(value)", None),
    ],
)
def test_a_transform_that_breaks_the_contract_is_named(world: World, many: bool, body: str, told: str | None) -> None:
    text = ONE.format(many=many, body=body)
    if told is None:
        ran = run_with(world, text)
        assert ran.result.failures[0].reason == "TypeError: this operator draws without declaring `draws = True`"
        return
    with pytest.raises(BrokenPromise) as raised:
        run_with(world, text)
    assert raised.value.message.startswith(told)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("yield Child(value[0])", "unsupported_mode"),
        ("yield Child(np.zeros((0, 4, 1), np.uint8))", "empty_image"),
        ("yield Child(np.full((2, 2, 1), np.inf, np.float32))", "not_finite"),
        ("value[0, 0, 0] = 9; yield Child(value)", "broke"),
        ("yield from ()", "nothing"),
        ("yield Child('no image')", "unsupported_mode"),
    ],
)
def test_a_value_that_is_no_image_breaks_the_sample(world: World, body: str, reason: str) -> None:
    ran = run_with(world, ONE.format(many=False, body=body))
    step = ran.result.steps["mine"]
    assert (step.out, step.failed + sum(step.dropped.values())) == (0, 3)
    if reason == "nothing":
        assert dict(step.dropped) == {"nothing": 3}
    else:
        assert ran.result.status == "failed"


def test_a_sample_of_which_no_part_could_be_used_is_dropped_for_what_was_told(world: World) -> None:
    ran = run_with(world, ONE.format(many=False, body="yield Partial('truncated', {'read': 0})"))
    assert dict(ran.result.steps["mine"].dropped) == {"truncated": 3}
    row = next(row for row in ran.rows("rejects") if row["step"] == "mine")
    assert (row["kind"], row["reason"], row["values"]) == ("rejected", "truncated", {"read": 0})


def test_an_array_that_is_no_copy_of_the_input_is_taken_as_it_is(world: World) -> None:
    ran = run_with(
        world, ONE.format(many=True, body="yield Child(value[:, ::-1], 'flipped'); yield Child(value, 'same')")
    )
    assert ran.result.status == "done"
    assert ran.funnel["mine"] == (3, 6, {}, 0)


def test_a_select_sees_keys_and_ranks(world: World) -> None:
    body = """assert list(table.column("sample.key")) == list(table.keys)
        assert list(table.column("sample.index")) == [0, 1, 2]
        return [Keep({"first": first, "rank": rank})
                for first, rank in zip(table.column("first"), table.column("sample.index"))]"""
    ran = run_with(world, SELECT.format(measure="return int(value[0, 0, 0])", body=body))
    assert [row["trail"][-1]["fields"] for row in ran.rows()] == [
        {"first": first, "rank": rank} for rank, first in enumerate((1, 4, 7))
    ]


@pytest.mark.parametrize(
    ("measure", "body", "told"),
    [
        ("return 1", "return [Keep()]", "operator 'my.op' gave 1 verdicts for 3 samples"),
        ("return float('nan')", "return []", "operator 'my.first' gave nan, which is no JSON value"),
        ("return 1", "return [Keep({'x': {1, 2}}) for key in table.keys]", "operator 'my.op' gave "),
    ],
)
def test_a_select_that_breaks_the_contract_is_named(world: World, measure: str, body: str, told: str) -> None:
    with pytest.raises(BrokenPromise) as raised:
        run_with(world, SELECT.format(measure=measure, body=body))
    assert raised.value.message.startswith(told)


def test_two_files_that_mark_one_name_are_refused(world: World) -> None:
    (world.root / "my_steps.py").write_text(
        HEAD + ONE.format(many=False, body="yield Child(value)").replace("my.op", "toy.add")
    )
    world.recipe(STEPS.replace("my.op", "toy.add"), **{"import": ["./toy_steps.py", "./my_steps.py"]})
    with pytest.raises(Exception, match=r"operator 'toy\.add' is defined twice") as raised:
        world.run()
    assert not isinstance(raised.value, BrokenPromise)


def test_two_exports_into_one_folder_are_refused(world: World) -> None:
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        out: {use: toy.write, from: photos, with: {path: out}}
        more: {use: toy.write, from: photos, with: {path: ./out}}
    """)
    with pytest.raises(CommandError, match="step 'more': its path") as raised:
        world.run()
    assert raised.value.exit_code == 2
    assert not (world.root / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("path", ["photos", ".", "photos/out"])
def test_an_export_over_its_source_is_refused(world: World, path: str) -> None:
    world.recipe(f"""
        photos: {{use: toy.read, with: {{path: photos}}}}
        out: {{use: toy.write, from: photos, with: {{path: {path}}}}}
    """)
    before = sorted(p.name for p in (world.root / "photos").iterdir())
    with pytest.raises(CommandError, match="step 'out': its path"):
        world.run()
    assert sorted(p.name for p in (world.root / "photos").iterdir()) == before


def test_equal_images_under_two_names_share_their_actions_and_keep_two_stories(world: World) -> None:
    world.files(a="5 6", b="5 6", c="5  6 # other bytes")
    world.recipe("""
        photos: {use: toy.read, with: {path: photos}}
        add: {use: toy.add, from: photos}
        keep: {use: toy.keep, from: add}
        out: {use: toy.write, from: keep, with: {path: out}}
    """)
    ran = world.run()
    assert ran.counts("ran") == {"photos": 2, "add": 1, "keep": 1, "out": 1}
    assert ran.counts("reused") == {"photos": 1, "add": 2, "keep": 4}
    assert [row["source"]["path"] for row in ran.rows()] == ["a.txt", "b.txt", "c.txt"]
    assert len({row["files"]["in"]["digest"] for row in ran.rows()}) == 1


def test_a_result_does_not_name_the_file_that_it_was_first_seen_in(world: World, tmp_path: Path) -> None:
    world.files(a="broken", b="broken")
    world.recipe("""
        photos: {use: toy.read, max_errors: 100%, with: {path: photos}}
        out: {use: toy.write, from: photos, with: {path: out}}
    """)
    ran = world.run()
    assert ran.calls["load"] == 2
    assert [(row["key"], row["message"]) for row in ran.rows("rejects")] == [
        (f"photos/{name}.txt", "this file is truncated") for name in "ab"
    ]
