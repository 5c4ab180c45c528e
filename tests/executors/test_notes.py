"""What workers warn of: told among the lines of a run, once, however many workers say it of however many samples."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.engine.worlds import World
from tests.executors.clusters import RAY_MARKS, Nodes

STEPS = Path(__file__).with_name("model_steps.py")


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "threads", "processes", pytest.param("ray", marks=RAY_MARKS)])
def test_what_every_worker_warns_of_is_told_once(request: pytest.FixtureRequest, world: World, executor: str) -> None:
    shutil.copy(STEPS, world.root / STEPS.name)
    spelled = json.dumps({"marks": str(world.root / "marks"), "slow_s": 0.05, "warning": "slow is slow"})
    world.recipe(
        f"""
        photos: {{use: toy.read, with: {{path: photos}}}}
        slow: {{use: toy.slow, from: photos, with: {spelled}}}
        """,
        **{"import": ["./toy_steps.py", "./model_steps.py"]},
    )
    where = {"executor": executor, "workers": 2}
    if executor == "ray":
        nodes: Nodes = request.getfixturevalue("nodes")
        where = {"executor": "ray", "ray_address": nodes.address}
    ran = world.run(**where)
    assert len(list((world.root / "marks").iterdir())) == 12
    assert ran.notes == ["slow is slow"]
