"""Many names in one block of bytes: of a million files, each takes its own length and four bytes."""

from __future__ import annotations

import itertools
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

_NARROW_MAX = (1 << 32) - 1


class Names:
    """Names in the order in which they came."""

    def __init__(self) -> None:
        self._block = bytearray()
        self._ends = array("I", [0])
        self._last = b""
        self._ascending = True

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, at: int) -> bytes:
        return bytes(self._block[self._ends[at] : self._ends[at + 1]])

    def append(self, name: bytes) -> None:
        """Take one more."""
        self._ascending = self._ascending and (self._last < name or not len(self))
        self._last = name
        self._block += name
        if len(self._block) > _NARROW_MAX and self._ends.typecode == "I":
            self._ends = array("Q", self._ends)
        self._ends.append(len(self._block))

    def in_order(self) -> Sequence[int]:
        """Return where each name stands, by name; equal ones as they came."""
        rows = range(len(self))
        return rows if self._ascending else array("Q", sorted(rows, key=self.__getitem__))

    def doubled(self, rows: Sequence[int]) -> Iterable[tuple[int, int]]:
        """Return every two equal names that are neighbours in an order, by where they stand."""
        return (
            ()
            if self._ascending
            else ((one, other) for one, other in itertools.pairwise(rows) if self[one] == self[other])
        )

    def of(self, rows: Iterable[int]) -> Iterator[bytes]:
        """Return the names that stand there."""
        block, ends = self._block, self._ends
        return (bytes(block[ends[row] : ends[row + 1]]) for row in rows)

    def find(self, name: bytes, rows: Sequence[int], near: int = 0) -> int:
        """Return at which place of an order a name is; quick where it is `near`. Raises KeyError."""
        if not (near < len(rows) and self[rows[near]] == name):
            near = bisect_left(rows, name, key=self.__getitem__)
        if near == len(rows) or self[rows[near]] != name:
            raise KeyError(name)
        return near

    @property
    def size_bytes(self) -> int:
        """How much they take in memory."""
        return len(self._block) + self._ends.itemsize * len(self._ends)
