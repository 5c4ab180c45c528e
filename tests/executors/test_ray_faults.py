"""What Ray's executor does when something breaks on the run's own machine: the run ends, and says why."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from forge_pipeline import api
from forge_pipeline.beacon import Beacon
from forge_pipeline.bench import Bench
from forge_pipeline.cache.folder import FolderStore
from forge_pipeline.cache.store import Payload
from forge_pipeline.errors import EnvironmentFault
from forge_pipeline.events import Event, TaskSubmitted
from forge_pipeline.executors import ray as executor_module
from forge_pipeline.executors.carried import CarriedStore, Delivery
from forge_pipeline.executors.demand import Room
from forge_pipeline.reuse import Nothing
from forge_pipeline.worker import run_chunk
from tests.engine.worlds import World
from tests.executors.conftest import breaking

pytestmark = pytest.mark.timeout(60)  # what is lost here is waited for without end


class BlindCluster:
    """A cluster of one core in threads of this process, whose worker sees no store: what it makes is carried."""

    nodes = (Room(1.0, 0.0, float(1 << 30)),)
    cores = 1
    memory_ratio = 1.0

    def __init__(self, address: object, cores: int) -> None:
        pass

    def look(self) -> None:
        pass

    def lacks(self, room: Room) -> bool:
        return False

    def refuse_unmet(self, room: Room, step: str) -> None:
        pass

    def put(self, data: bytes) -> Any:
        return data

    def hire(self, room: Room) -> Any:
        return None

    def dismiss(self, worker: Any) -> None:
        pass

    def start(
        self, worker: Any, room: Room, told: Any, order: bytes, kept: list[Any], then: Callable[[Any], None]
    ) -> Any:
        future: Future[bytes] = Future()
        future.add_done_callback(then)
        threading.Thread(target=lambda: future.set_result(self._done(order))).start()
        return future

    def how_lost(self, error: BaseException | None) -> None:
        assert error is None

    def leave(self) -> None:
        pass

    @staticmethod
    def _done(order: bytes) -> bytes:
        store = CarriedStore()
        outcome = run_chunk(pickle.loads(order).chunk, Bench(store, Nothing()), Beacon())
        return pickle.dumps(Delivery(outcome.number, outcome.outcomes, made=store.end()))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> type[BlindCluster]:
    class OfThisTest(BlindCluster):
        pass

    monkeypatch.setattr(executor_module, "Cluster", OfThisTest)
    return OfThisTest


def test_what_a_worker_made_is_kept_by_the_run(world: World, cluster: type[BlindCluster]) -> None:
    breaking(world)
    alone = world.run_clean()
    world.run(executor="ray").assert_same_as(alone)


def test_a_disk_that_is_full_when_images_come_back_ends_the_run(
    world: World, cluster: type[BlindCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking(world)
    put, refused = FolderStore.put, []

    def full(self: FolderStore, digest: str, data: bytes, suffix: str) -> Payload:
        if suffix == ".probe" or refused:
            return put(self, digest, data, suffix)
        refused.append(digest)
        raise EnvironmentFault("cache: the disk is full", "forge cache collect")

    monkeypatch.setattr(FolderStore, "put", full)
    with pytest.raises(EnvironmentFault) as caught:
        world.run(executor="ray")
    assert str(caught.value) == "cache: the disk is full\n  hint: forge cache collect"


def test_whoever_cannot_be_told_of_a_chunk_ends_the_run(world: World) -> None:
    def tell(event: Event) -> None:
        if isinstance(event, TaskSubmitted):
            raise BrokenPipeError("nobody reads on")

    breaking(world)
    with pytest.raises(BrokenPipeError, match=r"^nobody reads on$"):
        api.run(world.recipe_path, world.options(executor="threads", workers=1), tell)


def test_an_object_store_that_takes_nothing_ends_the_run(
    world: World, cluster: type[BlindCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: BlindCluster, data: bytes) -> Any:
        raise RuntimeError("the object store is gone")

    monkeypatch.setattr(cluster, "put", refuse)
    breaking(world)
    with pytest.raises(RuntimeError, match=r"^the object store is gone$"):
        world.run(executor="ray")


def test_an_answer_that_nobody_foresaw_ends_the_run(
    world: World, cluster: type[BlindCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(self: BlindCluster) -> None:
        if threading.current_thread().name == "forge-ray":
            raise ValueError("a node without a name")

    monkeypatch.setattr(cluster, "look", look)
    breaking(world)
    with pytest.raises(ValueError, match=r"^a node without a name$"):
        world.run(executor="ray")
