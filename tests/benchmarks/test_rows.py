"""What the benchmark measures, what its baseline has, and what the page on speed shows are the same rows."""

from __future__ import annotations

import re

import pytest

from benchmarks.baseline import BASELINE, kernels, read
from benchmarks.command import ONLY_WHEN_NAMED, ORDER
from benchmarks.kernel_rows import rows_of
from benchmarks.kernels import NAMES, cases_of
from benchmarks.page import BEGIN, END, PAGE, section
from benchmarks.peers import Peer

# What the project has set itself, as (kernel, what its input begins with, peer, floor): a floor that is lowered, and a
# row that is lost, is seen here.
PROMISED = [
    *(("dpid", f"2048x2048 RGB uint8, x{ratio}, lambda {lam}", "pepedpid", 30) for ratio in (4, 8) for lam in (0.5, 1)),
    ("dpid", "2048x2048 RGB uint8, x3.3, lambda 0.5", "pepedpid", 14),
    ("dpid", "2048x2048 RGB uint8, x4, lambda 0.7", "pepedpid", 15),
    ("dpid", "2048x2048 RGB float32, x4, lambda 0.5", "pepedpid", 20),
    ("best_tile", "2048x1365 RGB uint8", "pepeline.best_tile", 1000),
    ("best_tile", "2048x1365 RGB uint8", "cv2 gray + Laplacian", 1 / 2),
    ("best_tile", "3840x2160 RGB uint8, 8 tiles", "ours, one tile", 1 / 2),
    ("blockiness", "512x512 gray uint8, all 64 places", "limit", 1),
    ("dct_hash", "2048x1365", "imagehash.phash", 9),
    ("dct_hash", "512x512", "imagehash.phash", 9),
    ("hamming_pairs", "100,000 hashes, 8 bits", "limit", 1),
    ("hamming_pairs", "1,000,000 hashes, 4 bits", "limit", 1),
    ("hamming_pairs", "100,000 hashes, a fifth of them identical", "limit", 1),
    ("dpa_parameters", "20,000 ids", "DPA's formulas", 4),
    ("encode_png", "12 photograph tiles", "cv2 default", 3),
    ("encode_png", "12 photograph tiles", "cv2 default", 1),
    ("encode_png", "flat drawing", "cv2 default", 1 / 1.3),
    ("video", "240 frames 1080p h264, select diff", "PyAV, decoding alone", 1 / 1.05),
    ("video", "240 frames 1080p h264, select iframes", "PyAV, decoding alone", 7),
    ("end_to_end", "200 JPEG 2048x1365 -> tile 512 -> x4 -> PNG pairs, cold, one thread", "plain script", 1 / 1.35),
    ("end_to_end", "200 JPEG 2048x1365 -> tile 512 -> x4 -> PNG pairs, cold, two threads", "plain script", 0.9),
    ("end_to_end", "200 JPEG 2048x1365 -> tile 512 -> x4 -> PNG pairs, cold, two processes", "two threads", 1 / 1.15),
    ("end_to_end", "200 JPEG 2048x1365 -> tile 512 -> x4 -> PNG pairs", "PepeDP BestTile(scale=1)", 200),
    ("end_to_end", "200 JPEG 2048x1365 -> tile 512 -> x4 -> PNG pairs", "PepeDP BestTile(scale=8)", 3.5),
    ("recipe", "60 photographs of 2K", "plain script of the best libraries", None),
    ("engine_cost", "10,000 samples, three trivial operators, cold, threads", "limit", 1),
    ("engine_cost", "10,000 samples, three trivial operators, unchanged", "limit", 1),
    ("engine_cost", "1", "joblib.Memory", None),
    ("engine_cost", "cold run's peak RSS at 100,000 samples, beside 10,000", "10,000 samples", 1 / 1.15),
    ("executors", "20 further tasks of 0.5 s, ray", "processes", 1 / 1.15),
    *(
        ("executors", f"a step of {slow} ms behind one of {quick} ms, {executor}, 2 workers: {what}", "", floor)
        for slow, quick in ((200, 5), (5, 200))
        for executor in ("threads", "processes")
        for what, floor in (("busy", 0.9), ("peak RSS", 1 / 1.15))
    ),
    ("million", "1,000,000 samples, unchanged", "limit", 1),
    ("million", "1,000,000 samples, unchanged: peak RSS", "limit", 1),
]


@pytest.mark.parametrize("promised", PROMISED, ids=lambda promised: f"{promised[0]}, {promised[1]}, {promised[2]}")
def test_every_promised_row_is_in_the_baseline_with_its_floor(promised: tuple[str, str, str, float | None]) -> None:
    kernel, what, peer, floor = promised
    if kernel in ONLY_WHEN_NAMED and kernel not in kernels(read(BASELINE).rows):
        pytest.skip(f"measured apart: python -m benchmarks --only {kernel}")
    rows = [
        r for r in read(BASELINE).rows if r.kernel == kernel and r.input.startswith(what) and r.peer.startswith(peer)
    ]
    assert any(row.floor == pytest.approx(floor) if floor else row.ratio > 0 for row in rows), rows
    assert not any(row.missing or row.error for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", NAMES)
def test_what_a_kernel_is_measured_on_is_what_the_baseline_has(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is not installed is no drift, and some peers take seconds to import.
    monkeypatch.setattr(Peer, "load", lambda self, submodule="": None)
    stored = [row for row in read(BASELINE).rows if row.kernel == kernel]
    cases = list(cases_of(kernel))
    rows = [row for case in cases for row in rows_of(case, dict.fromkeys(["ours", *case.peers], 1.0))]
    # Without any peer, a row stands for the input alone.
    assert {row.name for row in rows if row.peer} - {row.name for row in stored} == set()
    assert {row.input for row in stored} == {case.input for case in cases}


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


def test_the_page_explains_every_floor_that_is_not_reached() -> None:
    text = PAGE.read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `(\w+)`:", text.split("## Floors that are not reached\n")[1], re.MULTILINE))
    missed = {row.kernel for row in read(BASELINE).rows if row.reached is False}
    assert missed <= explained
