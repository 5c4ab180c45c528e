"""What chunks ask of a node, and how many workers that stay a cluster has room for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forge_pipeline.executors.demand import Demand, Room, demand_of
from forge_pipeline.recipe_graph import compile_recipe
from tests.engine.worlds import World
from tests.executors.conftest import breaking


def test_a_chunk_asks_for_the_most_that_a_step_of_it_does(world: World) -> None:
    breaking(world, resources="{cpus: 2.5, memory_bytes: 1000}")
    graph, _ = compile_recipe(world.recipe_path, world.options())
    asked = demand_of(graph.nodes)
    assert asked == Demand(2.5, 0.0, 1000, stays=False)
    assert asked.room(gpus_there=2) == Room(3.0, 0.0, 1000.0)
    assert asked.room(gpus_there=2, memory_bytes=2000) == Room(3.0, 0.0, 2000.0)
    assert demand_of([]).room(gpus_there=2) == Room(1.0, 0.0, 0.0)
    model = demand_of([replace(graph.nodes[0], work="gpu")])
    assert model == Demand(None, None, 0, stays=True)
    assert model.room(gpus_there=0) == Room(0.0, 0.0, 0.0)
    assert model.room(gpus_there=2) == Room(0.0, 1.0, 0.0)


def test_who_was_given_a_gpu_stays_with_it(world: World) -> None:
    breaking(world, resources="{gpus: 0.25}")
    graph, _ = compile_recipe(world.recipe_path, world.options())
    assert demand_of(graph.nodes) == Demand(None, 0.25, 0, stays=True)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Demand(1.0, 0.5), Demand(2.0, 0.25), Demand(2.0, 0.5)),
        (Demand(None, 0.5), Demand(2.0, None), Demand(2.0, None)),
        (Demand(None, 2.0), Demand(None, None), Demand(None, 2.0)),
        (Demand(memory_bytes=5), Demand(memory_bytes=7, stays=True), Demand(memory_bytes=7, stays=True)),
    ],
)
def test_demands_are_joined(one: Demand, other: Demand, both: Demand) -> None:
    assert one.joined(other) == other.joined(one) == both


@pytest.mark.parametrize(
    ("room", "times"),
    [
        (Room(cpus=1), 8),
        (Room(cpus=3), 2),
        (Room(gpus=1), 2),
        (Room(gpus=2), 1),
        (Room(gpus=0.25), 8),
        (Room(gpus=0.75), 2),  # not twice 0.25 of one and 0.5 of the other
        (Room(cpus=4, gpus=0.25, memory_bytes=20), 2),
        (Room(cpus=4, gpus=0.25, memory_bytes=90), 1),
        (Room(memory_bytes=101), 0),
    ],
)
def test_a_node_has_room_so_often(room: Room, times: int) -> None:
    assert Room(8, 2, 100).times(room) == times
