"""`forge runs`: the list, and one run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from forge_pipeline.cli.main import forge
from tests.report.journals import usual_run, write_journal


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache with two runs, the first of which was killed; clocks show UTC."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    for name, timed in {
        "20261121T100000Z-000001": usual_run()[:-1],
        "20261121T110000Z-000002": usual_run(),
    }.items():
        folder = write_journal(cache, timed)
        folder = folder.rename(folder.with_name(name))
        lines = (folder / "events.jsonl").read_text().splitlines()
        first = {**json.loads(lines[0]), "at": f"2026-11-21T{name[9:11]}:00:00Z", "cores": 2}
        (folder / "events.jsonl").write_text("\n".join([json.dumps(first), *lines[1:], ""]))
    return cache


def test_the_last_runs_are_listed(cache: Path, capsys) -> None:
    assert forge(["runs", "--cache", str(cache)]) == 0
    assert capsys.readouterr().out == (
        "id                       recipe  when                 status     time  ran  reused  quarantined\n"
        "20261121T110000Z-000002  sr      2026-11-21 11:00:00  done     11.5 s    3       0            1\n"
        "20261121T100000Z-000001  sr      2026-11-21 10:00:00  cut off  11.0 s    -       -            -\n"
    )


def test_the_list_as_json(cache: Path, capsys) -> None:
    assert forge(["runs", "--json", "--cache", str(cache)]) == 0
    newest, oldest = json.loads(capsys.readouterr().out)
    assert newest == {
        "id": "20261121T110000Z-000002",
        "recipe": "sr",
        "at": "2026-11-21T11:00:00Z",
        "status": "done",
        "seconds": 11.5,
        "steps_ran": 3,
        "steps_reused": 0,
        "failures": 1,
    }
    assert (oldest["status"], oldest["steps_ran"]) == ("cut off", None)


@pytest.mark.parametrize("asked", [[], ["last"], ["2"], ["20261121T110000Z-000002"]])
def test_one_run_is_told(cache: Path, asked: list[str], capsys) -> None:
    assert forge(["runs", "show", *asked, "--cache", str(cache)]) == 0
    assert capsys.readouterr().out == (
        "20261121T110000Z-000002: sr, done after 11.5 s, 2026-11-21 11:00:00\n"
        "threads, 2 workers on 2 cores: every step releases the lock\n"
        "peak memory 900 MB, and never less than 3.0 GB to be had\n"
        "\n"
        "step    images  images/s  MP/s  an image  worker time  share\n"
        "photos      40         5    10     50 ms        2.0 s   12 %\n"
        "lr          40         5    10    350 ms       14.0 s   82 %\n"
        "out         40        40    80     25 ms        1.0 s    6 %\n"
        "photos: first run\n"
        "lr: first run\n"
        "\n"
        "time went to    time  share  workers busy\n"
        "before        500 ms    4 %             -\n"
        "sources       500 ms    4 %             -\n"
        "samples        9.0 s   78 %          89 %\n"
        "exports        1.0 s    9 %          50 %\n"
        "lock          500 ms    4 %             -\n"
        "cores in use: 1.8 of 2 on average; the machine was busy 95 %\n"
        "1 sample quarantined\n"
        "\n"
        "bottleneck: step 'lr' (resize.dpid) took 88 % of the work, 350 ms an image; workers were busy 89 %\n"
        "  hint: a cheaper setting of 'lr', or more cores: all 2 that it may use are at work\n"
    )


def test_one_run_as_json(cache: Path, capsys) -> None:
    assert forge(["runs", "show", "2", "--json", "--cache", str(cache)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bottleneck"] == {
        "kind": "step",
        "share": 0.875,
        "sentence": "step 'lr' (resize.dpid) took 88 % of the work, 350 ms an image; workers were busy 89 %",
        "advice": "a cheaper setting of 'lr', or more cores: all 2 that it may use are at work",
    }
    assert told["phases"]["samples"] == {"seconds": 9.0, "workers_busy": 0.8889}
    assert told["steps"]["lr"]["images_per_s"] == 5.0
    assert told["events"]["task_finished"] == 3


def test_a_run_that_is_not_there(cache: Path, capsys) -> None:
    assert forge(["runs", "show", "9", "--cache", str(cache)]) == 2
    assert capsys.readouterr().err == f"{cache}: there is no journal of run '9'\n  hint: forge runs --cache {cache}\n"


def test_a_cache_that_is_not_there(tmp_path: Path, capsys) -> None:
    assert forge(["runs", "--cache", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == (
        f"{tmp_path}/none: there is no cache\n  hint: --cache DIR, or run a recipe first\n"
    )


def test_a_cache_without_runs(tmp_path: Path, capsys) -> None:
    assert forge(["runs", "--cache", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}: no run has left a journal yet\n"


def test_another_word_than_show(tmp_path: Path, capsys) -> None:
    assert forge(["runs", "list", "--cache", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "forge runs: found 'list', expected show\n  hint: forge runs show last\n"


def test_the_reference_names_every_field(cache: Path, capsys) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/files.md").read_text()
    section = page.split("\n## What forge runs tells as JSON\n", 1)[1].split("\n## ", 1)[0]
    tables = [
        set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) for table in section.split("`forge runs show ID")
    ]
    forge(["runs", "--json", "--cache", str(cache)])
    assert set(json.loads(capsys.readouterr().out)[0]) == tables[0]
    forge(["runs", "show", "--json", "--cache", str(cache)])
    told = json.loads(capsys.readouterr().out)
    named_by_others = {"steps": "STEP", "phases": "PHASE"}
    found = set()
    for name, value in told.items():
        if name in named_by_others:
            found |= {f"{name}.{named_by_others[name]}.{inner}" for one in value.values() for inner in one}
        elif name == "events":
            found.add("events.EVENT")
        else:
            found |= {f"{name}.{inner}" for inner in value} if isinstance(value, dict) else {name}
    assert found - {"id", "recipe", "at", "status", "seconds"} == tables[1]
