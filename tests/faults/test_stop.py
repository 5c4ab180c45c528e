"""`on_error: stop`: the run ends with its account, however many samples break at once."""

from __future__ import annotations

import pytest

from forge_pipeline.events import Event, RunEnded
from tests.faults.conftest import MakeWorld
from tests.faults.worlds import RECIPE, every_file


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_a_run_that_stops_tells_its_end_once_though_several_samples_break(make_world: MakeWorld, executor: str) -> None:
    world = make_world("stops", RECIPE.replace("path: photos}", "path: photos}, on_error: stop"))
    for photo in every_file(world.photos):
        photo.write_bytes(photo.read_bytes()[:3000])
    told: list[Event] = []
    result = world.run(told.append, executor=executor, workers=2)
    assert result.status == "failed"
    assert "set `on_error: quarantine` on 'photos'" in result.error
    assert [event for event in told if isinstance(event, RunEnded)] == [RunEnded(result)]
    assert not world.export.exists()
