"""Workers that die, hang or are killed: the sample that does it is set aside, everything else is kept."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from forge_pipeline import api, graph
from forge_pipeline.errors import EnvironmentFault, RecipeError
from forge_pipeline.events import Bisected, Event, Retried, TaskFinished, WorkerLost
from forge_pipeline.executors import process
from forge_steps._pixels import ImageCodec
from tests.engine.worlds import Ran, World
from tests.executors.conftest import breaking


def _undisturbed(world: World) -> Ran:
    """Run the same recipe where the sample that breaks is not there."""
    (world.root / "photos/photo06.txt").rename(world.root / "aside.txt")
    ran = world.run(cache="other")
    (world.root / "aside.txt").rename(world.root / "photos/photo06.txt")
    world.forget_exports()
    return ran


def _workers_of(pid: int) -> list[psutil.Process]:
    """List the worker processes that a process has started."""
    children = psutil.Process(pid).children(recursive=True)
    return [child for child in children if "popen_loky" in " ".join(child.cmdline())]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "ended"),
    [
        ("segv", "was killed by SIGSEGV 3 times"),
        ("exit", "ended with exit code 7 3 times"),
        ("kill", "was killed by SIGKILL 6 times"),
    ],
)
def test_a_sample_that_ends_its_worker_is_set_aside(world: World, how: str, ended: str) -> None:
    breaking(world, number=7, how=how)
    expected = _undisturbed(world)
    ran = world.run(executor="processes", workers=2)
    assert ran.result.status == "done"
    (failure,) = ran.result.failures
    assert (failure.step, failure.sample, failure.reason) == ("broken", "photos/photo06.txt", f"its worker {ended}")
    assert ran.trees["out"].keys() - {"rejects.jsonl"} == expected.trees["out"].keys() - {"rejects.jsonl"}
    assert [row["reason"] for row in ran.rows("rejects")] == ["worker_lost"]
    lost = [event.worker for event in ran.events if isinstance(event, WorkerLost)]
    assert [worker for worker in lost if not re.fullmatch(re.escape(platform.node()) + r":\d+", worker)] == []
    assert len(set(lost)) == len(lost) > 0


@pytest.mark.slow
def test_a_worker_that_dies_once_costs_nothing_but_time(world: World) -> None:
    breaking(world, number=7, how="segv", times=1)
    ran = world.run(executor="processes", workers=2)
    assert ran.result.status == "done"
    assert not ran.result.failures
    assert len(ran.rows()) == 12
    assert [event.attempt for event in ran.events if isinstance(event, Retried)] == [2]


@pytest.mark.slow
def test_a_lost_chunk_is_split_and_the_others_of_it_are_kept(world: World) -> None:
    # One of the first would go out alone: how long a sample takes is not known yet.
    breaking(world, number=45, how="segv", slow_s=0.005)
    world.files(**{f"photo{number:02}": f"{number} 5 9" for number in range(12, 60)})
    ran = world.run(executor="processes", workers=1)
    assert ran.result.status == "done"
    assert [failure.sample for failure in ran.result.failures] == ["photos/photo44.txt"]
    assert len(ran.rows()) == 59
    # On a busy machine chunks are smaller, and the half of one may be lost and split again.
    assert max(event.samples for event in ran.events if isinstance(event, Bisected)) > 1


@pytest.mark.slow
def test_a_sample_that_takes_too_long_fails_and_its_process_is_killed(world: World) -> None:
    breaking(world, "{timeout_s: 2}", number=7, how="hang")
    started = time.monotonic()
    ran = world.run(executor="processes", workers=2)
    assert time.monotonic() - started < 30
    assert ran.result.status == "done"
    (failure,) = ran.result.failures
    assert failure.sample == "photos/photo06.txt"
    assert failure.reason == "took longer than its `timeout_s` of 2 s"
    assert len(ran.rows()) == 11


@pytest.mark.slow
def test_a_timeout_is_tried_again_where_the_step_says_so(world: World) -> None:
    breaking(world, "{timeout_s: 2, retries: 1}", number=7, how="hang", times=1)
    ran = world.run(executor="processes", workers=2)
    assert not ran.result.failures
    assert len(ran.rows()) == 12


def test_a_thread_that_hangs_is_given_up_and_not_waited_for(world: World) -> None:
    breaking(world, "{timeout_s: 1}", number=7, how="sleep")
    started = time.monotonic()
    ran = world.run(executor="threads", workers=2)
    assert time.monotonic() - started < 20
    assert [failure.reason for failure in ran.result.failures] == ["took longer than its `timeout_s` of 1 s"]
    assert len(ran.rows()) == 11


def test_a_thread_that_hangs_is_given_up_while_others_go_on(world: World) -> None:
    breaking(world)
    world.run(cache="other")  # what is imported for the first image takes no part of what is timed
    world.forget_exports()
    breaking(world, "{timeout_s: 0.4}", number=1, how="sleep", slow_s=0.03)
    world.files(**{f"photo{number:02}": f"{number} 5 9" for number in range(12, 40)})
    ran = world.run(executor="threads", workers=2)
    lost = next(at for at, event in enumerate(ran.events) if isinstance(event, WorkerLost))
    worker = ran.events[lost].worker
    assert re.fullmatch(re.escape(f"{platform.node()}:{os.getpid()}") + r":forge-worker-\d", worker)
    assert ran.events[lost] == WorkerLost(worker, "its worker hangs in a thread in step 'broken'", (1,))
    assert any(isinstance(event, TaskFinished) for event in ran.events[lost:])


def test_the_time_in_which_a_child_is_encoded_is_not_its_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(world, "{timeout_s: 0.5}")
    encode = ImageCodec.encode

    def slowly(self: ImageCodec, value: Any) -> bytes:
        if not slow:
            slow.append(True)
            time.sleep(1)
        return encode(self, value)

    slow: list[bool] = []
    monkeypatch.setattr(ImageCodec, "encode", slowly)
    ran = world.run(executor="threads", workers=2)
    assert slow
    assert not ran.result.failures


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "threads", "processes"])
def test_what_breaks_for_a_passing_reason_is_tried_again(world: World, executor: str) -> None:
    breaking(world, "{retries: 2}", number=7, how="raise", times=2)
    ran = world.run(executor=executor, workers=2)
    assert not ran.result.failures
    assert len(list((world.root / "marks").iterdir())) == 3
    retried = [event for event in ran.events if isinstance(event, Retried)]
    why = "RuntimeError: nobody foresaw this"
    assert [event._replace(task=0) for event in retried] == [Retried(0, "broken", 1, n, why) for n in (2, 3)]


@pytest.mark.parametrize("executor", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_the_waits_between_attempts_count_against_no_time_limit(world: World, executor: str) -> None:
    breaking(world, "{retries: 3, timeout_s: 0.5}", number=7, how="raise")  # the waits are 0.1, 0.2 and 0.4 s
    ran = world.run(executor=executor, workers=2)
    assert [failure.reason for failure in ran.result.failures] == ["RuntimeError: nobody foresaw this"]
    assert len(list((world.root / "marks").iterdir())) == 4
    assert [event.attempt for event in ran.events if isinstance(event, Retried)] == [2, 3, 4]


@pytest.mark.slow
def test_a_process_tries_a_known_failure_again_where_one_sample_is_asked_for(world: World) -> None:
    breaking(world, number=7, how="refuse")
    world.run()
    for attempts in (2, 3):
        ran = world.run(executor="processes", workers=1, only="photos/photo06.txt")
        assert [failure.reason for failure in ran.result.failures] == ["it is refused"]
        assert len(list((world.root / "marks").iterdir())) == attempts


@pytest.mark.timeout(60)
def test_workers_begin_while_the_recipe_is_compiled_and_never_for_an_unchanged_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[process.WorkerProcess] = []
    compiled: list[int] = []
    start, compile_graph = process.WorkerProcess._start, graph.compile_graph

    def note_start(self: process.WorkerProcess) -> None:
        started.append(self)
        start(self)

    def note_compiled(*arguments: Any) -> Any:
        compiled.append(len(started))
        return compile_graph(*arguments)

    monkeypatch.setattr(process.WorkerProcess, "_start", note_start)
    monkeypatch.setattr(graph, "compile_graph", note_compiled)
    breaking(world)
    world.settle()
    assert len(world.run(executor="processes", workers=2).rows()) == 12
    assert (len(started), compiled) == (2, [2])
    world.run(executor="processes", workers=2).assert_nothing_done()
    world.run(executor="threads", workers=2).assert_nothing_done()
    assert len(started) == 2
    assert _workers_of(os.getpid()) == []


def test_workers_that_began_end_with_a_recipe_that_is_wrong(world: World) -> None:
    breaking(world)
    world.recipe_path.write_text(world.recipe_path.read_text().replace("toy.write", "toy.wrote"))
    with pytest.raises(RecipeError, match=r"toy\.wrote"):
        world.run(executor="processes", workers=2)
    assert _workers_of(os.getpid()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("kills_max", "status"), [(20, "done"), (2, "given up")])
def test_workers_that_are_killed_while_they_start_are_started_again(
    world: World, monkeypatch: pytest.MonkeyPatch, kills_max: int, status: str
) -> None:
    monkeypatch.setattr(process, "_KILLS_MAX", kills_max)
    breaking(world)
    started: list[int] = []
    start = process.WorkerProcess._start

    def start_and_kill(self: process.WorkerProcess) -> None:
        start(self)
        if len(started) < 5:
            self._pool.submit(time.sleep, 0)  # loky starts its process with the first that it is asked for
            [worker] = self._pool._processes.values()
            started.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)

    monkeypatch.setattr(process.WorkerProcess, "_start", start_and_kill)
    if status == "done":
        ran = world.run(executor="processes", workers=1)
        assert (ran.result.status, len(started), len(ran.rows())) == ("done", 5, 12)
        assert not ran.result.failures
        return
    with pytest.raises(EnvironmentFault) as raised:
        world.run(executor="processes", workers=1)
    assert str(raised.value) == (
        "a worker process was killed 2 times before it had done anything\n"
        "  hint: fewer --workers, where memory is short: `forge doctor` tells what there is"
    )


@pytest.mark.slow
def test_workers_that_are_killed_all_the_time_get_it_done(world: World) -> None:
    world.files(**{f"photo{number:02}": f"{number} 5 9" for number in range(12, 200)})
    breaking(world)
    expected = world.run(executor="inline", cache="other")
    world.forget_exports()
    breaking(world, slow_s=0.1)  # no key: the same work, and time to be killed in
    ended = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        # Ever more seldom: on a busy machine a worker may take longer than this to start, and none would ever work.
        while not ended.wait(2.0 + len(killed) / 2):
            workers = [p for p in psutil.Process().children(recursive=True) if "loky" in " ".join(p.cmdline())]
            busy = [p for p in workers if "resource_tracker" not in " ".join(p.cmdline())]
            if busy:
                victim = busy[len(killed) % len(busy)]
                killed.append(victim.pid)
                victim.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        ran = world.run(executor="processes", workers=2)
    finally:
        ended.set()
        killer.join()
    assert len(killed) >= 3
    ran.assert_same_as(expected)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("executor", ["threads", "processes"])
@pytest.mark.parametrize("given", [0, 1])
def test_a_system_that_gives_no_more_threads_ends_the_run(
    world: World, monkeypatch: pytest.MonkeyPatch, executor: str, given: int
) -> None:
    breaking(world)
    start, started = threading.Thread.start, []

    def refuse(self: threading.Thread) -> None:
        if self.name.startswith("forge-worker"):
            if len(started) == given:
                raise RuntimeError("can't start new thread")
            started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match=r"^can't start new thread$"):
        world.run(executor=executor, workers=2)


@pytest.mark.timeout(60)
def test_a_system_without_shared_memory_has_workers_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "_SHARED_MEMORY", tmp_path / "not/there")
    breaking(world)
    assert len(world.run(executor="processes", workers=1).rows()) == 12


@pytest.mark.timeout(60)
def test_disks_that_are_full_when_a_worker_starts_end_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[Path] = []

    def full(path: Path) -> Any:
        refused.append(path)
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(process, "BeaconReader", full)
    breaking(world)
    with pytest.raises(EnvironmentFault) as raised:
        world.run(executor="processes", workers=1)
    memory, disk = refused[2:4]  # the first two were of one that was begun before there was work
    assert (memory.parent, disk.parent) == (Path("/dev/shm"), Path(tempfile.gettempdir()))
    assert str(raised.value) == f"disk full: {disk} could not be written\n  hint: free some space and run again"
    assert [path for path in refused if path.exists()] == []


@pytest.mark.slow
def test_a_worker_that_works_has_no_file_that_a_kill_could_leave(world: World) -> None:
    breaking(world)
    seen: list[list[Path]] = []

    def look(event: Event) -> None:
        if isinstance(event, TaskFinished):
            folders = (process._SHARED_MEMORY, Path(tempfile.gettempdir()))
            seen.append([path for folder in folders for path in folder.glob(f"forge-beacon-{os.getpid()}-*")])

    result = api.run(world.recipe_path, world.options(executor="processes", workers=1), look)
    assert result.status == "done"
    assert seen and not any(seen)


@pytest.mark.slow
def test_a_worker_that_cannot_begin_says_why(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refusing = tmp_path / "refusing/sitecustomize.py"
    refusing.parent.mkdir()
    refusing.write_text(
        "import sqlite3\n"
        "def refuse(*_, **__):\n"
        "    raise OSError(24, 'Too many open files')\n"
        "sqlite3.connect = refuse\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(refusing.parent), *sys.path]))
    breaking(world)
    with pytest.raises(EnvironmentFault) as raised:
        world.run(executor="processes", workers=1)
    assert str(raised.value) == (
        "a worker process could not begin: [Errno 24] Too many open files\n  hint: forge doctor, or --executor threads"
    )


@pytest.mark.slow
def test_no_worker_outlives_its_run(world: World) -> None:
    breaking(world, slow_s=0.5)
    code = (
        "import sys; from pathlib import Path; from forge_pipeline import api;"
        "root = Path(sys.argv[1]);"
        "api.run(root / 'toy.yaml', api.Options(directory=root, cache=root / 'cache', executor='processes', workers=2),"
        " lambda event: None)"
    )
    run = subprocess.Popen([sys.executable, "-c", code, str(world.root)], cwd=Path(__file__).parents[2])
    workers: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while len(workers) < 2 and time.monotonic() < deadline:
        workers = _workers_of(run.pid)
        time.sleep(0.1)
    assert len(workers) >= 2
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    again = world.run(executor="threads", workers=2)
    assert again.result.status == "done", again.result.failures
    assert len(again.rows()) == 12


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_of_a_job_finishes_what_is_in_flight(world: World, number: signal.Signals) -> None:
    breaking(world, number=2, times=0, slow_s=1.0)  # the second leaves a mark, and the third begins
    code = "import sys; from forge_pipeline.cli.main import forge_run; sys.exit(forge_run(sys.argv[1:]))"
    words = ["toy.yaml", "--cache", "cache", "--executor", "processes", "--workers", "1"]
    run = subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=world.root, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not list((world.root / "marks").iterdir()):
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)  # until the third is in its worker
    os.killpg(run.pid, number)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    [journal] = (world.root / "cache/runs").glob("*/events.jsonl")
    events = [json.loads(line)["event"] for line in journal.read_text().splitlines()]
    assert "task_finished" in events
    assert "worker_lost" not in events


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["a#b", "a?b=c", "a%20b c"])
def test_a_cache_may_have_any_name(world: World, cache: str) -> None:
    breaking(world)
    beside = {path.name for path in world.root.iterdir()}
    ran = world.run(cache=cache, executor="processes", workers=1)
    assert (ran.result.status, len(ran.rows())) == ("done", 12)
    assert {path.name for path in world.root.iterdir()} - beside == {cache, "out", "toy.lock"}
