"""A Ray cluster that this process is a driver of: found or started, what its nodes have, how its workers are lost."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from forge_pipeline.errors import CommandError, EnvironmentFault
from forge_pipeline.executors import ray_worker
from forge_pipeline.executors.demand import Room

PORT = 6379
"""Where the head of a cluster listens when nobody says otherwise."""

LOOK_EVERY_S = 5.0
"""How often it is asked for its nodes."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "(?s).*",
}
"""Variables of Ray's that keep it from calling home, and from speaking on our output, where `--json` is read.

It reads them when it is imported. What its regular expression finds it does not print: else the log of a node that
was lost goes to the standard output of the driver.
"""

_IP = re.compile(r"\(pid=\d+, ip=([^,)]+)")
"""In the text of an error that a worker met."""

_UNITS = ("core", "GPU", "bytes of memory")
"""Of a room."""

# A host that is there answers in milliseconds; Ray itself would go on asking for a minute.
_REACH_S = 10.0
# Payloads travel through it only where a node does not see the store, and never on one machine.
_OBJECT_STORE_BYTES = 128 << 20


# --- its address ----------------------------------------------------------------------------------


class Address(NamedTuple):
    """Where a cluster is: `auto`, `local`, or a host and a port."""

    host: str
    port: int = PORT

    def __str__(self) -> str:
        return self.host if self.host in ("auto", "local") else f"{self.host}:{self.port}"


def read_address(text: str) -> Address:
    """Read `auto`, `local`, HOST or HOST:PORT.

    Raises:
        CommandError: it is something else.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, str(PORT)
    if "/" in text or not host or not port.isdigit() or (host in ("auto", "local") and colon):
        hint = "--ray-address HOST:6379, typed on a machine of the cluster" if "/" in text else "--ray-address auto"
        raise CommandError(f"Ray's address: found '{text}', expected auto, local, HOST or HOST:PORT", hint)
    return Address(host, int(port))


# --- the cluster ----------------------------------------------------------------------------------


class Loss(NamedTuple):
    """How Ray lost a worker.

    Attributes:
        words: "was lost with its node".
        of_memory: Ray ended it because its node ran out of memory.
    """

    words: str
    of_memory: bool = False


class Cluster:
    """A Ray cluster that this process is a driver of."""

    def __init__(self, address: Address, cores: int) -> None:
        """Connect, or start one here.

        Args:
            cores: what a cluster gets that is started here.

        Raises:
            EnvironmentFault: Ray is not installed, or no cluster answers.
        """
        self._ray = _import_ray()
        self._ours = not self._ray.is_initialized()
        if self._ours:
            with _handlers_kept():
                _connect(self._ray, address, cores)
        # Ray's side never tries again: which chunk is retried, split or given up is decided by the run.
        self._task = self._ray.remote(max_retries=0)(ray_worker.work)
        self._actor = self._ray.remote(max_restarts=0, max_task_retries=0)(ray_worker.Worker)
        self.nodes: tuple[Room, ...] = ()
        """What each node has that is there."""
        self.memory_ratio = 1.0
        """How many times the memory of this machine's node all of them have."""
        self._looked_s = -math.inf
        self.look()

    # --- its nodes --------------------------------------------------------------------------------

    @property
    def cores(self) -> int:
        """Count the cores of all nodes."""
        return max(1, int(sum(node.cpus for node in self.nodes)))

    def look(self) -> None:
        """Follow nodes that come and go, not more often than it is worth.

        Raises:
            EnvironmentFault: nobody tells of them any more.
        """
        now = time.monotonic()
        if now - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now
        try:
            alive = {node["NodeID"]: _room(node["Resources"]) for node in self._ray.nodes() if node["Alive"]}
            own = alive.get(self._ray.get_runtime_context().get_node_id(), Room())
        except (ConnectionError, RuntimeError, self._ray.exceptions.RayError) as error:
            told = " ".join(str(error).split())
            raise EnvironmentFault(f"ray: the cluster answers no more: {told[:300]}", "ray status") from error
        self.nodes = tuple(alive.values())
        have = sum(node.memory_bytes for node in self.nodes)
        self.memory_ratio = max(1.0, have / own.memory_bytes) if own.memory_bytes else 1.0

    def look_again(self) -> None:
        """Look at once next time: something happened to a node."""
        self._looked_s = -math.inf

    def lacks(self, room: Room) -> bool:
        """Tell whether no node could ever do it: Ray itself would wait for one."""
        return bool(self.nodes) and not any(node.holds(room) for node in self.nodes)

    def refuse_unmet(self, room: Room, step: str) -> None:
        """Raise EnvironmentFault where no node could ever do it."""
        if not self.lacks(room):
            return
        most = Room(*(max(column) for column in zip(*self.nodes, strict=True)))
        lacking = [
            f"{_count(asked, unit)}, and no node has more than {has:.12g}"
            for unit, asked, has in zip(_UNITS, room, most, strict=True)
            if asked > has
        ]
        asks = [_count(asked, unit) for unit, asked in zip(_UNITS, room, strict=True) if asked]
        what = lacking[0] if lacking else f"{' and '.join(asks)} together, and no node has all of it"
        raise EnvironmentFault(
            f"ray: step '{step}' and what follows it ask for {what}",
            "lower the `resources` of the step, or start a node that has them",
        )

    # --- work -------------------------------------------------------------------------------------

    def put(self, data: bytes) -> Any:
        """Put bytes into the object store."""
        return self._ray.put(data)

    def hire(self, room: Room) -> Any:
        """Start a worker that stays."""
        return self._actor.options(**_options(room)).remote()

    def dismiss(self, worker: Any) -> None:
        """End a worker that stays."""
        self._ray.kill(worker)

    def start(
        self, worker: Any, room: Room, told: Any, order: bytes, kept: list[Any], then: Callable[[Any], None]
    ) -> Any:
        """Let a worker do a chunk; return what names it, by which it can be cancelled.

        Args:
            worker: one that stays, or None for any.
            told: the run's Setting in the object store.
            kept: where its Cargo lies there.
            then: gets a future that is done.
        """
        work = worker.work if worker is not None else self._task.options(**_options(room))
        reference = work.remote(told, order, kept)
        reference.future().add_done_callback(then)
        return reference

    def cancel(self, reference: Any) -> None:
        """Take back a chunk that waits for a node."""
        self._ray.cancel(reference)

    def how_lost(self, error: BaseException | None) -> Loss | None:
        """Say how Ray lost a worker; None where it did not.

        Raises:
            EnvironmentFault: a worker could not begin at all.
        """
        if error is None:
            return None
        errors = self._ray.exceptions
        if not getattr(error, "actor_init_failed", False):
            for kinds, words in (
                (errors.OutOfMemoryError, "was killed by Ray for want of memory on its node"),
                ((errors.NodeDiedError, errors.LocalRayletDiedError), "was lost with its node"),
                (errors.WorkerCrashedError, "ended without a word"),
                (errors.RayActorError, "was lost with the model that it held"),
                (errors.ObjectLostError, "was lost with its results"),
            ):
                if isinstance(error, kinds):
                    self.look_again()
                    return Loss(words, of_memory=isinstance(error, errors.OutOfMemoryError))
        raise not_begun(error) from error

    def leave(self) -> None:
        """Disconnect; what was started here ends."""
        if self._ours:
            self._ray.shutdown()


def not_begun(error: BaseException) -> EnvironmentFault:
    """Say why a worker could not begin, and on which node, as far as Ray tells."""
    text = str(error).strip()
    told = text.splitlines()
    on = _IP.search(text)
    where = f" on {on[1]}" if on is not None else ""
    lacking = isinstance(error, ImportError) or "ModuleNotFoundError" in text or "ImportError" in text
    return EnvironmentFault(
        f"ray: a worker{where} could not begin: {told[-1] if told else type(error).__name__}",
        "install forge-pipeline and all that the recipe imports on every node, in the environment of `ray start`"
        if lacking
        else f"forge doctor, typed {where.strip() or 'on each node'}",
    )


def _room(resources: Mapping[str, float]) -> Room:
    return Room(resources.get("CPU", 0.0), resources.get("GPU", 0.0), resources.get("memory", 0.0))


def _count(asked: float, unit: str) -> str:
    return f"{asked:.12g} {unit if asked == 1 else unit.replace('core', 'cores').replace('GPU', 'GPUs')}"


def _options(room: Room) -> dict[str, Any]:
    """Spell it as Ray does."""
    asked = {"num_cpus": room.cpus, "num_gpus": room.gpus}
    return {**asked, "memory": int(room.memory_bytes)} if room.memory_bytes else asked


# --- reaching it ----------------------------------------------------------------------------------


def _import_ray() -> Any:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise EnvironmentFault(
            f"executor 'ray': Ray cannot be imported ({error})", "pip install 'forge-pipeline[ray]'"
        ) from error
    return ray


def find_cluster(address: Address) -> Address | None:
    """Return where a run connects to; None where it starts a cluster on this machine.

    Raises:
        CommandError: RAY_ADDRESS is no address.
        EnvironmentFault: no cluster answers there.
    """
    where: Address | None = address
    if address.host == "auto":
        named = os.environ.get("RAY_ADDRESS", "auto")
        where = running_here() if named in ("", "auto") else read_address(named)
    if where is None or where.host == "local":
        return None
    _reach(where)
    return where


def running_here() -> Address | None:
    """Return the address of the cluster that was started on this machine last, if it still answers.

    Ray notes it in a file, believes what stands there, and goes on asking a cluster that was killed for ten minutes.
    """
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    try:
        found = read_address(Path(folder, "ray", "ray_current_cluster").read_text().strip())
        _reach(found)
    except (OSError, CommandError, EnvironmentFault):
        return None
    return found


def _connect(ray: Any, address: Address, cores: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    here: Mapping[str, Any] = {
        "address": "local",
        "num_cpus": cores,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
    }
    where = find_cluster(address)
    if where is None:
        _init(ray, "on this machine", {**here, **quiet})
    else:
        _init(ray, f"at {where}", {"address": str(where), **quiet})


def _reach(where: Address) -> None:
    try:
        socket.create_connection((where.host, where.port), timeout=_REACH_S).close()
    except OSError as error:
        why = "no answer within 10 s" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
        raise EnvironmentFault(
            f"ray: no cluster answers at {where} ({why})",
            f"ray start --head --port {where.port} on {where.host}, or --ray-address local",
        ) from error


def _init(ray: Any, where: str, options: Mapping[str, Any]) -> None:
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        told = " ".join(str(error).split())
        raise EnvironmentFault(
            f"ray: no connection to the cluster {where}: {told[:300]}",
            "run on a machine of the cluster (`ray start --address HOST:PORT` makes this one of it)",
        ) from error


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Keep our own answers to signals: Ray would end the process at SIGTERM, in the middle of a record."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
