"""Ctrl-C and SIGTERM: what is in flight is finished and recorded, the next run goes on from there."""

from __future__ import annotations

import json
import re
import signal
import time

import pytest

from forge_pipeline.errors import EXIT_INTERRUPTED
from tests.faults.conftest import Undisturbed
from tests.faults.worlds import World, read_line

EXECUTORS = pytest.mark.parametrize(
    "executor", [("--executor", "inline"), ("--executor", "threads", "--workers", "2")], ids=["inline", "threads"]
)
SIGNALS = pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])


@pytest.mark.slow
@SIGNALS
@EXECUTORS
def test_a_signal_finishes_what_is_in_flight_and_says_how_to_go_on(
    world: World, undisturbed: Undisturbed, how: signal.Signals, executor: tuple[str, ...]
) -> None:
    with world.started("--json", *executor, orders={"slow": [0.4]}) as process:
        process.send_signal(how)
        out, err = process.communicate(timeout=60)
    assert process.returncode == EXIT_INTERRUPTED, err
    assert json.loads(out)["status"] == "interrupted"
    told = r"faulty: interrupted after [\d.]+ m?s; what was finished is kept"
    *_, end, hint = err.splitlines()
    assert re.fullmatch(told, end)
    assert hint == "  hint: type the same command again to go on from here"
    done_before = world.actions()
    assert done_before, "what was in flight was not recorded"
    assert len(done_before) < len(undisturbed.actions), "what had not begun was waited for"
    assert not world.export.exists()
    assert world.run().status == "done"
    assert world.operator_calls == len(undisturbed.actions - done_before)
    assert world.outcome() == undisturbed.outcome
    assert world.left_behind() == []


@pytest.mark.slow
@EXECUTORS
def test_a_second_ctrl_c_ends_at_once(world: World, undisturbed: Undisturbed, executor: tuple[str, ...]) -> None:
    with world.started(*executor, orders={"slow": [100]}) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=40)
    assert process.returncode == EXIT_INTERRUPTED, err
    assert err.splitlines()[-1] == "interrupted"
    assert world.run().status == "done"
    assert world.outcome() == undisturbed.outcome
    assert world.left_behind() == []


@pytest.mark.slow
@SIGNALS
@pytest.mark.parametrize("moment", [["sync", "staging"], ["rename", "faulty"], ["lock", ".forge-lock"]])
def test_a_signal_during_publication_leaves_nothing_half_done(
    world: World, undisturbed: Undisturbed, how: signal.Signals, moment: list[str]
) -> None:
    with world.started(orders={"pause": [*moment, "never"]}) as process:
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
    assert process.returncode == EXIT_INTERRUPTED, err
    assert "Traceback" not in err
    assert world.torn() == []
    assert world.run().status == "done"
    assert world.operator_calls == 0
    assert world.outcome() == undisturbed.outcome
    assert world.left_behind() == []


@pytest.mark.slow
def test_ctrl_c_while_waiting_for_another_run_ends_only_the_one_that_waits(world: World) -> None:
    release = world.root / "release"
    pause = {"pause": ["create", "incoming", str(release)]}
    with world.started(orders=pause) as first, world.start() as second:
        assert "another run is using it" in read_line(second)
        second.send_signal(signal.SIGINT)
        second.communicate(timeout=20)
        release.touch()
        _, err = first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, EXIT_INTERRUPTED), err
