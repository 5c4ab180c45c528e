"""Locks: what a run resolved to, in few lines, and the names of what differs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from forge_pipeline.errors import CommandError
from forge_pipeline.lock import (
    Lock,
    LockedSource,
    LockedStep,
    differences,
    lock_bytes,
    lock_path,
    read_lock,
    write_lock,
)
from tests.engine.faults import DyingDisk, Killed, QuietDisk

CLEAN = LockedStep("filter.iqa", "c1", entered=10, out=8, failed=0, rows="r1", dropped={"blocky": 2})
LOCK = Lock(
    recipe="aa",
    sources={"photos": LockedSource(7, "s1")},
    steps={"photos": LockedStep("read.images", "c0", 7, 7, 0, "r0"), "clean": CLEAN},
    models={"musiq": "m1"},
)


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".hcl", ".json"])
def test_all_spellings_of_a_recipe_share_one_lock(suffix: str) -> None:
    assert lock_path(Path("recipes/sr_dataset").with_suffix(suffix)) == Path("recipes/sr_dataset.lock")


def test_a_lock_is_sorted_json_with_a_line_a_fact() -> None:
    text = lock_bytes(LOCK).decode()
    assert text.endswith("}\n")
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=2) + "\n"
    assert '      "config": "c1",\n      "dropped": {\n        "blocky": 2\n      },\n' in text
    shuffled = replace(LOCK, steps=dict(reversed(LOCK.steps.items())))
    assert lock_bytes(shuffled) == lock_bytes(LOCK)


def test_a_lock_reads_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "sr.lock"
    assert read_lock(path) is None
    assert write_lock(path, LOCK, QuietDisk()) is True
    assert read_lock(path) == LOCK
    assert [each.name for each in tmp_path.iterdir()] == ["sr.lock"]


def test_a_lock_is_written_only_when_it_differs(tmp_path: Path) -> None:
    path = tmp_path / "sr.lock"
    write_lock(path, LOCK)
    before = path.stat()
    disk = QuietDisk()
    assert write_lock(path, LOCK, disk) is False
    assert disk.operations == []
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert write_lock(path, replace(LOCK, recipe="bb"), disk) is True
    assert read_lock(path) == replace(LOCK, recipe="bb")


def test_a_kill_at_any_moment_leaves_the_old_lock_or_the_new_one(tmp_path: Path) -> None:
    path, new = tmp_path / "sr.lock", replace(LOCK, recipe="bb")
    write_lock(path, LOCK, QuietDisk())
    for nth in range(1, 20):
        try:
            write_lock(path, new, DyingDisk(nth))
        except Killed:
            assert read_lock(path) in (LOCK, new)
        else:
            break
    assert nth == 6
    assert read_lock(path) == new


def test_equal_locks_do_not_differ() -> None:
    assert differences(LOCK, LOCK) == []
    assert differences(LOCK, replace(LOCK, steps=dict(reversed(LOCK.steps.items())))) == []


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (replace(LOCK, sources={"photos": LockedSource(6, "s2")}), ["source 'photos': 6 files, locked 7"]),
        (
            replace(LOCK, sources={"photos": LockedSource(7, "s2")}),
            ["source 'photos': names or contents of its 7 files changed"],
        ),
        (replace(LOCK, models={"musiq": "m2"}), ["model 'musiq': m2, locked m1"]),
        (replace(LOCK, models={}), ["model 'musiq': gone, but locked"]),
        (
            replace(LOCK, steps={**LOCK.steps, "clean": replace(CLEAN, use="filter.other", config="c2")}),
            ["step 'clean': uses filter.other, locked filter.iqa"],
        ),
        (
            replace(LOCK, steps={**LOCK.steps, "clean": replace(CLEAN, config="c2", out=7, dropped={"blocky": 3})}),
            [
                "step 'clean': config changed: param 'keep' c1 -> c2",
                "step 'clean': 7 out, locked 8",
                "step 'clean': 3 dropped as blocky, locked 2",
            ],
        ),
        (
            replace(LOCK, steps={**LOCK.steps, "clean": replace(CLEAN, entered=11, failed=1)}),
            ["step 'clean': 11 in, locked 10", "step 'clean': 1 failed, locked 0"],
        ),
        (
            replace(LOCK, steps={**LOCK.steps, "clean": replace(CLEAN, rows="r2")}),
            ["step 'clean': same counts, other content"],
        ),
        (
            replace(LOCK, steps={"photos": LOCK.steps["photos"], "unique": CLEAN}),
            ["step 'unique': new, not locked", "step 'clean': gone, but locked"],
        ),
        (replace(LOCK, recipe="bb"), ["recipe: bb, locked aa"]),
    ],
)
def test_every_difference_has_a_name(now: Lock, expected: list[str]) -> None:
    assert differences(LOCK, now, lambda step, locked, present: f"param 'keep' {locked} -> {present}") == expected


def test_a_changed_config_is_named_even_when_nobody_can_explain_it() -> None:
    now = replace(LOCK, steps={**LOCK.steps, "clean": replace(CLEAN, config="c2")})
    assert differences(LOCK, now) == ["step 'clean': config changed"]
    assert differences(LOCK, now, lambda step, locked, present: "") == ["step 'clean': config changed"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.pop("models"), "the lock is damaged: the file has unknown or missing keys: 'models'"),
        (lambda value: value.update(extra=1), "the lock is damaged: the file has unknown or missing keys: 'extra'"),
        (lambda value: value.update(forge=2), "the lock has format 2, expected 1"),
        (lambda value: value.update(recipe=1), "the lock is damaged: recipe is int, expected str"),
        (lambda value: value.update(steps=[]), "the lock is damaged: steps is list, expected dict"),
        (
            lambda value: value["steps"]["clean"].update(out="8"),
            "the lock is damaged: steps.clean.out is str, expected int",
        ),
        (
            lambda value: value["steps"]["clean"]["dropped"].update(blocky=True),
            "the lock is damaged: steps.clean.dropped.blocky is bool, expected int",
        ),
        (
            lambda value: value["sources"]["photos"].pop("files"),
            "the lock is damaged: sources.photos has unknown or missing keys: 'files'",
        ),
    ],
)
def test_a_damaged_lock_is_refused_with_the_place(tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "sr.lock"
    value = json.loads(lock_bytes(LOCK))
    change(value)  # type: ignore[operator]
    path.write_text(json.dumps(value))
    with pytest.raises(CommandError) as caught:
        read_lock(path)
    assert str(caught.value) == (
        f"{path}: {message}\n  hint: restore it from version control, or delete it and run without --frozen: rm {path}"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<<<<<<< HEAD\n", "expecting value: line 1 column 1 (char 0)"),
        (b"[]", "the file is list, expected dict"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_a_lock_that_is_no_json_object_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "sr.lock"
    path.write_bytes(data)
    with pytest.raises(CommandError) as caught:
        read_lock(path)
    assert caught.value.message == f"{path}: the lock is damaged: {message}"
