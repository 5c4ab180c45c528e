"""`--set` changes what it names, and nothing else (R14)."""

from __future__ import annotations

import pytest

from forge_pipeline.sample import Json
from tests.recipe.conftest import Load, Told

TWO_FILTERS = """\
forge: 1
vars: {scale: 4}
steps:
  photos: {use: read.images}
  wide: {use: filter.shape, from: photos, with: {min_width: 260, any_or_all: all}}
  ratio: {use: filter.ratio, from: wide, with: {min_ratio: 0.5, any_or_all: all}}
  wide_again: {use: filter.shape, from: ratio, with: {min_width: 260, any_or_all: all}}
"""


def test_only_what_is_named_changes(load: Load) -> None:
    before = load(TWO_FILTERS)
    after = load(TWO_FILTERS, "steps.wide.with.min_width=300", "steps.ratio.with.any_or_all=any")
    assert after.step("wide").params == {"min_width": 300, "any_or_all": "all"}
    assert after.step("ratio").params == {"min_ratio": 0.5, "any_or_all": "any"}
    assert after.step("wide_again") == before.step("wide_again")
    assert after.step("photos") == before.step("photos")


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("2", 2),
        ("1e3", 1000.0),
        ("no", "no"),
        ("010", 10),
        ("1:30", "1:30"),
        ("true", True),
        ("[a, 1]", ["a", 1]),
        ("{a: 1}", {"a": 1}),
        ("blockiness < 30 and laplacian > 0.004", "blockiness < 30 and laplacian > 0.004"),
        ("a == 3", "a == 3"),
        ('"2"', "2"),
        ("${vars.scale}", 4),
        ("/data/photos", "/data/photos"),
    ],
)
def test_a_value_is_read_as_yaml(load: Load, value: str, data: Json) -> None:
    found = load(TWO_FILTERS, f"steps.wide.with.min_width={value}").step("wide").params["min_width"]
    assert (found, type(found)) == (data, type(data))


def test_vars_seed_defaults_and_new_parameters_can_be_set(load: Load) -> None:
    recipe = load(
        TWO_FILTERS,
        "vars.scale=2",
        "seed=5",
        "defaults.max_errors=10%",
        "steps.photos.with.path=here",
        "steps.photos.resources.cpus=2",
        "workers=3",
        "vars.scale=3",
    )
    assert (recipe.vars, recipe.seed, recipe.workers) == ({"scale": 3}, 5, 3)
    assert recipe.defaults.max_errors.share == 0.1
    assert recipe.step("photos").params == {"path": "here"}
    assert recipe.step("photos").resources == {"cpus": 2.0}


@pytest.mark.parametrize("suffix", [".hcl", ".json"])
def test_the_other_formats_take_the_same_assignments(load: Load, suffix: str) -> None:
    text = {
        ".hcl": 'forge = 1\nvars { n = null }\nstep "a" {\n use = "x"\n p = var.n\n q = var.n * 2\n}\n',
        ".json": '{"forge": 1, "vars": {"n": null}, "steps": {"a": {"use": "x", "with": {"p": "${vars.n}", "q": 6}}}}',
    }[suffix]
    recipe = load(text, "vars.n=3", suffix=suffix)
    assert recipe.step("a").params == {"p": 3, "q": 6}


def test_a_wrong_value_points_to_the_command_line(told: Told, load: Load) -> None:
    assert told(TWO_FILTERS, "steps.wide.on_error=skip") == (
        '--set steps.wide.on_error=skip: step \'wide\': on_error is "skip", expected "quarantine" or "stop"'
    )
    recipe = load(TWO_FILTERS, "steps.wide.with.min_width=x")
    assert str(recipe.where("wide", "with", "min_width")) == "--set steps.wide.with.min_width=x"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("vars.scal=2", "var 'scal' is not in the recipe\n  hint: did you mean 'scale'?"),
        ("steps.wid.with.x=2", "step 'wid' is not in the recipe\n  hint: did you mean 'wide'?"),
        ("step.wide.with.x=2", "'step' cannot be set\n  hint: did you mean 'steps'?"),
        ("steps.wide.wiht.x=2", "step 'wide' has no key 'wiht'\n  hint: did you mean 'with'?"),
        (
            "steps.wide.min_width=2",
            "step 'wide' has no key 'min_width'\n  hint: did you mean 'steps.wide.with.min_width'?",
        ),
        ("steps.wide=2", "step 'wide' is set key by key\n  hint: --set steps.wide.with.NAME=VALUE"),
        (
            "steps.wide[k=1].with.x=2",
            "a variant is not set alone; its step is\n  hint: --set steps.wide.with.NAME=VALUE",
        ),
        (
            "steps.wide.with.min_width.x=2",
            "'min_width' is no mapping, so nothing inside it can be set\n  hint: set it whole",
        ),
        ("steps.wide.with..x=2", "an empty name stands between two dots"),
        ("vars=2", "'vars' is set key by key\n  hint: --set vars.NAME=VALUE"),
        ("vars.scale", "no '=' in it, expected NAME=VALUE\n  hint: --set vars.scale=2"),
        (
            "vars.scale=[1",
            "this is no YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'\n"
            "  hint: put the value in quotes: --set 'NAME=\"VALUE\"'",
        ),
        ("vars.scale=", "var 'scale' has no value\n  hint: --set vars.scale=VALUE"),
        (
            "forge=2",
            "'forge' cannot be set\n  hint: known: vars, steps, defaults, seed, name, description, executor, workers",
        ),
    ],
)
def test_an_assignment_that_names_nothing_is_told(told: Told, assignment: str, message: str) -> None:
    assert told(TWO_FILTERS, assignment) == f"--set {assignment}: {message}"
