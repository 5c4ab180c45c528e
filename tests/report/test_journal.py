"""The journal of a run: every event a line, soon enough, at no cost, and never a reason to fail."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from forge_pipeline.disk import Disk
from forge_pipeline.events import (
    AdmissionRefused,
    Bisected,
    Event,
    GpuSample,
    MachineSampled,
    Note,
    Quarantined,
    Retried,
    RunEnded,
    RunStarted,
    StepAdvanced,
    StepCounts,
    TaskFinished,
    TaskSubmitted,
)
from forge_pipeline.report import journal as journal_module
from forge_pipeline.report.journal import (
    EVENT_NAMES,
    Journal,
    event_line,
    field_names,
    forget_old,
    is_being_written,
    journal_folders,
    read_lines,
)
from tests.report.sample_run import EVENTS, RESULT

SAMPLE = MachineSampled(300, 200, 1000, 1.5, (GpuSample("H100", 0.5, 10, 80),), 0.25)


class FakeMeter:
    """Measures nothing; says how often it was asked."""

    peak_rss_bytes = 7

    def __init__(self) -> None:
        self.asked = 0

    def sample(self) -> MachineSampled:
        self.asked += 1
        return SAMPLE


class FullDisk(Disk):
    """Has room for so many changes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def about_to(self, operation: str, path: Path) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def write(cache: Path, *events: Event, **how: Any) -> list[dict[str, Any]]:
    """Write a journal and read it; run 1 is started and ended around the events."""
    with Journal(cache, lambda event: None, FakeMeter(), **how) as journal:
        for event in (RunStarted("r", {"a": "x.y"}, 1), *events, RunEnded(RESULT)):
            journal.announce(event)
    return lines_of(cache)


def lines_of(cache: Path) -> list[dict[str, Any]]:
    (folder,) = journal_folders(cache / "runs")
    return list(read_lines(folder / "events.jsonl"))


def test_every_event_is_a_line_with_its_time_its_name_and_its_fields(tmp_path: Path) -> None:
    found = write(
        tmp_path,
        Quarantined("photos", "photos/é.png", "truncated", "it ends early"),
        TaskSubmitted(1, "photos", 8, 4096),
        TaskFinished(1, "photos", 8, "broke", 0.25, 10, "w1"),
        Retried(2, "photos", 4, 2, "worker lost"),
        Bisected(1, "photos", 8, "ValueError: x"),
    )
    assert [line["event"] for line in found] == [
        "run_started",
        "quarantined",
        "task_submitted",
        "task_finished",
        "retried",
        "bisected",
        "run_ended",
    ]
    for line in found:
        assert line.pop("t") >= 0
        del line["event"]
    assert found[1] == {"step": "photos", "sample": "photos/é.png", "reason": "truncated", "message": "it ends early"}
    assert found[2] == {"task": 1, "step": "photos", "samples": 8, "memory_bytes": 4096}
    assert found[3] == {
        "task": 1,
        "step": "photos",
        "samples": 8,
        "status": "broke",
        "seconds": 0.25,
        "bytes_out": 10,
        "worker": "w1",
    }
    assert found[4] == {"task": 2, "step": "photos", "samples": 4, "attempt": 2, "reason": "worker lost"}
    assert found[5] == {"task": 1, "step": "photos", "samples": 8, "reason": "ValueError: x"}


def test_the_first_line_says_where_and_when(tmp_path: Path) -> None:
    first = write(tmp_path)[0]
    (folder,) = journal_folders(tmp_path / "runs")
    stamp, _, number = folder.name.partition("-")
    assert number == "000001"
    assert first["at"].replace("-", "").replace(":", "") == stamp
    assert first["pid"] == os.getpid()
    assert first["cores"] >= 1
    assert first["memory_bytes"] > 0
    assert (first["recipe"], first["steps"], first["run"]) == ("r", {"a": "x.y"}, 1)


def test_the_end_says_what_other_lines_have_not(tmp_path: Path) -> None:
    last = write(tmp_path)[-1]
    assert set(last) == {
        "t", "event", "status", "seconds", "steps", "error", "executor", "workers", "peak_rss_bytes",
    }  # fmt: skip
    assert last["steps"]["tiles"]["out"] == 1200


def test_nothing_stands_behind_the_end(tmp_path: Path) -> None:
    # A look at the machine that began before the run ended, and came back after it.
    assert [line["event"] for line in write(tmp_path, RunEnded(RESULT), Note("too late"))] == [
        "run_started",
        "run_ended",
    ]


def test_every_kind_of_event_has_a_name_and_can_be_spelled() -> None:
    assert EVENT_NAMES[TaskFinished] == "task_finished"
    for event in (*EVENTS, SAMPLE):
        assert json.loads(event_line(1.23456, event))["t"] == 1.2346
    assert json.loads(event_line(0, SAMPLE))["gpus"] == [
        {"name": "H100", "busy": 0.5, "memory_used_bytes": 10, "memory_bytes": 80}
    ]


def test_any_file_name_can_be_spelled() -> None:
    line = event_line(0, Quarantined("a", "a/\udcff.png", "x"))
    assert line.isascii()
    assert json.loads(line)["sample"] == "a/\udcff.png"


def test_nothing_is_written_before_a_run_begins(tmp_path: Path) -> None:
    with Journal(tmp_path, lambda event: None, FakeMeter()) as journal:
        journal.announce(Note("waiting"))
    assert list(tmp_path.iterdir()) == []


def test_what_came_before_the_run_began_is_not_lost(tmp_path: Path) -> None:
    with Journal(tmp_path, lambda event: None, FakeMeter()) as journal:
        journal.announce(Note("another run is using it"))
        journal.announce(RunStarted("r", {}, 1))
    assert [line["event"] for line in lines_of(tmp_path)] == ["run_started", "note"]


def test_a_short_run_measures_nothing_and_does_not_import_psutil(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from forge_pipeline.events import RunStarted\n"
        "from forge_pipeline.report.journal import Journal\n"
        f"with Journal(Path({str(tmp_path)!r}), print) as journal:\n"
        "    journal.announce(RunStarted('r', {}, 1))\n"
        "    assert journal.meter.peak_rss_bytes > 1_000_000\n"
        "print(sorted({'psutil', 'torch', 'ray', 'cv2', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_longer_run_is_measured_and_readable_while_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_TICK_S", 0.01)
    meter = FakeMeter()
    with Journal(tmp_path, lambda event: None, meter) as journal:
        journal.announce(RunStarted("r", {}, 1))
        journal.announce(TaskSubmitted(1, "a"))
        until = time.monotonic() + 20
        while len(lines_of(tmp_path)) < 3 and time.monotonic() < until:
            time.sleep(0.01)
        (folder,) = journal_folders(tmp_path / "runs")
        assert is_being_written(folder / "events.jsonl")
        assert {line["event"] for line in lines_of(tmp_path)} == {"run_started", "task_submitted", "machine_sampled"}
    assert meter.asked >= 1
    assert not is_being_written(folder / "events.jsonl")


def test_a_run_that_breaks_says_by_what(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it"), Journal(tmp_path, lambda event: None, FakeMeter()) as journal:
        journal.announce(RunStarted("r", {}, 1))
        raise ValueError("it\nbroke")
    last = lines_of(tmp_path)[-1]
    assert (last["event"], last["error"]) == ("run_broke", "ValueError: it broke")


def test_a_wait_for_memory_is_told_once_until_a_task_is_let_in(tmp_path: Path) -> None:
    refused = AdmissionRefused("memory", 10, 90, 95, 3)
    found = write(tmp_path, refused, refused, TaskSubmitted(1, "a"), refused, refused)
    assert [line["event"] for line in found].count("admission_refused") == 2
    assert found[1] | {"t": 0} == {
        "t": 0,
        "event": "admission_refused",
        "cause": "memory",
        "wanted_bytes": 10,
        "in_flight_bytes": 90,
        "budget_bytes": 95,
        "tasks": 3,
    }


def test_a_wait_for_a_worker_is_told_once_a_run(tmp_path: Path) -> None:
    refused = AdmissionRefused("slots")
    found = write(tmp_path, refused, TaskSubmitted(1, "a"), refused, TaskSubmitted(2, "a"), refused)
    assert [line["event"] for line in found].count("admission_refused") == 1


def test_progress_is_told_once_a_second(tmp_path: Path) -> None:
    now = [0.0]
    with Journal(tmp_path, lambda event: None, FakeMeter(), clock=lambda: now[0]) as journal:
        journal.announce(RunStarted("r", {}, 1))
        for tenth in range(30):
            now[0] = tenth / 10
            journal.announce(StepAdvanced("a", StepCounts("x.y", entered=tenth)))
            journal.announce(StepAdvanced("b", StepCounts("x.y", entered=tenth)))
    told = [(line["step"], line["counts"]["entered"]) for line in lines_of(tmp_path)[1:]]
    assert told == [("a", 0), ("b", 0), ("a", 10), ("b", 10), ("a", 20), ("b", 20)]


def test_events_of_many_threads_are_all_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_PENDING_MAX", 10)
    with Journal(tmp_path, lambda event: None, FakeMeter()) as journal:
        journal.announce(RunStarted("r", {}, 1))

        def work(first: int) -> None:
            for number in range(first, first + 500):
                journal.announce(TaskSubmitted(number, "a"))

        threads = [threading.Thread(target=work, args=(n * 500,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(line["task"] for line in lines_of(tmp_path)[1:]) == list(range(2000))


@pytest.mark.parametrize("room", [0, 1, 2, 3])
def test_a_journal_that_cannot_be_written_says_so_once(tmp_path: Path, room: int) -> None:
    told: list[Event] = []
    with Journal(tmp_path, told.append, FakeMeter(), disk=FullDisk(room)) as journal:
        journal.announce(RunStarted("r", {}, 1))
        for number in range(3):
            journal.announce(TaskSubmitted(number, "a"))
        journal.announce(RunEnded(RESULT))
    (note,) = told
    assert isinstance(note, Note)
    assert note.text.startswith(str(tmp_path / "runs"))
    assert note.text.endswith("events.jsonl: the journal of this run could not be written: no space left on device")


def test_a_cut_off_or_torn_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"t":0,"event":"note","text":"a"}\n\x89PNG torn\n{"t":1,"event":"note","text":"b"}\n{"t":2,"ev')
    assert [line["text"] for line in read_lines(path)] == ["a", "b"]


def test_the_last_fifty_are_kept_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for number in range(60):
        (runs / f"20261121T1000{number:02d}Z-{number:06d}").mkdir(parents=True)
    (runs / "mine").mkdir()
    forget_old(runs)
    assert [folder.name[-6:] for folder in journal_folders(runs)] == [f"{number:06d}" for number in range(10, 60)]
    assert (runs / "mine").is_dir()


def test_journals_are_in_the_order_of_time_though_the_index_was_deleted(tmp_path: Path) -> None:
    for name in ("20261121T100000Z-000042", "20261121T110000Z-000001", "20261121T110000Z-000002"):
        (tmp_path / name).mkdir()
    assert [folder.name[-2:] for folder in journal_folders(tmp_path)] == ["42", "01", "02"]


def test_a_cache_without_journals_has_none(tmp_path: Path) -> None:
    assert journal_folders(tmp_path / "runs") == []


def test_the_reference_names_every_event_and_its_fields() -> None:
    page = Path(__file__).parents[2] / "docs/reference/files.md"
    section = page.read_text().split("\n## The journal\n", 1)[1]
    rows = re.findall(r"^\| `(\w+)` \|.*\| ((?:`\w+` ?)+)\|$", section, re.MULTILINE)
    documented = {name: re.findall(r"`(\w+)`", fields) for name, fields in rows}
    fields = {name: [*field_names(kind)] for kind, name in EVENT_NAMES.items()}
    fields["run_started"] += ["at", "host", "pid", "cores", "memory_bytes"]
    fields["run_ended"] = ["status", "seconds", "steps", "error", "executor", "workers", "peak_rss_bytes"]
    fields["run_broke"] = ["error"]
    assert documented == fields
