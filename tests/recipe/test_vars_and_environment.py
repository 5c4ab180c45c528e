"""References keep types, and the environment never enters what changes bytes."""

from __future__ import annotations

import pytest

from forge_pipeline.recipe.model import MACHINE_KEYS
from tests.recipe.conftest import Load, Told


def test_a_lone_reference_keeps_the_type_and_text_takes_it_as_text(load: Load) -> None:
    recipe = load(
        """\
forge: 1
vars:
  whole: {n: 4, f: 0.5, t: true, l: [1, two], none: x}
  n: 4
  f: 1e3
  t: true
  l: [1, two]
  m: {a: 1}
  derived: "${vars.l}"
  path: "out/x${vars.n}/${vars.t}/${vars.f}"
  chosen: tile.best
  input: [a]
steps:
  a: {use: x}
  b:
    use: "${vars.chosen}"
    from: "${vars.input}"
    with: {n: "${vars.n}", l: ["${vars.derived}", "${ vars.t }"], m: "${vars.m}", p: "${vars.path}", f: "${vars.f}"}
"""
    )
    step = recipe.step("b")
    assert step.use == "tile.best"
    assert [ref.step for ref in step.inputs["in"]] == ["a"]
    assert step.params == {
        "n": 4,
        "l": [[1, "two"], True],
        "m": {"a": 1},
        "p": "out/x4/true/1000.0",
        "f": 1000.0,
    }


def test_a_problem_of_a_var_is_told_once(told: Told) -> None:
    message = told(
        'forge: 1\nvars: {a: "${vars.nowhere}"}\nsteps:\n'
        '  s: {use: x, with: {p: "${vars.a}", q: "x${vars.a}"}, on_error: "${vars.a}", from: ["${vars.a}"]}\n'
    )
    assert message == (
        "recipe.yaml:2:11: var 'nowhere' is not in the recipe\n"
        '    vars: {a: "${vars.nowhere}"}\n'
        "              ^\n"
        "  hint: known: a"
    )


def test_the_environment_enters_parameters_with_a_mark(load: Load) -> None:
    recipe = load(
        """\
forge: 1
vars: {home: "${env:HOME}", plain: 3}
workers: "${env:N}"
steps:
  a:
    use: x
    with: {path: ["${vars.home}/photos", other], deep: {er: "${env:HOME}"}, n: "${vars.plain}"}
    resources: {cpus: "${env:N}"}
    note: "on ${env:HOME}"
""",
        environ={"HOME": "/home/me", "N": "2"},
    )
    step = recipe.step("a")
    assert step.params == {"path": ["/home/me/photos", "other"], "deep": {"er": "/home/me"}, "n": 3}
    assert step.env_paths == {("path", "0"), ("deep", "er")}
    assert (recipe.workers, step.resources, step.note) == (2, {"cpus": 2.0}, "on /home/me")
    assert recipe.vars == {"plain": 3}  # what came from the environment is told to nobody


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('forge: 1\nseed: "${env:X}"\nsteps: {a: {use: x}}\n', "seed"),
        ('forge: 1\nname: "${env:X}"\nsteps: {a: {use: x}}\n', "name"),
        ('forge: 1\ndefaults: {on_error: "${env:X}"}\nsteps: {a: {use: x}}\n', "defaults"),
        ('forge: 1\nsteps: {a: {use: "${env:X}"}}\n', "use"),
        ('forge: 1\nsteps: {a: {use: x, from: ["${env:X}"]}}\n', "from"),
        ('forge: 1\nsteps: {a: {use: x, max_errors: "${env:X}"}}\n', "max_errors"),
        ('forge: 1\nsteps: {a: {use: x, matrix: {k: ["${env:X}"]}, with: {k: "${matrix.k}"}}}\n', "matrix"),
        ('forge: 1\nvars: {v: "a${env:X}"}\nsteps: {a: {use: "x${vars.v}"}}\n', "use"),
        ('forge: 1\nvars: {v: {n: 1, e: "${env:X}"}}\nsteps: {a: {use: x, with: "${vars.v}"}}\n', "with"),
        (
            'forge: 1\nvars: {v: {cpu_fallback: "${env:X}"}}\nsteps: {a: {use: x, resources: "${vars.v}"}}\n',
            "resources.cpu_fallback",
        ),
    ],
)
def test_the_environment_is_refused_where_it_would_change_bytes(told: Told, text: str, key: str) -> None:
    problems = [line for line in told(text, environ={"X": "1"}).splitlines() if line.startswith("recipe.yaml")]
    assert len(problems) == 1
    assert f": an environment variable enters '{key}' of " in problems[0]
    assert key not in MACHINE_KEYS


def test_the_environment_is_refused_where_it_would_say_which_device_computes(told: Told, load: Load) -> None:
    text = 'forge: 1\nsteps:\n  a: {use: x, resources: {cpus: "${env:X}", cpu_fallback: "${env:X}"}}\n'
    assert told(text, environ={"X": "1"}) == (
        "recipe.yaml:3:59: an environment variable enters 'resources.cpu_fallback' of step 'a', where it would change "
        "the result\n"
        '      a: {use: x, resources: {cpus: "${env:X}", cpu_fallback: "${env:X}"}}\n'
        "                                                              ^\n"
        "  hint: give it by --set"
    )
    text = 'forge: 1\nvars: {v: {cpus: "${env:X}"}}\nsteps: {a: {use: x, resources: "${vars.v}"}}\n'
    assert load(text, environ={"X": "1"}).step("a").resources == {"cpus": 1.0}


def test_an_environment_variable_in_an_unused_or_overridden_var_must_be_set_only_if_it_stands(
    load: Load, told: Told
) -> None:
    text = 'forge: 1\nvars: {v: "${env:X}"}\nsteps: {a: {use: x}}\n'
    assert told(text) == (
        "recipe.yaml:2:11: environment variable 'X' is not set\n"
        '    vars: {v: "${env:X}"}\n'
        "              ^\n"
        "  hint: export X=VALUE"
    )
    assert load(text, "vars.v=1").vars == {"v": 1}
