"""Measures what memory each operator takes on a photograph; run as a process of its own, it prints JSON.

`python -m tests.steps.peaks WIDTH HEIGHT CHANNELS` tells by operator the most bytes that it held beside its input,
and the bytes that the engine sets aside for that.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage
from PIL import Image as PilImage

from forge_pipeline.bench import CheckedFile
from forge_pipeline.digest import digest_file
from forge_pipeline.files import SourceFile
from forge_pipeline.machine import own_memory, release_freed_memory
from forge_pipeline.run.estimate import Size
from forge_pipeline.sample import Location
from forge_pipeline.step import Context, Metric, Reject, Transform
from forge_steps._pixels import ImageCodec
from forge_steps.augment.deterministic import Deterministic
from forge_steps.dedup._hash import DctHash
from forge_steps.metrics.catalog import METRICS
from forge_steps.read.images import ReadImages
from forge_steps.resize.area import Area
from forge_steps.resize.bicubic import Bicubic
from forge_steps.resize.dpid import Dpid
from forge_steps.resize.lanczos import Lanczos
from forge_steps.tile.best import Best
from forge_steps.tile.grid import Grid

CODEC = ImageCodec()
TRANSFORMS: list[tuple[str, type[Transform], dict[str, Any]]] = [
    ("tile.best one", Best, {"size_px": 512}),
    ("tile.best many", Best, {"size_px": 512, "max_tiles": 50}),
    ("tile.best large", Best, {"size_px": 2048}),
    ("tile.best overlapping", Best, {"size_px": 512, "max_tiles": 20, "max_overlap": 0.5, "align_px": 8}),
    ("tile.grid", Grid, {"size_px": 512}),
    ("resize.dpid 4", Dpid, {"scale": 4}),
    ("resize.dpid 1.5", Dpid, {"scale": 1.5, "lambda": 0.7}),
    ("resize.area 2", Area, {"scale": 2}),
    ("resize.bicubic 2", Bicubic, {"scale": 2}),
    ("resize.lanczos 1.2", Lanczos, {"scale": 1.2}),
    ("augment.deterministic dihedral", Deterministic, {"variants": 3, "preset": "none"}),
    ("augment.deterministic free", Deterministic, {"variants": 2, "geometry": "free", "preset": "aggressive"}),
]


def photograph(width: int, height: int, channels: int) -> Any:
    """Enlarge a shipped photograph, with noise."""
    base = cv2.imread(str(Path(skimage.__file__).with_name("data") / "astronaut.png"))
    made = cv2.resize(base, (width, height), interpolation=cv2.INTER_CUBIC)
    draw = np.random.default_rng(0)
    for rows in np.array_split(made, max(1, height // 256)):
        np.clip(rows + draw.integers(-6, 7, rows.shape, np.int16), 0, 255, out=rows, casting="unsafe")
    made = np.ascontiguousarray(made[:, :, :channels])
    made.flags.writeable = False
    return made


def peak_bytes(run: Callable[[], object]) -> int:
    """Return how far the memory of this process rises while something runs."""
    gc.collect()
    release_freed_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = own_memory().now_bytes
    run()
    return own_memory().peak_bytes - before


def peaks(width: int, height: int, channels: int) -> Iterator[tuple[str, int, float]]:
    """Yield by operator what was measured and what is set aside."""
    image, small = photograph(width, height, channels), photograph(640, 576, channels)
    size = Size(width * height, channels)
    for name, cls, params in TRANSFORMS:
        step = cls(cls.Params.model_validate(params))
        with contextlib.suppress(Reject):  # its loops are compiled first
            _consume(step, small)
        child = size._replace(pixels=min(size.pixels * step.child_share(), step.child_px_max() or size.pixels))
        yield name, peak_bytes(lambda step=step: _consume(step, image)), _beside(step, size) + child.whole
    for name, metric in {**METRICS, "dct_hash": DctHash}.items():
        judge: Metric = metric(metric.Params())
        if judge.reads == "pixels":
            judge.measure(small)
            yield name, peak_bytes(lambda judge=judge: judge.measure(image)), _beside(judge, size)


def reads(folder: Path, width: int, height: int) -> Iterator[tuple[str, int, float]]:
    """Yield by format what reading a file takes."""
    image = photograph(width, height, 3)
    exif = PilImage.Exif()
    exif[0x0112] = 6
    for name, kind, options in (
        ("upright jpeg", "JPEG", {"quality": 90}),
        ("turned jpeg", "JPEG", {"quality": 90, "exif": exif}),
        ("progressive jpeg", "JPEG", {"quality": 90, "progressive": True}),
        ("progressive jpeg 4:4:4", "JPEG", {"quality": 90, "progressive": True, "subsampling": 0}),
        ("turned progressive jpeg 4:4:4", "JPEG", {"progressive": True, "subsampling": 0, "exif": exif}),
        ("png", "PNG", {"compress_level": 1}),
        ("tiff", "TIFF", {}),
        ("bmp", "BMP", {}),
    ):
        path = folder / name
        PilImage.fromarray(image).save(path, kind, **options)
        file = CheckedFile(SourceFile(name, digest_file(path), Location(str(path))))
        source = ReadImages(ReadImages.Params(path="."))
        _load_small(source, folder / "small", kind)  # decoders are imported first
        taken = peak_bytes(lambda file=file, source=source: list(source.load(file, Context())))
        expansion = source.load_expansion(source.facts(file))
        yield f"read.images {name}", taken, Size(width * height).worked_on(expansion) + path.stat().st_size


def _load_small(source: ReadImages, path: Path, kind: str) -> None:
    PilImage.new("RGB", (64, 48)).save(path, kind)
    list(source.load(CheckedFile(SourceFile(path.name, digest_file(path), Location(str(path)))), Context()))


def _beside(step: Any, size: Size) -> float:
    return size.worked_on(step.memory_expansion) - size.whole


def _consume(step: Transform, image: Any) -> None:
    """Take children as a worker does: one at a time."""
    for child in step.apply(image, Context({}, b"draws")):
        CODEC.digest(CODEC.freeze(child.value))
        del child


if __name__ == "__main__":
    width, height, channels = map(int, sys.argv[1:])
    found = list(peaks(width, height, channels))
    if channels == 3:
        with tempfile.TemporaryDirectory() as folder:
            found += reads(Path(folder), width, height)
    json.dump({name: [measured, reserved] for name, measured, reserved in found}, sys.stdout)
