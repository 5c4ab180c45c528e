"""The same job by PepeDP's own classes and pepedpid, as a process that prints seconds a photograph."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.end_to_end.plain import LAMBDA, SCALE, TILE_PX
from benchmarks.peers import PEERS
from benchmarks.threads import pin_by_environment, pin_imported


def main(source: Path, target: Path, scale: int, count: int) -> None:
    """Make pairs of the first `count` photographs; PepeDP's `scale` shrinks the map in which it looks for the tile."""
    few = target / "few"
    few.mkdir(parents=True)
    for path in sorted(source.iterdir())[:count]:
        (few / path.name).symlink_to(path)
    tiler, process = PEERS["PepeDP"].load("scripts.utils.best_tile"), PEERS["PepeDP"].load("enum").ProcessType
    pepeline, pepedpid = PEERS["pepeline"].load(), PEERS["pepedpid"].load()
    pin_imported()
    (target / "lr").mkdir()
    best = tiler.BestTile(str(few), str(target / "hr"), TILE_PX, process.FOR, scale=scale, dynamic_n_tiles=False)
    started = time.process_time()
    best.run()
    for path in sorted((target / "hr").iterdir()):
        hr: Any = pepeline.read(str(path), pepeline.ImgColor.RGB, pepeline.ImgFormat.F32)
        side = TILE_PX // SCALE
        pepeline.save(pepedpid.dpid_resize(hr, side, side, LAMBDA), str(target / "lr" / path.name))
    print((time.process_time() - started) / count)


if __name__ == "__main__":
    pin_by_environment()
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
