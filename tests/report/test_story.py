"""A journal read back: throughput, where the time went, how the run ended."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from forge_pipeline.events import AdmissionRefused, RunEnded, StepFinished, TaskSubmitted, WorkersCounted
from forge_pipeline.report.journal import Journal
from forge_pipeline.report.story import RunLine, find_run, list_runs, read_story
from tests.report.journals import LR, PHOTOS, usual_run, without, write_journal


def test_throughput_is_of_the_time_in_which_a_step_was_active(tmp_path: Path) -> None:
    lr = read_story(write_journal(tmp_path, usual_run())).steps["lr"]
    assert lr.active_seconds == 8.0  # from 2.0, when it was first told of, to 10.0
    assert lr.images_per_s == 5.0
    assert lr.megapixels_per_s == 10.0
    assert lr.seconds_per_image == 0.35
    assert lr.reasons == ("first run",)


def test_a_step_that_was_over_before_it_was_told_of_is_active_for_its_worker_time(tmp_path: Path) -> None:
    quick = replace(PHOTOS, seconds=1.0)
    timed = [(0.0, usual_run()[0][1]), (0.0, usual_run()[1][1]), (5.0, StepFinished("photos", quick))]
    photos = read_story(write_journal(tmp_path, timed)).steps["photos"]
    assert photos.active_seconds == 0.5  # two workers did it


def test_phases_add_up_to_the_run(tmp_path: Path) -> None:
    story = read_story(write_journal(tmp_path, usual_run()))
    assert dict(story.phases) == {"before": 0.5, "sources": 0.5, "samples": 9.0, "exports": 1.0, "lock": 0.5}
    assert sum(story.phases.values()) == story.seconds == 11.5


def test_workers_are_busy_for_what_their_tasks_took(tmp_path: Path) -> None:
    story = read_story(write_journal(tmp_path, usual_run()))
    assert story.busy("samples") == pytest.approx(16 / 18)
    assert story.busy("exports") == 0.5
    assert story.busy("sources") is None


def test_workers_of_a_cluster_count_for_as_long_as_they_are_there(tmp_path: Path) -> None:
    timed = [*usual_run(), (2.0, WorkersCounted(4)), (7.0, WorkersCounted(3))]
    story = read_story(write_journal(tmp_path, timed))
    assert story.busy("samples") == 16 / (1 * 2 + 5 * 4 + 3 * 3)
    assert story.workers == 3


def test_the_machine_is_what_samples_say_of_it(tmp_path: Path) -> None:
    story = read_story(write_journal(tmp_path, usual_run()))
    assert story.cores_busy == 1.8  # the first sample has nothing to be compared with
    assert story.machine_busy == 0.95
    assert story.available_least_bytes == 3_000_000_000
    assert story.peak_rss_bytes == 900_000_000
    assert story.gpu_busy is None


def test_a_wait_for_memory_lasts_until_a_task_is_let_in(tmp_path: Path) -> None:
    timed = [
        *usual_run(),
        (5.0, AdmissionRefused("memory", 10, 90, 95)),
        (7.5, TaskSubmitted(9, "photos")),
        (8.0, AdmissionRefused("slots")),
        (8.5, TaskSubmitted(10, "photos")),
    ]
    assert read_story(write_journal(tmp_path, timed)).waited_for_memory_s == 2.5


def test_a_run_that_was_killed_is_told_as_far_as_it_got(tmp_path: Path) -> None:
    story = read_story(write_journal(tmp_path, [one for one in usual_run() if one[0] < 9.5]))
    assert (story.status, story.seconds) == ("cut off", 9.0)
    assert story.steps["lr"].images == 40
    # The first task took 8 s; the second has been out since it came back, for no time at all.
    assert story.busy("samples") == 8 / 16
    assert story.peak_rss_bytes == 300_000_000


def test_tasks_that_are_out_count_as_work_of_a_run_that_was_killed(tmp_path: Path) -> None:
    killed = [one for one in usual_run() if one[0] < 9.0]
    story = read_story(write_journal(tmp_path, killed))
    assert story.seconds == 4.0
    assert story.busy("samples") == 1.0  # two workers, two tasks, 3 s


def test_runs_are_listed_the_newest_first(tmp_path: Path) -> None:
    folder = write_journal(tmp_path, usual_run())
    folder.rename(folder.with_name("20261120T100000Z-000001"))
    interrupted = replace(usual_run()[-1][1].result, status="interrupted", steps={"lr": LR, "x": replace(LR, ran=0)})  # type: ignore[union-attr]
    folder = write_journal(tmp_path, [*without(usual_run(), RunEnded), (11.5, RunEnded(interrupted))])
    folder.rename(folder.with_name("20261120T110000Z-000002"))
    folder = write_journal(tmp_path, without(usual_run(), RunEnded))
    at = json.loads((folder / "events.jsonl").read_text().splitlines()[0])["at"]
    second, third = list_runs(tmp_path)[1:]
    assert list_runs(tmp_path)[0] == RunLine(folder.name, "sr", at, "cut off", 11.0)
    assert second == RunLine("20261120T110000Z-000002", "sr", second.at, "interrupted", 11.5, 1, 1, 0)
    assert third == RunLine("20261120T100000Z-000001", "sr", third.at, "done", 11.5, 3, 0, 1)


def test_a_run_that_goes_on_is_running(tmp_path: Path) -> None:
    with Journal(tmp_path, lambda event: None) as journal:
        journal.announce(usual_run()[0][1])
        assert [run.status for run in list_runs(tmp_path)] == ["running"]
    assert [run.status for run in list_runs(tmp_path)] == ["cut off"]


def test_a_folder_without_a_journal_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "runs/20261120T100000Z-000001").mkdir(parents=True)
    torn = tmp_path / "runs/20261120T100001Z-000002"
    torn.mkdir()
    (torn / "events.jsonl").write_text('{"t":0,"ev')
    assert list_runs(tmp_path) == []


def test_a_run_is_found_by_its_id_its_number_or_as_the_last(tmp_path: Path) -> None:
    names = ["20261120T100000Z-000001", "20261120T110000Z-000007", "20261121T100000Z-000001"]
    for name in names:
        (tmp_path / "runs" / name).mkdir(parents=True)
    for asked, found in {"last": 2, "7": 1, "1": 2, "000007": 1, names[0]: 0}.items():
        assert find_run(tmp_path, asked) == tmp_path / "runs" / names[found]
    assert find_run(tmp_path, "8") is None
    assert find_run(tmp_path, "..") is None


def test_a_cache_without_runs_has_no_last(tmp_path: Path) -> None:
    assert find_run(tmp_path, "last") is None
