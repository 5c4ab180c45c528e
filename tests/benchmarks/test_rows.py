"""What the benchmark measures, what its baseline has, and what the page on speed shows are the same rows."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from benchmarks.baseline import BASELINE, kernels, read
from benchmarks.case import Case, Row
from benchmarks.command import ONLY_WHEN_NAMED, ORDER
from benchmarks.kernel_rows import LIMIT, rows_of
from benchmarks.kernels import NAMES, cases_of
from benchmarks.page import BEGIN, END, PAGE, section
from benchmarks.peers import Peer

_JOB = "end_to_end | 200 JPEG 2048x1365 -> tile 512 -> x4 -> PNG pairs"
_PEPEDP = "PepeDP BestTile(scale={}) + pepedpid, {} photographs | ms/image"
_CHAIN = "engine_cost | 10,000 samples, three trivial operators"
# What the project has set itself, by the name of the row: how many times ours, or the limit itself. A floor that is
# lowered, here or there, and a row that is lost, is seen here.
FLOORS = {
    "dpid | 2048x2048 RGB uint8, x4, lambda 0.5 | pepedpid | ms": 30,
    "dpid | 2048x2048 RGB uint8, x8, lambda 0.5 | pepedpid | ms": 30,
    "dpid | 2048x2048 RGB uint8, x4, lambda 1 | pepedpid | ms": 30,
    "dpid | 2048x2048 RGB uint8, x8, lambda 1 | pepedpid | ms": 30,
    "dpid | 2048x2048 RGB uint8, x3.3, lambda 0.5 | pepedpid | ms": 14,
    "dpid | 2048x2048 RGB uint8, x4, lambda 0.7 | pepedpid | ms": 15,
    "dpid | 2048x2048 RGB float32, x4, lambda 0.5 | pepedpid | ms": 20,
    "best_tile | 2048x1365 RGB uint8, tile 512, all positions | pepeline.best_tile | ms": 1000,
    "best_tile | 2048x1365 RGB uint8, tile 512, all positions | cv2 gray + Laplacian | ms": 1 / 2,
    "best_tile | 3840x2160 RGB uint8, 8 tiles of 512 | ours, one tile | ms": 1 / 2,
    "blockiness | 512x512 gray uint8, all 64 places of the grid | limit | ms": 40,
    "dct_hash | 2048x1365 RGB uint8 | imagehash.phash | ms": 9,
    "dct_hash | 512x512 RGB uint8 | imagehash.phash | ms": 9,
    "hamming_pairs | 100,000 hashes, 8 bits | limit | ms": 400,
    "hamming_pairs | 1,000,000 hashes, 4 bits | limit | ms": 3000,
    "hamming_pairs | 100,000 hashes, a fifth of them identical, 8 bits, as stars | limit | ms": 400,
    "dpa_parameters | 20,000 ids, moderate, depth 10 | DPA's formulas | ms": 4,
    "encode_png | 12 photograph tiles 512x512 RGB | cv2 default | ms": 3,
    "encode_png | 12 photograph tiles 512x512 RGB | cv2 default | KB": 1,
    "encode_png | flat drawing 512x512 RGB | cv2 default | KB": 1 / 1.3,
    "encode_png | photograph 2048x1365 RGB | cv2 default | ms": 3,
    "encode_png | photograph 2048x1365 RGB | cv2 default | KB": 1,
    "video | 240 frames 1080p h264, select diff, one kept | PyAV, decoding alone | ms": 1 / 1.05,
    "video | 240 frames 1080p h264, select iframes, as RGB | PyAV, decoding alone | ms": 7,
    f"{_JOB}, cold, inline | plain script of our kernels | ms/image": 1 / 1.35,
    f"{_JOB}, cold, one thread | plain script of our kernels | ms/image": 1 / 1.35,
    f"{_JOB}, cold, two threads | plain script of our kernels, two processes | images/s": 0.9,
    f"{_JOB}, cold, two processes | two threads | images/s": 1 / 1.15,
    f"{_JOB} | {_PEPEDP.format(1, 2)}": 200,
    f"{_JOB} | {_PEPEDP.format(8, 20)}": 3.5,
    f"{_CHAIN}, cold, threads | limit | ms/sample": 0.25,
    f"{_CHAIN}, unchanged | limit | s": 0.4,
    "engine_cost | cold run's peak RSS at 100,000 samples, beside 10,000 of equal size | 10,000 samples | MB": 1 / 1.15,
    "executors | 20 further tasks of 0.5 s, ray, 2 workers | processes | s": 1 / 1.15,
    **{
        f"executors | a step of {slow} ms behind one of {quick} ms, {executor}, 2 workers: {what}": floor
        for slow, quick in ((200, 5), (5, 200))
        for executor in ("threads", "processes")
        for what, floor in (
            ("busy | all the time | %", 0.9),
            ("peak RSS at 120 samples | 40 samples of 0.8 MB | MB", 1 / 1.15),
        )
    },
    "million | 1,000,000 samples, unchanged | limit | s": 20,
    "million | 1,000,000 samples, unchanged: peak RSS | limit | MB": 1500,
}
# Told beside a peer without a floor: what the name of such a row begins with.
TOLD = (
    ("recipe | 60 photographs of 2K, quality 98", "plain script of the best libraries"),
    ("engine_cost | 1,000 samples", "joblib.Memory"),
)


def test_every_floor_is_what_the_project_has_set_itself() -> None:
    rows = read(BASELINE).rows
    measured = {row.name: _floor(row) for row in rows if row.floor is not None}
    apart = set(ONLY_WHEN_NAMED) - kernels(rows)
    assert measured == pytest.approx({name: FLOORS[name] for name in FLOORS if _kernel(name) not in apart})
    assert [row for row in rows if row.name in FLOORS and (row.missing or row.error)] == []


@pytest.mark.parametrize("told", TOLD, ids=" beside ".join)
def test_what_is_told_without_a_floor_is_in_the_baseline(told: tuple[str, str]) -> None:
    begins, peer = told
    rows = [row for row in read(BASELINE).rows if row.name.startswith(begins) and row.peer.startswith(peer)]
    assert rows
    assert all(row.ratio > 0 for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", NAMES)
def test_what_a_kernel_is_measured_on_is_what_the_baseline_has(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is not installed is no drift, and some peers take seconds to import.
    monkeypatch.setattr(Peer, "load", lambda self, submodule="": None)
    stored = [row for row in read(BASELINE).rows if row.kernel == kernel]
    cases = list(cases_of(kernel))
    rows = [row for case in cases for row in _as_if_measured(case)]
    # Without any peer, a row stands for the input alone.
    assert {row.name for row in rows if row.peer} - {row.name for row in stored} == set()
    assert {row.input for row in stored} == {case.input for case in cases}
    # Of peers that are not installed, too.
    floors = {name: floor for case in cases for name, floor in _floors(case)}
    assert floors == {name: floor for name, floor in FLOORS.items() if _kernel(name) == kernel}


def _as_if_measured(case: Case) -> Iterator[Row]:
    return rows_of(case, dict.fromkeys(["ours", *case.peers], 1.0), dict.fromkeys(case.sizes, 1.0))


def _floors(case: Case) -> Iterator[tuple[str, float]]:
    name = f"{case.kernel} | {case.input}"
    if case.at_most_ms is not None:
        yield f"{name} | {LIMIT} | ms", case.at_most_ms
    for unit, floors in (("ms", case.floors), ("KB", case.size_floors)):
        for peer, floor in floors.items():
            yield f"{name} | {peer} | {unit}", floor


def _floor(row: Row) -> float | None:
    return row.theirs if row.peer == LIMIT else row.floor


def _kernel(name: str) -> str:
    return name.split(" | ")[0]


def test_the_baseline_is_whole_and_in_order() -> None:
    rows = read(BASELINE).rows
    found = list(dict.fromkeys(row.kernel for row in rows))
    assert found == [name for name in ORDER if name in found or name not in ONLY_WHEN_NAMED]
    names = [row.name for row in rows]
    assert [name for name in names if names.count(name) > 1] == []


def test_the_page_shows_the_baseline_between_its_marks() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert (text.count(BEGIN), text.count(END)) == (1, 1)
    found = text.split(BEGIN)[1].split(END)[0].strip()
    mend = "python -m benchmarks --join benchmarks/baseline.json --write-page"
    assert found == section(read(BASELINE)), mend


def test_the_page_explains_the_floors_that_are_not_reached_and_no_other() -> None:
    text = PAGE.read_text(encoding="utf-8").split("## Floors that are not reached\n")[1].split("\n## ")[0]
    explained = {
        (kernel, part, peer): [
            row for row in _judged() if row.kernel == kernel and part in row.input and row.peer.startswith(peer)
        ]
        for kernel, rest in re.findall(r"^\| `(\w+)`: ([^|]*)\|", text, re.MULTILINE)
        for part, peer in re.findall(r"`([^`]+)` beside `([^`]+)`", rest)
    }
    named = {row.name for rows in explained.values() for row in rows}
    assert {row.name for row in _judged() if not row.reached} - named == set(), "not reached, and not explained"
    # A floor that is reached by little may be missed where the machine is busy.
    stale = [what for what, rows in explained.items() if all(row.ratio > 1.25 * (row.floor or 0) for row in rows)]
    assert stale == [], "explained, though it is reached with room to spare, or no row is named so"


def _judged() -> list[Row]:
    return [row for row in read(BASELINE).rows if row.reached is not None]
