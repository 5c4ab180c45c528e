"""`export.images`: names and encodings of single images."""

from typing import Any

import pytest

from forge_pipeline.step import ExportFile, Joined
from forge_steps.export.images import Images, ImagesParams


def _images(**given: Any) -> Images:
    return Images(ImagesParams(**{"path": "output/clean", **given}))


def _row(key: str, dtype: str = "uint8") -> Joined:
    return Joined(key, "cat_1a2b3c4d", {"in": {"width": 4, "height": 4, "channels": 3, "dtype": dtype}}, {})


def test_images_lie_flat_under_one_folder_as_png() -> None:
    key = "photos/deep/cat.jpg"
    assert list(_images().files([_row(key)])) == [ExportFile("images/cat_1a2b3c4d.png", key, "in", "payload")]


def test_sixteen_bits_are_png_and_floats_are_tiff() -> None:
    assert [file.path for file in _images().files([_row("a", "uint16"), _row("b", "float32")])] == [
        "images/cat_1a2b3c4d.png",
        "images/cat_1a2b3c4d.tif",
    ]


@pytest.mark.parametrize(("key", "suffix"), [("photos/cat.JPG", ".jpg"), ("photos/a.zip/cat.v2.webp", ".webp")])
def test_a_sources_own_bytes_keep_its_suffix(key: str, suffix: str) -> None:
    (file,) = _images(encoding="source").files([_row(key)])
    assert file == ExportFile(f"images/cat_1a2b3c4d{suffix}", key, "in", "source")


def test_a_sample_that_is_no_whole_file_is_png() -> None:
    (file,) = _images(encoding="source").files([_row("photos/cat.jpg/t0")])
    assert file == ExportFile("images/cat_1a2b3c4d.png", "photos/cat.jpg/t0", "in", "payload")


def test_the_folder_is_the_path() -> None:
    assert _images(path="output/x").folder() == "output/x"
