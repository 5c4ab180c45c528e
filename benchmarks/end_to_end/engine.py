"""The same job as a recipe, and its command lines."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.end_to_end.plain import LAMBDA, SCALE, TILE_PX
from benchmarks.end_to_end.processes import forge_run

_RECIPE = """\
forge: 1
name: benchmark
seed: 1
vars: {{photos: "{photos}", output: "{output}"}}
steps:
  photos: {{use: read.images, with: {{path: "${{vars.photos}}"}}}}
  tiles: {{use: tile.best, from: photos, with: {{size_px: {tile}}}}}
  lr: {{use: resize.dpid, from: tiles, with: {{scale: {scale}, lambda: {lam}}}}}
  pairs: {{use: export.pairs, from: {{hr: tiles, lr: lr}}, with: {{path: "${{vars.output}}", scale: {scale}}}}}
"""


def write_recipe(folder: Path, photos: Path) -> Path:
    """Write the recipe of the job."""
    path = folder / "benchmark.yaml"
    path.write_text(_RECIPE.format(photos=photos, output=folder / "pairs", tile=TILE_PX, scale=SCALE, lam=LAMBDA))
    return path


def cold(recipe: Path, *arguments: str) -> list[str]:
    """Return a command that finds nothing known, and nothing published."""
    folder = recipe.parent
    shutil.rmtree(folder / "cache", ignore_errors=True)
    shutil.rmtree(folder / "pairs", ignore_errors=True)
    recipe.with_suffix(".lock").unlink(missing_ok=True)
    return forge_run(str(recipe), "--cache", str(folder / "cache"), "--quiet", *arguments)
