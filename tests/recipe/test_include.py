"""Included recipes come first, are merged deeply, and lose a step only to one that says so."""

from __future__ import annotations

from pathlib import Path

from forge_pipeline.recipe import InputRef
from tests.recipe.conftest import Load, Told

BASE = """\
forge: 1
name: base
seed: 7
vars: {scale: 4, photos: base/photos}
defaults: {max_errors: 1%}
steps:
  photos: {use: read.images, with: {path: "${vars.photos}", alpha: drop}}
  tiles: {use: tile.best, from: photos, with: {size_px: 256}}
"""


def test_an_included_recipe_is_started_from_and_changed(load: Load) -> None:
    recipe = load(
        """\
forge: 1
include: base.yaml
seed: 8
vars: {photos: mine}
defaults: {on_error: stop}
steps:
  tiles: {override: true, with: {max_tiles: 4}}
  lr: {use: resize.dpid, from: tiles, with: {scale: "${vars.scale}"}}
""",
        base__yaml=BASE,
    )
    assert (recipe.name, recipe.seed) == ("base", 8)
    assert recipe.vars == {"scale": 4, "photos": "mine"}
    assert [step.id for step in recipe.steps] == ["photos", "tiles", "lr"]
    assert recipe.step("photos").params == {"path": "mine", "alpha": "drop"}
    assert recipe.step("tiles").params == {"size_px": 256, "max_tiles": 4}
    assert recipe.step("tiles").inputs == {"in": (InputRef("photos"),)}
    assert (recipe.defaults.on_error, recipe.defaults.max_errors.share) == ("stop", 0.01)
    assert recipe.files == (Path("recipe.yaml"), Path("base.yaml"))


def test_places_stay_in_the_file_that_wrote_them(load: Load) -> None:
    recipe = load(
        "forge: 1\ninclude: base.yaml\nsteps:\n  tiles: {override: true, with: {max_tiles: 4}}\n", base__yaml=BASE
    )
    assert str(recipe.where("tiles", "with", "size_px")) == "base.yaml:8:57"
    assert str(recipe.where("tiles", "with", "max_tiles")) == "recipe.yaml:4:45"


def test_formats_mix_and_paths_start_at_the_file_that_names_them(folder: Path, load: Load) -> None:
    (folder / "parts").mkdir()
    (folder / "parts" / "my_steps.py").write_text("", encoding="utf-8")
    (folder / "parts" / "deep.json").write_text(
        '{"import": "my_steps.py", "steps": {"a": {"use": "x"}}}', encoding="utf-8"
    )
    (folder / "parts" / "part.hcl").write_text(
        'include = ["deep.json"]\nimport = ["../own.py"]\nstep "b" {\n use = "y"\n from = step.a\n}\n', encoding="utf-8"
    )
    (folder / "own.py").write_text("", encoding="utf-8")
    recipe = load("forge: 1\ninclude: [./parts/part.hcl]\nimport: [./own.py]\nsteps: {c: {use: z, from: b}}\n")
    assert [step.id for step in recipe.steps] == ["a", "b", "c"]
    assert recipe.imports == (Path("parts/my_steps.py"), Path("own.py"))
    assert recipe.files == (Path("recipe.yaml"), Path("parts/part.hcl"), Path("parts/deep.json"))


def test_a_step_is_not_replaced_by_accident(told: Told) -> None:
    message = told("forge: 1\ninclude: base.yaml\nsteps:\n  tiles: {use: tile.grid}\n", base__yaml=BASE)
    assert message == (
        "recipe.yaml:4:3: step 'tiles' is there already, at base.yaml:8:3\n"
        "      tiles: {use: tile.grid}\n"
        "      ^\n"
        "  hint: override: true"
    )


def test_a_later_included_recipe_overrides_an_earlier_one(load: Load) -> None:
    recipe = load(
        "forge: 1\ninclude: [base.yaml, more.yaml]\n",
        base__yaml=BASE,
        more__yaml="steps:\n  tiles: {override: true, with: {size_px: 128}}\nseed: 9\n",
    )
    assert recipe.step("tiles").params == {"size_px": 128}
    assert recipe.seed == 9


def test_a_file_that_two_others_include_is_merged_once(load: Load) -> None:
    recipe = load(
        "forge: 1\ninclude: [a.yaml, b.yaml]\n",
        base__yaml=BASE,
        a__yaml="include: base.yaml\nsteps: {a: {use: x}}\n",
        b__yaml="include: base.yaml\nsteps: {b: {use: x}}\n",
    )
    assert [step.id for step in recipe.steps] == ["photos", "tiles", "a", "b"]


def test_a_circle_of_files_is_named_whole(told: Told) -> None:
    message = told(
        "forge: 1\ninclude: a.yaml\nsteps: {s: {use: x}}\n",
        a__yaml="include: b.yaml\n",
        b__yaml="include: recipe.yaml\n",
    )
    assert message == (
        "b.yaml:1:10: files include each other in a circle: recipe.yaml -> a.yaml -> b.yaml -> recipe.yaml\n"
        "    include: recipe.yaml\n"
        "             ^"
    )


def test_what_is_wrong_in_an_included_file_is_told_with_its_place(told: Told) -> None:
    message = told(
        "forge: 1\ninclude: base.yaml\nsteps: {x: {use: y, from: tiles}}\n", base__yaml="forge: 2\nsteps: {tiles: {}}\n"
    )
    assert message == (
        "base.yaml:1:8: forge is 2, expected 1\n"
        "    forge: 2\n"
        "           ^\n"
        "base.yaml:2:9: step 'tiles' has no 'use'\n"
        "    steps: {tiles: {}}\n"
        "            ^\n"
        "  hint: use: OPERATOR"
    )


def test_a_file_that_cannot_be_read_casts_no_shadow(told: Told) -> None:
    message = told("forge: 1\ninclude: base.yaml\nsteps: {x: {use: y, from: tiles}}\n", base__yaml="steps: [\n")
    assert message.splitlines()[0].startswith("base.yaml:2:1: this is no YAML: ")
    assert len(message.splitlines()) == 1
