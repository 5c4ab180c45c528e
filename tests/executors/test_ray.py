"""Ray: the same bytes on one node, on three, and when one of them is gone; other code is refused; bytes that travel."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from forge_pipeline import machine
from forge_pipeline.cache.folder import FolderStore
from forge_pipeline.cache.store import PayloadMissing
from forge_pipeline.digest import digest_bytes
from forge_pipeline.errors import CommandError, EnvironmentFault
from forge_pipeline.events import (
    AdmissionRefused,
    BudgetChanged,
    TaskFinished,
    TaskSubmitted,
    WorkerLost,
    WorkersCounted,
)
from forge_pipeline.executors import carried, elsewhere, ray_cluster
from forge_pipeline.executors import ray as executor_module
from forge_pipeline.executors.carried import CarriedStore
from forge_pipeline.executors.demand import Room
from forge_pipeline.executors.ray_cluster import Address, read_address
from tests.engine.worlds import Ran, World
from tests.executors.clusters import RAY_MARKS, Nodes
from tests.executors.conftest import breaking

pytestmark = list(RAY_MARKS)
MODEL = Path(__file__).with_name("model_steps.py")
WAIT_S = 60
_FORGE_RUN = "import sys; from forge_pipeline.cli.main import forge_run; sys.exit(forge_run(sys.argv[1:]))"


def _slow(world: World, slow_s: float, resources: str = "{}") -> None:
    """Write a recipe whose second step takes its time."""
    shutil.copy(MODEL, world.root / MODEL.name)
    spelled = json.dumps({"marks": str(world.root / "marks"), "slow_s": slow_s})
    world.recipe(
        f"""
        photos: {{use: toy.read, with: {{path: photos}}}}
        slow: {{use: toy.slow, from: photos, resources: {resources}, with: {spelled}}}
        more: {{use: toy.add, from: slow}}
        out: {{use: toy.write, from: more, with: {{path: out}}}}
        """,
        **{"import": ["./toy_steps.py", "./model_steps.py"]},
    )


def _forget_marks(world: World) -> None:
    for mark in (world.root / "marks").iterdir():
        mark.unlink()


def _wait_for_marks(world: World, count: int, processes: int = 1, running: subprocess.Popen[str] | None = None) -> None:
    """Wait until so many images were begun, by so many processes."""
    until = time.monotonic() + WAIT_S
    names: list[str] = []
    while len(names) < count or len({name.split("-")[1] for name in names}) < processes:
        assert time.monotonic() < until, f"after {WAIT_S} s: {names}"
        assert running is None or running.poll() is None, running.communicate()
        time.sleep(0.02)
        names = [mark.name for mark in (world.root / "marks").iterdir()]


def _start(world: World, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _FORGE_RUN, "toy.yaml", "--cache", "cache", *words],
        cwd=world.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


# --- one cluster, node by node --------------------------------------------------------------------


def test_one_node_gives_the_same_bytes_as_inline(world: World, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(world)
    expected = world.run(cache="other")
    world.forget_exports()
    monkeypatch.setenv("RAY_ADDRESS", nodes.be(1).address)
    ran = world.run(executor=None, ray_address="auto")
    ran.assert_same_as(expected)
    assert (ran.result.executor, ran.result.workers) == ("ray", 1)
    assert [path.suffix for path in world.payloads() if path.suffix == ".probe"] == []
    world.run(executor="ray", ray_address="0.0.0.0:1").assert_nothing_done()


def test_a_sample_that_ends_or_holds_its_worker_is_set_aside(world: World, nodes: Nodes) -> None:
    breaking(world, number=7, how="segv")
    ran = world.run(executor="ray", ray_address=nodes.be(1).address)
    (failure,) = ran.result.failures
    assert (failure.sample, failure.reason) == ("photos/photo06.txt", "its worker was killed by SIGSEGV 3 times")
    breaking(world, number=7, how="hang", resources="{timeout_s: 4}")
    ran = world.run(executor="ray", ray_address=nodes.address)
    (failure,) = ran.result.failures
    assert (failure.sample, failure.reason) == ("photos/photo06.txt", "took longer than its `timeout_s` of 4 s")


def test_a_worker_with_other_code_refuses(world: World, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(world)
    own = elsewhere.own_badge(["numpy"])
    badge = elsewhere.Badge(own.engine, "0123456789abcdef", own.python, {"numpy": "1.0"})
    monkeypatch.setattr(elsewhere, "own_badge", lambda libraries: badge)
    with pytest.raises(EnvironmentFault) as caught:
        world.run(executor="ray", ray_address=nodes.be(1).address)
    host = os.uname().nodename
    assert str(caught.value) == (
        f"ray: a worker on {host} would give other results: the operators' code is {own.operators[:12]} there, "
        f"0123456789ab in the run; numpy is {own.libraries['numpy']} there, 1.0 in the run\n"
        "  hint: install the same versions on every node (pip install -c constraints.txt ...), then `ray stop` and "
        "`ray start`"
    )
    assert world.payloads() == []


def test_bytes_travel_where_nothing_is_shared(world: World, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    _frames(world)
    expected = world.run(cache="other")
    world.forget_exports()
    _pretend_another_machine(monkeypatch)
    ran = world.run(executor="ray", ray_address=nodes.be(1).address)
    ran.assert_same_as(expected)
    host = os.uname().nodename
    assert ran.notes == [
        f"ray: {host} does not see the store (what the run has put there is not found): images travel with their tasks"
    ]
    world.run().assert_nothing_done()


def test_another_machine_uses_a_store_that_it_reaches(
    world: World, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _frames(world)
    expected = world.run(cache="other")
    world.forget_exports()
    monkeypatch.setattr(elsewhere, "machine_identity", lambda: "another")
    (world.root / "shared").mkdir()
    url = f"file://{world.root / 'shared'}"
    ran = world.run(executor="ray", ray_address=nodes.be(1).address, store=url)
    ran.assert_same_as(expected)
    assert ran.notes == []
    shared = [path for path in (world.root / "shared/payloads").rglob("*") if path.is_file()]
    assert {path.stem[:40] for path in shared} == {path.stem for path in world.payloads("other")}
    assert world.payloads() == []


def _frames(world: World) -> None:
    """Write a recipe that cuts images in parts, and keeps what two of its steps make."""
    world.recipe(
        """
        photos: {use: toy.read, with: {path: photos}}
        parts: {use: toy.frames, from: photos, with: {size: 1}}
        bright: {use: toy.keep, from: parts, with: {least: 4}}
        more: {use: toy.add, from: bright, with: {by: draw}}
        out: {use: toy.pair, from: {a: bright, b: more}, with: {path: out}}
        """
    )


def _pretend_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell workers of a machine that is not theirs, of a probe and of files that are not there."""
    put_probe = elsewhere.put_probe

    def put_and_remove(store: Any) -> Any:
        payload, data = put_probe(store)
        store.remove(payload)
        return payload, data

    monkeypatch.setattr(elsewhere, "put_probe", put_and_remove)
    monkeypatch.setattr(elsewhere, "machine_identity", lambda: "another")
    monkeypatch.setattr(executor_module, "file_stamp", lambda path: (0, 1))


def test_what_is_out_is_bounded_by_bytes(world: World, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(world)
    rooms: list[Room] = []
    start = ray_cluster.Cluster.start

    def watched(cluster: ray_cluster.Cluster, worker: Any, room: Room, *rest: Any) -> Any:
        rooms.append(room)
        return start(cluster, worker, room, *rest)

    monkeypatch.setattr(ray_cluster.Cluster, "start", watched)
    ran = world.run(executor="ray", ray_address=nodes.be(1).address, memory="100")
    assert _most_out(ran) == 1
    assert {event.cause for event in ran.events if isinstance(event, AdmissionRefused)} == {"memory"}
    assert set(rooms) == {Room(1.0, 0.0, 1 << 20)}  # a chunk is said to need a megabyte at least
    ran = world.run(cache="other", executor="ray", ray_address=nodes.address)
    assert _most_out(ran) == 4  # one that runs, and some that wait for it


@pytest.mark.parametrize("larger", [True, False])
def test_a_sample_is_too_large_where_no_node_holds_it(
    world: World, nodes: Nodes, monkeypatch: pytest.MonkeyPatch, larger: bool
) -> None:
    real = machine.look_at_machine()._replace(memory_available_bytes=1 << 20)
    monkeypatch.setattr(machine, "look_at_machine", lambda: real)
    # The nodes are on this machine: they have more than the driver is told that there is, and less than the other.
    needed = 100 << 20 if larger else 1 << 50
    breaking(world, resources=f"{{memory_bytes: {needed}}}")
    ran = world.run(executor="ray", ray_address=nodes.be(1).address, sets=("steps.broken.max_errors=12",))
    assert ran.counts("failed") == ({} if larger else {"broken": 12})
    for row in ran.rows("rejects"):
        has = re.fullmatch(
            r"its working set is estimated at 1,073,741,824 MiB, and ([\d,]+) MiB of memory are available\n"
            r"  hint: run it on a larger machine, or set `resources: \{memory_bytes: N\}` on 'broken'",
            row["message"],
        )
        assert has
        assert int(has[1].replace(",", "")) > 100


def _most_out(ran: Ran) -> int:
    out = most = 0
    for event in ran.events:
        out += isinstance(event, TaskSubmitted) - isinstance(event, TaskFinished)
        most = max(most, out)
    return most


def test_a_step_that_asks_for_more_than_any_node_has_is_refused(world: World, nodes: Nodes) -> None:
    breaking(world, resources="{cpus: 64}")
    with pytest.raises(EnvironmentFault) as caught:
        world.run(executor="ray", ray_address=nodes.be(1).address)
    assert str(caught.value) == (
        "ray: step 'photos' and what follows it ask for 64 cores, and no node has more than 1\n"
        "  hint: lower the `resources` of the step, or start a node that has them"
    )


def test_a_node_that_is_lost_costs_nothing_but_time(world: World, nodes: Nodes) -> None:
    _slow(world, 0.0)
    expected = world.run(cache="other")
    world.forget_exports()
    nodes.be(3)
    _slow(world, 0.5)
    _forget_marks(world)

    def lose() -> None:
        _wait_for_marks(world, 3, processes=3)
        nodes.lose_one()

    thread = threading.Thread(target=lose)
    thread.start()
    ran = world.run(executor="ray", ray_address=nodes.address)
    thread.join()
    assert ran.trees == expected.trees
    assert ran.digests == expected.digests
    lost = {event.reason for event in ran.events if isinstance(event, WorkerLost)}
    assert lost == {"its worker was lost with its node"}
    assert next(event.workers for event in ran.events if isinstance(event, WorkersCounted)) == 3
    assert not [event for event in ran.events if isinstance(event, BudgetChanged)]


def test_a_run_whose_driver_is_killed_is_resumed_by_threads(world: World, nodes: Nodes) -> None:
    _slow(world, 0.0)
    expected = world.run(cache="other")
    world.forget_exports()
    _forget_marks(world)
    _slow(world, 0.4)
    with _start(world, "--ray-address", nodes.be(1).address) as process:
        _wait_for_marks(world, 6, running=process)  # of 12; the index commits twice a second
        process.kill()
    _slow(world, 0.0)
    ran = world.run(executor="threads", workers=2)
    assert (ran.trees, ran.digests) == (expected.trees, expected.digests)
    assert 0 < ran.counts("ran")["slow"] < 12


def test_a_model_is_loaded_once_for_each_device(world: World, nodes: Nodes) -> None:
    shutil.copy(MODEL, world.root / MODEL.name)
    marks = world.root / "marks"
    world.recipe(
        f"""
        photos: {{use: toy.read, with: {{path: photos}}, cache: keep}}
        kept: {{use: toy.model, from: photos, with: {json.dumps({"marks": str(marks)})}}}
        out: {{use: toy.write, from: kept, with: {{path: out}}}}
        """,
        **{"import": ["./toy_steps.py", "./model_steps.py"]},
    )
    expected = world.run(cache="other")
    world.forget_exports()
    _forget_marks(world)
    nodes.be(1).add(num_cpus=2, num_gpus=2)
    ran = world.run(executor="ray", ray_address=nodes.address)
    nodes.be(1)
    ran.assert_same_as(expected)
    devices = [mark.name.split("-")[1] for mark in marks.iterdir() if not mark.name.startswith("device-none")]
    assert sorted(devices) == sorted(set(devices))
    assert {"0"} <= set(devices) <= {"0", "1"}


def test_who_keeps_a_model_makes_way_for_steps_that_need_its_core(world: World, nodes: Nodes) -> None:
    shutil.copy(MODEL, world.root / MODEL.name)
    spelled = json.dumps({"marks": str(world.root / "marks")})
    world.recipe(
        f"""
        photos: {{use: toy.read, with: {{path: photos}}, cache: keep}}
        kept: {{use: toy.model, from: photos, resources: {{cpus: 1}}, cache: keep, with: {spelled}}}
        out: {{use: toy.write, from: kept, with: {{path: out}}}}
        """,
        **{"import": ["./toy_steps.py", "./model_steps.py"]},
    )
    ran = world.run(executor="ray", ray_address=nodes.be(1).address)
    assert (ran.result.status, ran.result.workers, len(ran.rows())) == ("done", 1, 12)


def test_the_only_node_that_a_step_can_run_on_is_missed_when_it_is_gone(world: World, nodes: Nodes) -> None:
    _slow(world, 0.5, resources="{cpus: 2}")
    nodes.be(1).add(num_cpus=2)

    def lose() -> None:
        _wait_for_marks(world, 1)
        nodes.lose_one()

    thread = threading.Thread(target=lose)
    thread.start()
    with pytest.raises(EnvironmentFault) as caught:
        world.run(executor="ray", ray_address=nodes.address)
    thread.join()
    assert str(caught.value) == (
        "ray: step 'photos' and what follows it ask for 2 cores, and no node has more than 1\n"
        "  hint: lower the `resources` of the step, or start a node that has them"
    )


def test_a_cluster_that_answers_no_more_is_named(world: World, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    breaking(world)
    answers = [ray.nodes, ray.nodes]
    monkeypatch.setattr(ray_cluster, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(ray, "nodes", lambda: answers.pop()() if answers else _refuse())
    with pytest.raises(EnvironmentFault) as caught:
        world.run(executor="ray", ray_address=nodes.be(1).address)
    assert str(caught.value) == "ray: the cluster answers no more: gone for good\n  hint: ray status"


def _refuse() -> None:
    raise ConnectionError("gone for good")


# --- a cluster that is started for the run --------------------------------------------------------


def test_ctrl_c_ends_a_local_cluster_without_a_traceback(world: World) -> None:
    _slow(world, 0.4)
    with _start(world, "--ray-address", "local", "--workers", "2") as process:
        _wait_for_marks(world, 4, running=process)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, err
    assert "Traceback" not in out + err
    assert "interrupted" in err
    _slow(world, 0.0)
    ran = world.run(executor="threads", workers=2)
    assert ran.result.status == "done"
    assert 0 < ran.counts("ran")["slow"] < 12


# --- without a cluster ----------------------------------------------------------------------------


def test_an_address_that_does_not_answer_is_named(world: World) -> None:
    breaking(world)
    with pytest.raises(EnvironmentFault) as caught:
        world.run(executor="ray", ray_address="127.0.0.1:1")
    assert str(caught.value) == (
        "ray: no cluster answers at 127.0.0.1:1 (connection refused)\n"
        "  hint: ray start --head --port 1 on 127.0.0.1, or --ray-address local"
    )


def test_a_cluster_that_was_killed_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert ray_cluster.running_here() is None
    note = tmp_path / "ray" / "ray_current_cluster"
    note.parent.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        note.write_text(f"127.0.0.1:{port}")
        assert ray_cluster.running_here() == Address("127.0.0.1", port)
    assert ray_cluster.running_here() is None


def test_the_profile_says_where_the_cluster_is(world: World) -> None:
    breaking(world)
    profile = world.file("profile.yaml", 'executor: ray\nray: {address: "127.0.0.1:1"}\n')
    with pytest.raises(EnvironmentFault) as caught:
        world.run(executor=None, profile=profile)
    assert str(caught.value).startswith("ray: no cluster answers at 127.0.0.1:1 (connection refused)\n")


def test_ray_that_is_not_installed_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(world)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentFault) as caught:
        world.run(executor="ray")
    assert str(caught.value) == (
        "executor 'ray': Ray cannot be imported (import of ray halted; None in sys.modules)\n"
        "  hint: pip install 'forge-pipeline[ray]'"
    )


def test_an_address_for_another_executor_is_refused(world: World) -> None:
    breaking(world)
    with pytest.raises(CommandError) as caught:
        world.run(executor="threads", ray_address="local")
    assert str(caught.value) == (
        "--ray-address asks for Ray, and --executor for threads\n  hint: leave one of them out"
    )


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("auto", Address("auto")),
        ("local", Address("local")),
        ("gpu7", Address("gpu7", 6379)),
        ("10.0.0.4:6380", Address("10.0.0.4", 6380)),
    ],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    assert read_address(text) == address


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("ray://gpu7:10001", "--ray-address HOST:6379, typed on a machine of the cluster"),
        ("gpu7:many", "--ray-address auto"),
        (":6379", "--ray-address auto"),
        ("local:6379", "--ray-address auto"),
    ],
)
def test_other_addresses_are_refused(text: str, hint: str) -> None:
    with pytest.raises(CommandError) as caught:
        read_address(text)
    assert str(caught.value) == (
        f"Ray's address: found '{text}', expected auto, local, HOST or HOST:PORT\n  hint: {hint}"
    )


def test_a_carried_store_holds_what_came_and_what_was_made() -> None:
    store = CarriedStore()
    store.begin({"given": b"abc", "damaged": b"abd"})
    given = carried.Payload("given", digest_bytes(b"abc"), 3, ".png")
    damaged = carried.Payload("damaged", digest_bytes(b"abc"), 3, ".png")
    made = store.put("made", b"new", ".png")
    assert (store.has(given), store.has(made)) == (True, True)
    assert (store.read(given), store.read(made)) == (b"abc", b"new")
    with pytest.raises(PayloadMissing):
        store.read(damaged)
    assert store.size().payload_bytes == 9
    assert store.end() == (carried.Made("made", b"new", ".png"),)
    assert (store.has(given), store.has(made)) == (False, False)


def test_what_is_too_much_to_travel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carried, "CARRIED_MAX_BYTES", 2 << 20)
    store = CarriedStore()
    store.put("one", bytes(1 << 20), ".png")
    with pytest.raises(EnvironmentFault) as caught:
        store.put("two", bytes(3 << 20), ".png")
    assert str(caught.value) == (
        "ray: a chunk's new images are 4 MiB and would have to travel with a task, at most 2 MiB do\n"
        "  hint: give all machines one store (--store URL), or the cache's folder and the sources at the same shared "
        "paths"
    )


def test_a_file_that_an_operator_reads_and_a_worker_does_not_see_is_named(world: World) -> None:
    from forge_pipeline.recipe_graph import compile_recipe
    from forge_pipeline.sample import Sample
    from forge_pipeline.task import Branch, Chain, Task

    table = world.file("table.txt", "5")
    world.recipe(
        f"""
        photos: {{use: toy.read, with: {{path: photos}}}}
        more: {{use: toy.table, from: photos, with: {{table: "{table}"}}}}
        """
    )
    graph, _ = compile_recipe(world.recipe_path, world.options())
    branch = Branch("photos", (Chain(graph["more"], "", Branch("more")),))
    task = Task(1, Sample("photos/a", "image", "d"), branch, 0)
    checked: set[str] = set()
    assert elsewhere.unseen_side_file(task, checked) is None
    assert checked == {graph["more"].doing.digest}
    table.write_text("6")
    fault = elsewhere.unseen_side_file(task, set())
    host = os.uname().nodename
    hint = "\n  hint: put it at the same path on every node, or on a shared mount"
    assert str(fault) == f"ray: operator 'toy.table' reads {table}, which is another file on {host}{hint}"
    table.unlink()
    fault = elsewhere.unseen_side_file(task, set())
    assert str(fault) == f"ray: operator 'toy.table' reads {table}, which is not there on {host}{hint}"


def test_a_worker_tells_whether_it_sees_the_store(world: World, tmp_path: Path) -> None:
    breaking(world)
    from forge_pipeline.recipe_graph import compile_recipe

    graph, _ = compile_recipe(world.recipe_path, world.options())
    store = FolderStore(tmp_path / "store")
    index = world.file("index.sqlite", "")
    setting = elsewhere.describe_run(graph.nodes, store, str(index))
    seen = elsewhere.look_around(setting, tmp_path / "scratch")
    assert (seen.sees_store, seen.store, seen.index) == (True, store.spec, str(index))
    untold = elsewhere.look_around(elsewhere.describe_run(graph.nodes, store, None), tmp_path / "scratch")
    assert (untold.sees_store, untold.index) == (True, None)
    assert (
        set(seen.imported)
        == set(seen.imported.values())
        == {str(world.root / "toy_steps.py"), str(world.root / "breaking_steps.py")}
    )
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize(
    ("cause", "told", "hint"),
    [
        (
            ModuleNotFoundError("No module named 'forge_pipeline'"),
            "ModuleNotFoundError: No module named 'forge_pipeline'",
            "install forge-pipeline and all that the recipe imports on every node, in the environment of `ray start`",
        ),
        (ValueError("nobody foresaw this"), "ValueError: nobody foresaw this", "forge doctor, typed on 10.0.0.7"),
    ],
)
def test_a_worker_that_could_not_begin_is_told_with_its_node(cause: Exception, told: str, hint: str) -> None:
    from ray.exceptions import RayTaskError

    text = f'Traceback (most recent call last):\n  File "ray_worker.py", line 1, in work\n{told}\n'
    error = RayTaskError("work", text, cause, "ray::work", 7, "10.0.0.7").as_instanceof_cause()
    assert str(ray_cluster.not_begun(error)) == f"ray: a worker on 10.0.0.7 could not begin: {told}\n  hint: {hint}"


def test_a_worker_of_which_ray_tells_little_is_told_all_the_same() -> None:
    assert str(ray_cluster.not_begun(RuntimeError())) == (
        "ray: a worker could not begin: RuntimeError\n  hint: forge doctor, typed on each node"
    )
