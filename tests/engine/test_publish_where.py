"""Export paths: never in, on or around a source, and one folder for each export."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge_pipeline.errors import CommandError
from forge_pipeline.publish import check_export_paths


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "data/photos"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"x")
    (tmp_path / "link").symlink_to(folder)
    return folder


def refusal(exports: dict[str, Path], sources: dict[str, list[Path]]) -> CommandError:
    with pytest.raises(CommandError) as caught:
        check_export_paths(exports, sources)
    return caught.value


@pytest.mark.parametrize(
    ("export", "relation"),
    [
        ("data/photos", "equal to"),
        ("data/photos/", "equal to"),
        ("data/photos/out", "inside"),
        ("data/photos/deep/out", "inside"),
        ("data", "around"),
        (".", "around"),
        ("link", "equal to"),
        ("link/out", "inside"),
        ("data/../data/photos", "equal to"),
        ("data/photos/../photos/out", "inside"),
    ],
)
def test_an_export_in_on_or_around_a_source_is_refused(
    photos: Path, tmp_path: Path, export: str, relation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = refusal({"pairs": Path(export)}, {"photos": [photos]})
    assert str(error) == (
        f"step 'pairs': its path {Path(export)} is {relation} the source 'photos' ({photos}), which is only read\n"
        "  hint: --set steps.pairs.with.path=FOLDER"
    )


def test_an_export_around_a_single_file_or_reached_by_a_linked_source_is_refused(photos: Path, tmp_path: Path) -> None:
    assert "around" in refusal({"pairs": photos}, {"one": [photos / "a.png"]}).message
    assert "inside" in refusal({"pairs": photos / "out"}, {"linked": [tmp_path / "link"]}).message


def test_case_is_seen_through_where_the_file_system_ignores_it(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ignoring_case(self: Path, other: Path) -> bool:
        return str(self).casefold() == str(other).casefold()

    upper = photos.parent / "PHOTOS"
    check_export_paths({"pairs": upper / "out"}, {"photos": [photos]})
    monkeypatch.setattr(Path, "samefile", ignoring_case)
    assert "inside" in refusal({"pairs": upper / "out"}, {"photos": [photos]}).message


@pytest.mark.parametrize(
    ("other", "relation"), [("out", "equal to"), ("OUT", "equal to"), ("out/lr", "inside"), ("x/../out", "equal to")]
)
def test_two_exports_in_one_folder_are_refused(tmp_path: Path, other: str, relation: str) -> None:
    first, second = tmp_path / "out", tmp_path / other
    error = refusal({"pairs": first, "images": second}, {})
    assert str(error) == (
        f"step 'images': its path {second} is {relation} the folder of step 'pairs' ({first}), "
        "expected one of its own\n  hint: --set steps.images.with.path=FOLDER"
    )


def test_neighbours_are_fine(photos: Path, tmp_path: Path) -> None:
    exports = {"pairs": tmp_path / "data/photos_x4", "images": tmp_path / "out"}
    check_export_paths(exports, {"photos": [photos], "none": [tmp_path / "not_there"]})
    assert not (tmp_path / "out").exists()
