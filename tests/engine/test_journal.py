"""The journal that a real run leaves: its decisions with their reasons, its tasks, its failures, its end."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from forge_pipeline import api
from forge_pipeline.disk import Disk
from forge_pipeline.events import Note
from forge_pipeline.report.journal import journal_folders, read_lines
from tests.engine.worlds import World

STEPS = """
    photos: {use: toy.read, with: {path: photos}}
    tiles: {use: toy.split, from: photos, with: {size: 2}}
    clean: {use: toy.keep, from: tiles, with: {least: 2}}
    out: {use: toy.write, from: clean, with: {path: out}}
"""


@pytest.fixture
def small(world: World) -> World:
    """Return a world with three photos; they are old enough to be known by their stat."""
    world.files(a="1 1 5 5", b="3 3 7 7", c="9 9 9 9")
    world.recipe(STEPS)
    world.settle()
    return world


def journal(world: World) -> list[dict[str, Any]]:
    """Read the newest journal."""
    return list(read_lines(journal_folders(world.root / "cache/runs")[-1] / "events.jsonl"))


def of(lines: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == event]


def test_every_step_is_decided_with_its_reason(small: World) -> None:
    small.run()
    told = {line["step"]: (line["walked"], line["reasons"]) for line in of(journal(small), "step_decided")}
    assert told == {step: (True, ["first run"]) for step in ("photos", "tiles", "clean")}
    small.recipe(STEPS.replace("least: 2", "least: 4"))
    small.run()
    told = {line["step"]: (line["walked"], line["reasons"]) for line in of(journal(small), "step_decided")}
    assert told == {
        "photos": (False, []),
        "tiles": (False, []),
        "clean": (True, ["param 'least' 2 -> 4"]),
    }


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_every_task_is_submitted_and_comes_back(small: World, executor: str) -> None:
    small.run(executor=executor)
    lines = journal(small)
    submitted, finished = of(lines, "task_submitted"), of(lines, "task_finished")
    assert {line["task"] for line in submitted} == {line["task"] for line in finished}
    assert {line["status"] for line in finished} == {"done"}
    assert sum(line["samples"] for line in submitted if line["step"] == "photos") == 3
    assert all(line["seconds"] >= 0 for line in finished)
    (chosen,) = of(lines, "executor_chosen")
    assert chosen["executor"] == executor
    assert chosen["workers"] >= 1
    assert chosen["reason"].startswith("asked for")


def test_a_sample_that_breaks_is_told_when_it_does(small: World) -> None:
    small.recipe(STEPS, defaults={"max_errors": 5})
    small.file("photos/c.txt", "not numbers")
    small.run()
    (told,) = of(journal(small), "quarantined")
    assert (told["step"], told["sample"]) == ("photos", "photos/c.txt")
    assert told["reason"]
    small.run()
    assert of(journal(small), "quarantined") == []  # of an earlier run


def test_exports_and_the_end_are_told(small: World) -> None:
    ran = small.run()
    lines = journal(small)
    (published,) = of(lines, "export_published")
    assert published["export"]["written"] == ran.result.exports[0].written
    assert published["seconds"] > 0
    last = lines[-1]
    assert (last["event"], last["status"], last["executor"]) == ("run_ended", "done", "inline")
    assert last["steps"]["tiles"]["worked"] == 3
    assert last["peak_rss_bytes"] == ran.result.peak_rss_bytes > 1_000_000
    phases = [line["phase"] for line in of(lines, "phase_began")]
    assert phases == ["sources", "samples", "exports", "lock", "closing"]


def test_an_unchanged_run_tells_that_nothing_ran(small: World) -> None:
    small.run()
    small.run().assert_nothing_done()
    lines = journal(small)
    assert Counter(line["event"] for line in lines) == {
        "run_started": 1,
        "executor_chosen": 1,
        "phase_began": 5,
        "step_decided": 3,
        "step_finished": 4,
        "export_published": 1,
        "run_ended": 1,
    }
    assert lines[0]["run"] == 2
    assert all(line["reused_whole"] for line in of(lines, "step_finished"))


def test_a_plan_leaves_no_journal(small: World) -> None:
    small.plan()
    assert not (small.root / "cache/runs").exists()


def test_a_run_that_fails_says_why(small: World) -> None:
    small.file("photos/c.txt", "not numbers")
    assert small.run().result.status == "failed"
    last = journal(small)[-1]
    assert last["status"] == "failed"
    assert "1 of 3 samples failed" in last["error"]


def test_a_journal_without_space_is_a_note_and_the_dataset_stands(
    small: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Disk, operation: str, path: Path) -> None:
        if "runs" in path.parts:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Disk, "about_to", full)
    ran = small.run()
    assert ran.result.status == "done"
    (note,) = [event.text for event in ran.events if isinstance(event, Note)]
    assert note.startswith(f"{small.root}/cache/runs/")
    assert note.endswith("/events.jsonl: the journal of this run could not be written: no space left on device")
    assert ran.trees["out"]


def test_runs_are_told_by_the_api(small: World) -> None:
    small.run()
    small.run()
    newest, oldest = api.runs(small.root / "cache")
    assert (newest.steps_ran, newest.steps_reused, oldest.steps_ran, oldest.steps_reused) == (0, 4, 4, 0)
    story, bottleneck = api.run_story(small.root / "cache", oldest.id)
    assert story.steps["tiles"].images == 3
    assert sum(story.phases.values()) == pytest.approx(story.seconds, abs=0.01)
    assert bottleneck.sentence
    assert api.run_story(small.root / "cache", "last")[1].kind == "nothing_ran"
