"""Publications: what reaches the folder, what is left alone, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from forge_pipeline.digest import digest_bytes
from forge_pipeline.errors import BrokenPromise, EnvironmentFault, PublicationError
from forge_pipeline.publish import (
    Changes,
    Content,
    PayloadDamaged,
    Publication,
    Published,
    changes,
    publish,
    recover,
    still_published,
)
from forge_pipeline.publish import compare as compare_module
from tests.engine.faults import QuietDisk

FIRST = {"hr/a.png": b"hr a", "hr/b.png": b"hr b", "lr/a.png": b"lr a", "lr/b.png": b"lr b"}
SECOND = {"hr/a.png": b"hr a", "hr/b.png": b"hr b, new", "lr/a.png": b"lr a", "lr/c.png": b"lr c"}


def publication_of(folder: Path, images: Mapping[str, bytes], **side: bytes) -> Publication:
    rows = [
        {"key": path, "files": {"in": {"path": path, "digest": "", "bytes_digest": digest_bytes(data)}}}
        for path, data in sorted(images.items())
    ]
    manifest = "".join(json.dumps(row) + "\n" for row in rows).encode()
    contents = {path: Content(digest_bytes(data), len(data)) for path, data in images.items()}
    return Publication(folder, contents, {"manifest.jsonl": manifest, "meta_info.txt": b"meta\n", **side})


def publish_images(folder: Path, images: Mapping[str, bytes], **side: bytes) -> Published:
    return publish(publication_of(folder, images, **side), lambda path: images[path], disk=QuietDisk())


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a folder but our hidden ones."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in sorted(found.items()) if not name.startswith(".forge/")}


def stats(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = [folder, *folder.rglob("*")]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ctime_ns, path.stat().st_ino) for path in found}


def images_of(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(folder).items() if "/" in name}


def test_the_first_publication_holds_all_files_and_nothing_beside(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    done = publish_images(folder, FIRST)
    assert images_of(folder) == FIRST
    assert (done.files, done.written, done.deleted, done.bytes_written) == (
        4,
        6,
        0,
        16 + 5 + len(tree(folder)["manifest.jsonl"]),
    )
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    assert [path.name for path in (folder / ".forge").iterdir()] == ["owned.json"]


def test_the_folder_appears_by_one_rename(tmp_path: Path) -> None:
    disk = QuietDisk()
    publish(publication_of(tmp_path / "out", FIRST), lambda path: FIRST[path], disk=disk)
    assert [name for operation, name in disk.operations if operation == "rename"] == ["out"]


def test_publishing_again_writes_nothing_and_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    first = publish_images(folder, FIRST)
    before = stats(folder)

    def refuse(path: Path, status: os.stat_result) -> str:
        raise AssertionError(f"read {path}")

    monkeypatch.setattr(compare_module, "digest_there", refuse)
    disk = QuietDisk()
    again = publish(publication_of(folder, FIRST), lambda path: b"", disk=disk)
    assert (again.files, again.written, again.digest) == (4, 0, first.digest)
    assert disk.operations == []
    assert stats(folder) == before


def test_after_an_update_too_publishing_again_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    publish_images(folder, FIRST)
    publish_images(folder, SECOND)

    def refuse(path: Path, status: os.stat_result) -> str:
        raise AssertionError(f"read {path}")

    monkeypatch.setattr(compare_module, "digest_there", refuse)
    assert publish_images(folder, SECOND).written == 0


def test_an_update_writes_and_deletes_only_what_differs(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    publish_images(folder, FIRST)
    before = stats(folder)
    done = publish_images(folder, SECOND)
    assert images_of(folder) == SECOND
    assert (done.files, done.written, done.deleted) == (4, 3, 1)  # hr/b, lr/c, the manifest; lr/b
    after = stats(folder)
    same = {name for name in before if name in after and before[name] == after[name] and Path(name).is_file()}
    assert {Path(name).relative_to(folder).as_posix() for name in same} == {"hr/a.png", "lr/a.png", "meta_info.txt"}


def test_the_manifest_is_replaced_last(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    publish_images(folder, FIRST)
    disk = QuietDisk()
    publish(publication_of(folder, SECOND), lambda path: SECOND[path], disk=disk)
    replaced = [name for operation, name in disk.operations if operation == "replace"]
    assert replaced == ["journal.json", "b.png", "c.png", "manifest.jsonl", "owned.json"]


def test_only_the_images_needed_are_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    publish_images(folder, FIRST)
    asked: list[str] = []

    def open_payload(path: str) -> bytes:
        asked.append(path)
        return SECOND[path]

    needed = changes(publication_of(folder, SECOND)).write
    publish(publication_of(folder, SECOND), open_payload, disk=QuietDisk())
    assert asked == ["hr/b.png", "lr/c.png"]
    assert needed == ("hr/b.png", "lr/c.png", "manifest.jsonl")


def test_a_payload_may_be_a_file_and_is_copied_not_linked(tmp_path: Path) -> None:
    payload = tmp_path / "payload"
    payload.write_bytes(b"bytes" * 500_000)
    contents = {"a.png": Content(digest_bytes(payload.read_bytes()), payload.stat().st_size)}
    done = publish(Publication(tmp_path / "out", contents), lambda path: payload, disk=QuietDisk())
    assert (tmp_path / "out/a.png").read_bytes() == payload.read_bytes()
    assert payload.stat().st_nlink == 1
    assert done.written == 1


def test_files_of_an_empty_folder_that_a_user_made_are_published_into_it(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    inode = folder.stat().st_ino
    publish_images(folder, FIRST)
    assert images_of(folder) == FIRST
    assert folder.stat().st_ino == inode


def test_a_folder_behind_a_link_is_published_where_the_link_points(tmp_path: Path) -> None:
    (tmp_path / "big_disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "big_disk")
    publish_images(tmp_path / "out", FIRST)
    assert images_of(tmp_path / "big_disk") == FIRST
    assert (tmp_path / "out").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big_disk", "out"]


def test_folders_left_empty_are_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    publish_images(folder, {"deep/er/a.png": b"a", "hr/a.png": b"a"})
    publish_images(folder, {"hr/a.png": b"a"})
    assert sorted(path.name for path in folder.iterdir()) == [".forge", "hr", "manifest.jsonl", "meta_info.txt"]


def test_the_digest_covers_names_and_bytes_of_images_alone(tmp_path: Path) -> None:
    one = publish_images(tmp_path / "one", FIRST)
    other = publish_images(tmp_path / "two", FIRST, more=b"side")
    assert one.digest == other.digest
    assert one.digest != publish_images(tmp_path / "three", SECOND).digest
    assert one.digest != publish_images(tmp_path / "four", {**FIRST, "hr/z.png": FIRST["hr/a.png"]}).digest


# --- what is not ours -----------------------------------------------------------------------------


def test_a_foreign_file_is_never_touched(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    publish_images(folder, FIRST)
    foreign = {"hr/notes.txt": b"mine", "mine/x.png": b"x", "lr/d.png": b"d"}
    for name, data in foreign.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    before = {name: (folder / name).stat().st_ctime_ns for name in foreign}
    publish_images(folder, SECOND)
    assert images_of(folder) == {**SECOND, **foreign}
    publish_images(folder, {"hr/a.png": b"hr a"})
    assert images_of(folder) == {"hr/a.png": b"hr a", **foreign}
    assert {name: (folder / name).stat().st_ctime_ns for name in foreign} == before


def test_a_foreign_file_under_a_wanted_name_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    publish_images(folder, FIRST)
    before = tree(folder)
    (folder / "lr/c.png").write_bytes(b"mine")
    for ask in (lambda: publish_images(folder, SECOND), lambda: changes(publication_of(folder, SECOND))):
        with pytest.raises(PublicationError) as caught:
            ask()
        assert str(caught.value) == (
            f"{folder}/lr/c.png: is not ours, and the export needs its name\n"
            f"  hint: move it away: mv {folder}/lr/c.png {folder}/lr/c.png.mine"
        )
    assert tree(folder) == {**before, "lr/c.png": b"mine"}
    (folder / "lr/c.png").rename(tmp_path / "c.png")
    publish_images(folder, SECOND)
    assert images_of(folder) == SECOND


def test_a_folder_that_was_never_ours_keeps_its_files_and_names_how_many_stand_in_the_way(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "hr").mkdir(parents=True)
    (folder / "hr/a.png").write_bytes(b"mine")
    (folder / "meta_info.txt").write_bytes(b"mine too")
    with pytest.raises(PublicationError) as caught:
        publish_images(folder, FIRST)
    assert caught.value.message == f"{folder}/hr/a.png: is not ours, and the export needs its name (and 1 more)"
    assert tree(folder) == {"hr/a.png": b"mine", "meta_info.txt": b"mine too"}


def test_a_manifest_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "manifest.jsonl").write_bytes(b'{"image": "x.png"}\n')
    with pytest.raises(PublicationError) as caught:
        publish_images(folder, FIRST)
    assert caught.value.message == f"{folder}/manifest.jsonl: is not ours, and the export needs its name"


def test_a_link_a_folder_and_a_file_in_the_way_are_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    needs_file = "and the export needs a file of that name"
    cases = {
        "linked": ("hr", lambda path: path.symlink_to(elsewhere), "is a link, expected a folder of the export's own"),
        "file": ("hr", lambda path: path.write_bytes(b"x"), "is a file, and the export needs a folder of that name"),
        "folder": ("hr/a.png", lambda path: path.mkdir(parents=True), f"is a folder, {needs_file}"),
        "link": ("meta_info.txt", lambda path: path.symlink_to("x"), f"is a link, {needs_file}"),
    }
    for name, (path, make, expected) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        make(folder / path)
        with pytest.raises(PublicationError) as caught:
            publish_images(folder, FIRST)
        assert caught.value.message == f"{folder / path}: {expected}"
    assert list(elsewhere.iterdir()) == []


def test_a_file_in_place_of_the_whole_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(PublicationError) as caught:
        publish_images(tmp_path / "out", FIRST)
    assert str(caught.value) == (
        f"{tmp_path}/out: is a file, expected a folder or nothing\n"
        f"  hint: move it away: mv {tmp_path}/out {tmp_path}/out.mine"
    )


# --- what was ours and was changed ----------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"hr"),
        lambda path: path.write_bytes(b"hr b"[::-1]),
    ],
    ids=["deleted", "truncated", "same_size"],
)
def test_a_damaged_file_is_put_back(tmp_path: Path, damage: object) -> None:
    folder = tmp_path / "out"
    publish_images(folder, FIRST)
    damage(folder / "hr/b.png")  # type: ignore[operator]
    assert still_published(folder, publication_of(folder, FIRST).digest()) is None
    done = publish_images(folder, FIRST)
    assert images_of(folder) == FIRST
    assert (done.written, done.deleted) == (1, 0)
    assert publish_images(folder, FIRST).written == 0


def test_a_change_behind_a_restored_mtime_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    publish_images(folder, FIRST)
    path = folder / "hr/b.png"
    status = path.stat()
    path.write_bytes(b"XX b")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert publish_images(folder, FIRST).written == 1
    assert images_of(folder) == FIRST


def test_what_a_user_changed_is_kept_when_it_is_put_back(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    publish_images(folder, FIRST)
    for edit in (b"retouched", b"retouched again", b"retouched"):
        (folder / "hr/b.png").write_bytes(edit)
        done = publish_images(folder, FIRST)
        assert done.notes == (
            f"{folder}/hr/b.png: was changed after it was published; put back, the changed file is kept in "
            f"{folder}/.forge/changed",
        )
    kept = sorted(path.read_bytes() for path in (folder / ".forge/changed").rglob("*.png"))
    assert kept == [b"retouched", b"retouched again"]
    assert images_of(folder) == FIRST


def test_an_edited_file_whose_name_needs_other_content_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    publish_images(folder, FIRST)
    (folder / "hr/b.png").write_bytes(b"retouched")
    with pytest.raises(PublicationError) as caught:
        publish_images(folder, SECOND)
    assert str(caught.value) == (
        f"{folder}/hr/b.png: was changed after it was published, and the export now needs other content there\n"
        f"  hint: move it away: mv {folder}/hr/b.png {folder}/hr/b.png.mine"
    )
    assert images_of(folder) == {**FIRST, "hr/b.png": b"retouched"}


def test_an_edited_file_that_is_no_longer_wanted_is_left_to_its_owner(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    publish_images(folder, FIRST)
    (folder / "lr/b.png").write_bytes(b"retouched")
    done = publish_images(folder, SECOND)
    assert images_of(folder) == {**SECOND, "lr/b.png": b"retouched"}
    assert (done.written, done.deleted) == (3, 0)
    assert done.notes == (
        f"{folder}/lr/b.png: was changed after it was published and is no longer part of the export; left to you",
    )
    assert publish_images(folder, SECOND) == Published(folder, 4, 0, 0, done.digest)


def test_a_touched_file_is_read_once_and_not_written(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    publish_images(folder, FIRST)
    os.utime(folder / "hr/a.png", ns=(1, 1))
    assert publish_images(folder, FIRST).written == 0
    assert tree(folder)["hr/a.png"] == b"hr a"


@pytest.mark.parametrize("damage", ["gone", "torn", "other"])
def test_without_its_record_the_manifest_tells_what_is_ours(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "out"
    publish_images(folder, FIRST)
    record = folder / ".forge/owned.json"
    if damage == "gone":
        record.unlink()
        record.parent.rmdir()
    else:
        record.write_bytes(record.read_bytes()[:50] if damage == "torn" else b"[]")
    assert publish_images(folder, FIRST).written == 0
    if damage == "gone":
        record.unlink()
    done = publish_images(folder, SECOND)
    assert images_of(folder) == SECOND
    assert (done.written, done.deleted) == (3, 1)
    assert publish_images(folder, SECOND).written == 0


def test_a_copied_folder_is_recognised_by_content(tmp_path: Path) -> None:
    publish_images(tmp_path / "out", FIRST)
    copy = tmp_path / "copy"
    for path in sorted((tmp_path / "out").rglob("*")):
        target = copy / path.relative_to(tmp_path / "out")
        if path.is_dir():
            target.mkdir(parents=True)
        else:
            target.write_bytes(path.read_bytes())
    assert publish_images(copy, FIRST).written == 0
    publish_images(copy, SECOND)
    assert images_of(copy) == SECOND


# --- asking without doing -------------------------------------------------------------------------


def test_asking_says_why_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    everything = ("hr/a.png", "hr/b.png", "lr/a.png", "lr/b.png", "meta_info.txt", "manifest.jsonl")
    assert changes(publication_of(folder, FIRST)) == Changes(write=everything, reason="nothing is published there yet")
    assert not folder.exists()
    publish_images(folder, FIRST)
    before = stats(tmp_path)
    assert changes(publication_of(folder, FIRST)) == Changes()
    assert changes(publication_of(folder, SECOND)) == Changes(
        write=("hr/b.png", "lr/c.png", "manifest.jsonl"),
        delete=("lr/b.png",),
        reason="1 to write, 2 to replace, 1 to delete",
    )
    assert stats(tmp_path) == before
    (folder / "hr/a.png").write_bytes(b"")
    assert changes(publication_of(folder, FIRST)) == Changes(
        write=("hr/a.png",), put_back=("hr/a.png",), reason="1 to put back (changed after it was published)"
    )


def test_a_folder_can_be_asked_for_by_the_digest_of_its_publication_alone(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    digest = publication_of(folder, FIRST).digest()
    assert still_published(folder, digest) is None
    done = publish_images(folder, FIRST)
    assert still_published(folder, digest) == Published(folder, 4, 0, 0, done.digest)
    assert still_published(folder, publication_of(folder, SECOND).digest()) is None
    (folder / "meta_info.txt").unlink()
    assert still_published(folder, digest) is None


# --- what is refused before anything changes ------------------------------------------------------


@pytest.mark.parametrize("kind", ["bytes", "file", "missing"])
def test_other_bytes_than_promised_are_not_published(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "out"
    publish_images(folder, FIRST)
    before = tree(tmp_path)
    damaged = tmp_path / "payload"
    if kind == "file":
        damaged.write_bytes(b"damaged")
    with pytest.raises(PayloadDamaged) as caught:
        publish(publication_of(folder, SECOND), lambda path: b"damaged" if kind == "bytes" else damaged)
    expected = digest_bytes(SECOND["hr/b.png"])[:8]
    found = "are not there" if kind == "missing" else f"have digest {digest_bytes(b'damaged')[:8]}"
    assert str(caught.value) == f"hr/b.png: its bytes {found}, expected {expected}\n  hint: forge cache verify"
    assert caught.value.path == "hr/b.png"
    damaged.unlink(missing_ok=True)
    assert tree(tmp_path) == before
    assert [path.name for path in (folder / ".forge").iterdir()] == ["owned.json"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["../a.png"], "an export named a file '../a.png', expected a relative path inside its folder"),
        (["/a.png"], "an export named a file '/a.png', expected a relative path inside its folder"),
        (["hr//a.png"], "an export named a file 'hr//a.png', expected a relative path inside its folder"),
        ([".forge/a"], "an export named a file '.forge/a', expected a relative path inside its folder"),
        (["hr/A.png", "hr/a.png"], "an export named two files 'hr/A.png' and 'hr/a.png', which differ only in case"),
        (["hr", "hr/a.png"], "an export named 'hr' as a file and as the folder of 'hr/a.png'"),
    ],
)
@pytest.mark.parametrize("exists", [False, True])
def test_names_that_cannot_stand_in_one_folder_are_refused(
    tmp_path: Path, names: list[str], message: str, exists: bool
) -> None:
    folder = tmp_path / "out"
    if exists:
        folder.mkdir()
    with pytest.raises(BrokenPromise) as caught:
        publish_images(folder, dict.fromkeys(names, b"x"))
    assert caught.value.message == message
    assert (tree(tmp_path), folder.exists()) == ({}, exists)


def test_a_folder_without_permission_is_a_fault_of_the_environment(tmp_path: Path) -> None:
    class Forbidden(QuietDisk):
        def about_to(self, operation: str, path: Path) -> None:
            if operation == "mkdir":
                raise PermissionError(13, "Permission denied", str(path))

    with pytest.raises(EnvironmentFault) as caught:
        publish(publication_of(tmp_path / "out", FIRST), lambda path: FIRST[path], disk=Forbidden())
    assert str(caught.value) == (f"no permission: {tmp_path} could not be written\n  hint: ls -ld {tmp_path}/out")


# --- two at once ----------------------------------------------------------------------------------


def test_two_publications_at_once_wait_for_one_another(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    publish_images(folder, FIRST)
    ready, told, done = threading.Event(), threading.Event(), []

    def slow_payload(path: str) -> bytes:
        ready.set()
        assert told.wait(20)
        return SECOND[path]

    def first() -> None:
        done.append(publish(publication_of(folder, SECOND), slow_payload))

    def second() -> None:
        assert ready.wait(20)
        lines.append(publish(publication_of(folder, FIRST), lambda path: FIRST[path], announce=announce))

    def announce(line: str) -> None:
        messages.append(line)
        told.set()

    lines: list[Published] = []
    messages: list[str] = []
    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert messages == [f"{folder}: waiting for another run that publishes there"]
    assert (done[0].written, lines[0].written) == (3, 3)
    assert images_of(folder) == FIRST
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_there_is_nothing_to_recover_in_a_whole_folder(tmp_path: Path) -> None:
    publish_images(tmp_path / "out", FIRST)
    assert recover(tmp_path / "out", disk=QuietDisk()) is False
    assert recover(tmp_path / "none", disk=QuietDisk()) is False


def test_a_folder_whose_parent_is_not_ours_to_write_is_locked_from_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    disk = QuietDisk()
    publish(publication_of(folder, FIRST), lambda path: FIRST[path], disk=disk)
    assert [name for operation, name in disk.operations if operation == "lock"] == ["lock"]
    assert images_of(folder) == FIRST
    assert [path.name for path in (folder / ".forge").iterdir()] == ["owned.json"]
    assert publish_images(folder, FIRST).written == 0


def test_damaged_payloads_are_told_across_processes() -> None:
    error = pickle.loads(pickle.dumps(PayloadDamaged("hr/a.png", "f" * 40, "e" * 40)))
    assert str(error) == "hr/a.png: its bytes have digest ffffffff, expected eeeeeeee\n  hint: forge cache verify"
    assert error.path == "hr/a.png"
