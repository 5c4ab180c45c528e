"""Names the members of the benchmark's tar files, in a file of its own: an unchanged run imports nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from forge_pipeline.finder import Entry, Finder
from forge_pipeline.sample import Location


class ShardsFinder(Finder):
    """Names raw images in tar files without a look at them."""

    def entries(self, directory: Path) -> Iterator[Entry]:
        """Name the members."""
        folder, count, members = directory / self.params["path"], self.params["count"], self.params["members"]
        tars = [str(folder / f"{n:04d}.tar") for n in range(-(-count // members))]
        for number in range(count):
            name = f"{number:07d}.raw"
            yield Entry(name, Location(tars[number // members], name))
