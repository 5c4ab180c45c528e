"""Publications that are cut off: whatever the moment, the next one is exactly right and nobody's file is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from forge_pipeline.disk import DISK, Disk
from forge_pipeline.errors import EnvironmentFault, PublicationError
from forge_pipeline.publish import changes, publish, recover
from forge_pipeline.publish import journal as journal_module
from forge_pipeline.publish import publication as publication_module
from tests.engine.faults import DyingDisk, FullDisk, Killed, QuietDisk
from tests.engine.test_publish import FIRST, SECOND, publication_of, publish_images, tree

FOREIGN = {"hr/notes.txt": b"mine", "mine/x.png": b"x", "lr/d.png": b"d"}
DAMAGED = b"lr a, retouched"
# What may be seen under a name at any moment: nothing torn, nothing foreign changed.
SEEN = {path: {FIRST.get(path), SECOND.get(path)} for path in {*FIRST, *SECOND}} | {
    path: {data} for path, data in FOREIGN.items()
}
SEEN["lr/a.png"].add(DAMAGED)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (journal_module, publication_module):
        monkeypatch.setattr(module, "TICK_S", 0)


def nothing(folder: Path) -> None:
    """Start without a folder."""


def published_before(folder: Path) -> None:
    """Start with an older publication, foreign files in it, and one of ours that was changed."""
    publish_images(folder, FIRST)
    for name, data in FOREIGN.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "lr/a.png").write_bytes(DAMAGED)


def foreign_before(folder: Path) -> None:
    """Start with a folder that holds only what is not ours."""
    for name, data in FOREIGN.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(data)


STARTS = [nothing, published_before, foreign_before]
Start = Callable[[Path], None]


def publish_second(folder: Path, disk: Disk) -> None:
    publish(publication_of(folder, SECOND), lambda path: SECOND[path], disk=disk)


def attempts(tmp_path: Path, start: Start) -> Iterator[tuple[int, Path]]:
    for nth in count(1):
        folder = tmp_path / str(nth) / "out"
        folder.parent.mkdir()
        start(folder)
        yield nth, folder


def assert_nothing_torn(folder: Path, start: Start) -> None:
    if not folder.exists():
        assert start is nothing
        return
    for name, data in tree(folder).items():
        assert "/" not in name or data in SEEN[name], name
    if start is not nothing:
        assert {name: (folder / name).read_bytes() for name in FOREIGN} == FOREIGN


def assert_exactly_right(folder: Path, start: Start) -> None:
    wanted = publication_of(folder, SECOND)
    foreign = {} if start is nothing else FOREIGN
    assert tree(folder) == {**SECOND, **wanted.side_files, **foreign}
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    hidden = sorted(path.name for path in (folder / ".forge").iterdir())
    assert hidden == (["changed", "owned.json"] if start is published_before else ["owned.json"])
    kept = [path.read_bytes() for path in (folder / ".forge").rglob("*.png")]
    assert kept == ([DAMAGED] if start is published_before else [])
    assert changes(wanted).reason == ""


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_after_a_kill_before_the_nth_change_the_next_publication_is_right(tmp_path: Path, start: Start) -> None:
    for nth, folder in attempts(tmp_path, start):
        try:
            publish_second(folder, DyingDisk(nth))
        except Killed:
            assert_nothing_torn(folder, start)
            assert changes(publication_of(folder, SECOND)).reason
            publish_second(folder, QuietDisk())
            assert_exactly_right(folder, start)
        else:
            assert nth > 20
            assert_exactly_right(folder, start)
            break


@pytest.mark.parametrize("start", STARTS)
def test_after_a_kill_the_old_content_can_be_wanted_again(tmp_path: Path, start: Start) -> None:
    for nth, folder in attempts(tmp_path, start):
        try:
            publish_second(folder, DyingDisk(nth))
        except Killed:
            publish_images(folder, FIRST)
            images = {name: data for name, data in tree(folder).items() if "/" in name}
            assert images == {**FIRST, **({} if start is nothing else FOREIGN)}
            assert sorted(path.name for path in folder.parent.iterdir()) == ["out"]
            assert {path.name for path in (folder / ".forge").iterdir()} <= {"changed", "owned.json"}
        else:
            break


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_a_kill_in_the_recovery_from_a_kill_is_recovered_from(tmp_path: Path, start: Start) -> None:
    for nth, folder in attempts(tmp_path, start):
        try:
            publish_second(folder, DyingDisk(nth))
        except Killed:
            for again in count(1, step=3):
                try:
                    publish_second(folder, DyingDisk(again))
                except Killed:
                    assert_nothing_torn(folder, start)
                else:
                    break
            assert_exactly_right(folder, start)
        else:
            break


@pytest.mark.slow
@pytest.mark.parametrize("stays", [False, True], ids=["once", "stays"])
@pytest.mark.parametrize("start", STARTS)
def test_a_disk_that_is_full_at_the_nth_change_loses_nothing(tmp_path: Path, start: Start, stays: bool) -> None:
    faults = 0
    for nth, folder in attempts(tmp_path, start):
        before = tree(folder) if folder.exists() else None
        after = {**(before or {}), **SECOND, **publication_of(folder, SECOND).side_files}
        after = {name: data for name, data in after.items() if name != "lr/b.png"}
        disk = FullDisk(nth, stays)
        try:
            publish_second(folder, disk)
        except EnvironmentFault as error:
            faults += 1
            assert error.message.startswith("disk full: ")
            assert error.hint == "free some space and run again"
            assert_nothing_torn(folder, start)
            if not (folder / ".forge/journal.json").exists() and folder.exists():
                assert tree(folder) in (before, after)
            publish_second(folder, QuietDisk())
        assert_exactly_right(folder, start)
        if len(disk.operations) < nth:
            break
    assert faults > 15


def test_a_full_disk_gets_the_space_of_what_was_staged_back(tmp_path: Path) -> None:
    publish_images(tmp_path / "out", FIRST)
    before = tree(tmp_path)
    writes = QuietDisk()
    publish(publication_of(tmp_path / "other", FIRST), lambda path: FIRST[path], disk=writes)
    nth = writes.operations.index(("write", "b.png")) + 1
    with pytest.raises(EnvironmentFault):
        publish_images_with(tmp_path / "new", FullDisk(nth, stays=True))
    assert {name: data for name, data in tree(tmp_path).items() if name.startswith("out/")} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


def publish_images_with(folder: Path, disk: Disk) -> None:
    publish(publication_of(folder, FIRST), lambda path: FIRST[path], disk=disk)


def test_a_full_disk_says_how_much_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forge_pipeline.publish.stage._free_bytes", lambda path: 7)
    disk = FullDisk(6, stays=True)
    with pytest.raises(EnvironmentFault) as caught:
        publish_second(tmp_path / "out", disk)
    assert disk.operations[-1] != ("create", "a.png")
    wanted = publication_of(tmp_path / "out", SECOND).wanted()
    missing = sum(content.size for content in wanted.values()) - 7
    assert str(caught.value) == (
        f"disk full: {tmp_path}/.out.forge-staging/hr/a.png could not be written\n"
        f"  hint: free {missing} bytes and run again"
    )


def cut_off_after_the_journal(folder: Path) -> None:
    operations = QuietDisk()
    publish_images(folder, FIRST)
    publish_images(folder.parent / "twin", FIRST)
    publish_second(folder.parent / "twin", operations)
    nth = operations.operations.index(("replace", "b.png")) + 1
    with pytest.raises(Killed):
        publish_second(folder, DyingDisk(nth))


def test_recovery_alone_ends_what_was_begun_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    cut_off_after_the_journal(folder)
    lines: list[str] = []
    assert recover(folder, announce=lines.append, disk=QuietDisk()) is True
    assert lines == [f"{folder}: ended an interrupted publication"]
    assert {name: data for name, data in tree(folder).items() if "/" in name} == SECOND
    assert changes(publication_of(folder, SECOND)).reason == ""


def test_recovery_does_not_overwrite_a_file_that_appeared_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    cut_off_after_the_journal(folder)
    (folder / "lr/c.png").write_bytes(b"mine")
    with pytest.raises(PublicationError) as caught:
        recover(folder, disk=QuietDisk())
    assert caught.value.message == f"{folder}/lr/c.png: appeared or was changed while the export was being published"
    assert (folder / "lr/c.png").read_bytes() == b"mine"
    (folder / "lr/c.png").unlink()
    publish_second(folder, QuietDisk())
    assert {name: data for name, data in tree(folder).items() if "/" in name} == SECOND


def test_recovery_does_not_delete_a_file_that_was_edited_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    operations = QuietDisk()
    publish_images(folder, FIRST)
    publish_images(tmp_path / "twin", FIRST)
    publish_second(tmp_path / "twin", operations)
    with pytest.raises(Killed):
        publish_second(folder, DyingDisk(operations.operations.index(("unlink", "b.png")) + 1))
    (folder / "lr/b.png").write_bytes(b"retouched")
    publish_second(folder, QuietDisk())
    assert tree(folder)["lr/b.png"] == b"retouched"


def test_staged_files_lost_with_the_journal_left_are_staged_again(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    cut_off_after_the_journal(folder)
    DISK.remove_tree(folder / ".forge/staging")
    publish_second(folder, QuietDisk())
    assert {name: data for name, data in tree(folder).items() if "/" in name} == SECOND
    assert changes(publication_of(folder, SECOND)).reason == ""


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    cut_off_after_the_journal(folder)
    (folder / ".forge/journal.json").write_bytes(b'{"forge": 1, "repl')
    with pytest.raises(PublicationError) as caught:
        publish_second(folder, QuietDisk())
    assert str(caught.value) == (
        f"{folder}/.forge/journal.json: the journal of an interrupted publication is damaged\n"
        f"  hint: move the whole export away and run again: mv {folder} {folder}.old"
    )


SCRIPT = """
import os, signal, sys
from pathlib import Path
from forge_pipeline.disk import Disk
from tests.engine.test_publish import SECOND, publication_of
from forge_pipeline.publish import publish

class Killing(Disk):
    left = int(sys.argv[2])
    def about_to(self, operation, path):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

publish(publication_of(Path(sys.argv[1]), SECOND), lambda path: SECOND[path], disk=Killing())
"""


@pytest.mark.parametrize("nth", [9, 33, 42])
def test_a_process_killed_for_real_is_recovered_from(tmp_path: Path, nth: int) -> None:
    folder = tmp_path / "out"
    published_before(folder)
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(folder), str(nth)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert_nothing_torn(folder, published_before)
    publish_second(folder, QuietDisk())
    assert_exactly_right(folder, published_before)
