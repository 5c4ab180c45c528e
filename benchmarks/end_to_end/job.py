"""The job in a folder of its own: each attempt begins with nothing, where no attempt has been before."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.end_to_end.plain import LAMBDA, SCALE, TILE_PX
from benchmarks.end_to_end.processes import Taken, Word, forge_run, run_module, take
from benchmarks.end_to_end.sources import write_photographs

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


@dataclass
class Job:
    """Photographs to pairs.

    Attributes:
        root: a folder that is deleted when all is measured, not before: to create names that have just been deleted
            costs a file system (ext4) a search, which would count as ours.
        count: how many photographs.
    """

    root: Path
    count: int
    bytes_each: int = 0
    _serial: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.bytes_each = write_photographs(self.photos, self.count) // self.count

    @property
    def photos(self) -> Path:
        """Where the photographs lie."""
        return self.root / "photos"

    def folder(self) -> Path:
        """Return a new folder."""
        path = self.root / f"attempt-{next(self._serial)}"
        path.mkdir()
        return path

    def plain(self, processes: int, photos: Path | None = None, folder: Path | None = None) -> Taken:
        """Let the plain script do the job, in parts by several processes at once."""
        target = folder or self.folder()
        script = "benchmarks.end_to_end.plain"
        return take(*(run_module(script, photos or self.photos, target, n, processes) for n in range(processes)))

    def engine(self, *arguments: Word, photos: Path | None = None, folder: Path | None = None) -> Taken:
        """Let forge-run do the job with an empty cache."""
        target = folder or self.folder()
        recipe = self.recipe(target, photos)
        return take(forge_run(recipe, "--cache", target / "cache", "--quiet", *arguments))

    def recipe(self, folder: Path, photos: Path | None = None) -> Path:
        """Write the recipe of the job into a folder; it exports to `pairs` there."""
        path = folder / "benchmark.yaml"
        text = _RECIPE.format(
            photos=photos or self.photos, output=folder / "pairs", tile=TILE_PX, scale=SCALE, lam=LAMBDA
        )
        path.write_text(text)
        return path

    def one_photograph(self) -> Path:
        """Return a folder with one of the photographs: what a process takes for it is its start."""
        folder = self.folder()
        (folder / "photo.jpg").write_bytes(next(iter(sorted(self.photos.iterdir()))).read_bytes())
        return folder
