"""A run keeps to its budget of memory: who is let in, what is watched, what is too large, and what a device holds."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from forge_pipeline.batches import Batching, Halved, batching, in_batches, is_out_of_device_memory
from forge_pipeline.errors import EnvironmentFault, TooLarge
from forge_pipeline.events import (
    AdmissionRefused,
    BatchHalved,
    BudgetChanged,
    Retried,
    TaskFinished,
    TaskSubmitted,
)
from forge_pipeline.machine import MemorySize, Resident, own_memory, read_memory_size, workers_memory
from forge_pipeline.options import Options
from forge_pipeline.recipe_graph import compile_recipe
from forge_pipeline.run.budget import Budget, Held, Watch, in_use_bytes
from forge_pipeline.run.estimate import Estimates, Need
from forge_pipeline.run.held import Gauge
from forge_pipeline.sample import Link, Sample
from forge_pipeline.task import source_branch
from forge_steps.read.images import ReadImages
from tests.engine.calls import SWITCHES
from tests.engine.worlds import Ran, World

MIB = 1 << 20
DEVICE_STEPS = Path(__file__).with_name("device_steps.py")


# --- the budget -----------------------------------------------------------------------------------


def test_a_budget_is_what_is_asked_or_three_fifths_of_what_is_available() -> None:
    assert Budget(0, 1000).limit_bytes == 600
    assert Budget(400, 1000).limit_bytes == 400
    assert (Budget(0, 1000).available_bytes, Budget(400, 1000).available_bytes) == (1000, 1000)
    # Who asks for more than is there knows of memory that is not seen.
    assert (Budget(4000, 1000).limit_bytes, Budget(4000, 1000).available_bytes) == (4000, 4000)


def test_what_is_available_is_looked_up_where_nobody_says() -> None:
    assert 0 < Budget(0).limit_bytes < Budget(0).available_bytes


def test_the_sum_of_what_runs_at_once_stays_within_the_window_and_one_is_always_let_in() -> None:
    budget = Budget(100, 1000)
    assert budget.admits(2, [], 900)
    assert budget.admits(2, [60], 40)
    assert not budget.admits(2, [60], 41)
    # Of three chunks in two slots the smallest waits without pixels.
    assert in_use_bytes(2, [30, 50, 40]) == 90
    assert budget.admits(2, [50, 50, 50], 50)
    assert not budget.admits(2, [50, 50, 50], 51)


# --- the watch ------------------------------------------------------------------------------------


class Scene:
    """A watch over a budget of 1000 MiB, with a clock and a memory that a test sets; 200 MiB are held at the start."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.held = Held(200 * MIB, 200 * MIB)
        self.released = 0
        self.budget = Budget(1000 * MIB, 4000 * MIB)
        self.watch = Watch(self.budget, lambda: self.held, self._release, lambda: self.now_s)

    def _release(self) -> None:
        self.released += 1

    def look(self, after_s: float, now: int, most: int | None = None, **given: int) -> BudgetChanged | None:
        """Look later, with so many MiB held."""
        self.now_s += after_s
        self.held = Held(now * MIB, (most or now) * MIB)
        asked = {"in_use_bytes": 800 * MIB, "oldest_out": 1, "newest_out": 4, **given}
        return self.watch.look(asked["in_use_bytes"], asked["oldest_out"], asked["newest_out"])


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_estimates_that_prove_too_low_shrink_the_window_by_as_much(scene: Scene) -> None:
    assert scene.look(1, now=1200) is None
    changed = scene.look(1, now=600, most=1800)
    why = "memory grew by 1,600 MiB where 800 MiB were estimated"
    assert changed == BudgetChanged(1000 * MIB, 500 * MIB, why)
    assert scene.budget.window_bytes == 500 * MIB
    assert scene.released == 1


def test_a_change_is_judged_when_those_who_were_let_in_before_it_are_gone(scene: Scene) -> None:
    assert scene.look(1, now=2200, newest_out=4) is not None
    assert scene.look(1, now=2200, oldest_out=4, newest_out=6) is None
    assert scene.look(1, now=2200, oldest_out=5, newest_out=6, in_use_bytes=300 * MIB) is not None
    assert scene.budget.window_bytes == 150 * MIB


def test_memory_is_not_measured_at_every_turn(scene: Scene) -> None:
    assert scene.look(0.05, now=9000) is None
    assert scene.look(0.06, now=9000) is not None


def test_a_sample_that_was_let_in_alone_may_grow_as_was_foreseen(scene: Scene) -> None:
    assert scene.look(1, now=1700, in_use_bytes=1500 * MIB) is None
    assert scene.look(1, now=1800, in_use_bytes=1500 * MIB) is not None


def test_the_window_widens_again_in_steps(scene: Scene) -> None:
    scene.look(1, now=2200)
    assert scene.budget.window_bytes == 400 * MIB
    assert scene.look(4.9, now=300, oldest_out=9) is None
    changed = scene.look(0.2, now=300, oldest_out=9)
    assert changed == BudgetChanged(400 * MIB, 525 * MIB + 1, "memory grew by 100 MiB, less than the budget")
    assert scene.look(0.2, now=300, oldest_out=9) is None
    for _ in range(5):
        scene.look(5.1, now=300, oldest_out=9)
    assert scene.budget.window_bytes == scene.budget.limit_bytes
    assert scene.look(5.1, now=300, oldest_out=9) is None


def test_a_step_that_was_one_too_many_is_tried_again_after_twice_as_long(scene: Scene) -> None:
    scene.look(1, now=2200)
    assert scene.look(5.1, now=300, oldest_out=9) is not None
    assert scene.look(1, now=1800, oldest_out=9, newest_out=12) is not None
    assert scene.look(5.1, now=300, oldest_out=13) is None
    assert scene.look(5, now=300, oldest_out=13) is not None
    # Twice too much in a row, without a step between, is one lesson.
    assert scene.look(1, now=1800, oldest_out=13, newest_out=14) is not None
    assert scene.look(1, now=1800, oldest_out=15, newest_out=16) is not None
    assert scene.look(19, now=300, oldest_out=17) is None
    assert scene.look(1.1, now=300, oldest_out=17) is not None


def test_nothing_is_widened_near_the_limit(scene: Scene) -> None:
    scene.look(1, now=2200)
    assert scene.look(5.1, now=1150, oldest_out=9) is None
    assert scene.released == 2
    assert scene.budget.window_bytes == 400 * MIB


def test_a_killed_worker_and_a_refused_allocation_halve_what_was_in_use(scene: Scene) -> None:
    changed = scene.watch.worker_killed(600 * MIB)
    assert changed == BudgetChanged(1000 * MIB, 300 * MIB, "a worker was killed by SIGKILL")
    changed = scene.watch.out_of_memory(600 * MIB)
    assert changed == BudgetChanged(300 * MIB, 150 * MIB, "a task ran out of memory")


# --- what is held ---------------------------------------------------------------------------------


def test_a_peak_between_two_looks_counts_once() -> None:
    told = iter([Resident(100, 500), Resident(110, 500), Resident(120, 900), Resident(130, 900)])
    gauge = Gauge(False, lambda: next(told))
    assert [gauge.measure() for _ in range(4)] == [Held(100, 500), Held(110, 110), Held(120, 900), Held(130, 130)]


def test_workers_count_by_their_own_peaks_less_their_libraries() -> None:
    looks: list[dict[int, Resident]] = [
        {7: Resident(200 * MIB, 210 * MIB), 8: Resident(12 * MIB, 12 * MIB)},
        {7: Resident(300 * MIB, 556 * MIB), 8: Resident(12 * MIB, 12 * MIB), 9: Resident(266 * MIB, 266 * MIB)},
        {7: Resident(256 * MIB, 556 * MIB), 9: Resident(276 * MIB, 286 * MIB)},
    ]
    told = iter(looks)
    gauge = Gauge(True, lambda: Resident(100 * MIB, 400 * MIB), lambda: next(told))
    # The helper process of 12 MiB hides nothing of its neighbour's 44 MiB.
    assert [gauge.measure() for _ in looks] == [
        Held(100 * MIB, 400 * MIB),
        Held((100 + 44 + 10) * MIB, (100 + 300 + 10) * MIB),
        Held((100 + 0 + 20) * MIB, (100 + 0 + 30) * MIB),
    ]


def test_processes_below_this_one_are_measured() -> None:
    import subprocess
    import sys

    code = "import sys; held = bytearray(b'x' * 64_000_000); print('ready', flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        found = workers_memory()[child.pid]
        child.communicate()
    assert 64_000_000 < found.now_bytes <= found.peak_bytes < 200_000_000
    assert child.pid not in workers_memory()
    assert own_memory().now_bytes > 10_000_000


# --- estimates ------------------------------------------------------------------------------------


CHAIN = """
forge: 1
seed: 1
steps:
  photos: {use: read.images, with: {path: ., RULES}}
  tiles: {use: tile.best, from: photos, with: {size_px: 256, max_tiles: 4}, RESOURCES}
  small: {use: resize.area, from: photos, with: {scale: 2}}
  sharp: {use: filter.iqa, from: small, with: {keep: entropy > 1 and megapixels > 1}}
  out: {use: export.images, from: tiles, with: {path: out}}
  also: {use: export.images, from: sharp, with: {path: also}}
"""


class Reckoned:
    """What is estimated for one file of a recipe."""

    def __init__(self, folder: Path, **replaced: str) -> None:
        text = CHAIN
        for old, new in {"RULES": "gray: keep", "RESOURCES": "cache: auto", **replaced}.items():
            text = text.replace(old, new)
        (folder / "chain.yaml").write_text(text)
        self.graph, _ = compile_recipe(folder / "chain.yaml", Options(directory=folder))
        self.source = ReadImages(ReadImages.Params(path="."))

    def need(self, step: str = "", **facts: Any) -> Need:
        """Estimate a file with such a header; `step` takes only the branch that leads there."""
        told = {"format": "jpeg", "width": 8000, "height": 6000, "channels": 3, "bit_depth": 8, "bytes": 20_000_000}
        fields = {f"source.{name}": value for name, value in {**told, "orientation": 1, "icc": None, **facts}.items()}
        sample = Sample("photos/a.jpg", "file", "0" * 40, {}, (Link("photos", fields),))
        walked = self.graph.ancestors(step) if step else frozenset(node.id for node in self.graph.nodes)
        branch = source_branch(self.graph, self.graph["photos"], walked)
        return Estimates(self.graph, lambda node, seen: self.source.load_expansion(seen)).working_set(sample, branch)


@pytest.mark.parametrize(
    ("facts", "size_bytes", "needy"),
    [
        ({}, 1.2 * 144e6 + 2.5 * 36e6 + 20e6, "small"),
        ({"orientation": 6}, 2.2 * 144e6 + 20e6, "photos"),
        ({"icc": "Display P3"}, 2.2 * 144e6 + 20e6, "photos"),
        ({"format": "png", "bytes": 70_000_000}, 4.0 * 144e6 + 70e6, "photos"),
        # What is held beside a gray image is as large as beside an RGB one.
        ({"channels": 1}, 48e6 + 3.0 * 144e6 + 20e6, "photos"),
        # Small JPEGs are copied once.
        ({"width": 800, "height": 600, "bytes": 200_000}, 2.2 * 1.44e6 + 200_000, "photos"),
        # A header that tells nothing: ten bytes of pixels a byte.
        ({"format": None, "width": None, "height": None}, 4.0 * 200e6 + 20e6, "photos"),
    ],
)
def test_a_task_is_estimated_by_its_file_and_its_steps(
    tmp_path: Path, facts: dict[str, Any], size_bytes: float, needy: str
) -> None:
    need = Reckoned(tmp_path).need(**facts)
    assert (need.size_bytes, need.step) == (pytest.approx(size_bytes, rel=1e-6), needy)


def test_a_child_is_as_large_as_parameters_say_and_what_a_recipe_says_counts_instead(tmp_path: Path) -> None:
    kept = 2.2 * 256 * 256 * 3
    need = Reckoned(tmp_path).need(step="out")
    assert (need.size_bytes, need.step) == (pytest.approx(1.5 * 144e6 + kept + 20e6), "tiles")
    said = Reckoned(tmp_path, RESOURCES="resources: {memory_bytes: 5000000000}").need(step="out")
    assert (said.size_bytes, said.step) == (pytest.approx(5e9 + kept + 20e6), "tiles")


# --- how much is asked for ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MB", MemorySize(512_000_000)),
        ("512 mb", MemorySize(512_000_000)),
        ("1.5GiB", MemorySize(3 << 29)),
        ("2Ki", MemorySize(2048)),
        ("800000000", MemorySize(800_000_000)),
        ("1B", MemorySize(1)),
        ("40%", MemorySize(share=0.4)),
        ("100 %", MemorySize(share=1.0)),
    ],
)
def test_sizes_are_read(text: str, size: MemorySize) -> None:
    assert read_memory_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0.4B", "lots", "-1GB", "8 GX", "0%", "101%", "1e9", "MB", "1.2.3GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_memory_size(text)
    assert str(caught.value) == (f"found '{text}', expected a size such as 512MB or 8GiB, or a share such as 40%")


def test_a_share_is_of_what_is_available() -> None:
    assert read_memory_size("40%").of(1000) == 400
    assert read_memory_size("0.01%").of(1000) == 1
    assert read_memory_size("2Ki").of(1000) == 2048


# --- runs -----------------------------------------------------------------------------------------


STEPS = """
    photos: {use: toy.read, with: {path: shots}}
    add: {use: toy.add, from: photos, RESOURCES}
    out: {use: toy.write, from: add, with: {path: out}}
"""


@pytest.fixture
def many(world: World) -> World:
    """Twenty photos."""
    world.files("shots", **{f"photo{number:02}": f"{number} 5 9" for number in range(20)})
    world.recipe(STEPS.replace(", RESOURCES", ""))
    return world


def of(ran: Ran, kind: type) -> list[Any]:
    """Return the events of one kind."""
    return [event for event in ran.events if isinstance(event, kind)]


def most_at_once(ran: Ran) -> int:
    """Count how many chunks were out at once."""
    out = most = 0
    for event in ran.events:
        out += isinstance(event, TaskSubmitted) - isinstance(event, TaskFinished)
        most = max(most, out)
    return most


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_samples_that_are_larger_than_the_budget_run_alone(many: World, executor: str) -> None:
    reference = many.run(cache="reference", executor=executor, workers=4)
    assert most_at_once(reference) > 1
    many.forget_exports()
    ran = many.run(executor=executor, workers=4, memory="1B")
    ran.assert_same_as(reference)
    assert most_at_once(ran) == 1
    refused = [event for event in of(ran, AdmissionRefused) if event.cause == "memory"]
    assert refused
    assert all(event.wanted_bytes > event.budget_bytes for event in refused)


def test_working_sets_of_what_is_let_in_add_up_to_no_more_than_the_budget(many: World) -> None:
    many.recipe(STEPS.replace("RESOURCES", "resources: {memory_bytes: 10000000}"))
    ran = many.run(executor="threads", workers=8, memory="35MB")
    assert {event.memory_bytes // 1_000_000 for event in of(ran, TaskSubmitted) if event.step == "photos"} == {10}
    assert most_at_once(ran) == 3
    first = next(event for event in of(ran, AdmissionRefused) if event.cause == "memory")
    assert first.in_flight_bytes == pytest.approx(30_000_000, rel=0.01)
    assert (first.wanted_bytes // 1_000_000, first.budget_bytes) == (10, 35_000_000)


def test_what_no_memory_of_this_machine_would_hold_is_quarantined_with_the_figures(
    many: World, available: Callable[[int], None]
) -> None:
    available(3000 * MIB)
    needed = 5000 * MIB
    many.recipe(STEPS.replace("RESOURCES", f"max_errors: 100%, resources: {{memory_bytes: {needed}}}"))
    ran = many.run(executor="threads")
    assert [event.step for event in of(ran, TaskSubmitted)] == []
    assert ran.counts("failed") == {"add": 20}
    row = ran.rows("rejects")[0]
    assert (row["key"], row["step"], row["kind"], row["reason"]) == ("photos/photo00.txt", "add", "failed", "too_large")
    assert row["message"] == (
        "its working set is estimated at 5,000 MiB, and 3,000 MiB of memory are available\n"
        "  hint: run it on a larger machine, or set `resources: {memory_bytes: N}` on 'add'"
    )
    # It is not known for good: with more memory it is tried.
    available(9000 * MIB)
    again = many.run(executor="threads")
    assert again.counts("failed") == {}
    assert len(again.rows()) == 20


@pytest.fixture
def available(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let this machine have so much memory to be had."""
    from forge_pipeline import machine

    real = machine.look_at_machine()

    def let(available_bytes: int) -> None:
        monkeypatch.setattr(machine, "look_at_machine", lambda: real._replace(memory_available_bytes=available_bytes))

    return let


GREEDY = """        held = bytearray(b"x") * {size}
        import time
        time.sleep(0.1)
"""


def widens(event: object) -> bool:
    return isinstance(event, BudgetChanged) and event.bytes_now > event.bytes_before


@pytest.mark.slow
@pytest.mark.parametrize(("executor", "size"), [("threads", 60 * MIB), ("processes", 300 * MIB)])
def test_an_operator_that_takes_what_it_did_not_declare_is_seen_and_runs_alone(
    many: World, executor: str, size: int
) -> None:
    many.edit_code('        CALLS.append(f"add {values}")\n', GREEDY.format(size=size))
    ran = many.run(executor=executor, workers=3, memory="40MB")
    first, *_ = of(ran, BudgetChanged)
    grown = re.fullmatch(r"memory grew by ([\d,]+) MiB where 0 MiB were estimated", first.reason)
    assert grown is not None, first.reason
    assert int(grown[1].replace(",", "")) > 40
    assert (first.bytes_before, first.bytes_now < 1000) == (40_000_000, True)
    # Those that were out go on; behind them one at a time is let in, until the window is widened for a try.
    after = list(takewhile(lambda event: not widens(event), ran.events[ran.events.index(first) :]))
    out = [event.task for event in after if isinstance(event, TaskSubmitted)]
    assert out or executor == "processes"  # where twelve chunks are out before the first is back
    order = [(type(event), event.task) for event in after if isinstance(event, TaskSubmitted | TaskFinished)]
    for task in out[1:]:
        assert order.index((TaskFinished, task - 1)) < order.index((TaskSubmitted, task))
    assert len(ran.rows()) == 20


def test_the_journal_tells_who_had_to_wait_and_why(many: World) -> None:
    many.run(executor="threads", workers=4, memory="1B")
    (journal,) = (many.root / "cache").glob("runs/*/events.jsonl")
    told = [json.loads(line) for line in journal.read_text().splitlines()]
    refused = next(line for line in told if line["event"] == "admission_refused" and line["cause"] == "memory")
    assert {name: refused[name] for name in ("budget_bytes", "tasks")} == {"budget_bytes": 1, "tasks": 2}
    assert refused["wanted_bytes"] > 0
    assert refused["in_flight_bytes"] > 0


# --- an allocation that is refused ----------------------------------------------------------------


def out_of_memory(world: World, fault: str) -> None:
    """Let `toy.add` run out of memory at the photo whose first number is 7, as long as its switch says so."""
    world.edit_code('        CALLS.append(f"add {values}")\n', f'        CALLS.append(f"add {{values}}")\n{fault}')


ONCE = """        if values[0] == 7 and SWITCHES.pop("hungry", None):
            raise MemoryError
"""
ALWAYS = """        if values[0] == 7:
            raise MemoryError
"""


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_a_task_that_runs_out_of_memory_is_tried_again_alone(many: World, executor: str) -> None:
    reference = many.run(cache="reference")
    many.forget_exports()
    out_of_memory(many, ONCE)
    SWITCHES["hungry"] = True
    ran = many.run(executor=executor, workers=3)
    assert ran.trees["out"].keys() == reference.trees["out"].keys()
    (retried,) = of(ran, Retried)
    assert (retried.step, retried.attempt, retried.reason) == ("photos", 2, "it ran out of memory")
    assert [event.reason for event in of(ran, BudgetChanged)] == ["a task ran out of memory"]


def test_a_task_that_runs_out_of_memory_alone_is_quarantined(many: World, available: Callable[[int], None]) -> None:
    available(3000 * MIB)
    many.recipe(STEPS.replace("RESOURCES", "max_errors: 100%"))
    out_of_memory(many, ALWAYS)
    ran = many.run(executor="threads", workers=3)
    assert len(ran.rows()) == 19
    (row,) = ran.rows("rejects")
    assert (row["key"], row["kind"], row["reason"]) == ("photos/photo07.txt", "failed", "too_large")
    assert row["message"].splitlines()[0] == (
        "it ran out of memory with nothing beside it; 3,000 MiB of memory are available"
    )


# --- a device -------------------------------------------------------------------------------------


def fits(most: int) -> Callable[[Sequence[int]], list[int]]:
    """Return a model whose device holds so many values."""

    def run(batch: Sequence[int]) -> list[int]:
        if len(batch) > most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return [value * 10 for value in batch]

    return run


def test_a_batch_that_does_not_fit_is_halved_and_its_values_are_tried_again() -> None:
    told = Batching("enlarge")
    sizes: list[int] = []

    def run(batch: Sequence[int]) -> list[int]:
        sizes.append(len(batch))
        return fits(3)(batch)

    with batching(told):
        assert in_batches(list(range(20)), run, 16) == [value * 10 for value in range(20)]
    assert sizes == [16, 8, 4, *[2] * 10]
    why = "CUDA out of memory. Tried to allocate 2.00 GiB"
    assert told.halved == [Halved("enlarge", 16, 8, why), Halved("enlarge", 8, 4, why), Halved("enlarge", 4, 2, why)]
    # What fitted is remembered for the step.
    with batching(told):
        in_batches([1, 2, 3], run, 16)
    assert sizes[-2:] == [2, 1]


class Device:
    """A device of so many bytes, and the sizes of the batches that it was given; a value is what it takes."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.sizes: list[int] = []
        self.refused = 0

    def run(self, batch: Sequence[int]) -> list[int]:
        if sum(batch) > self.size_bytes:
            self.refused += 1
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.sizes.append(len(batch))
        return [value * 10 for value in batch]


def test_batches_grow_again_after_one_large_image_among_small_ones() -> None:
    device, told = Device(160), Batching("enlarge")
    images = [[10] * 16, [80] * 16, *([10] * 16 for _ in range(40))]
    with batching(told):
        found = [in_batches(image, device.run, 16) for image in images]
    assert found == [[value * 10 for value in image] for image in images]
    # 8 batches of two belong to the large image.
    assert device.sizes == [16, *[2] * 32, *[4] * 32, *[8] * 32, *[16] * 13]
    assert [(one.size_before, one.size_now) for one in told.halved] == [(16, 8), (8, 4), (4, 2)]


def test_what_never_fits_is_tried_ever_more_rarely() -> None:
    device, told = Device(25), Batching("enlarge")
    with batching(told):
        in_batches([10] * 20_000, device.run, 16)
    assert set(device.sizes) == {2}
    # After 32 batches, then 64, ... 1,024, and every 1,024 from there.
    assert device.refused == 3 + 5 + 8
    assert len(device.sizes) == 10_000


def test_a_last_batch_that_is_not_full_says_nothing_of_its_size() -> None:
    device, told = Device(25), Batching("enlarge")
    with batching(told):
        in_batches([10] * 64, device.run, 16)
        assert told.sizes["enlarge"].size == 4  # 32 batches of two have fitted
        for _ in range(100):
            in_batches([10], device.run, 16)
    assert told.sizes["enlarge"].trial
    assert device.refused == 3


def test_a_value_that_does_not_fit_alone_is_too_large_or_goes_to_the_processor() -> None:
    on_cpu = fits(9)
    with batching(Batching("enlarge")), pytest.raises(TooLarge) as caught:
        in_batches([1], fits(0), 4)
    assert str(caught.value) == (
        "a batch of one does not fit the device's memory (CUDA out of memory. Tried to allocate 2.00 GiB)\n"
        "  hint: run it on a device with more memory"
    )
    with batching(Batching("enlarge")), pytest.raises(TooLarge) as caught:
        in_batches([1], fits(0), 4, on_cpu)
    assert caught.value.hint == (
        "set `resources: {cpu_fallback: true}` on 'enlarge', or run it on a device with more memory"
    )
    told = Batching("enlarge", cpu_fallback=True)
    with batching(told):
        assert in_batches([1, 2], fits(0), 4, on_cpu) == [10, 20]
    assert told.fell_back


def test_other_errors_of_a_model_are_its_own() -> None:
    def broken(batch: Sequence[int]) -> list[int]:
        raise RuntimeError("shapes do not agree")

    with pytest.raises(RuntimeError, match="shapes do not agree"):
        in_batches([1], broken, 4)
    with pytest.raises(ValueError, match=r"the model of step '' gave 1 results for a batch of 2"):
        in_batches([1, 2], lambda batch: [0], 4)


def test_torchs_own_error_is_known_by_its_name() -> None:
    torchs = type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})
    others = type("OutOfMemoryError", (RuntimeError,), {"__module__": "mine"})
    assert is_out_of_device_memory(torchs("no words"))
    assert not is_out_of_device_memory(others("no words"))
    assert is_out_of_device_memory(RuntimeError("CUDA error: out of memory"))
    assert not is_out_of_device_memory(MemoryError("CUDA out of memory"))


@pytest.fixture
def device(world: World) -> World:
    """A world with a device, and photos of 20 numbers."""
    shutil.copy(DEVICE_STEPS, world.root / DEVICE_STEPS.name)
    (world.root / "marks").mkdir()
    world.files(
        "shots", **{name: " ".join(str(first + n) for n in range(20)) for name, first in {"a": 1, "b": 30}.items()}
    )
    return world


def on_a_device(world: World, device_bytes: int, resources: str = "{}", least: int = 0) -> None:
    """Write a recipe that adds on a device and judges on it."""
    marks = world.root / "marks"
    told = f"device_bytes: {device_bytes}, marks: '{marks}'"
    world.recipe(
        f"""
        photos: {{use: toy.read, with: {{path: shots}}}}
        add: {{use: device.add, from: photos, max_errors: 100%, resources: {resources}, with: {{{told}}}}}
        over: {{use: device.over, from: add, resources: {resources}, with: {{{told}, least: {least}}}}}
        out: {{use: toy.write, from: over, with: {{path: out}}}}
        """,
        **{"import": ["./toy_steps.py", "./device_steps.py"]},
    )


def batches_done(world: World) -> list[str]:
    """List the batches that the device did, all workers together."""
    return sorted(line for path in (world.root / "marks").iterdir() for line in path.read_text().splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "threads", "processes"])
def test_a_small_device_gives_the_same_dataset_in_smaller_batches(device: World, executor: str) -> None:
    on_a_device(device, 10**9)
    reference = device.run(cache="reference", executor=executor, workers=1)
    assert of(reference, BatchHalved) == []
    device.forget_exports()
    shutil.rmtree(device.root / "marks")
    (device.root / "marks").mkdir()
    on_a_device(device, 250)
    ran = device.run(executor=executor, workers=1)
    ran.assert_same_as(reference)
    why = "CUDA out of memory. Tried to allocate {} bytes."
    # The first image teaches the size; the second begins with it.
    assert of(ran, BatchHalved) == [
        BatchHalved("add", 8, 4, why.format(800)),
        BatchHalved("add", 4, 2, why.format(400)),
    ]
    assert batches_done(device) == sorted(["add 2"] * 20 + ["first 1"] * 2)
    assert ran.rows("rejects") == []


def test_without_leave_the_processor_does_nothing(device: World) -> None:
    on_a_device(device, 50)
    ran = device.run()
    assert ran.rows() == []
    told = {(row["key"], row["step"], row["kind"], row["reason"], row["message"]) for row in ran.rows("rejects")}
    message = (
        "a batch of one does not fit the device's memory (CUDA out of memory. Tried to allocate 100 bytes.)\n"
        "  hint: set `resources: {cpu_fallback: true}` on 'add', or run it on a device with more memory"
    )
    assert told == {(f"photos/{name}.txt", "add", "failed", "too_large", message) for name in "ab"}


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_what_the_processor_did_is_marked_and_never_remembered(device: World, executor: str) -> None:
    on_a_device(device, 50, "{cpu_fallback: true}", least=120)
    ran = device.run(executor=executor, workers=2)
    marks = [{link["step"]: link["fields"] for link in row["trail"]} for row in ran.rows()]
    # The processor adds 100 more, to pixels and to scores.
    assert [mark["add"] for mark in marks] == [{"device": "cpu"}] * 2
    assert [mark["over"] for mark in marks] == [{"first": n, "first.device": "cpu"} for n in (202, 231)]
    # The same again on a device that is large enough: all is done anew, and decided anew.
    on_a_device(device, 10**9, "{cpu_fallback: true}", least=120)
    again = device.run(executor=executor, workers=2)
    assert again.rows() == []
    assert [(row["key"], row["values"]) for row in again.rows("rejects")] == [
        ("photos/a.txt", {"first": 2}),
        ("photos/b.txt", {"first": 31}),
    ]
    device.run(executor=executor, workers=2).assert_nothing_done()


ADDED = """
    photos: {use: toy.read, with: {path: shots}}
    add: {use: device.add, from: photos, resources: {cpu_fallback: true}, with: {device_bytes: BYTES}}
    out: {use: toy.write, from: add, with: {path: out}}
"""
DEVICE_IMPORTS = {"import": ["./toy_steps.py", "./device_steps.py"]}


def _forget_images(world: World) -> None:
    for path in world.payloads():
        path.unlink()
    world.forget_exports()


def test_what_the_processor_makes_again_counts_as_new(device: World) -> None:
    device.recipe(ADDED.replace("BYTES", "1000000000"), **DEVICE_IMPORTS)
    on_the_device = device.run()
    _forget_images(device)
    device.files("shots", c="7 8 9")
    device.recipe(ADDED.replace("BYTES", "50"), **DEVICE_IMPORTS)
    ran = device.run(verify=10)
    assert (ran.result.status, ran.counts("ran")["add"], ran.counts("rebuilt")) == ("done", 3, {"photos": 2})
    assert [row["trail"][-1] for row in ran.rows()] == [{"step": "add", "fields": {"device": "cpu"}}] * 3
    assert ran.notes[-1] == "verified 3 actions: each gave the recorded result again"  # the loads
    # What the device made is still known, and what the processor made is not.
    (device.root / "shots/c.txt").unlink()
    device.recipe(ADDED.replace("BYTES", "1000000000"), **DEVICE_IMPORTS)
    assert device.run().trees == on_the_device.trees


def test_an_image_of_a_step_reused_whole_that_only_the_processor_can_make_is_named(device: World) -> None:
    device.recipe(ADDED.replace("BYTES", "1000000000"), **DEVICE_IMPORTS)
    device.run()
    _forget_images(device)
    device.recipe(ADDED.replace("BYTES", "50"), **DEVICE_IMPORTS)
    with pytest.raises(EnvironmentFault) as ended:
        device.run()
    assert str(ended.value) == (
        "step 'add', sample 'photos/a.txt': its bytes are missing, and the processor, which did what the device has no "
        "memory for, makes others\n"
        "  hint: run it on a device with more memory, or with `--set steps.add.cache=off`"
    )
    ran = device.run(sets=("steps.add.cache=off",))
    assert [row["trail"][-1] for row in ran.rows()] == [{"step": "add", "fields": {"device": "cpu"}}] * 2


def test_a_decision_over_scores_of_the_processor_is_never_remembered(device: World) -> None:
    def recipe(device_bytes: int) -> None:
        told = f"device_bytes: {device_bytes}, least: 25"
        device.recipe(
            f"""
            photos: {{use: toy.read, with: {{path: shots}}}}
            over: {{use: device.over, from: photos, resources: {{cpu_fallback: true}}, with: {{{told}}}}}
            out: {{use: toy.write, from: over, with: {{path: out}}}}
            """,
            **{"import": ["./toy_steps.py", "./device_steps.py"]},
        )

    recipe(50)
    assert [row["key"] for row in device.run().rows()] == ["photos/a.txt", "photos/b.txt"]
    # The same content comes to the same decide, and other scores: a is under 25 there.
    recipe(10**9)
    assert [row["key"] for row in device.run().rows()] == ["photos/b.txt"]
