"""What runs in a worker of a Ray cluster: a chunk comes as bytes, its outcome goes back as bytes."""

from __future__ import annotations

import pickle
import socket
from typing import Any

from forge_pipeline.executors.supervisor import Cargo, Supervisor

_SUPERVISOR: tuple[bytes, Supervisor] | None = None


def work(told: bytes, order: bytes, cargo: list[Any]) -> bytes:
    """Do one chunk.

    Args:
        told: the run's Setting.
        order: an Order.
        cargo: nothing, or where a Cargo lies in the object store: it is fetched only where it is needed.
    """
    reply = _supervisor(told).run(pickle.loads(order), lambda: _fetched(cargo))
    return pickle.dumps(reply, pickle.HIGHEST_PROTOCOL)


class Worker:
    """An actor: its process keeps the operators that it has made ready, and so their models."""

    def work(self, told: bytes, order: bytes, cargo: list[Any]) -> bytes:
        """Do one chunk."""
        return work(told, order, cargo)


def _supervisor(told: bytes) -> Supervisor:
    """Return the supervisor of this worker; a worker that serves another run now gets a new one."""
    global _SUPERVISOR
    if _SUPERVISOR is None or _SUPERVISOR[0] != told:
        if _SUPERVISOR is not None:
            _SUPERVISOR[1].close()
        _SUPERVISOR = (told, Supervisor(pickle.loads(told), socket.gethostname()))
    return _SUPERVISOR[1]


def _fetched(cargo: list[Any]) -> Cargo:
    import ray

    if not cargo:
        return Cargo()
    found = pickle.loads(ray.get(cargo[0]))
    assert isinstance(found, Cargo)
    return found
