"""What all tests share: how slow ones are parted among workers, and one place for compiled kernels."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from forge_pipeline.fingerprint import packages_digest

# What these make for all their tests takes seconds: they stay together. All others are shared out one by one, since
# whoever got a long module as the last one would leave the others idle for a minute.
TOGETHER = re.compile(
    r"tests/acceptance/test_main_job\.py"
    r"|tests/acceptance/test_shards\.py"
    r"|tests/docs/test_files\.py"
    r"|tests/faults/test_same_bytes\.py"
    r"|tests/steps/test_without_numba\.py"
)
# All that is run on a cluster: there is one at a time.
ON_RAY = re.compile(r"tests/executors/(test_ray\.py::|test_contract\.py::test_a_node_that_is_lost|.*\[ray)")


def pytest_configure(config: pytest.Config) -> None:
    """Let kernels be compiled once for all tests and sessions of this checkout, wherever nothing else is named.

    The user's folder keeps eight states of source, and tests of recipes with code of their own make one after the
    other: two checkouts that are tested at a time would go on taking each other's kernels away.
    """
    if folder := _kernels(config, "host"):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(folder))


@pytest.fixture(scope="session")
def plain_kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Name a folder for kernels that are compiled for the plainest processor, by all tests that compare with it."""
    return _kernels(request.config, "plain") or tmp_path_factory.mktemp("kernels")


def _kernels(config: pytest.Config, processor: str) -> Path | None:
    """Name a folder for this state of source; none where pytest is told to keep nothing."""
    kept = getattr(config, "cache", None)
    return kept.mkdir(f"forge-kernels-{packages_digest()[:16]}-{processor}") if kept else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share out one by one what need not stay together."""
    if config.getoption("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _scope(nodeid)

    return Sharing(config, log)


def _scope(nodeid: str) -> str:
    """Name what a test belongs to: all tests of one name go to one worker."""
    if ON_RAY.match(nodeid):
        return "a cluster"
    together = TOGETHER.match(nodeid)
    return together[0] if together else nodeid
