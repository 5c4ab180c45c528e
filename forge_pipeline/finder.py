"""What finds a source's files: written beside the source, in a file that imports neither pydantic nor numpy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forge_pipeline.sample import Json, Location


@dataclass(slots=True)
class Entry:
    """One file that a source found; never changed.

    `problem`, when set, is why it must not be read (an unsafe member name).
    """

    name: str
    location: Location
    problem: str = ""


class Finder(ABC):
    """Finds the files of a source; named by its class as `finder`.

    An unchanged run looks which files there are, and needs nothing else of a source. So a finder stands in a file of
    its own, and is given the parameters as plain values.
    """

    def __init__(self, params: Mapping[str, Json]) -> None:
        """Take the parameters.

        Args:
            params: all of them, checked, with defaults filled in, as JSON has them.
        """
        self.params = params

    @abstractmethod
    def entries(self, directory: Path) -> Iterator[Entry]:
        """Find the files, in any order; relative paths start at `directory`.

        Raises CommandError for a path that is not there.
        """

    def roots(self, directory: Path) -> Sequence[Path]:
        """Name the folders that it searches, where no export may write; files that it finds need no naming."""
        return ()
