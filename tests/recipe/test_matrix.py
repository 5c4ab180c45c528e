"""A matrix makes several steps of one, and references name one variant or all."""

from __future__ import annotations

from forge_pipeline.recipe import InputRef
from tests.recipe.conftest import Load

MATRIX = """\
forge: 1
vars: {kinds: [jpeg, webp]}
steps:
  hr: {use: read.images}
  lr:
    use: "degrade.${matrix.kind}"
    from: hr
    matrix: {quality: [90, 50], kind: "${vars.kinds}"}
    with: {quality: "${matrix.quality}", label: "q${matrix.quality}", list: ["${matrix.kind}"]}
    note: "${matrix.kind}"
  one: {use: x, from: "lr[kind=jpeg,quality=50]"}
  other_order: {use: x, from: "lr[quality=50, kind=jpeg]"}
  some: {use: x, from: "lr[kind=webp]"}
  all: {use: x, from: [hr, lr]}
  ports: {use: x, from: {hr: hr, lr: lr}}
"""


def test_a_matrix_makes_every_combination(load: Load) -> None:
    recipe = load(MATRIX)
    assert [step.id for step in recipe.steps if step.base_id == "lr"] == [
        "lr[kind=jpeg,quality=90]",
        "lr[kind=jpeg,quality=50]",
        "lr[kind=webp,quality=90]",
        "lr[kind=webp,quality=50]",
    ]
    step = recipe.step("lr[kind=webp,quality=50]")
    assert (step.use, step.note, step.base_id) == ("degrade.webp", "webp", "lr")
    assert step.params == {"quality": 50, "label": "q50", "list": ["webp"]}
    assert step.matrix == {"kind": "webp", "quality": 50}
    assert step.inputs == {"in": (InputRef("hr"),)}


def test_a_reference_names_one_variant_in_any_order(load: Load) -> None:
    recipe = load(MATRIX)
    named = {"in": (InputRef("lr[kind=jpeg,quality=50]"),)}
    assert recipe.step("one").inputs == recipe.step("other_order").inputs == named


def test_a_bare_reference_means_all_variants_marked(load: Load) -> None:
    recipe = load(MATRIX)
    every = tuple(
        InputRef(f"lr[{label}]", label)
        for label in ("kind=jpeg,quality=90", "kind=jpeg,quality=50", "kind=webp,quality=90", "kind=webp,quality=50")
    )
    assert recipe.step("some").inputs == {"in": every[2:]}
    assert recipe.step("all").inputs == {"in": (InputRef("hr"), *every)}
    assert recipe.step("ports").inputs == {"hr": (InputRef("hr"),), "lr": every}


def test_a_step_that_refers_to_a_matrix_stays_one_step(load: Load) -> None:
    assert [step.id for step in load(MATRIX).steps if step.base_id == "all"] == ["all"]


def test_a_matrix_step_may_choose_its_input_by_its_value(load: Load) -> None:
    recipe = load(
        "forge: 1\nsteps:\n"
        "  a: {use: x, matrix: {k: [1, 2.5, true]}}\n"
        '  b: {use: y, matrix: {k: [1, 2.5, true]}, from: "a[k=${matrix.k}]"}\n'
    )
    assert [step.inputs["in"][0] for step in recipe.steps if step.base_id == "b"] == [
        InputRef("a[k=1]"),
        InputRef("a[k=2.5]"),
        InputRef("a[k=true]"),
    ]
