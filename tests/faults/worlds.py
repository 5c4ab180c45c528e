"""A small real world to break: photographs that the test draws, a recipe of real operators, and what a run left."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from forge_pipeline import api, inspection, walk
from forge_pipeline.digest import digest_file
from forge_pipeline.events import Event, Note, RunResult
from forge_pipeline.run import scheduler
from forge_pipeline.run import sources as run_sources

Pixels = np.ndarray[Any, np.dtype[np.uint8]]  # (H, W) gray or (H, W, 3) RGB
DRIVER = Path(__file__).with_name("driver.py")
PHOTOS = 5
_LIMIT_S = 240  # on a busy machine: to compile every kernel takes a minute of a free one
RECIPE = """\
forge: 1
name: faulty
seed: 7
steps:
  photos: {use: read.images, with: {path: photos}}
  tiles:  {use: tile.best, from: photos, with: {size_px: 64, max_tiles: 2, min_complexity: 0.001}}
  clean:  {use: filter.iqa, from: tiles, with: {keep: "blockiness < 60 and laplacian > 0.002"}}
  out:    {use: export.images, from: clean, with: {path: output/faulty}}
"""
# The shape of the main job.
PAIRS = """\
forge: 1
name: faulty
seed: 7
steps:
  photos: {use: read.images, with: {path: photos}}
  tiles:  {use: tile.best, from: photos, with: {size_px: 64, max_tiles: 2, min_complexity: 0.001}}
  clean:  {use: filter.iqa, from: tiles, with: {keep: "blockiness < 60 and laplacian > 0.002"}}
  unique: {use: dedup.perceptual, from: clean, with: {max_distance_bits: 4, keep: sharpest}}
  hr:     {use: augment.deterministic, from: unique, with: {variants: 2, geometry: dihedral, preset: none}}
  lr:     {use: resize.dpid, from: hr, with: {scale: 4, lambda: 0.5}}
  out:    {use: export.pairs, from: {hr: hr, lr: lr}, with: {path: output/faulty, scale: 4}}
"""
# Every operator and metric that can see pixels.
EVERYTHING = """\
forge: 1
name: faulty
seed: 7
defaults: {max_errors: 100%}
steps:
  photos:  {use: read.images, with: {path: [photos, odd], cmyk: convert, alpha: keep}}
  videos:  {use: read.videos, with: {path: "VIDEO"}}
  frames:  {use: video.frames, from: videos, with: {select: diff, min_difference: 0.02, max_frames: 3}}
  native:  {use: filter.iqa, from: frames, with: {keep: "native_scale < 100"}}
  scenes:  {use: video.frames, from: videos, with: {select: scene, max_frames: 2}}
  best:    {use: tile.best, from: [photos, native], with: {size_px: 64, max_tiles: 2, min_complexity: 0.001}}
  grid:    {use: tile.grid, from: scenes, with: {size_px: 96, stride_px: 400}}
  exact:   {use: dedup.exact, from: [best, grid]}
  unique:  {use: dedup.perceptual, from: exact, with: {max_distance_bits: 4, keep: sharpest}}
  clean:   {use: filter.iqa, from: unique, with: {keep: "METRICS"}}
  turned:  {use: augment.deterministic, from: clean, with: {variants: 2, geometry: free, preset: aggressive}}
  plain:   {use: augment.deterministic, from: clean, with: {geometry: dihedral, preset: none}}
  dpid:    {use: resize.dpid, from: plain, with: {scale: 4, lambda: 0.5}}
  bicubic: {use: resize.bicubic, from: plain, with: {scale: 3}}
  lanczos: {use: resize.lanczos, from: plain, with: {scale: 2.5, on_mismatch: fit}}
  area:    {use: resize.area, from: turned, with: {scale: 2}}
  smooth:  {use: filter.iqa, from: area, with: {keep: "noise_sigma < 1"}}
  out:     {use: export.pairs, from: {hr: plain, lr: dpid}, with: {path: output/faulty, scale: 4}}
  out2:    {use: export.images, from: bicubic, with: {path: output/bicubic}}
  out3:    {use: export.images, from: lanczos, with: {path: output/lanczos}}
  out4:    {use: export.images, from: smooth, with: {path: output/area}}
"""
METRICS = (
    "aspect > 0 and blockiness < 1000 and clipping <= 1 and edge_density >= 0 and entropy >= 0 and height > 1 and "
    "laplacian >= 0 and megapixels > 0 and noise_sigma < 1 and width > 1"
)


@dataclass(frozen=True)
class Outcome:
    """What a run left for its user: every file of the exports by path, and the lock."""

    files: Mapping[str, str]
    manifest: tuple[dict[str, Any], ...]
    lock: str


class World:
    """A folder with sources, a recipe, a cache and an export."""

    def __init__(self, root: Path, recipe: str = RECIPE) -> None:
        self.root = root
        self.recipe = root / "faulty.yaml"
        self.cache = root / ".forge" / "cache"
        self.photos = root / "photos"
        self.export = root / "output" / "faulty"
        self.notes: list[str] = []
        self.operator_calls = 0
        """How often an operator or metric was called in the last run in this process: facts, loads, measures, ..."""
        draw_photos(self.photos)
        self.recipe.write_text(recipe)

    def run(self, announce: Callable[[Event], None] | None = None, **options: Any) -> RunResult:
        """Run in this process; notes are kept."""

        def listen(event: Event) -> None:
            if isinstance(event, Note):
                self.notes.append(event.text)
            if announce is not None:
                announce(event)

        settings = api.Options(**{"directory": self.root, "executor": "inline", **options})
        with _counted_calls() as calls:
            try:
                return api.run(self.recipe, settings, listen)
            finally:
                self.operator_calls = len(calls)

    @contextlib.contextmanager
    def started(self, *words: str, orders: Mapping[str, Any]) -> Iterator[subprocess.Popen[str]]:
        """Start `forge-run`, wait until its fault has begun, and end it in the end.

        Args:
            orders: of which one, `slow` or `pause`, gets the file to make first as its last value.
        """
        begun = self.root / f"begun-{time.monotonic_ns()}"
        (name, values), *rest = orders.items()
        with self.start(*words, orders={name: [*values, str(begun)], **dict(rest)}) as process:
            try:
                wait_for(begun, process)
                yield process
            finally:
                process.kill()
                begun.unlink(missing_ok=True)

    def start(
        self, *words: str, orders: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start `forge-run` in a process of its own, with faults ordered for it; see `driver.py`."""
        return subprocess.Popen(
            [sys.executable, str(DRIVER), json.dumps(dict(orders or {})), self.recipe.name, *words],
            cwd=self.root,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def cli(
        self, *words: str, orders: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `forge-run` in a process of its own and wait; one that takes too long is ended."""
        with self.start(*words, orders=orders, env=env) as process:
            try:
                out, err = process.communicate(timeout=_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def outcome(self) -> Outcome:
        """Read what was published."""
        exports = sorted(self.export.parent.iterdir())
        files = {str(p.relative_to(self.root)): digest_file(p) for export in exports for p in every_file(export)}
        rows = [row for export in exports for row in (export / "manifest.jsonl").read_text().splitlines()]
        lock = self.recipe.with_suffix(".lock").read_text()
        return Outcome(files, tuple(json.loads(row) for row in rows), lock)

    def sources(self) -> dict[str, str]:
        """Name every source by its bytes."""
        return {str(p.relative_to(self.photos)): digest_file(p) for p in every_file(self.photos, hidden=True)}

    def left_behind(self) -> list[str]:
        """List what a run must not leave: staging folders, temporary files, locks, journals, half-written payloads."""
        suspects = [p for p in self.root.rglob("*") if p.is_file() or p.name.endswith("staging")]
        words = ("staging", "journal", ".tmp", "-lock", "incoming")
        inside = {p: str(p.relative_to(self.root)) for p in suspects}
        return sorted(path for path in inside.values() if any(word in path for word in words) or path.endswith("/lock"))

    def actions(self) -> set[str]:
        """Name the actions that the index holds, whatever became of its last user."""
        if not (self.cache / "index.sqlite").exists():
            return set()
        connection = sqlite3.connect(self.cache / "index.sqlite")
        try:
            return {row[0] for row in connection.execute("SELECT key FROM actions")}
        except sqlite3.OperationalError:  # killed before there was a table
            return set()
        finally:
            connection.close()

    def torn(self) -> list[str]:
        """List every payload and published image that cannot be read to its end."""
        images = [p for p in (*self.payloads(), *every_file(self.export)) if p.suffix == ".png"]
        return [str(path) for path in images if not _whole(path)]

    def payloads(self) -> list[Path]:
        """List the payload files of the cache."""
        return every_file(self.cache / "payloads")


@contextlib.contextmanager
def _counted_calls() -> Iterator[list[str]]:
    """Write down every call of an operator or metric, a decide too."""
    calls: list[str] = []

    def counted(module: ModuleType, name: str) -> None:
        real = getattr(module, name)

        def call(*arguments: Any) -> Any:
            calls.append(name)
            return real(*arguments)

        patch.setattr(module, name, call)

    with pytest.MonkeyPatch.context() as patch:
        counted(walk, "guarded")
        counted(inspection, "guarded")
        counted(run_sources, "guarded")
        counted(scheduler, "run_decide")
        yield calls


def draw_photos(folder: Path, count: int = PHOTOS) -> None:
    """Draw photographs: smooth light with texture, no two alike, one of them in a folder of its own, one gray."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = draw_photo(number)
        path = folder / ("inner" if number == 1 else ".") / f"photo{number}.png"
        path.parent.mkdir(exist_ok=True)
        save_photo(pixels[..., 0] if number == 2 else pixels, path)


def save_photo(pixels: Pixels, path: Path) -> None:
    """Save a photograph as a PNG."""
    Pillow.fromarray(pixels).save(path)


def draw_photo(number: int, height: int = 96, width: int = 160) -> Pixels:
    """Draw one photograph."""
    generator = np.random.default_rng(number)
    y, x = np.mgrid[0:height, 0:width]
    light = 90 + (x * (number + 1) + y * 3) // 8 % 96
    texture = generator.integers(-40, 41, (height, width, 3)) * ((x + 7 * number) % 50 > 20)[..., None]
    return np.clip(light[..., None] + texture, 0, 255).astype(np.uint8)


def _whole(path: Path) -> bool:
    try:
        with Pillow.open(path) as image:
            image.load()
    except (OSError, SyntaxError):
        return False
    return True


def wait_for(path: Path, process: subprocess.Popen[str], limit_s: float = 60) -> None:
    """Wait until a process has made a file."""
    until = time.monotonic() + limit_s
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until, f"{path} was not made within {limit_s} s"
        time.sleep(0.01)


def read_line(process: subprocess.Popen[str]) -> str:
    """Wait for the next line that a process tells."""
    assert process.stderr is not None
    return process.stderr.readline().rstrip("\n")


def every_file(folder: Path, hidden: bool = False) -> list[Path]:
    """List the files below a folder; what lies in hidden folders only where that is asked for."""
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    return found if hidden else [p for p in found if not p.relative_to(folder).parts[0].startswith(".")]
