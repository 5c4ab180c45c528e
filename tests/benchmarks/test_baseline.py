"""Stored measurements are joined and compared by ratios; a table tells each floor and whether it is reached."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.baseline import Measurement, gone, join, read, regressions, store
from benchmarks.case import Row
from benchmarks.command import main
from benchmarks.page import write_page
from benchmarks.table import text_table, verdict

MACHINE: dict[str, Any] = {
    "processor": "Abacus 3",
    "cores": 2,
    "avx512": False,
    "memory_gb": 4,
    "system": "Linux 6.1 x86_64",
    "python": "3.11.7",
    "load_before": 0.2,
    "commit": "abc1234",
    "versions": {"slowlib": "1.2"},
}
FAST = Row("dpid", "2048x2048", "slowlib", "ms", 10, 300, 30, 28, version="1.2")
LIMITED = Row("dpid", "512x512", "limit", "ms", 50, 40, 0.8, 1.0, comparable=False)
TOLD = Row("recipe", "60 photographs", "", "s", 12.345, comparable=False, note="70 pairs")
WRONG = Row("video", "clip", "", "ms", floor=1.0, error="wrong answer: 3 frames, found 4")
ABSENT = Row("executors", "tasks", "processes", "s", missing="not measured: Ray is not installed")


def _measured(*rows: Row, **machine: Any) -> Measurement:
    return Measurement(rows, [f"python -m benchmarks --only {rows[0].kernel}"], {**MACHINE, **machine})


def test_the_table_tells_every_row() -> None:
    assert text_table([FAST, LIMITED, TOLD, WRONG, ABSENT]).splitlines() == [
        "kernel     input                        ours  peer         peer's  ratio  floor",
        "dpid       2048x2048                   10 ms  slowlib 1.2  300 ms    30x    28x  reached",
        "dpid       512x512                     50 ms  limit         40 ms   0.8x     1x  not reached",
        "recipe     60 photographs (70 pairs)  12.3 s",
        f"video      clip{'':66}wrong answer: 3 frames, found 4",
        f"executors  tasks{'':30}processes{'':26}not measured: Ray is not installed",
    ]
    assert verdict([FAST, LIMITED, TOLD, WRONG, ABSENT]) == "1 of 3 floors reached"


def test_a_measurement_is_read_as_it_was_stored(tmp_path: Path) -> None:
    measured = Measurement([FAST, LIMITED, TOLD, WRONG, ABSENT], ["python -m benchmarks"], MACHINE)
    store(tmp_path / "one.json", measured)
    assert read(tmp_path / "one.json") == measured


def test_a_ratio_that_lost_over_a_tenth_is_named_and_a_time_limit_is_not() -> None:
    now = [replace(FAST, ours=11.2, ratio=26.8), replace(LIMITED, ours=500, ratio=0.08)]
    assert regressions(now, [FAST, LIMITED]) == ["dpid | 2048x2048 | slowlib | ms: 30x -> 26.8x (-11 %)"]
    assert regressions([replace(FAST, ratio=27.1)], [FAST]) == []


def test_a_peer_that_is_not_installed_here_is_no_regression() -> None:
    measured = replace(ABSENT, missing="", ours=7.0, theirs=6.0, ratio=0.86, floor=0.87)
    assert regressions([ABSENT], [measured]) == []
    assert gone([ABSENT], [measured]) == ["executors | tasks | processes | s"]


def test_what_is_no_longer_measured_is_named_for_kernels_that_are() -> None:
    assert gone([FAST], [FAST, LIMITED, TOLD]) == ["dpid | 512x512 | limit | ms"]


def test_of_a_kernel_in_two_measurements_the_last_counts() -> None:
    again = replace(FAST, ratio=31.0)
    joined = join(
        [_measured(TOLD), _measured(FAST, LIMITED, load_before=1.5), _measured(again, commit="def5678")],
        ["dpid", "recipe"],
    )
    assert joined.rows == [again, TOLD]
    assert joined.commands == [f"python -m benchmarks --only {name}" for name in ("recipe", "dpid")]
    assert joined.machine == {**MACHINE, "load_before": 1.5, "commit": "abc1234 and def5678"}


def test_measurements_of_two_machines_are_not_joined() -> None:
    with pytest.raises(ValueError, match=r"^cores is 2 in one measurement, 8 in another$"):
        join([_measured(FAST), _measured(TOLD, cores=8)], ["dpid", "recipe"])


def test_the_page_keeps_what_stands_around_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Speed\n\n<!-- measured: written by `python -m benchmarks --write-page` -->\nold\n<!-- end -->\nMore.\n"
    )
    write_page(_measured(FAST), page)
    write_page(_measured(FAST, LIMITED), page)
    assert page.read_text() == (
        "# Speed\n\n<!-- measured: written by `python -m benchmarks --write-page` -->\n\n"
        "Measured with `python -m benchmarks --only dpid` at abc1234: Abacus 3 without AVX-512, 2 cores, 4 GiB, "
        "Linux 6.1 x86_64, Python 3.11.7; load 0.2 from other work when it began. Peers: slowlib 1.2.\n\n"
        "1 of 2 floors reached.\n\n"
        "| kernel | input | ours | peer | peer's | ratio | floor |  |\n"
        "|---|---|---:|---|---:|---:|---:|---|\n"
        "| dpid | 2048x2048 | 10 ms | slowlib 1.2 | 300 ms | 30x | 28x | reached |\n"
        "| dpid | 512x512 | 50 ms | limit | 40 ms | 0.8x | 1x | **not reached** |\n\n"
        "<!-- end -->\nMore.\n"
    )


def test_the_command_joins_compares_and_fails_for_what_became_slower(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, before = tmp_path / "one.json", tmp_path / "two.json", tmp_path / "before.json"
    store(one, _measured(replace(FAST, ratio=15.0)))
    store(two, _measured(TOLD))
    store(before, _measured(FAST, LIMITED))
    code = main(["--join", str(one), str(two), "--compare", str(before), "--json", str(tmp_path / "both.json")])
    assert code == 1
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "0 of 1 floors reached",
        f"slower than in {before}: dpid | 2048x2048 | slowlib | ms: 30x -> 15x (-50 %)",
        f"in {before}, not measured now: dpid | 512x512 | limit | ms",
    ]
    assert read(tmp_path / "both.json").rows == [replace(FAST, ratio=15.0), TOLD]
    assert main(["--join", str(two), "--compare", str(before)]) == 0
