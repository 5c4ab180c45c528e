"""The seam to the disk: whole files or none, locks that nobody keeps, faults in a user's words."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from forge_pipeline.disk import DISK, disk_fault, held
from tests.engine.faults import DyingDisk, FullDisk, Killed, QuietDisk


def test_an_atomic_write_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    DISK.write_atomic(path, b"old")
    for nth in range(1, 20):
        try:
            DyingDisk(nth).write_atomic(path, b"new")
        except Killed:
            assert path.read_bytes() in (b"old", b"new")
        else:
            break
    assert nth == 6
    assert path.read_bytes() == b"new"


def test_an_atomic_write_on_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    DISK.write_atomic(path, b"old")
    for nth in range(1, 5):
        with pytest.raises(OSError, match="No space left"):
            FullDisk(nth, stays=False).write_atomic(path, b"new")
        assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"old")]


def test_a_copy_shows_every_byte_to_a_hasher(tmp_path: Path) -> None:
    data = os.urandom(3_000_001)
    (tmp_path / "source").write_bytes(data)
    seen = bytearray()
    DISK.copy(tmp_path / "source", tmp_path / "target", seen.extend)
    assert bytes(seen) == data
    assert (tmp_path / "target").read_bytes() == data
    assert (tmp_path / "source").stat().st_nlink == 1


def test_removing_a_tree_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_bytes(b"x")
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/deep/link").symlink_to(tmp_path / "kept")
    DISK.remove_tree(tmp_path / "tree")
    DISK.remove_tree(tmp_path / "tree")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept/file").read_bytes() == b"x"


@pytest.mark.parametrize("count", [3, 150])
def test_many_files_are_waited_for(tmp_path: Path, count: int) -> None:
    paths = [tmp_path / str(index) for index in range(count)]
    for path in paths:
        DISK.write_file(path, b"x", sync=False)
    DISK.sync_files(paths)
    DISK.sync_folder(tmp_path)
    assert len(list(tmp_path.iterdir())) == count


def test_every_change_is_announced(tmp_path: Path) -> None:
    disk = QuietDisk()
    disk.mkdir(tmp_path / "a")
    disk.write_file(tmp_path / "a/x", b"1")
    disk.copy(tmp_path / "a/x", tmp_path / "a/y", lambda chunk: None)
    disk.replace(tmp_path / "a/y", tmp_path / "a/z")
    disk.rename(tmp_path / "a", tmp_path / "b")
    disk.remove_tree(tmp_path / "b")
    operations = [operation for operation, _ in disk.operations]
    assert operations == [
        *("mkdir", "create", "write", "sync"),
        *("create", "write", "write", "sync"),
        *("replace", "rename", "unlink", "unlink", "rmdir"),
    ]


def test_a_lock_is_held_by_one_at_a_time_and_leaves_no_file(tmp_path: Path) -> None:
    path, inside, most, told = tmp_path / "lock", [], [], []

    def work() -> None:
        for _ in range(20):
            with held(path, waiting=lambda: told.append(1)):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (max(most), len(most)) == (1, 80)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_left_by_a_dead_process_holds_nobody(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    told: list[int] = []
    with held(tmp_path / "lock", waiting=lambda: told.append(1)):
        assert told == []
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_given_back_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(tmp_path / "lock"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "missing", "expected"),
    [
        (errno.ENOSPC, 12, "disk full: out/a could not be written\n  hint: free 12 bytes and run again"),
        (errno.EDQUOT, 0, "disk full: out/a could not be written\n  hint: free some space and run again"),
        (errno.EACCES, 0, "no permission: out/a could not be written\n  hint: ls -ld out"),
        (errno.EROFS, 0, "read-only file system: out/a could not be written"),
        (errno.EIO, 0, "out/a: input/output error"),
    ],
)
def test_a_fault_is_told_in_a_users_words(number: int, missing: int, expected: str) -> None:
    error = OSError(number, os.strerror(number), "out/a")
    assert str(disk_fault(error, Path("out"), missing)) == expected
