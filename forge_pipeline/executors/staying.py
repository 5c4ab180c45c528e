"""Workers of a cluster that stay, since they hold a model: how many, for which chunks, and when one has to go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from forge_pipeline.executors.demand import Demand, Room


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A worker that stays."""

    handle: Any
    room: Room


class Staying:
    """Hires workers that stay and lets them go, so that none ever waits for what an idle one holds.

    All are of one size, the largest that a chunk has asked for: two sizes might each hold what the other waits for.

    Args:
        hire: starts a worker that takes so much of a node.
        dismiss: ends it.
    """

    def __init__(self, hire: Callable[[Room], Any], dismiss: Callable[[Any], None]) -> None:
        self._hire = hire
        self._dismiss = dismiss
        self._demand = Demand()
        self._room = Room()
        self._idle: list[Kept] = []
        self._busy: list[Kept] = []

    def take(self, demand: Demand, nodes: Sequence[Room], most: int) -> Kept | None:
        """Return a worker that has what is asked for, and keep it busy; None where all are.

        Args:
            nodes: what each node has in all.
            most: how many there may be.
        """
        self._demand = self._demand.joined(demand)
        # It changes with the nodes too: with the last GPU those go that had one.
        room = self._demand.room(max((node.gpus for node in nodes), default=0.0))
        if room != self._room:
            self._room = room
            self._dismiss_idle()
        if any(kept.room != room for kept in self._busy):
            return None
        if not self._idle:
            # A worker that takes nothing that is counted is one for each core.
            counted = room if room.gpus else room._replace(cpus=room.cpus or 1.0)
            if len(self._busy) >= max(1, min(most, sum(node.times(counted) for node in nodes))):
                return None
            self._idle.append(Kept(self._hire(room), room))
        kept = self._idle.pop()
        self._busy.append(kept)
        return kept

    def give_back(self, kept: Kept) -> None:
        """Let a worker have another chunk, if it is still of the right size."""
        self._busy.remove(kept)
        if kept.room == self._room:
            self._idle.append(kept)
        else:
            self._dismiss(kept.handle)

    def forget(self, kept: Kept) -> None:
        """Let go a worker that was lost."""
        self._busy.remove(kept)
        self._dismiss(kept.handle)

    def leave(self, room: Room, nodes: Sequence[Room]) -> bool:
        """Leave room for a chunk of another worker, letting idle ones go where they hold it; False where busy ones do.

        Where each of them is need not be known: some node must have the room though all of them were on it.
        """
        while not any(node.less(kept.room for kept in (*self._idle, *self._busy)).holds(room) for node in nodes):
            if not self._idle:
                return not self._busy
            self._dismiss(self._idle.pop().handle)
        return True

    def dismiss_all(self) -> None:
        """Let all go."""
        self._dismiss_idle()
        while self._busy:
            self._dismiss(self._busy.pop().handle)

    def _dismiss_idle(self) -> None:
        while self._idle:
            self._dismiss(self._idle.pop().handle)
