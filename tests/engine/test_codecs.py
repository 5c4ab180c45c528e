"""Bytes that another version of a codec encoded are not exported: they are made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from forge_pipeline import api
from forge_steps._pixels import ImageCodec

RECIPE = """
forge: 1
name: codecs
steps:
  photos: {use: read.images, with: {path: in}}
  all: {use: filter.iqa, from: photos, with: {keep: "width > 1"}}
  out: {use: export.images, from: all, with: {path: out}}
"""


def test_a_new_version_of_a_codec_encodes_everything_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(tmp_path / "in/a.png")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPE)
    options = api.Options(directory=tmp_path, executor="inline")
    first = api.run(recipe, options, lambda event: None)

    encode = ImageCodec.encode
    monkeypatch.setattr(ImageCodec, "version", ImageCodec.version + 1)
    # Bytes after the end of a PNG: other bytes, the same pixels.
    monkeypatch.setattr(ImageCodec, "encode", lambda self, value: encode(self, value) + b"new")
    recipe.write_text(RECIPE + "description: compiled anew\n")
    again = api.run(recipe, options, lambda event: None)

    assert (again.steps["photos"].ran, again.steps["photos"].rebuilt) == (0, 1)
    assert again.exports[0].digest != first.exports[0].digest
    [path] = (tmp_path / "out/images").iterdir()
    assert path.read_bytes().endswith(b"new")
