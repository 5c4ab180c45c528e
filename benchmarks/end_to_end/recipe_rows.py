"""The whole shipped recipe beside a plain script of the best libraries."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.case import Row
from benchmarks.end_to_end.processes import ROOT, Taken, forge_run, run_module, take
from benchmarks.end_to_end.sources import write_photographs
from benchmarks.peers import PEERS

_NAME = "recipe"
_PEER = "plain script of the best libraries"
_RECIPE = ROOT / "recipes" / "sr_dataset.yaml"
_CLIP = ROOT / "recipes" / "media" / "panned.mp4"


def recipe_rows(quick: bool, tell: Callable[[str], None]) -> Iterator[Row]:
    """Run the shipped recipe on photographs of 2K and its clip, cold, inline, and the script on the same."""
    input_ = "photographs of 2K and the shipped clip, cold, inline"
    if not PEERS["pepedpid"].version or not PEERS["imagehash"].version:
        why = "not measured: pepedpid and imagehash are not installed"
        yield Row(_NAME, input_, _PEER, "ms/pair", missing=why)
        return
    count, rounds = (6, 1) if quick else (60, 3)
    script_s, engine_s = [], []
    with tempfile.TemporaryDirectory(prefix="forge-benchmark-") as folder:
        root = Path(folder)
        tell(f"{_NAME}: {count} photographs of 2K and the shipped clip")
        write_photographs(root / "photos", count)
        (root / "videos").mkdir()
        shutil.copy(_CLIP, root / "videos")
        _engine(root, "warm")
        for number in range(rounds):
            target = root / f"script-{number}"
            script = run_module("benchmarks.end_to_end.engineer", root / "photos", root / "videos", target)
            script_s.append(take(script).cpu_s)
            engine_s.append(_engine(root, str(number)).cpu_s)
        made = {
            who: len(list(path.glob("hr/*.png"))) for who, path in (("ours", root / "0"), ("script", root / "script-0"))
        }
    # Every picture is read, cut and measured by both; then the script has more pairs to make. It looks for JPEG's
    # blocks from the tile's first pixel on, where those of a crop hardly ever begin, and lets pass what we drop.
    ours, theirs = min(engine_s), min(script_s)
    note = f"{made['ours']} pairs, {made['script']} by the script"
    yield Row(_NAME, f"{count} {input_}", _PEER, "s", ours, theirs, theirs / ours, note=note)


def _engine(root: Path, name: str) -> Taken:
    recipe = root / f"{name}.yaml"
    shutil.copy(_RECIPE, recipe)
    sets = {"photos": root / "photos", "videos": root / "videos", "output": root / name}
    assigned = [word for key, value in sets.items() for word in ("--set", f"vars.{key}={value}")]
    return take(forge_run(recipe, "--cache", root / f"cache-{name}", "--quiet", "--executor", "inline", *assigned))
