"""Runs chunks on a Ray cluster: as tasks of Ray Core, and by actors where a step holds a model."""

from __future__ import annotations

import contextlib
import logging
import pickle
import queue
import sys
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from forge_pipeline.beacon import Beacon
from forge_pipeline.bench import Bench
from forge_pipeline.cache.store import PayloadMissing
from forge_pipeline.compiled import Node
from forge_pipeline.errors import DataError, EnvironmentFault, ForgeError
from forge_pipeline.executors.carried import Delivery, refuse_too_much
from forge_pipeline.executors.demand import Demand, Room, demand_of, steps_of
from forge_pipeline.executors.elsewhere import Setting, describe_run, file_stamp
from forge_pipeline.executors.ray_cluster import LOOK_EVERY_S, Cluster, read_address
from forge_pipeline.executors.scratch import sweep_scratches
from forge_pipeline.executors.staying import Kept, Staying
from forge_pipeline.executors.supervisor import Cargo, Order, Wants, source_location
from forge_pipeline.files import read_location
from forge_pipeline.task import Chunk, ChunkOutcome, Outcome
from forge_pipeline.worker import run_chunk


@dataclass(slots=True)
class _Running:
    """A chunk that Ray has.

    Attributes:
        room: what is set aside for it.
        worker: the one that has it and stays; None where any may have it.
        kept: what must lie in the object store while it runs.
        reference: by which Ray knows it.
    """

    chunk: Chunk
    room: Room
    worker: Kept | None = None
    kept: list[Any] = field(default_factory=list)
    reference: Any = None


class RayExecutor:
    """Gives Ray as many chunks as there are slots, and no more: the rest waits here, where it can be taken back."""

    name: ClassVar[str] = "ray"
    # As with processes: the way to another machine (1 ms) and back is nothing beside it.
    chunk_s = 0.5
    apart = True

    def __init__(
        self,
        bench: Bench,
        index: str | None,
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
        self.memory_ratio = 1.0
        self._cluster: Cluster | None = None
        self._staying: Staying | None = None
        self._setting: Setting | None = None
        self._told: Any = None
        self._fault: BaseException | None = None
        self._lock = threading.RLock()
        self._waiting: deque[Chunk] = deque()
        self._running: dict[int, _Running] = {}
        self._ended: queue.SimpleQueue[tuple[_Running, Any] | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[ChunkOutcome] = queue.SimpleQueue()
        self._feeder: threading.Thread | None = None
        self._carries_payloads = False
        self._carries_files = False
        self._carrying_told: set[str] = set()

    def largest_bytes(self) -> int:
        """Return what the largest node has: it may hold a sample that the driver's machine does not."""
        if self._cluster is None and self._fault is None:
            self._open()
        if self._cluster is None or self._fault is not None:
            return sys.maxsize  # the fault is told where the task comes back
        return int(max((node.memory_bytes for node in self._cluster.nodes), default=0.0))

    def submit(self, chunk: Chunk) -> None:
        """Take a chunk; what prevents it comes back as its outcome."""
        if self._cluster is None and self._fault is None:
            self._open()
        with self._lock:
            self._waiting.append(chunk)
            self._go_on()

    def next_outcome(self) -> ChunkOutcome:
        """Wait for an outcome; what a worker could not put into the store itself is put there now."""
        outcome = self._outcomes.get()
        if not isinstance(outcome, Delivery):
            return outcome
        try:
            for made in outcome.made:
                self._bench.store.put(made.digest, made.data, made.suffix)
        except Exception as fault:  # noqa: BLE001 - the scheduler waits for this chunk, whatever becomes of it
            return ChunkOutcome(outcome.number, (Outcome(outcome.outcomes[0].number, fault=fault),))
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
        cluster = self._cluster
        if cluster is None:
            return
        if wait:
            while self._running:
                self._outcomes.get()
        self._ended.put(None)
        if wait and self._feeder is not None:
            self._feeder.join()
        self._cluster = None
        if self._staying is not None:
            self._staying.dismiss_all()
        cluster.leave()
        sweep_scratches()
        # Else a few bytes stay that nobody knows, for `forge cache collect` to find.
        with contextlib.suppress(ForgeError, OSError):
            if self._setting is not None:
                self._bench.store.remove(self._setting.probe[0])

    # --- giving ---------------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            self._cluster = Cluster(self._address, self._workers or self._cores)
            self._setting = describe_run(self._nodes.values(), self._bench.store, self._index)
            self._told = self._cluster.put(pickle.dumps(self._setting, pickle.HIGHEST_PROTOCOL))
        except Exception as fault:  # noqa: BLE001 - whatever it is, it comes back as each chunk's outcome
            self._fault = fault
            return
        self._staying = Staying(self._cluster.hire, self._cluster.dismiss)
        self._feeder = threading.Thread(target=self._feed, name="forge-ray", daemon=True)
        self._feeder.start()

    def _go_on(self) -> None:
        """Follow nodes that come and go, and give Ray what there is room for.

        In order, but what waits for a worker that stays lets others pass.
        """
        self._follow()
        held: list[Chunk] = []
        try:
            while self._waiting and len(self._running) < self.slots:
                chunk = self._waiting.popleft()
                if self._fault is not None:
                    self._outcomes.put(_broken(chunk, self._fault))
                elif not self._launch(chunk):
                    held.append(chunk)
        finally:
            self._waiting.extendleft(reversed(held))

    def _follow(self) -> None:
        if self._cluster is None or self._fault is not None:
            return
        try:
            self._cluster.look()
        except EnvironmentFault as fault:
            self._give_up(fault)
            return
        self.memory_ratio = self._cluster.memory_ratio
        self.slots = self._workers or self._cluster.cores
        for running in list(self._running.values()):
            if self._cluster.lacks(running.room):  # the nodes that had it are gone: Ray would wait for others
                self._cluster.cancel(running.reference)
                self._waiting.appendleft(running.chunk)
                self._end(running, None)

    def _give_up(self, fault: Exception) -> None:
        """Send everything back: there is no cluster any more."""
        self._fault = fault
        for running in list(self._running.values()):
            running.worker = None  # it is dismissed with all others
            self._end(running, _broken(running.chunk, fault))

    def _launch(self, chunk: Chunk) -> bool:
        """Give Ray a chunk; False where a worker that stays must come free first."""
        cluster, staying = self._cluster, self._staying
        assert cluster is not None and staying is not None
        demand = demand_of(self._nodes[step] for step in steps_of(chunk) if step in self._nodes)
        running = _Running(chunk, Room())
        try:
            running.room = self._room(demand, chunk)
            if demand.stays:
                running.worker = staying.take(demand, cluster.nodes, self.slots)
                if running.worker is None:
                    return False
                running.room = running.worker.room
            elif not staying.leave(running.room, cluster.nodes):
                return False
            self._send(running)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the scheduler must hear of it
            self._end(running, _broken(chunk, fault))
        return True

    def _room(self, demand: Demand, chunk: Chunk) -> Room:
        """Say what is set aside for a chunk: what its steps ask for, and the memory that its images should take.

        Raises:
            EnvironmentFault: no node has what its steps ask for.
        """
        assert self._cluster is not None
        gpus_there = max((node.gpus for node in self._cluster.nodes), default=0.0)
        said = demand.room(gpus_there)
        self._cluster.refuse_unmet(said, _first_step(chunk))
        most_bytes = max((node.memory_bytes for node in self._cluster.nodes if node.holds(said)), default=0.0)
        # An estimate refuses nothing: what is larger than every node has one of the largest to itself.
        return demand.room(gpus_there, min(_rounded(chunk.memory_bytes), int(most_bytes)))

    def _send(self, running: _Running) -> None:
        assert self._cluster is not None
        chunk, worker = running.chunk, running.worker
        files = {location.path for location in map(source_location, chunk.tasks) if location is not None}
        order = pickle.dumps(Order(chunk, {path: file_stamp(path) for path in files}), pickle.HIGHEST_PROTOCOL)
        try:
            running.kept = self._cargo(chunk)
        except DataError:
            # A member of an archive that cannot be unpacked cannot be sent; that is a result, and is found here.
            self._end(running, run_chunk(chunk, self._bench, Beacon()))
            return
        self._running[chunk.number] = running
        handle = worker.handle if worker is not None else None
        running.reference = self._cluster.start(
            handle, running.room, self._told, order, running.kept, lambda future: self._ended.put((running, future))
        )

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
        while True:
            try:
                event = self._ended.get(timeout=LOOK_EVERY_S)
                if event is None:
                    return
            except queue.Empty:
                event = None
            with self._lock:
                try:
                    # What was given up may come back all the same.
                    if event is not None and self._running.get(event[0].chunk.number) is event[0]:
                        self._take_back(*event)
                    self._go_on()
                except Exception as fault:  # noqa: BLE001 - without this thread nobody would hear of anything again
                    self._give_up(fault)
                    self._go_on()

    def _take_back(self, running: _Running, future: Any) -> None:
        """Read what came back; a chunk goes out again with what its worker could not see."""
        assert self._cluster is not None and self._staying is not None
        chunk = running.chunk
        try:
            lost = self._cluster.how_lost(future.exception())
            if lost is not None:
                if running.worker is not None:
                    self._staying.forget(running.worker)
                    running.worker = None
                self._end(running, ChunkOutcome(chunk.number, lost=lost.words, killed=True, gone=not lost.of_memory))
                return
            reply = pickle.loads(future.result())
        except Exception as fault:  # noqa: BLE001 - whatever it is, the scheduler must hear of it
            self._end(running, _broken(chunk, fault))
            return
        if not isinstance(reply, Wants):
            self._end(running, reply)
            return
        self._carries_payloads |= reply.payloads
        self._carries_files |= reply.files
        if reply.why not in self._carrying_told:
            self._carrying_told.add(reply.why)
            logging.getLogger(__name__).warning("ray: %s", reply.why)
        self._waiting.appendleft(chunk)
        self._end(running, None)

    def _end(self, running: _Running, outcome: ChunkOutcome | None) -> None:
        """Let a chunk that was with Ray go, and give its outcome where there is one."""
        self._running.pop(running.chunk.number, None)
        if outcome is not None:
            self._outcomes.put(outcome)
        worker, running.worker = running.worker, None
        if worker is not None and self._staying is not None:
            self._staying.give_back(worker)


def _first_step(chunk: Chunk) -> str:
    return next(steps_of(chunk), "")


def _rounded(size_bytes: int) -> int:
    """Round up to one of few sizes, a quarter larger at most: Ray keeps a worker for chunks that ask for the same."""
    step = 1 << max(20, size_bytes.bit_length() - 3)
    return -(-size_bytes // step) * step


def _broken(chunk: Chunk, fault: BaseException) -> ChunkOutcome:
    return ChunkOutcome(chunk.number, (Outcome(chunk.tasks[0].number, fault=fault),))
