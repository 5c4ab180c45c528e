"""Source files on disk and in archives: the same bytes, any order, many threads, and no unsafe member."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import random
import stat
import tarfile
import time
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from forge_pipeline import archives, files
from forge_pipeline.digest import digest_bytes
from forge_pipeline.errors import DataError, EnvironmentFault
from forge_pipeline.files import (
    Identifier,
    ReadAhead,
    SourceFile,
    list_members,
    open_location,
    read_location,
    stat_identity,
)
from forge_pipeline.sample import Location
from forge_pipeline.step import File

Members = list[tuple[str, bytes]]
KINDS = [".zip", ".tar", ".tar.gz", ".tgz"]


def pack(path: Path, members: Members) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, data in members:
                zipped.writestr(name, data)
        return path
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def some_members(count: int = 5, size: int = 100) -> Members:
    rng = random.Random(0)
    return [(f"folder/{i}.bin", rng.randbytes(size + i)) for i in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_listed_with_name_and_size_and_read_back(tmp_path: Path, kind: str) -> None:
    members = [*some_members(), ("empty.bin", b""), ("ümlaut a b.c.bin", b"x")]
    path = pack(tmp_path / f"a{kind}", members)
    assert list(list_members(path)) == [(name, len(data), "") for name, data in members]
    for name, data in members:
        location = Location(str(path), name)
        assert read_location(location) == data
        before_ns = time.time_ns()
        digest, identity, seen_ns, kept = Identifier().identify(location)
        assert (digest, identity, kept) == (digest_bytes(data), stat_identity(path), data)
        assert before_ns <= seen_ns <= time.time_ns()
        with open_location(location) as stream:
            assert stream.seekable()
            assert stream.read(3) == data[:3]
            stream.seek(0)
            assert stream.read() == data


FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("harm", ["", "cut", "flip"])
def test_a_tar_is_listed_as_tarfile_lists_it_whole_or_damaged(tmp_path: Path, form: str, harm: str) -> None:
    rng = random.Random(f"{form} {harm}")
    for _ in range(40):
        path = tmp_path / "a.tar"
        _write_tar(path, FORMATS[form], rng)
        data = bytearray(path.read_bytes())
        if harm == "cut":
            data = data[: rng.randint(1, len(data))]
        elif harm == "flip":
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        with (wrong := contextlib.ExitStack()):
            try:
                with tarfile.open(path) as tar:
                    expected = [(m.name, m.size, m.offset_data) for m in tar if not m.isdir()]
            except (tarfile.TarError, ValueError, EOFError):
                wrong.enter_context(pytest.raises(DataError, match="not a readable archive"))
                expected = []
            archive = archives.open_archive(str(path))
            assert isinstance(archive, archives._Tar)
            assert [m.name for m in archive.members] == list(dict.fromkeys(name for name, _, _ in expected))
            assert list(archive.members._sizes) == [size for _, size, _ in expected]
            assert list(archive._offsets) == [offset for _, _, offset in expected]


def _write_tar(path: Path, form: int, rng: random.Random) -> None:
    """Write plain files among whatever else a tar may hold: folders, links, long names, names that are not ASCII."""
    said = rng.choice([{}, {}, {"comment": "git"}, {"path": "of-all.png"}])
    with tarfile.open(path, "w", format=form, pax_headers=said if form == FORMATS["pax"] else None) as tar:
        for number in range(rng.randint(0, 12)):
            names = [f"a{number}.png"] * 4 + [f"folder{number}/", f"é{number}.png", f"{'p' * 60}/{'q' * 60}{number}"]
            info = tarfile.TarInfo(
                rng.choice([*names, *([f"d/{'x' * 120}{number}"] if form != FORMATS["ustar"] else [])])
            )
            if info.name.endswith("/"):
                info.type = tarfile.DIRTYPE
            elif rng.random() < 0.1:
                info.type, info.linkname = rng.choice([tarfile.SYMTYPE, tarfile.LNKTYPE]), "a0.png"
            else:
                info.size = rng.choice([0, 1, 511, 512, 513, 2000])
            tar.addfile(info, io.BytesIO(rng.randbytes(info.size)))


def test_what_was_read_ahead_is_given_once_and_no_more_is_kept_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "_KEPT_BYTES", 10)
    ahead = ReadAhead()
    for name in ("a", "b", "b", "c"):
        ahead.keep(name, name.encode() * 4)
    assert [ahead.take(name) for name in ("a", "b", "c", "c")] == [b"aaaa", b"bbbb", None, None]
    ahead.keep("d", b"d" * 10)  # what was taken makes room
    assert ahead.take("d") == b"d" * 10


def test_bytes_that_are_too_many_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_KEPT_FILE_BYTES", 3)
    for name, size in (("small", 3), ("large", 4)):
        data = bytes(size)
        tar = pack(tmp_path / f"{name}.tar", [(name, data)])
        (tmp_path / name).write_bytes(data)
        for location in (Location(str(tmp_path / name)), Location(str(tar), name)):
            found = Identifier().identify(location)
            assert found.digest == digest_bytes(data)
            assert found.data == (data if name == "small" else None)


def test_members_that_are_named_shortly_one_after_the_other_cost_one_look_at_their_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = some_members(5, 100)
    path = pack(tmp_path / "a.tar", members)
    looks: list[str] = []
    monkeypatch.setattr(files, "stat_identity", lambda path: looks.append(path) or stat_identity(path))
    monkeypatch.setattr(files, "_LOOKED_AT_NS", 10**12)
    identifier = Identifier()
    found = [identifier.identify(Location(str(path), name)) for name, _ in members]
    assert looks == [str(path)]
    assert [one.digest for one in found] == [digest_bytes(data) for _, data in members]
    assert {(one.identity, one.seen_ns) for one in found} == {(stat_identity(path), found[0].seen_ns)}

    # A while later it is looked at again: what changed meanwhile is read as it is now.
    monkeypatch.setattr(files, "_LOOKED_AT_NS", 0)
    pack(path, [(name, data[::-1]) for name, data in members])
    name, data = members[0]
    assert identifier.identify(Location(str(path), name)).digest == digest_bytes(data[::-1])
    assert looks == [str(path)] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_file_lends_its_bytes_in_memory_as_a_stream_and_on_disk(tmp_path: Path, kind: str) -> None:
    path = pack(tmp_path / f"a{kind}", [("x/film.mp4", b"abc")])
    file: File = SourceFile("x/film.mp4", digest_bytes(b"abc"), Location(str(path), "x/film.mp4"))
    with file.on_disk() as lent:
        assert lent.suffix == ".mp4"
        assert lent.read_bytes() == file.read() == b"abc"
    assert not lent.exists()


def test_a_plain_file_is_lent_in_place(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    file = SourceFile("a.bin", digest_bytes(b"abc"), Location(str(path)))
    with file.on_disk() as lent:
        assert lent == path
    with file.open() as stream:
        assert stream.read() == file.read() == b"abc"
    assert Identifier().identify(file.location).digest == file.digest


@pytest.mark.parametrize("kind", KINDS)
def test_many_threads_read_many_members_in_any_order(tmp_path: Path, kind: str) -> None:
    members = some_members(60, 40_000)
    path = pack(tmp_path / f"a{kind}", members)
    wanted = members * 3
    random.Random(1).shuffle(wanted)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda member: read_location(Location(str(path), member[0])), wanted))
    assert read == [data for _, data in wanted]


def test_a_gzip_member_far_back_is_read_without_unpacking_all_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_STRIDE_BYTES", 1 << 20)
    members = some_members(64, 1 << 18)
    stored = archives._Stored(str(pack(tmp_path / "a.tgz", members)))
    unpacked = archives._Unpacked(stored)
    tar = archives._Tar(unpacked)
    read_before: list[int] = []
    read_at = stored.read_at

    def counted(offset: int, size: int) -> bytes:
        read_before.append(size)
        return read_at(offset, size)

    monkeypatch.setattr(stored, "read_at", counted)
    for name, data in reversed(members):
        assert archives.read_member(tar, name) == data
    # 64 members x (1 MiB stride + 256 KiB member + 2 blocks) would be 112 MiB; from the start each time 520 MiB.
    assert sum(read_before) < 112 << 20


def test_a_place_to_unpack_further_from_holds_nothing_that_was_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_STRIDE_BYTES", 1 << 20)
    unpacked = archives._Unpacked(archives._Stored(str(pack(tmp_path / "a.tgz", some_members(16, 1 << 20)))))
    archives._Tar(unpacked)
    assert len(unpacked._points) > 10
    assert {(point.block, point.packed) for point in unpacked._points} == {(b"", b"")}


def test_a_tar_holds_few_bytes_of_a_member(tmp_path: Path) -> None:
    count = 5_000
    path = pack(tmp_path / "a.tar", [(f"{number:07d}.png", b"") for number in range(count)])
    tracemalloc.start()
    try:
        tar = archives.open_archive(str(path))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / count < 60
    assert 30 < tar.held_bytes / count < taken / count
    assert list(tar.members)[count - 1] == ("4999.png".rjust(11, "0"), 0, "")


@pytest.mark.parametrize(("held_bytes", "opened"), [(0, "aba"), (1 << 20, "ab")])
def test_lists_of_members_that_take_too_much_are_let_go_all_but_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_bytes: int, opened: str
) -> None:
    paths = {name: str(pack(tmp_path / f"{name}.tar", [("x.bin", name.encode())])) for name in "ab"}
    told: list[str] = []

    def counted(path: str) -> archives.Archive:
        told.append(Path(path).stem)
        return archives.open_archive(path)

    monkeypatch.setattr(files, "open_archive", counted)
    monkeypatch.setattr(files, "_MAX_HELD_BYTES", held_bytes)
    assert [read_location(Location(paths[name], "x.bin")) for name in "aabba"] == [b"a", b"a", b"b", b"b", b"a"]
    assert "".join(told) == opened


def test_an_archive_that_cannot_be_opened_is_let_go_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_OPEN", files._OpenArchives())
    for number in range(20):
        (tmp_path / f"{number}.tar").write_bytes(b"no tar")
        with pytest.raises(DataError):
            list_members(tmp_path / f"{number}.tar")
    assert len(files._OPEN._slots) == 16


def test_gzip_files_that_follow_one_another_are_one_stream(tmp_path: Path) -> None:
    members = some_members(3, 2000)
    whole = gzip.decompress(pack(tmp_path / "a.tgz", members).read_bytes())
    split = tmp_path / "b.tar.gz"
    split.write_bytes(gzip.compress(whole[:1500]) + gzip.compress(whole[1500:]) + bytes(512))
    assert [read_location(Location(str(split), name)) for name, _ in members] == [data for _, data in members]


EVIL = [
    ("/etc/evil.png", "its name is absolute"),
    ("../evil.png", "its name leaves the archive by '..'"),
    ("a/../../evil.png", "its name leaves the archive by '..'"),
    ("a\\evil.png", "its name holds a backslash"),
    ("C:/evil.png", "its name starts with a drive letter"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_unsafe_names_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = pack(tmp_path / f"a{kind}", [("good.png", b"1"), *((name, b"2") for name, _ in EVIL)])
    assert list(list_members(path)) == [("good.png", 1, ""), *((name, 1, problem) for name, problem in EVIL)]
    for name, _ in EVIL:
        with pytest.raises(EnvironmentFault) as caught:
            read_location(Location(str(path), name))
        assert caught.value.message == f"{path}!{name}: the archive has no such member that is safe to read"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", KINDS)
def test_members_of_one_name_are_all_refused(tmp_path: Path, kind: str) -> None:
    path = pack(tmp_path / f"a{kind}", [("a.png", b"1"), ("b.png", b"2"), ("./a.png", b"3"), ("a.png", b"4")])
    assert list(list_members(path)) == [("a.png", 1, "3 members have this name"), ("b.png", 1, "")]


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (tarfile.SYMTYPE, "it is a symbolic link"),
        (tarfile.LNKTYPE, "it is a hard link"),
        (tarfile.CHRTYPE, "it is a device"),
        (tarfile.FIFOTYPE, "it is a device"),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes, problem: str) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    assert list(list_members(path)) == [("a.png", 0, problem)]


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path, info = tmp_path / "a.zip", zipfile.ZipInfo("a.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr(info, "/etc/passwd")
    assert list(list_members(path)) == [("a.png", 11, "it is a symbolic link")]


def _patched(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


def test_a_name_with_nul_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = _patched(pack(tmp_path / "a.zip", [("a.pngX.png", b"1")]), b"a.pngX.png", b"a.png\0.png")
    assert list(list_members(path)) == [("a.png\0.png", 1, "its name holds a NUL")]


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", [("a.png", b"1")])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert list(list_members(path)) == [("a.png", 1, "it is encrypted")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 1000)
    path = pack(tmp_path / f"a{kind}", [("bomb.png", bytes(1001)), ("good.png", bytes(1000))])
    problem = "it unpacks to 1001 bytes, at most 1000 are read"
    assert list(list_members(path)) == [("bomb.png", 1001, problem), ("good.png", 1000, "")]


def test_a_zip_member_that_holds_more_than_it_declares_is_damaged(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", [("a.png", bytes(100_000))])
    _patched(path, (100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    with pytest.raises(DataError) as caught:
        read_location(Location(str(path), "a.png"))
    assert caught.value.reason == "damaged"
    assert caught.value.message == "a.png: the archive's member cannot be unpacked (Bad CRC-32 for file 'a.png')"


def test_a_tar_gz_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "a.tgz", [("a.png", bytes(3 << 20)), ("b.png", b"1")])
    unpacked = archives._Unpacked(archives._Stored(str(path)))
    monkeypatch.setattr(unpacked, "_limit", 1 << 20)
    with pytest.raises(ValueError, match="unpacks to more than 1048576 bytes"):
        archives._Tar(unpacked)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_archive_is_damaged(tmp_path: Path, kind: str) -> None:
    path = pack(tmp_path / f"a{kind}", some_members(5, 20_000))
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(DataError) as caught:
        list_members(path)
    assert caught.value.reason == "damaged_archive"
    assert caught.value.message.startswith(f"{path}: not a readable archive (")


@pytest.mark.parametrize("kind", KINDS)
def test_text_under_an_archive_name_is_damaged(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a{kind}"
    path.write_text("hello " * 300)
    with pytest.raises(DataError) as caught:
        list_members(path)
    assert caught.value.reason == "damaged_archive"


def test_flipped_bytes_in_a_member_are_damaged(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", some_members(1, 5000))
    data = bytearray(path.read_bytes())
    data[2000] ^= 255
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_location(Location(str(path), "folder/0.bin"))
    assert caught.value.reason == "damaged"


def test_an_archive_that_changed_is_listed_anew(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", [("a.png", b"1")])
    assert read_location(Location(str(path), "a.png")) == b"1"
    pack(path, [("b.png", b"22")])
    assert list(list_members(path)) == [("b.png", 2, "")]


def test_what_was_read_of_an_archive_within_a_tick_of_its_times_does_not_stand_for_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(tmp_path / "a.tar", [("a.png", b"before"), ("b.png", b"before")])
    # As on a file system whose stamps are coarse: a change in place, and none of the times shows it.
    seen = stat_identity(path)
    monkeypatch.setattr(files, "stat_identity", lambda path: seen)
    monkeypatch.setattr(files, "is_settled", lambda *times: False)
    assert Identifier().identify(Location(str(path), "a.png")).digest == digest_bytes(b"before")
    with open(path, "r+b") as stream:
        stream.write(path.read_bytes().replace(b"before", b"after!"))
    monkeypatch.setattr(files, "is_settled", lambda *times: True)
    for name in ("a.png", "b.png"):
        assert Identifier().identify(Location(str(path), name)).digest == digest_bytes(b"after!")


def test_a_missing_file_is_the_machines_fault_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        read_location(Location(str(tmp_path / "gone.png")))
    assert caught.value.message == f"{tmp_path / 'gone.png'}: cannot be read (no such file or directory)"


def test_reading_leaves_sources_as_they_were(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", some_members())
    path.chmod(0o400)
    before, data = stat_identity(path), path.read_bytes()
    for name, _, _ in list_members(path):
        with SourceFile(name, "", Location(str(path), name)).on_disk() as lent:
            assert lent.is_file()
    assert (stat_identity(path), path.read_bytes()) == (before, data)


def test_identity_changes_when_a_file_is_replaced_with_size_and_mtime_kept(tmp_path: Path) -> None:
    path, other = tmp_path / "a.bin", tmp_path / "b.bin"
    path.write_bytes(b"abc")
    before = stat_identity(path)
    other.write_bytes(b"xyz")
    os.utime(other, ns=(before[1], before[1]))
    other.replace(path)
    after = stat_identity(path)
    assert after[:2] == before[:2]
    assert after != before
