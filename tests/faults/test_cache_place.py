"""A cache that cannot be used as it is: a clear error with exit 3 and a hint, never a wrong result or a traceback."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from forge_pipeline import api
from forge_pipeline.cache.index_file import INDEX_FORMAT
from forge_pipeline.cache.place import file_system, open_cache
from forge_pipeline.errors import EXIT_ENVIRONMENT, EnvironmentFault
from tests.faults.conftest import Undisturbed
from tests.faults.worlds import World

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/sdb1 /home/local xfs rw 0 0
//server/share /mnt/my\\040share cifs rw 0 0
sshfs#host: /mnt/ssh fuse.sshfs rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/sda2 /homework ext4 rw 0 0
"""


@pytest.fixture
def mounts(tmp_path: Path) -> str:
    """Write a table of mounts."""
    path = tmp_path / "mounts"
    path.write_text(MOUNTS)
    return str(path)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/cache/x", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/.forge/cache", "nfs4"),
        ("/home/local/cache", "xfs"),
        ("/homework/cache", "ext4"),
        ("/mnt/my share/cache", "cifs"),
        ("/mnt/ssh/deep/er", "fuse.sshfs"),
        ("/tmp/../home/x", "nfs4"),
    ],
)
def test_the_innermost_mount_tells_the_file_system(mounts: str, path: str, kind: str) -> None:
    assert file_system(Path(path), mounts) == kind


def test_a_system_without_a_table_of_mounts_tells_nothing(tmp_path: Path) -> None:
    assert file_system(tmp_path, str(tmp_path / "absent")) == ""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "9p", "fuse.sshfs", "fuse.rclone"])
def test_a_cache_on_a_network_file_system_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    table = tmp_path / "mounts"
    table.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/x {tmp_path} {kind} rw 0 0\n")
    monkeypatch.setattr("forge_pipeline.cache.place.MOUNTS", str(table))
    root = tmp_path / "cache"
    with pytest.raises(EnvironmentFault) as caught, open_cache(root):
        pass
    assert caught.value.exit_code == EXIT_ENVIRONMENT
    assert str(caught.value) == (
        f"cache: {root} lies on a network file system ({kind}), where an index can be damaged\n"
        "  hint: --cache DIR with a folder on a local disk, or: export FORGE_CACHE=DIR"
    )
    assert not root.exists()


# --- permissions ----------------------------------------------------------------------------------


def _cli(world: World, *words: str) -> subprocess.CompletedProcess[str]:
    done = world.cli(*words, orders={"obey_modes": True})
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.slow
def test_a_read_only_cache_is_told(world: World, undisturbed: Undisturbed) -> None:
    world.run()
    folders = [world.cache, *(path for path in world.cache.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    done = _cli(world)
    for folder in folders:
        folder.chmod(0o755)
    assert (done.returncode, done.stderr) == (
        EXIT_ENVIRONMENT,
        f"no permission: {world.cache}/lock could not be written\n  hint: ls -ld {world.cache}\n",
    )
    assert world.run().status == "done"
    assert world.outcome() == undisturbed.outcome


@pytest.mark.slow
@pytest.mark.parametrize("part", ["index.sqlite", "payloads", "incoming", "quarantine"])
def test_a_part_of_the_cache_that_cannot_be_written_is_told(world: World, undisturbed: Undisturbed, part: str) -> None:
    world.run()
    (world.cache / "quarantine").mkdir()
    locked = [world.cache / part]
    if part == "payloads":
        locked += (world.cache / part).iterdir()
    for path in world.payloads():  # so that each part is wanted
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    shutil.rmtree(world.export)
    for path in locked:
        path.chmod(0o444 if path.is_file() else 0o555)
    done = _cli(world)
    for path in locked:
        path.chmod(0o644 if path.is_file() else 0o755)
    assert done.returncode == EXIT_ENVIRONMENT, done.stderr
    assert f"{world.cache}/{part}" in done.stderr
    assert "  hint: " in done.stderr
    assert "this is a bug" not in done.stderr
    assert world.run().status == "done"
    assert world.outcome() == undisturbed.outcome


@pytest.mark.slow
def test_a_payload_that_cannot_be_read_is_no_fault_of_its_sample(world: World, undisturbed: Undisturbed) -> None:
    world.run()
    locked = world.payloads()[0]
    locked.chmod(0o000)
    done = _cli(world, "--set", "steps.clean.with.keep=entropy > 0", "--set", "defaults.max_errors=100%")
    locked.chmod(0o644)
    assert done.returncode == EXIT_ENVIRONMENT, done.stderr
    assert done.stderr.endswith(f"cache: {locked}: cannot be read (permission denied)\n  hint: ls -ld {locked}\n")
    assert world.run().status == "done"
    assert world.outcome() == undisturbed.outcome


@pytest.mark.slow
def test_an_export_whose_folder_cannot_be_made_is_told(world: World, undisturbed: Undisturbed) -> None:
    parent = world.export.parent
    parent.mkdir()
    parent.chmod(0o555)
    done = _cli(world)
    parent.chmod(0o755)
    assert done.returncode == EXIT_ENVIRONMENT
    assert done.stderr.endswith(
        f"no permission: {parent}/.faulty.forge-lock could not be written\n  hint: ls -ld {world.export}\n"
    )
    assert world.run().status == "done"
    assert world.operator_calls == 0
    assert world.outcome() == undisturbed.outcome


@pytest.mark.slow
def test_an_export_that_became_read_only_is_told(world: World) -> None:
    world.run()
    (world.photos / "photo0.png").unlink()
    folders = [world.export, *(path for path in world.export.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    done = _cli(world)
    for folder in folders:
        folder.chmod(0o755)
    assert done.returncode == EXIT_ENVIRONMENT
    assert f"no permission: {world.export}" in done.stderr
    assert world.run().status == "done"
    assert "photo0" not in (world.export / "manifest.jsonl").read_text()


@pytest.mark.slow
def test_a_source_that_may_not_be_read_is_quarantined_and_tried_again(world: World, undisturbed: Undisturbed) -> None:
    locked = world.photos / "photo0.png"
    locked.chmod(0o000)
    done = _cli(world, "--set", "steps.photos.max_errors=1")
    locked.chmod(0o644)
    assert done.returncode == 0, done.stderr
    assert "permission denied" in done.stderr
    assert world.run().status == "done"
    assert world.outcome().files == undisturbed.outcome.files


# --- a broken index -------------------------------------------------------------------------------

UNUSABLE = "  hint: move {cache} away: everything in it can be made again"


@pytest.mark.parametrize("garbage", [b"garbage" * 2000, b"\xff" * 100, b"SQLite format 3\0" + b"x" * 9000])
def test_an_index_of_garbage_is_told(world: World, undisturbed: Undisturbed, garbage: bytes) -> None:
    world.run()
    (world.cache / "index.sqlite").write_bytes(garbage)
    with pytest.raises(EnvironmentFault) as caught:
        world.run()
    told, hint = str(caught.value).splitlines()
    assert told.startswith(f"cache: {world.cache}/index.sqlite cannot be used as an index: ")
    assert hint == UNUSABLE.format(cache=world.cache)
    world.cache.rename(world.root / "away")
    assert world.run().status == "done"
    assert world.outcome() == undisturbed.outcome


@pytest.mark.slow
@pytest.mark.parametrize("page", range(1, 30, 2))
def test_an_index_with_a_page_of_garbage_is_told_or_harmless(world: World, undisturbed: Undisturbed, page: int) -> None:
    world.run()
    shutil.rmtree(world.export)
    shutil.rmtree(world.cache / "payloads")
    index = world.cache / "index.sqlite"
    size = _page_size(index)
    if page * size >= index.stat().st_size:
        index.write_bytes(index.read_bytes()[: -size * (page % 3 + 1)])
    else:
        with open(index, "rb+") as stream:
            stream.seek(page * size)
            stream.write(os.urandom(size))
    try:
        world.run()
    except EnvironmentFault as fault:
        told, hint = str(fault).splitlines()
        assert told.startswith(f"cache: {index} cannot be used as an index: ")
        assert hint == UNUSABLE.format(cache=world.cache)
        world.cache.rename(world.root / "away")
        world.run()
    assert world.outcome() == undisturbed.outcome


def _page_size(index: Path) -> int:
    connection = sqlite3.connect(index)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    return int(found)


@pytest.mark.parametrize("version", [INDEX_FORMAT + 1, 99])
def test_an_index_of_a_newer_format_is_told_and_not_touched(world: World, version: int) -> None:
    world.run()
    index = world.cache / "index.sqlite"
    connection = sqlite3.connect(index)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = index.read_bytes()
    for ask in (world.run, lambda: api.cache_size(world.cache), lambda: api.cache_verify(world.cache)):
        with pytest.raises(EnvironmentFault) as caught:
            ask()
        assert str(caught.value) == (
            f"cache: {index} has index format {version}, this version of forge reads {INDEX_FORMAT}\n"
            f"  hint: move {world.cache} away, or choose another place with --cache DIR"
        )
    assert index.read_bytes() == before
    assert world.payloads()


def test_somebody_elses_database_is_not_taken_for_an_index(world: World) -> None:
    world.cache.mkdir(parents=True)
    index = world.cache / "index.sqlite"
    connection = sqlite3.connect(index)
    connection.execute("CREATE TABLE mine (note TEXT)")
    connection.close()
    before = index.read_bytes()
    with pytest.raises(EnvironmentFault) as caught:
        world.run()
    assert str(caught.value) == (
        f"cache: {index} is a database that forge did not make\n  hint: choose another place with --cache DIR"
    )
    assert index.read_bytes() == before


def test_a_file_where_the_cache_should_be_is_told(world: World) -> None:
    world.cache.parent.mkdir()
    world.cache.write_text("a note")
    with pytest.raises(EnvironmentFault) as caught:
        world.run()
    assert str(caught.value) == (
        f"cache: {world.cache} is a file, expected a folder or nothing\n  hint: mv {world.cache} {world.cache}.mine"
    )
