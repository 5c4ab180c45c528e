"""Tar files of small raw images, each of its own content: a million samples without a million files."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

MEMBERS = 10_000
_BLOCK = tarfile.BLOCKSIZE


def write_shards(folder: Path, count: int, side_px: int) -> None:
    """Write so many images of random pixels."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    size = side_px * side_px * 3
    padding = b"\0" * (-size % _BLOCK)
    for shard in range(-(-count // MEMBERS)):
        with (folder / f"{shard:04d}.tar").open("wb") as stream:
            for number in range(shard * MEMBERS, min(count, (shard + 1) * MEMBERS)):
                info = tarfile.TarInfo(f"{number:07d}.raw")
                info.size = size
                stream.write(info.tobuf(tarfile.USTAR_FORMAT) + rng.bytes(size) + padding)
            stream.write(b"\0" * (2 * _BLOCK))
