"""Which files a source's paths mean, and the names that they get."""

from __future__ import annotations

import os
import tarfile
import tracemalloc
import unicodedata
import zipfile
from pathlib import Path

import pytest

from forge_pipeline.errors import CommandError
from forge_pipeline.step import Entry
from forge_steps.read._find import matches
from forge_steps.read.images import ImagesParams, ReadImages


def entries(directory: Path, path: str | list[str], **params: list[str]) -> list[Entry]:
    """List what is found in name order, as the engine does."""
    return sorted(ReadImages(ImagesParams(path=path, **params)).entries(directory), key=lambda entry: entry.name)


def names(directory: Path, path: str | list[str], **params: list[str]) -> list[str]:
    return [entry.name for entry in entries(directory, path, **params)]


def make(directory: Path, *files: str) -> None:
    for file in files:
        path = directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.encode())


def refusal(directory: Path, path: str | list[str], **params: list[str]) -> tuple[str, str]:
    with pytest.raises(CommandError) as caught:
        entries(directory, path, **params)
    return caught.value.message, caught.value.hint


def zipped(path: Path, *members: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, member)


def test_a_folder_gives_its_images_at_any_depth_sorted_by_name(tmp_path: Path) -> None:
    make(tmp_path, "p/b.png", "p/a/z.JPG", "p/a.png", "p/notes.txt", "p/.hidden.png", "p/.git/x.png", "p/c/d/e.webp")
    assert names(tmp_path, "p") == ["a.png", "a/z.JPG", "b.png", "c/d/e.webp"]
    assert {entry.location.path for entry in entries(tmp_path, "p")} == {
        str(tmp_path / "p" / name) for name in ("a.png", "a/z.JPG", "b.png", "c/d/e.webp")
    }


def test_odd_names_stay_apart(tmp_path: Path) -> None:
    odd = ["A.png", "a b.png", "a.b.png", "a.png", "x/1.png", "y/1.png", "é.png", "日本.png", "~!@#$%^&().png"]
    make(tmp_path, *(f"p/{name}" for name in odd))
    assert names(tmp_path, "p") == sorted(odd)


def test_names_are_nfc_and_two_spellings_of_one_name_stay_apart(tmp_path: Path) -> None:
    make(tmp_path, "p/" + unicodedata.normalize("NFD", "é.png"))
    assert names(tmp_path, "p") == ["\u00e9.png"]
    make(tmp_path, "p/\u00e9.png")
    assert names(tmp_path, "p") == sorted(["e\u0301.png", "\u00e9.png"])


def test_a_name_whose_nfc_is_plain_stays_apart_from_the_plain_one(tmp_path: Path) -> None:
    make(tmp_path, "p/\u212a.png", "q/\u212a.png", "q/K.png")
    assert names(tmp_path, "p") == ["K.png"]
    assert names(tmp_path, "q") == ["K.png", "\u212a.png"]


@pytest.mark.parametrize("path", ["p", "p/*.png", "p.tar"])
def test_many_files_are_not_held_while_they_are_found(tmp_path: Path, path: str) -> None:
    count = 2_000
    make(tmp_path, *(f"p/{number:05d}.png" for number in range(count)))
    with tarfile.open(tmp_path / "p.tar", "w") as tar:
        tar.add(tmp_path / "p", "p")
    found = ReadImages(ImagesParams(path=path)).entries(tmp_path)
    next(found)
    tracemalloc.start()
    try:
        assert sum(1 for _ in found) == count - 1
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most / count < 60


def test_a_name_that_is_no_utf_8_is_a_problem_of_that_file(tmp_path: Path) -> None:
    make(tmp_path, "good.png")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.png")).write_bytes(b"")
    assert [(entry.name, entry.problem) for entry in entries(tmp_path, ".")] == [
        ("bad\\udcff.png", "its name is no valid UTF-8"),
        ("good.png", ""),
    ]


def test_a_named_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    make(tmp_path, "p/photo.dat")
    assert names(tmp_path, "p/photo.dat") == ["photo.dat"]


def test_a_glob_is_relative_to_its_last_plain_folder(tmp_path: Path) -> None:
    make(tmp_path, "p/a/1.png", "p/b/2.png", "p/b/c/3.png", "p/4.png", "p/b/5.txt")
    assert names(tmp_path, "p/*/*.png") == ["a/1.png", "b/2.png"]
    assert names(tmp_path, "p/**/*.png") == ["4.png", "a/1.png", "b/2.png", "b/c/3.png"]
    assert names(tmp_path, "p/[ab]") == ["a/1.png", "b/2.png", "b/c/3.png"]
    assert names(tmp_path, str(tmp_path / "p" / "?.png")) == ["4.png"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    make(tmp_path, "a[1].png", "a1.png")
    assert names(tmp_path, "a[1].png") == ["a[1].png"]


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("a/b.png", "*.png", True),
        ("a/b.png", "a/*.png", True),
        ("a/b/c.png", "a/*.png", False),
        ("a/b/c.png", "a/**/*.png", True),
        ("a/c.png", "a/**/*.png", True),
        ("a/b/c.png", "b", True),
        ("a/b/c.png", "a/b", True),
        ("a/b/c.png", "a/**", True),
        ("ab.png", "[!b]b.png", True),
        ("bb.png", "[!b]b.png", False),
        ("a+b.png", "a+b.png", True),
        ("aab.png", "a+b.png", False),
        ("a.PNG", "*.png", False),
    ],
)
def test_globs_match_as_documented(name: str, pattern: str, expected: bool) -> None:
    assert matches(name, pattern) is expected


def test_include_and_exclude_are_about_relative_names(tmp_path: Path) -> None:
    make(tmp_path, "p/a/1.png", "p/a/2.jpg", "p/b/1.png", "p/b/thumbs/1.png")
    assert names(tmp_path, "p", include=["*.png"]) == ["a/1.png", "b/1.png", "b/thumbs/1.png"]
    assert names(tmp_path, "p", exclude=["thumbs", "a/2.*"]) == ["a/1.png", "b/1.png"]
    assert names(tmp_path, "p", include=["b/**"], exclude=["thumbs"]) == ["b/1.png"]


def test_a_glob_that_cannot_be_understood_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "p/a.png")
    message, _ = refusal(tmp_path, "p", include=["[z-a].png"])
    assert message == "glob '[z-a].png' cannot be understood (bad character range z-a)"


def test_archives_are_read_in_place(tmp_path: Path) -> None:
    zipped(tmp_path / "z.zip", "b.png", "a/c.jpg", "readme.txt", ".x.png", "__MACOSX/._b.png")
    assert names(tmp_path, "z.zip") == ["a/c.jpg", "b.png"]
    (tmp_path / "b.png").write_bytes(b"")
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "b.png", "./d/b.png")
    [entry] = entries(tmp_path, "t.tar.gz")
    assert (entry.name, entry.location.path, entry.location.member) == (
        "d/b.png",
        str(tmp_path / "t.tar.gz"),
        "./d/b.png",
    )


def test_unsafe_members_come_with_their_problem(tmp_path: Path) -> None:
    zipped(tmp_path / "z.zip", "good.png", "../evil.png", "/abs.png", "../../etc/passwd")
    assert [(entry.name, entry.problem) for entry in entries(tmp_path, "z.zip")] == [
        ("../evil.png", "its name leaves the archive by '..'"),
        ("/abs.png", "its name is absolute"),
        ("good.png", ""),
    ]


def test_a_glob_may_name_archives(tmp_path: Path) -> None:
    zipped(tmp_path / "1.zip", "a.png")
    zipped(tmp_path / "2.zip", "a.png")
    assert names(tmp_path, "*.zip") == ["1.zip/a.png", "2.zip/a.png"]


def test_archives_inside_a_folder_are_not_opened(tmp_path: Path) -> None:
    make(tmp_path, "p/a.png")
    zipped(tmp_path / "p/z.zip", "b.png")
    assert names(tmp_path, "p") == ["a.png"]


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "z.zip").write_bytes(b"junk")
    message, _ = refusal(tmp_path, "z.zip")
    assert message == f"read.images: {tmp_path}/z.zip: not a readable archive (File is not a zip file)"


def test_data_of_an_installed_package_is_found_without_importing_it(tmp_path: Path) -> None:
    assert names(tmp_path, "package:skimage/data/astronaut.png") == ["astronaut.png"]
    assert "retina.jpg" in names(tmp_path, "package:skimage/data")
    assert names(tmp_path, "package:skimage/data/r*.jpg") == ["retina.jpg", "rocket.jpg"]
    message, hint = refusal(tmp_path, "package:no_such_package/a.png")
    expected = "names no installed Python package, expected package:NAME/FILE"
    assert message == f"read.images: path 'package:no_such_package/a.png' {expected}"
    assert hint == "python -m pip show no_such_package"


def test_several_paths_are_told_apart_by_their_last_folder(tmp_path: Path) -> None:
    make(tmp_path, "a/train/1.png", "b/train/1.png", "c/1.png", "d/1.png")
    paths = ["a/train", "b/train", "c/1.png", "d/1.png"]
    assert names(tmp_path, paths) == ["1.png", "1~2.png", "train/1.png", "train~2/1.png"]
    found = {entry.name: entry.location.path for entry in entries(tmp_path, paths)}
    assert found["train~2/1.png"] == str(tmp_path / "b/train/1.png")
    assert found["1~2.png"] == str(tmp_path / "d/1.png")


def test_a_file_put_in_renames_no_other(tmp_path: Path) -> None:
    make(tmp_path, "a/x/1.png", "b/x/2.png")
    before = set(names(tmp_path, ["a/x", "b/x"]))
    make(tmp_path, "a/x/2.png", "a/x/0.png")
    assert before < set(names(tmp_path, ["a/x", "b/x"]))


def test_names_do_not_know_where_the_folder_lies(tmp_path: Path) -> None:
    for place in ("one", "two"):
        make(tmp_path, f"{place}/p/1.png", f"{place}/2.png")
    paths = [".", "p"]
    assert names(tmp_path / "one", paths) == names(tmp_path / "two", paths) == ["files/2.png", "files/p/1.png"]


def test_a_file_that_two_paths_name_is_read_once(tmp_path: Path) -> None:
    make(tmp_path, "p/1.png", "p/2.png")
    assert names(tmp_path, ["p/1.png", "p"]) == ["1.png", "p/2.png"]


def test_links_are_not_a_way_out_or_a_circle(tmp_path: Path) -> None:
    make(tmp_path, "p/a.png", "outside/secret.png")
    (tmp_path / "p/circle").symlink_to(tmp_path / "p")
    (tmp_path / "p/way_out").symlink_to(tmp_path / "outside")
    (tmp_path / "p/inside.png").symlink_to(tmp_path / "p/a.png")
    (tmp_path / "p/leaves.png").symlink_to(tmp_path / "outside/secret.png")
    (tmp_path / "p/broken.png").symlink_to(tmp_path / "nothing.png")
    assert [(entry.name, entry.problem) for entry in entries(tmp_path, "p")] == [
        ("a.png", ""),
        ("broken.png", "it is a broken link"),
        ("inside.png", ""),
        ("leaves.png", "it is a link that leaves the folder"),
    ]


def test_a_linked_folder_that_is_named_is_read(tmp_path: Path) -> None:
    make(tmp_path, "real/a.png")
    (tmp_path / "p").symlink_to(tmp_path / "real")
    assert names(tmp_path, "p") == ["a.png"]


def test_a_path_that_is_not_there_is_refused_with_a_near_name(tmp_path: Path) -> None:
    make(tmp_path, "photos/a.png")
    expected = "is not there, expected a file, a folder, a glob or an archive"
    assert refusal(tmp_path, "photo") == (f"read.images: path 'photo' {expected}", "did you mean 'photos'?")
    assert refusal(tmp_path, "photso/*.png") == (
        f"read.images: path 'photso/*.png' {expected}",
        "did you mean 'photos'?",
    )


def test_a_path_that_holds_no_image_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "p/a.txt")
    message, _ = refusal(tmp_path, "p")
    assert message == (
        "read.images: path 'p' holds no image, expected at least one file that ends in .apng, .avif, .bmp, .dib, .gif, "
        ".j2k, .jfif, .jp2, .jpe, .jpeg, .jpg, .jpx, .pbm, .pgm, .png, .pnm, .ppm, .qoi, .tga, .tif, .tiff, .webp"
    )
    make(tmp_path, "p/a.png")
    message, _ = refusal(tmp_path, "p", exclude=["*.png"])
    assert message.startswith("read.images: path 'p' holds no image that passes include and exclude, expected")


def test_an_empty_list_of_paths_is_refused(tmp_path: Path) -> None:
    message, _ = refusal(tmp_path, [])
    assert message == "read.images: path is an empty list, expected at least one path"


@pytest.mark.parametrize(
    ("path", "searched"),
    [
        ("p", ["p"]),
        ("p/", ["p"]),
        (["p", "q/1.png"], ["p"]),
        ("p/*.png", []),
        ("p/*", ["p"]),
        ("p/*/*.png", ["p"]),
        ("p/**", ["p"]),
        ("p/**/*.png", ["p"]),
        ("q/*.zip", []),
        ("q/1.png", []),
        ("q/a.zip", []),
        ("q/[1].png", []),
    ],
)
def test_the_folders_that_are_searched_are_named(tmp_path: Path, path: str | list[str], searched: list[str]) -> None:
    make(tmp_path, "p/1.png", "p/x/2.png", "q/1.png", "q/[1].png")
    zipped(tmp_path / "q/a.zip", "3.png")
    roots = ReadImages(ImagesParams(path=path)).roots(tmp_path)
    assert roots == [tmp_path / folder for folder in searched]
