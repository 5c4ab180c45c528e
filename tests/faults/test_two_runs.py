"""Two runs at once on one cache or one export folder: one waits and says so, both end right."""

from __future__ import annotations

import json
import threading

import pytest

from forge_pipeline import api
from tests.faults.conftest import Undisturbed
from tests.faults.worlds import World, read_line


@pytest.mark.slow
def test_two_runs_on_one_cache_end_right_and_the_second_runs_nothing(world: World, undisturbed: Undisturbed) -> None:
    release = world.root / "release"
    pause = {"pause": ["create", "incoming", str(release)]}
    with world.started("--json", orders=pause) as first, world.start("--json") as second:
        assert read_line(second) == f"cache {world.cache}: another run is using it; waiting until it is done"
        release.touch()
        out, err = first.communicate(timeout=60)
        out_of_second, err_of_second = second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), err + err_of_second
    assert "another run" not in err
    assert sum(step["ran"] + step["measured"] for step in json.loads(out)["steps"].values()) > 0
    assert all(step["ran"] + step["measured"] == 0 for step in json.loads(out_of_second)["steps"].values())
    assert world.outcome() == undisturbed.outcome
    assert world.sources() == undisturbed.sources
    assert world.left_behind() == []


@pytest.mark.slow
def test_two_caches_publishing_to_one_folder_take_turns(world: World, undisturbed: Undisturbed) -> None:
    release = world.root / "release"
    pause = {"pause": ["rename", "faulty", str(release)]}
    words = ("--quiet", "--json", "--cache")
    with world.started(*words, "one", orders=pause) as first, world.start(*words, "two") as second:
        assert read_line(second) == f"{world.export}: waiting for another run that publishes there"
        release.touch()
        _, err = first.communicate(timeout=60)
        out, err_of_second = second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), err + err_of_second
    assert [export["written"] for export in json.loads(out)["exports"]] == [0]
    assert world.outcome() == undisturbed.outcome


def test_two_runs_in_threads_of_one_process_end_right(world: World, undisturbed: Undisturbed) -> None:
    results = []

    def run() -> None:
        options = api.Options(directory=world.root, executor="threads", workers=2)
        results.append(api.run(world.recipe, options, lambda event: None))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.status for result in results] == ["done"] * 3
    ran = [sum(counts.ran + counts.measured for counts in result.steps.values()) for result in results]
    assert sorted(ran)[:2] == [0, 0]
    assert world.outcome() == undisturbed.outcome
