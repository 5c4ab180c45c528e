"""Honest edits and odd inputs after which recipe engines of the field gave wrong data in silence, done to ours.

Each test has the number of one such run. The true result is asserted, on real operators and real files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from forge_pipeline import api
from forge_pipeline.digest import digest_file
from forge_pipeline.errors import ForgeError, RecipeError
from forge_pipeline.events import RunResult
from forge_pipeline.recipe.load import load_recipe
from forge_steps.dedup._neighbours import hamming_pairs

Image = npt.NDArray[Any]


@dataclass
class Place:
    """A folder with pictures, a recipe and a cache."""

    root: Path

    def picture(self, name: str, image: Image) -> Path:
        """Save a picture, losslessly."""
        path = self.root / "in" / name
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), image)
        return path

    def recipe(self, text: str, name: str = "r.yaml") -> Path:
        """Write a recipe: its steps, one a line."""
        body = "".join(f"  {line.strip()}\n" for line in text.strip().splitlines())
        path = self.root / name
        path.write_text(f"forge: 1\nname: r\nseed: 5\nsteps:\n{body}")
        return path

    def run(self, recipe: Path, **options: Any) -> RunResult:
        """Run it."""
        given = {"executor": "inline", **options}
        return api.run(recipe, api.Options(directory=self.root, **given), lambda event: None)

    def manifest(self, name: str = "manifest") -> list[dict[str, Any]]:
        """Read what the export says of itself."""
        return [json.loads(line) for line in (self.root / f"out/{name}.jsonl").read_text().splitlines()]

    def exported(self) -> dict[str, Image]:
        """Read every exported image, unchanged."""
        paths = sorted((self.root / "out/images").iterdir())
        return {path.name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def _noise(seed: int, height: int = 24, width: int = 32) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _kept(result: RunResult, step: str) -> int:
    return result.steps[step].out


FILTER = """
    photos: {use: read.images, with: {path: in}}
    wide: {use: filter.iqa, from: photos, with: {keep: "width >= 30"}}
    out: {use: export.images, from: wide, with: {path: out}}
"""


def test_r1_pictures_replaced_behind_their_paths_are_judged_anew(place: Place) -> None:
    for i in range(20):
        place.picture(f"{i:02}.png", _noise(i, width=32 if i % 5 else 20))
    recipe = place.recipe(FILTER)
    assert _kept(place.run(recipe), "wide") == 16
    for i in range(20):
        place.picture(f"{i:02}.png", _noise(100 + i, width=40))
    assert _kept(place.run(recipe), "wide") == 20


OPERATOR = """
from forge_pipeline.step import Child, Transform, operator
from helper import added

OFFSET = 0


@operator("my.add", version=1)
class Add(Transform):
    def apply(self, value, context):
        yield Child((value // 2 + added() + OFFSET).astype("uint8"))
"""


@pytest.mark.parametrize(
    ("file", "old", "new", "difference"),
    [
        ("my_steps.py", "value // 2 +", "value // 2 + 3 +", 3),  # R2: the operator's own source
        ("my_steps.py", "OFFSET = 0", "OFFSET = 4", 4),  # R8: a global of its module
        ("helper.py", "return 1", "return 6", 5),  # R8: a function that it calls
    ],
)
def test_r2_r8_edited_code_gives_new_pixels(place: Place, file: str, old: str, new: str, difference: int) -> None:
    place.picture("a.png", _noise(1))
    (place.root / "my_steps.py").write_text(OPERATOR)
    (place.root / "helper.py").write_text("def added():\n    return 1\n")
    recipe = place.recipe(
        """
        photos: {use: read.images, with: {path: in}}
        more: {use: my.add, from: photos}
        out: {use: export.images, from: more, with: {path: out}}
        """
    )
    recipe.write_text(recipe.read_text() + "import: [./my_steps.py]\n")
    place.run(recipe)
    [before] = place.exported().values()
    edited = place.root / file
    edited.write_text(edited.read_text().replace(old, new))
    assert place.run(recipe).steps["more"].ran == 1
    [after] = place.exported().values()
    assert (after.astype(int) - before == difference).all()


def test_r3_one_file_that_is_no_picture_costs_one_sample(place: Place) -> None:
    for i in range(19):
        place.picture(f"{i:02}.png", _noise(i))
    (place.root / "in/junk.png").write_text("not a picture")
    result = place.run(place.recipe(FILTER))
    assert (result.status, _kept(result, "wide"), result.steps["photos"].failed) == ("done", 19, 1)
    [failed] = place.manifest("rejects")
    assert (failed["key"], failed["kind"], failed["reason"]) == ("photos/junk.png", "failed", "not_an_image")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("size_px: 16", "size_pix: 16", "unknown parameter 'size_pix'"),
        ("tile.grid", "tile.gird", "no operator 'tile.gird'"),
        ("size_px: 16", "size_px: wide", "size_px"),
        ("forge: 1", "forge: 1\nthreads: 4", "unknown key 'threads'"),
    ],
)
def test_r4_a_mistyped_recipe_is_refused_before_any_work(place: Place, old: str, new: str, told: str) -> None:
    place.picture("a.png", _noise(1))
    recipe = place.recipe(
        """
        photos: {use: read.images, with: {path: in}}
        tiles: {use: tile.grid, from: photos, with: {size_px: 16}}
        out: {use: export.images, from: tiles, with: {path: out}}
        """
    )
    recipe.write_text(recipe.read_text().replace(old, new))
    with pytest.raises(RecipeError) as raised:
        place.run(recipe)
    assert told in str(raised.value)
    assert raised.value.problems[0].where.line > 0
    assert not (place.root / "out").exists()


def test_r5_the_lock_tells_the_recipe_that_ran(place: Place) -> None:
    place.picture("a.png", _noise(1))
    recipe = place.recipe(FILTER)
    place.run(recipe)
    first = (place.root / "r.lock").read_text()
    recipe.write_text(recipe.read_text().replace(">= 30", ">= 31"))
    place.run(recipe)
    second = (place.root / "r.lock").read_text()
    assert first != second
    assert place.run(recipe, frozen=True).status == "done"


def test_r6_a_threshold_changed_over_a_finished_export_is_obeyed(place: Place) -> None:
    for i in range(6):
        place.picture(f"{i}.png", _noise(i, width=10 + 5 * i))
    recipe = place.recipe(FILTER.replace("30", "1"))
    assert _kept(place.run(recipe), "wide") == 6
    recipe.write_text(recipe.read_text().replace("width >= 1", "width >= 30"))
    assert _kept(place.run(recipe), "wide") == 2
    assert len(place.exported()) == 2


def test_r7_another_number_of_workers_neither_loses_nor_doubles(place: Place) -> None:
    for i in range(12):
        place.picture(f"{i:02}.png", _noise(i))
    recipe = place.recipe(FILTER)
    first = place.run(recipe, executor="threads", workers=2)
    names = sorted(place.exported())
    again = place.run(recipe, executor="threads", workers=3)
    assert again.exports[0].digest == first.exports[0].digest
    assert (len(names), sorted(place.exported())) == (12, names)
    assert again.steps["wide"].ran == 0


@pytest.mark.slow
def test_r9_a_run_with_another_size_leaves_no_old_size_behind(place: Place) -> None:
    for i in range(4):
        place.picture(f"{i}.png", _noise(i, 64, 64))
    recipe = place.recipe(
        """
        photos: {use: read.images, with: {path: in}}
        small: {use: resize.area, from: photos, with: {scale: 2}}
        out: {use: export.images, from: small, with: {path: out}}
        """
    )
    place.run(recipe)
    sorted((place.root / "out/images").iterdir())[0].unlink()
    place.run(recipe, sets=("steps.small.with.scale=4",))
    assert [image.shape for image in place.exported().values()] == [(16, 16, 3)] * 4


@pytest.mark.slow
def test_r10_solid_pictures_of_swapped_shape_are_two(place: Place) -> None:
    place.picture("flat.png", np.full((20, 40, 3), 90, np.uint8))
    place.picture("tall.png", np.full((40, 20, 3), 90, np.uint8))
    recipe = place.recipe(
        """
        photos: {use: read.images, with: {path: in}}
        exact: {use: dedup.exact, from: photos}
        near: {use: dedup.perceptual, from: exact, with: {max_distance_bits: 8, keep: first}}
        out: {use: export.images, from: near, with: {path: out}}
        """
    )
    assert _kept(place.run(recipe), "near") == 2


def test_r11_steps_fused_in_a_worker_give_what_they_give_one_by_one(place: Place) -> None:
    place.picture("a.png", _noise(1, 64, 64))
    steps = """
        photos: {use: read.images, with: {path: in}}
        small: {use: resize.lanczos, from: photos, with: {scale: 2}@}
        turned: {use: augment.deterministic, from: small, with: {geometry: dihedral}@}
        smaller: {use: resize.bicubic, from: turned, with: {scale: 2}}
        out: {use: export.images, from: smaller, with: {path: out}}
    """
    fused = place.run(place.recipe(steps.replace("@", "")), cache=place.root / "one")
    parted = place.run(place.recipe(steps.replace("@", ", cache: keep")), cache=place.root / "two")
    assert parted.exports[0].digest == fused.exports[0].digest
    assert parted.exports[0].files == 1


def test_r12_all_pairs_within_a_radius_are_those_of_an_exhaustive_search() -> None:
    hashes = np.random.default_rng(2).integers(0, 2**63, 600, dtype=np.uint64)
    hashes[300:] = hashes[:300] ^ (np.uint64(1) << np.arange(300, dtype=np.uint64) % np.uint64(64))
    exhaustive = [(i, j) for i in range(600) for j in range(i + 1, 600) if int(hashes[i] ^ hashes[j]).bit_count() <= 10]
    assert [tuple(pair) for pair in hamming_pairs(hashes, 10).tolist()] == exhaustive


def test_r13_a_decision_taken_again_keeps_what_it_kept(place: Place) -> None:
    for i in range(3):
        place.picture(f"{i}.png", _noise(i, 64, 64))
    recipe = place.recipe(
        """
        photos: {use: read.images, with: {path: in}}
        near: {use: dedup.perceptual, from: photos, with: {max_distance_bits: 8, keep: first}, cache: off}
        out: {use: export.images, from: near, with: {path: out}}
        """
    )
    first, again = place.run(recipe), place.run(recipe)
    assert (_kept(first, "near"), _kept(again, "near"), again.steps["near"].ran) == (3, 3, 1)


def test_r14_an_override_changes_what_it_names_and_nothing_else(place: Place) -> None:
    path = place.recipe(
        """
        photos: {use: read.images, with: {path: in}}
        one: {use: tile.grid, from: photos, with: {size_px: 16, small: keep}}
        two: {use: tile.grid, from: photos, with: {size_px: 16, small: keep}}
        """
    )
    changed = load_recipe(path, sets=["steps.one.with.size_px=32"])
    assert changed.step("one").params == {"size_px": 32, "small": "keep"}
    assert changed.step("two").params == load_recipe(path).step("two").params == {"size_px": 16, "small": "keep"}


def _yaml(value: str) -> str:
    return f"forge: 1\nname: r\nvars: {{v: {value}}}\nsteps:\n  s: {{use: a.b, with: {{v: '${{vars.v}}'}}}}\n"


@pytest.mark.parametrize(
    ("value", "read"), [("no", "no"), ("1e3", 1000.0), ("010", 10), ("1:30", "1:30"), ("0x10", 16), ("~", None)]
)
def test_r15_scalars_are_those_of_yaml_1_2(tmp_path: Path, value: str, read: object) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(_yaml(value))
    if read is None:  # a var without a value is required
        with pytest.raises(RecipeError):
            load_recipe(path)
        return
    found = load_recipe(path).step("s").params["v"]
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".yaml", "forge: 1\nname: a\nname: b\nsteps: {}\n"),
        (".json", '{"forge": 1, "name": "a", "name": "b", "steps": {}}'),
        (".hcl", 'forge = 1\nname = "a"\nname = "b"\n'),
        (".json", '{"forge": 1, "name": "a", "seed": NaN, "steps": {}}'),
        (".yaml", "forge: 1\nname: a\nseed: .nan\nsteps: {}\n"),
    ],
)
def test_r15_what_parsers_lose_is_an_error_with_a_place(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"r{suffix}"
    path.write_text(text)
    with pytest.raises(RecipeError) as raised:
        load_recipe(path)
    assert all(problem.where.line > 0 for problem in raised.value.problems)


def test_r16_sizes_come_from_headers_without_decoding(place: Place) -> None:
    path = place.picture("cut.png", _noise(1, 300, 400))
    path.write_bytes(path.read_bytes()[:200])
    place.picture("whole.png", _noise(2, 300, 400))
    recipe = place.recipe(FILTER)
    recipe.write_text(recipe.read_text().replace("steps:", "defaults: {max_errors: 1}\nsteps:"))
    result = place.run(recipe)
    assert result.steps["photos"].failed == 1
    [row] = place.manifest("rejects")
    assert row["reason"] == "truncated"


DEPTHS: dict[str, Callable[[], Image]] = {
    "gray8": lambda: _noise(1)[:, :, 0],
    "rgb8": lambda: _noise(2),
    "rgba8": lambda: np.dstack([_noise(3), _noise(4)[:, :, :1]]),
    "gray16": lambda: np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 85,
    "rgb16": lambda: np.random.default_rng(5).integers(0, 65536, (24, 32, 3), dtype=np.uint16),
}


@pytest.mark.parametrize("name", sorted(DEPTHS))
def test_r17_pixels_nobody_asked_to_touch_stay_untouched(place: Place, name: str) -> None:
    path = place.picture(f"{name}.png", DEPTHS[name]())
    before = digest_file(path)
    recipe = place.recipe(
        """
        photos: {use: read.images, with: {path: in, alpha: keep, gray: keep, depth: keep}}
        all: {use: filter.iqa, from: photos, with: {keep: "width > 1"}}
        same: {use: augment.deterministic, from: all, with: {geometry: none}}
        out: {use: export.images, from: same, with: {path: out}}
        """
    )
    place.run(recipe)
    [image] = place.exported().values()
    assert image.dtype == DEPTHS[name]().dtype
    assert np.array_equal(image, DEPTHS[name]())
    assert digest_file(path) == before
    assert [p.name for p in (place.root / "in").iterdir()] == [path.name]


def test_r17_a_draw_is_the_same_in_every_run(place: Place) -> None:
    for i in range(4):
        place.picture(f"{i}.png", _noise(i, 64, 64))
    recipe = place.recipe(
        """
        photos: {use: read.images, with: {path: in}}
        drawn: {use: augment.deterministic, from: photos, with: {preset: moderate, geometry: dihedral}}
        out: {use: export.images, from: drawn, with: {path: out}}
        """
    )
    first = place.run(recipe, cache=place.root / "one")
    assert place.run(recipe, cache=place.root / "two").exports[0].digest == first.exports[0].digest


def test_r17_an_alpha_is_never_dropped_in_silence(place: Place) -> None:
    place.picture("a.png", np.dstack([_noise(3), _noise(4)[:, :, :1]]))
    place.picture("b.png", _noise(5))
    result = place.run(place.recipe(FILTER))
    assert result.steps["photos"].dropped == {"transparent": 1}


@pytest.mark.slow
def test_r18_three_textures_of_16_bits_are_three_and_scored_in_range(place: Place) -> None:
    for i in range(3):
        texture = np.random.default_rng(i).integers(0, 65536, (64, 64), dtype=np.uint16)
        place.picture(f"{i}.png", cv2.GaussianBlur(texture, (0, 0), 2))
    recipe = place.recipe(
        """
        photos: {use: read.images, with: {path: in, gray: keep}}
        scored: {use: filter.iqa, from: photos, with: {keep: "entropy >= 0 and clipping <= 1 and laplacian >= 0"}}
        near: {use: dedup.perceptual, from: scored, with: {max_distance_bits: 8, keep: first}}
        out: {use: export.images, from: near, with: {path: out}}
        """
    )
    assert _kept(place.run(recipe), "near") == 3
    for row in place.manifest():
        scores = next(link["fields"] for link in row["trail"] if link["step"] == "scored")
        assert 0 < scores["entropy"] <= 16
        assert 0 <= scores["clipping"] <= 0.01
        assert 0 < scores["laplacian"] < 4


def test_every_error_of_these_runs_is_one_of_ours() -> None:
    assert issubclass(RecipeError, ForgeError)
