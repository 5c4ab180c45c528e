"""Runs chunks on a Ray cluster: tasks of Ray Core, and actors for operators that hold a model. Alone imports ray."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import pickle
import queue
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from forge_pipeline.beacon import Beacon
from forge_pipeline.bench import Bench
from forge_pipeline.cache.store import PayloadMissing
from forge_pipeline.compiled import Node
from forge_pipeline.errors import BrokenPromise, CommandError, DataError, EnvironmentFault, ForgeError
from forge_pipeline.executors.carried import Delivery, refuse_too_much
from forge_pipeline.executors.elsewhere import Setting, describe_run, file_stamp
from forge_pipeline.executors.supervisor import Cargo, Order, Supervisor, Wants, source_location
from forge_pipeline.files import read_location
from forge_pipeline.task import Branch, Chunk, ChunkOutcome, InspectionTask, Outcome, Task
from forge_pipeline.worker import run_chunk

PORT = 6379
"""Where the head of a cluster listens when nobody says otherwise."""

# A host that is there answers in milliseconds; Ray itself would go on asking for a minute.
_REACH_S = 10.0
_COUNT_EVERY_S = 5.0
# Payloads travel through it only where a node does not see the store, and never on one machine.
_OBJECT_STORE_BYTES = 128 << 20
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}


# --- what is asked for ----------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class Demand:
    """What a chunk asks of a node: the most that any step of its branch does.

    Attributes:
        holds_model: a step keeps a model in memory, and so has an actor that stays.
    """

    cpus: float = 1.0
    gpus: float | None = None
    memory_bytes: int = 0
    holds_model: bool = False

    def options(self, gpus: float) -> dict[str, Any]:
        """Spell it as Ray does; it takes whole numbers above one."""
        asked: dict[str, Any] = {"num_cpus": _whole(self.cpus), "num_gpus": _whole(gpus)}
        return {**asked, "memory": self.memory_bytes} if self.memory_bytes else asked


def demand_of(steps: Iterable[Node]) -> Demand:
    """Return the most that steps ask for."""
    nodes = list(steps)
    asked = [node.resources for node in nodes]
    gpus = [float(one["gpus"]) for one in asked if one.get("gpus") is not None]
    return Demand(
        cpus=max((float(one.get("cpus") or 1.0) for one in asked), default=1.0),
        gpus=max(gpus, default=None),
        memory_bytes=max((int(one.get("memory_bytes") or 0) for one in asked), default=0),
        holds_model=any(node.work == "gpu" for node in nodes),
    )


def _whole(count: float) -> float:
    return float(math.ceil(count)) if count > 1 else count


# --- the executor ---------------------------------------------------------------------------------


@dataclass(slots=True)
class _Running:
    """A chunk that Ray has."""

    chunk: Chunk
    demand: Demand
    actor: Any = None
    kept: list[Any] = field(default_factory=list)
    """What must stay in the object store while it runs."""


class RayExecutor:
    """Gives Ray as many chunks as there are slots, and no more: the rest waits here, where it can be taken back."""

    name: ClassVar[str] = "ray"
    # As with processes: the way to another machine (1 ms) and back is nothing beside it.
    chunk_s = 0.5
    apart = True

    def __init__(
        self,
        bench: Bench,
        index: str,
        nodes: Iterable[Node],
        address: str,
        cores: int,
        workers: int | None = None,
    ) -> None:
        """Connect to nothing yet: a run that has nothing to do needs no cluster.

        Args:
            cores: of this machine: what a cluster that is started here gets.
            workers: how many chunks at once, where that is said (default: one for each core of the cluster).

        Raises:
            CommandError: the address is none.
        """
        self._bench = bench
        self._index = index
        self._nodes = {node.id: node for node in nodes}
        self._address = read_address(address)
        self._cores = cores
        self._workers = workers
        self.slots = workers or cores
        self._cluster: _Cluster | None = None
        self._fault: BaseException | None = None
        self._lock = threading.RLock()
        self._waiting: deque[Chunk] = deque()
        self._running: dict[int, _Running] = {}
        self._ended: queue.SimpleQueue[tuple[int, Any] | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[ChunkOutcome] = queue.SimpleQueue()
        self._feeder: threading.Thread | None = None
        self._told: set[str] = set()
        self._carries_payloads = False
        self._carries_files = False
        self._counted_s = -math.inf

    def submit(self, chunk: Chunk) -> None:
        """Take a chunk; what prevents it comes back as its outcome."""
        if self._cluster is None and self._fault is None:
            self._open()
        with self._lock:
            self._count_slots()
            self._waiting.append(chunk)
            self._fill()

    def next_outcome(self) -> ChunkOutcome:
        """Wait for an outcome; what a worker could not put into the store itself is put there now."""
        outcome = self._outcomes.get()
        if isinstance(outcome, Delivery):
            for made in outcome.made:
                self._bench.store.put(made.digest, made.data, made.suffix)
        return outcome

    def withdraw(self) -> set[int]:
        """Take back what Ray was not given yet."""
        with self._lock:
            withdrawn = {chunk.number for chunk in self._waiting}
            self._waiting.clear()
        return withdrawn

    def close(self, wait: bool = True) -> None:
        """End: what runs is waited for, or left to Ray, which ends it with this driver."""
        self.withdraw()
        cluster, feeder = self._cluster, self._feeder
        if cluster is None:
            return
        if wait:
            while self._running:
                self._outcomes.get()
        self._ended.put(None)
        if wait and feeder is not None:
            feeder.join()
        self._cluster = None
        cluster.leave()
        # Else a few bytes stay that nobody knows, for `forge cache collect` to find.
        with contextlib.suppress(ForgeError, OSError):
            self._bench.store.remove(cluster.setting.probe[0])

    # --- giving ---------------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            self._cluster = _Cluster(self._address, self._workers or self._cores)
            self._cluster.tell(describe_run(self._nodes.values(), self._bench.store, self._index))
        except (EnvironmentFault, BrokenPromise) as fault:
            self._fault = fault
            return
        self._feeder = threading.Thread(target=self._feed, name="forge-ray", daemon=True)
        self._feeder.start()

    def _count_slots(self) -> None:
        """Follow nodes that come and go."""
        now = time.monotonic()
        if self._workers is None and self._cluster is not None and now - self._counted_s > _COUNT_EVERY_S:
            self._counted_s = now
            self.slots = self._cluster.cores()

    def _fill(self) -> None:
        """Give Ray what there is room for, in order; what waits for an actor lets others pass."""
        held: list[Chunk] = []
        while self._waiting and len(self._running) < self.slots:
            chunk = self._waiting.popleft()
            if self._fault is not None:
                self._outcomes.put(_broken(chunk, self._fault))
            elif not self._launch(chunk):
                held.append(chunk)
        self._waiting.extendleft(reversed(held))

    def _launch(self, chunk: Chunk) -> bool:
        """Give Ray a chunk; False where an actor must come free for it first."""
        assert self._cluster is not None
        running = _Running(chunk, demand_of(self._nodes[step] for step in steps_of(chunk) if step in self._nodes))
        try:
            self._cluster.refuse_unmet(running.demand, [*steps_of(chunk)])
            if running.demand.holds_model:
                running.actor = self._cluster.actor_for(running.demand, self.slots)
                if running.actor is None:
                    return False
            self._send(running)
        except ForgeError as fault:
            self._give_back_actor(running)
            self._outcomes.put(_broken(chunk, fault))
        return True

    def _send(self, running: _Running) -> None:
        assert self._cluster is not None
        chunk = running.chunk
        files = {location.path for location in map(source_location, chunk.tasks) if location is not None}
        order = pickle.dumps(Order(chunk, {path: file_stamp(path) for path in files}), pickle.HIGHEST_PROTOCOL)
        try:
            running.kept = self._cargo(chunk)
        except DataError:
            # A member of an archive that cannot be unpacked cannot be sent; that is a result, and is found here.
            self._outcomes.put(run_chunk(chunk, self._bench, Beacon()))
            self._give_back_actor(running)
            return
        self._running[chunk.number] = running
        number = chunk.number
        self._cluster.start(order, running, lambda future: self._ended.put((number, future)))

    def _cargo(self, chunk: Chunk) -> list[Any]:
        """Put into Ray's object store what workers cannot see; they fetch it only where that is so."""
        assert self._cluster is not None
        if not (self._carries_payloads or self._carries_files):
            return []
        payloads = self._payloads(chunk) if self._carries_payloads else None
        files = None
        if self._carries_files:
            found = {location for location in map(source_location, chunk.tasks) if location is not None}
            files = {location: read_location(location) for location in found}
        refuse_too_much(sum(map(len, (payloads or {}).values())), "the images of a chunk")
        refuse_too_much(sum(map(len, (files or {}).values())), "the source files of a chunk")
        return [self._cluster.put(pickle.dumps(Cargo(payloads, files), pickle.HIGHEST_PROTOCOL))]

    def _payloads(self, chunk: Chunk) -> dict[str, bytes]:
        found = {}
        for task in chunk.tasks:
            for digest, payload in (task.known.payloads if task.known is not None else {}).items():
                if digest not in found and self._bench.store.has(payload):
                    with contextlib.suppress(PayloadMissing):  # the worker finds it missing, and says so
                        found[digest] = self._bench.store.read(payload)
        return found

    # --- taking back ------------------------------------------------------------------------------

    def _feed(self) -> None:
        """Live in a thread: a worker that is done gets its next chunk while the run still records the last."""
        while (event := self._ended.get()) is not None:
            number, future = event
            with self._lock:
                running = self._running.pop(number)
                try:
                    outcome = self._answer(running, future)
                except BaseException as fault:  # noqa: BLE001 - whatever it is, the scheduler must hear of it
                    outcome = _broken(running.chunk, fault)
                if outcome is not None:
                    self._outcomes.put(outcome)
                self._fill()

    def _answer(self, running: _Running, future: Any) -> ChunkOutcome | None:
        """Read what came back; None where the chunk went out again, with what its worker could not see."""
        assert self._cluster is not None
        chunk = running.chunk
        lost = self._cluster.how_lost(future.exception())
        if lost:
            self._cluster.forget(running.actor)
            return ChunkOutcome(chunk.number, lost=lost, killed=True)
        self._give_back_actor(running)
        reply = pickle.loads(future.result())
        if not isinstance(reply, Wants):
            assert isinstance(reply, ChunkOutcome)
            return reply
        self._carries_payloads |= reply.payloads
        self._carries_files |= reply.files
        if reply.why not in self._told:
            self._told.add(reply.why)
            logging.getLogger(__name__).warning("ray: %s", reply.why)
        self._waiting.appendleft(chunk)
        return None

    def _give_back_actor(self, running: _Running) -> None:
        if running.actor is not None and self._cluster is not None:
            self._cluster.give_back(running.actor)
            running.actor = None


def steps_of(chunk: Chunk) -> Iterator[str]:
    """Name the steps that a chunk goes through; some more than once."""
    for task in chunk.tasks:
        yield from [task.node.id] if isinstance(task, InspectionTask) else _steps_of_branch(task)


def _steps_of_branch(task: Task) -> Iterator[str]:
    pending = [task.branch]
    while pending:
        branch: Branch = pending.pop()
        yield from (measure.select for measure in branch.measures)
        for chain in branch.chains:
            yield chain.node.id
            pending.append(chain.branch)


def _broken(chunk: Chunk, fault: BaseException) -> ChunkOutcome:
    return ChunkOutcome(chunk.number, (Outcome(chunk.tasks[0].number, fault=fault),))


# --- the cluster ----------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Actor:
    """A worker that stays, with what it keeps in memory."""

    handle: Any
    demand: Demand


class _Cluster:
    """A Ray cluster that this process is a driver of."""

    setting: Setting

    def __init__(self, address: Address, cores: int) -> None:
        """Connect, or start one here.

        Raises:
            EnvironmentFault: Ray is not installed, or no cluster answers.
        """
        self._ray = _import_ray()
        self._ours = not self._ray.is_initialized()
        if self._ours:
            with _handlers_kept():
                _connect(self._ray, address, cores)
        # Ray's side never tries again: which chunk is retried, split or given up is decided by the run.
        self._task = self._ray.remote(max_retries=0)(_work)
        self._actor = self._ray.remote(max_restarts=0, max_task_retries=0)(_Worker)
        self._idle: list[_Actor] = []
        self._busy: list[_Actor] = []
        self._told: Any = None
        self._met: set[Demand] = set()

    def tell(self, setting: Setting) -> None:
        """Keep what all workers are told."""
        self.setting = setting
        self._told = self.put(pickle.dumps(setting, pickle.HIGHEST_PROTOCOL))

    def put(self, data: bytes) -> Any:
        """Put bytes into the object store."""
        return self._ray.put(data)

    def cores(self) -> int:
        """Count the cores of all nodes."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def start(self, order: bytes, running: _Running, then: Callable[[Any], None]) -> None:
        """Let a worker do a chunk; `then` gets a future that is done."""
        if running.actor is not None:
            reference = running.actor.handle.work.remote(self._told, order, running.kept)
        else:
            options = running.demand.options(running.demand.gpus or 0.0)
            reference = self._task.options(**options).remote(self._told, order, running.kept)
        reference.future().add_done_callback(then)

    def refuse_unmet(self, demand: Demand, steps: list[str]) -> None:
        """Raise EnvironmentFault where no node could ever do it: Ray itself would wait for one."""
        if demand in self._met:
            return
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        for what, name, asked in (
            ("cores", "CPU", demand.cpus),
            ("GPUs", "GPU", demand.gpus or 0.0),
            ("bytes of memory", "memory", float(demand.memory_bytes)),
        ):
            most = max((node.get(name, 0.0) for node in nodes), default=0.0)
            if nodes and asked > most:
                raise EnvironmentFault(
                    f"ray: step '{steps[0]}' and what follows it ask for {asked:g} {what}, and no node has more than "
                    f"{most:g}",
                    "lower the `resources` of the step, or start a node that has them before the run",
                )
        self._met.add(demand)

    def actor_for(self, demand: Demand, slots: int) -> _Actor | None:
        """Return an actor that has what is asked for, and keep it busy; None where all that fit are busy."""
        gpus = demand.gpus
        if gpus is None:  # a whole one, where there is any
            gpus = min(1.0, self._ray.cluster_resources().get("GPU", 0.0))
        for actor in self._idle:
            if _covers(actor.demand, demand):
                self._idle.remove(actor)
                self._busy.append(actor)
                return actor
        if len(self._idle) + len(self._busy) >= self._most_actors(demand, gpus, slots):
            if not self._idle:
                return None
            self._kill(self._idle.pop())  # it has less than is asked for, and holds what the new one needs
        actor = _Actor(self._actor.options(**demand.options(gpus)).remote(), demand)
        self._busy.append(actor)
        return actor

    def give_back(self, actor: _Actor) -> None:
        """Let an actor have another chunk."""
        self._busy.remove(actor)
        self._idle.append(actor)

    def forget(self, actor: _Actor | None) -> None:
        """Let go an actor that was lost."""
        if actor is not None:
            self._busy.remove(actor)
            self._kill(actor)

    def how_lost(self, error: BaseException | None) -> str:
        """Say how Ray lost a worker; empty where it did not, or where it is no matter of a worker.

        Raises:
            EnvironmentFault: a worker could not begin at all.
        """
        if error is None:
            return ""
        errors = self._ray.exceptions
        for kinds, words in (
            (errors.OutOfMemoryError, "was killed by Ray for want of memory on its node"),
            ((errors.NodeDiedError, errors.LocalRayletDiedError), "was lost with its node"),
            (errors.WorkerCrashedError, "ended without a word"),
            (errors.RayActorError, "was lost with its actor"),
            (errors.ObjectLostError, "was lost with its results"),
        ):
            if isinstance(error, kinds):
                return words
        told = str(error).strip().splitlines()
        raise EnvironmentFault(
            f"ray: a worker could not begin: {told[-1] if told else type(error).__name__}",
            "install forge-pipeline and all that the recipe imports on every node, in the environment of `ray start`",
        ) from error

    def leave(self) -> None:
        """Disconnect; what was started here ends."""
        for actor in (*self._idle, *self._busy):
            self._kill(actor)
        if self._ours:
            self._ray.shutdown()

    def _most_actors(self, demand: Demand, gpus: float, slots: int) -> int:
        there = self._ray.cluster_resources()
        fit = there.get("GPU", 0.0) // _whole(gpus) if gpus else there.get("CPU", 1.0) // _whole(demand.cpus)
        return max(1, min(slots, int(fit)))

    def _kill(self, actor: _Actor) -> None:
        self._ray.kill(actor.handle)


def _covers(has: Demand, asked: Demand) -> bool:
    gpus = (has.gpus or 0.0) >= (asked.gpus or 0.0) and (has.gpus is None) == (asked.gpus is None)
    return gpus and has.cpus >= asked.cpus and has.memory_bytes >= asked.memory_bytes


def _import_ray() -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise EnvironmentFault(
            f"executor 'ray': Ray cannot be imported ({error})", "pip install 'forge-pipeline[ray]'"
        ) from error
    return ray


def _connect(ray: Any, address: Address, cores: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    here: Mapping[str, Any] = {
        "address": "local",
        "num_cpus": cores,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
    }
    named = os.environ.get("RAY_ADDRESS", "")
    if address.host == "local" or (address.host == "auto" and named == "local"):
        _init(ray, "on this machine", {**here, **quiet})
    elif address.host == "auto" and not named:
        try:
            ray.init(address="auto", **quiet)
        except ConnectionError:  # none runs here
            _init(ray, "on this machine", {**here, **quiet})
    else:
        where = read_address(named) if address.host == "auto" else address
        _reach(where)
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


# --- in a worker of the cluster -------------------------------------------------------------------

_SUPERVISOR: tuple[bytes, Supervisor] | None = None


def _work(told: bytes, order: bytes, cargo: list[Any]) -> bytes:
    """Do one chunk.

    Args:
        told: the run's Setting.
        order: an Order.
        cargo: nothing, or where a Cargo lies in the object store: it is fetched only where it is needed.
    """
    reply = _supervisor(told).run(pickle.loads(order), lambda: _fetched(cargo))
    return pickle.dumps(reply, pickle.HIGHEST_PROTOCOL)


class _Worker:
    """An actor: its process keeps the operators that it has made ready, and so their models."""

    def work(self, told: bytes, order: bytes, cargo: list[Any]) -> bytes:
        """Do one chunk."""
        return _work(told, order, cargo)


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
