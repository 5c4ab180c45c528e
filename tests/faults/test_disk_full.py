"""A disk that fills up in the middle of a run: exit 3 with a message, and once it is freed the next run goes on."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from forge_pipeline.disk import Disk
from forge_pipeline.errors import EXIT_ENVIRONMENT, EnvironmentFault
from tests.faults.conftest import MakeWorld, Undisturbed
from tests.faults.worlds import DRIVER, World

TOLD = r"disk full: .+ could not be written\n  hint: free (\d+ bytes|some space) and run again"
TOLD_BY_INDEX = (
    r"cache: cannot write the index .+: .+\n"
    r"  hint: free some space, or choose another place with --cache DIR; the next run goes on from here"
)


class _FillingDisk:
    """Has room for so many changes that need space, and then for none."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.refused = 0

    def about_to(self, operation: str, path: Path) -> None:
        if operation not in ("create", "write", "mkdir"):
            return
        self.room -= 1
        if self.room < 0:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "threads"])
@pytest.mark.parametrize("room", [0, 1, 7, 17, 18, 19, 23, 34, 47, 51, 52])
def test_a_disk_that_fills_up_fails_the_run_and_the_next_goes_on(
    world: World, undisturbed: Undisturbed, room: int, executor: str
) -> None:
    disk = _FillingDisk(room)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Disk, "about_to", lambda self, operation, path: disk.about_to(operation, path))
        with pytest.raises(EnvironmentFault) as caught:
            world.run(executor=executor, workers=2)
    assert disk.refused
    assert caught.value.exit_code == EXIT_ENVIRONMENT
    assert re.fullmatch(TOLD, str(caught.value))
    assert world.torn() == []
    done_before = world.actions()
    assert world.run().status == "done"
    assert world.operator_calls <= len(undisturbed.actions - done_before)
    assert world.outcome() == undisturbed.outcome
    assert world.sources() == undisturbed.sources
    assert world.left_behind() == []


def test_a_lock_that_finds_no_space_is_a_note_and_the_dataset_stands(world: World, undisturbed: Undisturbed) -> None:
    lock = world.recipe.with_suffix(".lock")
    disk = _FillingDisk(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Disk, "about_to", lambda self, operation, path: lock.name in path.name and disk.about_to(operation, path)
        )
        assert world.run().status == "done"
    assert disk.refused
    assert world.notes[-1] == f"{lock}: the lock could not be written: no space left on device"
    assert world.run().status == "done"
    assert world.outcome() == undisturbed.outcome


@pytest.mark.slow
@pytest.mark.parametrize("pages", [22, 23, 24])
def test_an_index_that_may_not_grow_fails_the_run_and_the_next_goes_on(
    world: World, undisturbed: Undisturbed, pages: int
) -> None:
    full = world.cli(orders={"pages": pages, "rows": 5})
    assert full.returncode == EXIT_ENVIRONMENT, full.stderr
    assert re.search(TOLD_BY_INDEX + "$", full.stderr.strip())
    done_before = world.actions()
    result = world.run()
    assert result.status == "done"
    rebuilt = sum(counts.rebuilt for counts in result.steps.values())
    assert world.operator_calls == len(undisturbed.actions - done_before) + rebuilt
    assert world.outcome() == undisturbed.outcome


# --- a real one -----------------------------------------------------------------------------------

# Runs in a mount namespace of its own: nobody else sees the small disk, and it is gone with the process.
SMALL_DISK = """\
mount -t tmpfs -o size={kib}k tmpfs "$1" || exit 99
cd {root}
{python} {driver} '{{}}' {recipe} --cache "$1/cache" 2> first.err; echo $? > first.code
mount -o remount,size=64m "$1" || exit 99
{python} {driver} '{{}}' {recipe} --cache "$1/cache" --json 2> second.err > second.json; echo $? > second.code
"""
# Where mounting is not allowed: no file of ours may grow beyond so many KiB.
SMALL_FILES = """\
cd {root}
(ulimit -f {kib}; {python} {driver} '{{}}' {recipe} --cache "$1/cache" 2> first.err; echo $? > first.code)
{python} {driver} '{{}}' {recipe} --cache "$1/cache" --json 2> second.err > second.json; echo $? > second.code
"""


@pytest.mark.slow
@pytest.mark.parametrize("kib", [60, 180, 230])
def test_a_real_small_disk_fails_the_run_and_the_next_goes_on(
    make_world: MakeWorld, undisturbed: Undisturbed, kib: int
) -> None:
    world = make_world("small")
    place = world.root / "small"
    place.mkdir()
    script = SMALL_DISK if _may_mount(place) else SMALL_FILES
    words = {"root": world.root, "python": sys.executable, "driver": DRIVER, "recipe": world.recipe.name, "kib": kib}
    command = [*UNSHARE, "sh", "-c", script.format(**words), "sh", str(place)]
    if script is SMALL_FILES:
        command = command[len(UNSHARE) :]
    subprocess.run(command, check=True, timeout=120)
    first, second = (world.root / "first.err").read_text(), (world.root / "second.err").read_text()
    assert (world.root / "first.code").read_text().strip() == str(EXIT_ENVIRONMENT), first
    assert "Traceback" not in first
    assert "this is a bug" not in first
    assert re.search(r"disk full|cannot write the index|file too large", first)
    assert (world.root / "second.code").read_text().strip() == "0", second
    assert world.outcome() == undisturbed.outcome
    assert world.sources() == undisturbed.sources


UNSHARE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))


def _may_mount(place: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", str(place)], capture_output=True, check=False)
    return tried.returncode == 0
