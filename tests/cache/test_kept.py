"""What is kept of a shared store on this machine: bounded, the least recently used first, safe to delete."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from forge_pipeline.cache.kept import Kept
from forge_pipeline.errors import EnvironmentFault


def _older(kept: Kept, name: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(kept.path(name), (then, then))


def test_the_least_recently_used_go_when_there_is_too_much(tmp_path: Path) -> None:
    kept = Kept(tmp_path, limit_bytes=300)
    for number, name in enumerate(("aa1", "ab2", "ac3")):
        kept.put(name, b"x" * 100)
        _older(kept, name, 1000 - number)
    assert kept.get("aa1") == b"x" * 100  # used now, so that it stays
    _older(kept, "aa1", 500)
    kept.put("ad4", b"x" * 100)
    assert kept.get("ab2") is None
    assert [name for name in ("aa1", "ac3", "ad4") if kept.has(name, 100)] == ["aa1", "ac3", "ad4"]
    assert kept.size() == 300


def test_what_was_used_a_moment_ago_is_never_the_one_to_go(tmp_path: Path) -> None:
    kept = Kept(tmp_path, limit_bytes=100)
    for name in ("aa1", "ab2", "ac3"):
        kept.put(name, b"x" * 100)
    assert kept.size() == 300
    for name in ("aa1", "ab2", "ac3"):
        _older(kept, name, 100)
    kept.shrink()
    assert kept.size() == 100


def test_a_torn_file_of_a_killed_process_goes_too(tmp_path: Path) -> None:
    kept = Kept(tmp_path, limit_bytes=100)
    kept.put("aa1", b"x" * 100)
    torn = tmp_path / "aa" / ".1-2-3.tmp"
    torn.write_bytes(b"x" * 50)
    os.utime(torn, (0, 0))
    kept.shrink()
    assert not torn.exists()
    assert kept.has("aa1", 100)


def test_it_may_be_deleted_at_any_time(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "read", limit_bytes=100)
    assert kept.get("aa1") is None
    assert kept.size() == 0
    kept.shrink()
    kept.put("aa1", b"x")
    shutil.rmtree(tmp_path / "read")
    assert not kept.has("aa1", 1)
    assert kept.get("aa1") is None
    kept.forget("aa1")
    kept.put("aa1", b"y")
    assert kept.get("aa1") == b"y"


def test_a_folder_that_cannot_be_written_is_a_fault_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "read").write_text("a file")
    with pytest.raises(EnvironmentFault) as caught:
        Kept(tmp_path / "read").put("aa1", b"x")
    assert str(caught.value) == f"{tmp_path / 'read' / 'aa'}: not a directory"
