"""Runs the main job's chain over large photographs and tells how memory grew; a process of its own, it prints JSON.

`python -m tests.acceptance.large_photos FOLDER EXECUTOR MEMORY WIDTH HEIGHT COUNT` makes photographs in FOLDER,
runs once over a small one, so that libraries are loaded, and then over the large ones with `--memory MEMORY`.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import psutil
import skimage

from forge_pipeline import api
from forge_pipeline.events import AdmissionRefused, BudgetChanged, Event, TaskFinished, TaskSubmitted
from forge_pipeline.machine import own_memory, release_freed_memory, workers_memory

RECIPE = """
forge: 1
name: large
seed: 1
vars: {photos: photos, output: out}
steps:
  photos: {use: read.images, with: {path: "${vars.photos}"}}
  tiles: {use: tile.best, from: photos, with: {size_px: 256, max_tiles: 4, min_complexity: 0.01}}
  clean: {use: filter.iqa, from: tiles, with: {keep: blockiness < 30 and laplacian > 0.004}}
  unique: {use: dedup.perceptual, from: clean, with: {max_distance_bits: 8, keep: sharpest}}
  hr: {use: augment.deterministic, from: unique, with: {variants: 2, geometry: dihedral, preset: none}}
  lr: {use: resize.dpid, from: hr, with: {scale: 4, lambda: 0.5}}
  pairs: {use: export.pairs, from: {hr: hr, lr: lr}, with: {path: "${vars.output}", scale: 4}}
"""
SAMPLES = ("astronaut.png", "rocket.jpg", "coffee.png", "chelsea.png")


def make_photographs(folder: Path, width: int, height: int, count: int) -> None:
    """Enlarge photographs that scikit-image ships, add noise, and write JPEGs of half a byte a pixel."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).normal(0, 8, (1024, 1024, 3)).astype(np.int16)
    for number in range(count):
        base = cv2.imread(str(Path(skimage.__file__).with_name("data") / SAMPLES[number % len(SAMPLES)]))
        crop = base[: int(base.shape[0] * (1 - 0.03 * (number // len(SAMPLES))))]
        made = cv2.resize(crop, (width, height), interpolation=cv2.INTER_CUBIC)
        shifted = np.roll(noise, (37 * number, 91 * number), (0, 1))
        for y in range(0, height, 1024):
            for x in range(0, width, 1024):
                part = made[y : y + 1024, x : x + 1024]
                np.clip(part + shifted[: part.shape[0], : part.shape[1]], 0, 255, out=part, casting="unsafe")
        cv2.imwrite(str(folder / f"photo{number:02}.jpg"), made, [cv2.IMWRITE_JPEG_QUALITY, 95])


class Peak:
    """The most that processes below this one hold, looked at every 20 ms."""

    def __init__(self) -> None:
        self.by_process: dict[int, int] = {}
        self.together_bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Look no longer."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.02):
            found = workers_memory() if psutil.Process().children() else {}
            for process, (now_bytes, _) in found.items():
                self.by_process[process] = max(now_bytes, self.by_process.get(process, 0))
            self.together_bytes = max(self.together_bytes, sum(now for now, _ in found.values()))


def run(folder: Path, photos: str, executor: str, memory: str) -> dict[str, object]:
    """Run the chain; return what it came to and took."""
    events: list[Event] = []
    (folder / "large.yaml").write_text(RECIPE)
    options = api.Options(
        directory=folder,
        cache=folder / f"cache-{photos}",
        executor=executor,
        workers=2,
        memory=memory,
        sets=(f"vars.photos={photos}", f"vars.output=out-{photos}"),
    )
    release_freed_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    start_bytes = own_memory().now_bytes
    below = Peak()
    result = api.run(folder / "large.yaml", options, events.append)
    below.end()
    out = most = 0
    for event in events:
        out += isinstance(event, TaskSubmitted) and event.step == "photos"
        out -= isinstance(event, TaskFinished) and event.step == "photos"
        most = max(most, out)
    return {
        "status": result.status,
        "pairs": result.steps["pairs"].out,
        "failed": result.steps["photos"].failed,
        "grew_bytes": own_memory().peak_bytes - start_bytes,
        "workers_bytes": below.together_bytes,
        "worker_peaks_bytes": sorted(below.by_process.values()),
        "estimated_bytes": max(event.memory_bytes for event in events if isinstance(event, TaskSubmitted)),
        "photos_out_at_once": most,
        "refused_for_memory": sum(isinstance(e, AdmissionRefused) and e.cause == "memory" for e in events),
        "budget_changes": [event.reason for event in events if isinstance(event, BudgetChanged)],
        "seconds": result.seconds,
    }


if __name__ == "__main__":
    folder, executor, memory = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    width, height, count = map(int, sys.argv[4:])
    make_photographs(folder / "small", 640, 480, 4)
    if not (folder / "photos").is_dir():
        make_photographs(folder / "photos", width, height, count)
    before = run(folder, "small", executor, memory)
    json.dump({"small": before, "large": run(folder, "photos", executor, memory)}, sys.stdout)
