"""What held a run up is named in one sentence, with its figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forge_pipeline.report.bottleneck import Bottleneck, name_bottleneck
from forge_pipeline.report.numbers import each_text
from forge_pipeline.report.story import StepStory, Story, read_story
from tests.report.journals import usual_run, write_journal


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """Return the story of a run whose workers were busy with `lr`."""
    return read_story(write_journal(tmp_path, usual_run()))


def named(story: Story, **changes: Any) -> tuple[str, str, str]:
    changed = replace(story, **changes)
    had = {phase: changed.workers * seconds for phase, seconds in changed.phases.items()}
    found = name_bottleneck(replace(changed, worker_seconds=had))
    assert 0 <= found.share <= 1
    return found.kind, found.sentence, found.advice


def test_a_step_that_keeps_the_workers_busy(story: Story) -> None:
    assert name_bottleneck(story) == Bottleneck(
        "step",
        14 / 16,
        "step 'lr' (resize.dpid) took 88 % of the work, 350 ms an image; workers were busy 89 %",
        "a cheaper setting of 'lr', or more cores: all 2 that it may use are at work",
    )


def test_cores_that_nobody_asked_for(story: Story) -> None:
    assert named(story, cores=8)[2] == "--workers 8: the machine has 8 cores"


def test_workers_that_wait_with_a_task_in_hand(story: Story) -> None:
    assert named(story, cores_busy=0.9, machine_busy=0.5) == (
        "waiting",
        "step 'lr' (resize.dpid) took 88 % of the work, 350 ms an image; workers were busy 89 %, "
        "but used 0.9 of 2 cores",
        "--executor processes, if the operator holds Python's lock; else the disk is slow: forge doctor measures it",
    )
    assert named(story, cores_busy=0.9, machine_busy=None, executor="processes")[2] == (
        "the disk is slow, or the workers are not on this machine: forge doctor measures the disk"
    )


def test_other_processes_that_take_the_cores(story: Story) -> None:
    assert named(story, cores_busy=0.9, machine_busy=0.98) == (
        "other_work",
        "step 'lr' (resize.dpid) took 88 % of the work, 350 ms an image; workers were busy 89 %, "
        "but used 0.9 of 2 cores: other processes kept the machine 98 % busy",
        "top  (and end what need not run now)",
    )


def test_a_gpu_that_is_busy(story: Story) -> None:
    assert named(story, gpu_busy=0.97) == (
        "gpu",
        "step 'lr' (resize.dpid) took 88 % of the work, 350 ms an image; workers were busy 89 %, and the GPU 97 %",
        "a faster GPU, or a second",
    )


def test_memory_that_is_not_there(story: Story) -> None:
    assert named(story, waited_for_memory_s=4.5) == (
        "memory",
        "tasks waited for memory in 4.5 s, 50 % of the work: the working sets in flight filled their 1.0 GB",
        "free memory or take a machine with more; more workers would not help",
    )


def test_a_select_that_decides_for_long(story: Story) -> None:
    assert named(story, task_seconds={"samples": 6.0}, deciding_seconds={"unique": 5.0, "clean": 1.0}) == (
        "deciding",
        "step 'unique' decided over its dataset for 5.0 s, 56 % of the work, and workers waited",
        "let an earlier step drop more samples",
    )


def test_one_long_task_that_others_wait_for(story: Story) -> None:
    assert named(story, tasks=9, task_seconds={"samples": 9.0}, task_longest_s=8.5) == (
        "one_task",
        "workers were busy 50 % of the time: one task took 8.5 s of 9.0 s, and others waited",
        "cut the longest source (a video, a large image) into parts",
    )


def test_a_scheduler_that_is_slower_than_its_workers(story: Story) -> None:
    assert named(story, tasks=1000, task_seconds={"samples": 3.6}, task_longest_s=0.01) == (
        "scheduler",
        "workers were busy 20 % of the time: the scheduler was looking up what is known, and recording what was done, "
        "for 1,000 tasks of 3.6 ms each",
        "fewer workers do the same",
    )


def test_an_export_that_is_written_slowly(story: Story) -> None:
    phases = {"samples": 1.0, "exports": 9.0}
    assert named(story, phases=phases, seconds=10.0, publishing_seconds={"out": 8.0}) == (
        "exports",
        "comparing and writing exports took 9.0 s, 90 %",
        "put the export on the disk of the cache, or on a faster one",
    )


def test_an_export_whose_inspection_is_the_work(story: Story) -> None:
    phases = {"samples": 1.0, "exports": 9.0}
    found = named(story, phases=phases, seconds=10.0, task_seconds={"exports": 17.0})
    assert found[1] == "step 'out' (export.pairs) took 100 % of the work, 25 ms an image; workers were busy 94 %"


@pytest.mark.parametrize(
    ("phase", "sentence"),
    [
        ("before", "reading the recipe and opening the cache took 9.0 s, 90 %"),
        ("sources", "looking at the sources took 9.0 s, 90 %"),
        ("verification", "running known actions again took 9.0 s, 90 %"),
        ("lock", "writing the lock took 9.0 s, 90 %"),
        ("closing", "closing the index, and ending the workers took 9.0 s, 90 %"),
    ],
)
def test_what_is_no_work_on_samples(story: Story, phase: str, sentence: str) -> None:
    assert named(story, phases={phase: 9.0, "samples": 1.0}, seconds=10.0)[:2] == (phase, sentence)


def test_a_run_in_which_nothing_ran(story: Story) -> None:
    steps = {"lr": StepStory("resize.dpid", reused_whole=True)}
    found = named(story, phases={"sources": 0.3, "samples": 0.1}, seconds=0.4, steps=steps, tasks=0, task_seconds={})
    assert found == ("nothing_ran", "nothing had to run; looking at the sources took 300 ms, 75 %", "")


def test_a_run_that_ended_before_anything_was_done(story: Story) -> None:
    changes = {"phases": {"before": 2.0}, "seconds": 2.0, "steps": {}, "tasks": 0, "status": "broke"}
    assert named(story, **changes)[1] == (
        "nothing was done yet; reading the recipe and opening the cache took 2.0 s, 100 %"
    )


def test_a_run_without_a_single_phase(story: Story) -> None:
    assert named(story, phases={}, seconds=0.0, steps={}, tasks=0)[0] == "nothing_ran"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ms"), (0.000012, "0.012 ms"), (0.00017, "0.17 ms"), (0.0063, "6.3 ms"), (0.0123, "12 ms"), (2.5, "2.5 s")],
)
def test_what_one_of_many_took_has_two_digits(seconds: float, text: str) -> None:
    assert each_text(seconds) == text
