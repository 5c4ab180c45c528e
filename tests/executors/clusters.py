"""A Ray cluster for tests: on this machine, of as many nodes (each a raylet of its own) as a test asks for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

from forge_pipeline.executors.ray_cluster import QUIET

os.environ.update(QUIET)  # Ray reads them when it is imported, and a test may do that before a run does

STORE_BYTES = 80_000_000  # Ray takes no less than 75 MiB

# A node that was killed refuses to answer at once; by default Ray would believe in it for 16 s. One that is slow has
# as long as ever.
FINDS_OUT_SOON = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
}

# Ray leaves sockets and files to the garbage collector, and calls what its own libraries call old.
RAY_MARKS: Sequence[pytest.MarkDecorator] = (
    pytest.mark.slow,  # a node takes seconds to start
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
)


def on_ray(test: Any) -> Any:
    """Mark a test that is run on a cluster."""
    for mark in RAY_MARKS:
        test = mark(test)
    return test


class Nodes:
    """A head that tests are drivers of, and nodes that come and go."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {
            "num_cpus": 1,
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
            "_system_config": FINDS_OUT_SOON,
        }
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._more: list[Any] = []

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def be(self, count: int) -> Nodes:
        """Let so many nodes be there."""
        while len(self._more) + 1 < count:
            self.add(num_cpus=1)
        while len(self._more) + 1 > count:
            self.lose_one()
        self._cluster.wait_for_nodes()  # that all know of one that is gone
        return self

    def add(self, **resources: float) -> None:
        """Start a node."""
        self._more.append(self._cluster.add_node(object_store_memory=STORE_BYTES, **resources))

    def lose_one(self) -> None:
        """Kill a node without grace, and all that runs on it."""
        self._cluster.remove_node(self._more.pop(), allow_graceful=False)

    def end(self) -> None:
        """End them all."""
        self._cluster.shutdown()
