"""The same three trivial operators, each remembered by joblib.Memory: what a script does that must not work twice."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from benchmarks.engine_cost.shards import MEMBERS


def add(value: Any, levels: int) -> Any:
    """Add a number to every value, modulo 256."""
    return value + np.uint8(levels)


def main(shards: Path, cache: Path, count: int) -> None:
    """Run the chain on so many samples."""
    remembered = joblib.Memory(cache, verbose=0).cache(add)
    for shard in range(-(-count // MEMBERS)):
        with tarfile.open(shards / f"{shard:04d}.tar") as archive:
            for _, member in zip(range(count - shard * MEMBERS), archive, strict=False):
                stream = archive.extractfile(member)
                assert stream is not None
                pixels = np.frombuffer(stream.read(), np.uint8)
                side = round((pixels.size / 3) ** 0.5)
                value = pixels.reshape(side, side, 3)
                for levels in (1, 2, 3):
                    value = remembered(value, levels)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
