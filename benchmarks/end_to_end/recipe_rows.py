"""The whole shipped recipe beside a plain script of the best libraries."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.case import Row, WrongAnswer
from benchmarks.end_to_end.processes import ROOT, Taken, forge_run, run_module, take
from benchmarks.end_to_end.sources import write_photographs
from benchmarks.peers import PEERS

_NAME = "recipe"
_PEER = "plain script of the best libraries"
_RECIPE = ROOT / "recipes" / "sr_dataset.yaml"
_CLIP = ROOT / "recipes" / "media" / "panned.mp4"
# As a camera writes. In files of much less, blocks can be found in every tile, and their grid hardly ever begins at its
# first pixel: ours searches and drops them all, the script looks there alone and keeps them. Here both keep all.
_QUALITY = 98
# Hashes and orders of the two differ in detail, and so does which of several near duplicates is kept.
_PAIRS_APART = 0.10


def recipe_rows(quick: bool, tell: Callable[[str], None]) -> Iterator[Row]:
    """Run the shipped recipe on photographs of 2K and its clip, cold, inline, and the script on the same."""
    count, rounds = (6, 1) if quick else (60, 3)
    input_ = f"{count} photographs of 2K, quality {_QUALITY}, and the shipped clip, cold, inline"
    if not PEERS["pepedpid"].version or not PEERS["imagehash"].version:
        why = "not measured: pepedpid and imagehash are not installed"
        yield Row(_NAME, input_, _PEER, "s", missing=why)
        return
    script_s, engine_s = [], []
    with tempfile.TemporaryDirectory(prefix="forge-benchmark-") as folder:
        root = Path(folder)
        tell(f"{_NAME}: {count} photographs of 2K and the shipped clip")
        write_photographs(root / "photos", count, _QUALITY)
        (root / "videos").mkdir()
        shutil.copy(_CLIP, root / "videos")
        _engine(root, "warm")
        for number in range(rounds):
            target = root / f"script-{number}"
            script = run_module("benchmarks.end_to_end.engineer", root / "photos", root / "videos", target)
            script_s.append(take(script).cpu_s)
            engine_s.append(_engine(root, str(number)).cpu_s)
        try:
            made = same_work(root / "0", root / "script-0")
        except WrongAnswer as wrong:
            yield Row(_NAME, input_, _PEER, "s", error=f"wrong answer: {wrong}")
            return
    ours, theirs = min(engine_s), min(script_s)
    note = f"{made[0]} pairs, {made[1]} by the script"
    yield Row(_NAME, input_, _PEER, "s", ours, theirs, theirs / ours, note=note)


def same_work(ours: Path, script: Path) -> tuple[int, int]:
    """Count the pairs of two exports. Raises WrongAnswer where they are so many apart that it is not the same job."""
    made = []
    for folder in (ours, script):
        hr, lr = ({path.name for path in (folder / part).glob("*.png")} for part in ("hr", "lr"))
        if hr != lr or not hr:
            raise WrongAnswer(f"{len(hr)} HR images and {len(lr)} LR images in {folder.name!r}, expected pairs")
        made.append(len(hr))
    if abs(made[0] - made[1]) > _PAIRS_APART * made[1]:
        raise WrongAnswer(f"{made[0]} pairs, expected the script's {made[1]} within {100 * _PAIRS_APART:.0f} %")
    return made[0], made[1]


def _engine(root: Path, name: str) -> Taken:
    recipe = root / f"{name}.yaml"
    shutil.copy(_RECIPE, recipe)
    sets = {"photos": root / "photos", "videos": root / "videos", "output": root / name}
    assigned = [word for key, value in sets.items() for word in ("--set", f"vars.{key}={value}")]
    return take(forge_run(recipe, "--cache", root / f"cache-{name}", "--quiet", "--executor", "inline", *assigned))
