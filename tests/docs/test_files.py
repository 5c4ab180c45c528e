"""The reference of files names exactly the fields that a real run writes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from forge_steps.metrics.catalog import METRICS
from tests.docs.pages import DOCS, ROOT

pytestmark = pytest.mark.slow

PAGE = DOCS / "reference/files.md"
RECIPE = """
forge: 1
name: all
seed: 7
defaults: {max_errors: 5}
steps:
  photos: {use: read.images, with: {path: photos}}
  videos: {use: read.videos, with: {path: videos}}
  frames: {use: video.frames, from: videos, with: {select: diff, max_frames: 3}}
  tiles: {use: tile.best, from: [photos, frames], with: {size_px: 128}}
  clean: {use: filter.iqa, from: tiles, with: {keep: "laplacian > 0.06"}}
  unique: {use: dedup.perceptual, from: clean}
  hr: {use: augment.deterministic, from: unique, with: {geometry: free, preset: mild, align_px: 4}}
  lr: {use: resize.dpid, from: hr, with: {scale: 4}}
  pairs: {use: export.pairs, from: {hr: hr, lr: lr}, with: {path: output/pairs, scale: 4}}
"""

# What stands under one of these is named by the recipe or by an operator: its own name is a placeholder on the page.
_NAMED_BY_OTHERS = {
    "files": "PORT",
    "trails": "PORT",
    "sources": "STEP",
    "steps": "STEP",
    "dropped": "REASON",
}
_OPAQUE = {"fields", "values", "models", "crop"}


@dataclass(frozen=True)
class Written:
    """What a run with a broken photograph, a cut-off video, a small one and a duplicate wrote."""

    manifest: list[dict[str, Any]]
    rejects: list[dict[str, Any]]
    lock: dict[str, Any]
    result: dict[str, Any]
    uses: dict[str, str]
    meta_info: str


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, env: dict[str, str]) -> Written:
    folder = tmp_path_factory.mktemp("files")
    _make_media(folder)
    (folder / "all.yaml").write_text(RECIPE)
    done = subprocess.run(
        ["forge-run", "all.yaml", "--json"], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    return Written(
        manifest=_rows(folder / "output/pairs/manifest.jsonl"),
        rejects=_rows(folder / "output/pairs/rejects.jsonl"),
        lock=json.loads((folder / "all.lock").read_text()),
        result=result,
        uses={step: counts["use"] for step, counts in result["steps"].items()},
        meta_info=(folder / "output/pairs/meta_info.txt").read_text(),
    )


def _make_media(folder: Path) -> None:
    import importlib.util
    import shutil

    spec = importlib.util.find_spec("skimage")
    assert spec is not None and spec.submodule_search_locations
    data = Path(spec.submodule_search_locations[0], "data")
    (folder / "photos").mkdir()
    (folder / "videos").mkdir()
    for name in ("astronaut.png", "coffee.png", "microaneurysms.png", "rocket.jpg"):
        shutil.copy(data / name, folder / "photos")
    clip = (ROOT / "recipes/media/panned.mp4").read_bytes()
    (folder / "photos/broken.jpg").write_bytes((data / "rocket.jpg").read_bytes()[:20_000])
    (folder / "videos/panned.mp4").write_bytes(clip)
    (folder / "videos/cut.mp4").write_bytes(clip[:400_000])


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _table(heading: str) -> set[str]:
    """Return the names in the first column of the first table under a heading."""
    section = PAGE.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None
    return set(re.findall(r"^\| `([^`]+)` \|", table[0], re.MULTILINE))


def _names(value: Any, path: str = "", opaque: bool = False) -> Iterator[str]:
    """Name every field of a JSON value as the page does."""
    key = path.rpartition(".")[2].removesuffix("[]")
    if isinstance(value, dict) and not opaque:
        for name, inner in value.items():
            shown = _NAMED_BY_OTHERS.get(key, name)
            yield from _names(inner, f"{path}.{shown}" if path else shown, name in _OPAQUE)
    elif isinstance(value, list) and not opaque:
        for inner in value:
            yield from _names(inner, f"{path}[]")
    else:
        yield path


def test_manifest_fields_are_those_of_the_page(written: Written) -> None:
    assert {name for row in written.manifest for name in _names(row)} == _table("manifest.jsonl")


def test_reject_fields_are_those_of_the_page(written: Written) -> None:
    assert {row["kind"] for row in written.rejects} == {"rejected", "failed", "partial"}
    assert {name for row in written.rejects for name in _names(row)} == _table("rejects.jsonl")


def test_lock_fields_are_those_of_the_page(written: Written) -> None:
    assert set(_names(written.lock)) == _table("The lock")


def test_the_json_object_has_the_fields_of_the_page(written: Written) -> None:
    assert set(_names(written.result)) == _table("The JSON object")


def test_fields_of_steps_are_those_of_the_page(written: Written) -> None:
    always, sometimes = _documented_fields()
    found: dict[str, list[set[str]]] = {}
    for row in written.manifest:
        for link in [*row["trail"], *(link for trail in row["trails"].values() for link in trail)]:
            found.setdefault(written.uses[link["step"]], []).append(set(link["fields"]))
    assert set(always) - set(found) == {"tile.grid"}
    for use, seen in found.items():
        allowed = always.get(use, set()) | sometimes.get(use, set())
        if use == "filter.iqa":
            allowed = set(METRICS)
        assert set.union(*seen) <= allowed, use
        assert always.get(use, set()) <= set.intersection(*seen), use


def _documented_fields() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    section = PAGE.read_text().split("\n## Fields that steps add\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `([^`]+)` \|(.*?)\|(.*?)\|$", section, re.MULTILINE)
    names = re.compile(r"`([^`]+)`")
    return (
        {use: set(names.findall(always)) for use, always, _ in rows},
        {use: set(names.findall(sometimes)) for use, _, sometimes in rows},
    )


def test_meta_info_has_the_form_of_the_page(written: Written) -> None:
    assert written.meta_info
    assert all(re.fullmatch(r"\S+\.png \(\d+,\d+,3\)", line) for line in written.meta_info.splitlines())
