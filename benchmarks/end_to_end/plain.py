"""The plain script: our best parts, one after the other, with nothing around them.

It remembers nothing, checks nothing and records nothing: what a run of the engine costs beyond it is the engine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.threads import pin_by_environment

TILE_PX = 512
SCALE = 4
LAMBDA = 0.5


def main(source: Path, target: Path, part: int, parts: int) -> None:
    """Make pairs of every `parts`-th photograph, beginning with number `part`."""
    pin_by_environment()
    import cv2
    import numpy as np
    from blake3 import blake3

    from forge_steps._png import encode_png
    from forge_steps.resize._dpid import dpid
    from forge_steps.tile._windows import best_windows as best_tiles

    cv2.setNumThreads(1)
    for folder in ("hr", "lr"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir())[part::parts]:
        data = path.read_bytes()
        name = f"{path.stem}_{blake3(data).hexdigest()[:8]}.png"
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        y, x, _ = best_tiles(image, TILE_PX)[0]
        hr = image[y : y + TILE_PX, x : x + TILE_PX]
        lr = dpid(hr, TILE_PX // SCALE, TILE_PX // SCALE, LAMBDA)
        (target / "hr" / name).write_bytes(encode_png(hr))
        (target / "lr" / name).write_bytes(encode_png(lr))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
