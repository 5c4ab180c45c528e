"""Workers that stay: one for each device, all of one size, and never in the way of what waits for them."""

from __future__ import annotations

import pytest

from forge_pipeline.executors.demand import Demand, Room
from forge_pipeline.executors.staying import Staying

MODEL = Demand(gpus=None, stays=True)


class Staff:
    """Workers as a cluster would start them: here they are numbers."""

    def __init__(self) -> None:
        self.rooms: list[Room] = []
        self.gone: list[int] = []
        self.staying = Staying(self._hire, self.gone.append)

    def _hire(self, room: Room) -> int:
        self.rooms.append(room)
        return len(self.rooms)

    def take(self, demand: Demand, *nodes: Room, most: int = 16) -> int | None:
        kept = self.staying.take(demand, nodes, most)
        return kept.handle if kept is not None else None


@pytest.fixture
def staff() -> Staff:
    return Staff()


def test_there_is_one_for_each_device(staff: Staff) -> None:
    nodes = (Room(8, 2), Room(8, 1), Room(8))
    assert [staff.take(MODEL, *nodes) for _ in range(4)] == [1, 2, 3, None]
    assert staff.rooms == [Room(gpus=1.0)] * 3


def test_without_a_device_there_is_one_for_each_core_that_the_run_may_use(staff: Staff) -> None:
    assert [staff.take(MODEL, Room(2), Room(1), most=9) for _ in range(4)] == [1, 2, 3, None]
    assert Staff().take(MODEL, Room(2), most=0) == 1
    assert staff.rooms == [Room()] * 3


def test_who_is_idle_is_taken_before_another_is_hired(staff: Staff) -> None:
    nodes = (Room(8, 2),)
    first = staff.staying.take(MODEL, nodes, 9)
    assert first is not None
    staff.staying.give_back(first)
    assert staff.staying.take(MODEL, nodes, 9) is first


def test_a_larger_demand_lets_smaller_workers_go_when_they_are_through(staff: Staff) -> None:
    nodes = (Room(8, 1),)
    quarter = Demand(gpus=0.25, stays=True)
    first, second = (staff.staying.take(quarter, nodes, 9) for _ in range(2))
    assert first is not None and second is not None
    staff.staying.give_back(first)
    assert staff.take(MODEL, *nodes) is None  # the second has a part of the only GPU
    assert staff.gone == [1]
    staff.staying.give_back(second)
    assert staff.gone == [1, 2]
    assert staff.take(MODEL, *nodes) == 3
    assert staff.take(quarter, *nodes) is None  # and the whole one serves for both
    assert staff.rooms[2] == Room(gpus=1.0)


def test_an_idle_one_goes_that_holds_what_a_chunk_waits_for(staff: Staff) -> None:
    nodes = (Room(2, 1), Room(2, 1))
    two_cores = Demand(cpus=2.0, gpus=None, stays=True)
    first, second = (staff.staying.take(two_cores, nodes, 9) for _ in range(2))
    assert first is not None and second is not None
    assert not staff.staying.leave(Room(cpus=1), nodes)
    staff.staying.give_back(first)
    assert not staff.staying.leave(Room(cpus=1), nodes)  # the other may be on either node
    assert staff.gone == [1]
    staff.staying.give_back(second)
    assert staff.staying.leave(Room(cpus=1), nodes)
    assert staff.gone == [1, 2]


def test_with_the_last_gpu_those_go_that_had_one(staff: Staff) -> None:
    kept = staff.staying.take(MODEL, (Room(2, 1),), 9)
    assert kept is not None
    assert staff.take(MODEL, Room(2)) is None
    staff.staying.give_back(kept)
    assert staff.gone == [1]
    assert staff.take(MODEL, Room(2)) == 2
    assert staff.rooms == [Room(gpus=1.0), Room()]


def test_who_holds_nothing_that_a_chunk_asks_for_stays(staff: Staff) -> None:
    nodes = (Room(1, 1),)
    assert staff.take(MODEL, *nodes) == 1
    assert staff.staying.leave(Room(cpus=1), nodes)
    assert staff.gone == []


def test_who_is_lost_is_replaced(staff: Staff) -> None:
    nodes = (Room(1, 1),)
    kept = staff.staying.take(MODEL, nodes, 9)
    assert kept is not None
    staff.staying.forget(kept)
    assert staff.take(MODEL, *nodes) == 2
    staff.staying.dismiss_all()
    assert staff.gone == [1, 2]
