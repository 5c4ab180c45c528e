"""Manifests: names of files, the story of each of them, and reasons for the rest."""

from __future__ import annotations

import doctest
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_pipeline import manifest as manifest_module
from forge_pipeline.errors import PublicationError
from forge_pipeline.manifest import (
    SLUG_LETTERS,
    file_stem,
    manifest_row,
    read_manifest,
    reject_row,
    write_manifest,
    write_rejects,
)
from forge_pipeline.sample import Link, Sample

SOURCE = Link("videos", {"source.path": "walk.mp4", "source.digest": "5d", "source.codec": "h264"})
FRAMES = Link("frames", {"pts": 1.25, "frame": 30})
TILES = Link("tiles", {"crop": {"x": 8, "y": 0, "width": 256, "height": 256}, "complexity": 0.25})
HR = Sample("videos/walk.mp4/f30/t0", "image", "aa", {"width": 256, "height": 256}, (SOURCE, FRAMES, TILES))
LR = Sample("videos/walk.mp4/f30/t0", "image", "bb", {"width": 64, "height": 64}, (*HR.trail, Link("lr", {})))
FILES = {
    "lr": {"path": "lr/x.png", "digest": "bb", "bytes_digest": "b0"},
    "hr": {"path": "hr/x.png", "bytes_digest": "a0", "digest": "aa"},
}


def test_the_docstring_of_file_stem_tells_the_truth() -> None:
    assert doctest.testmod(manifest_module).failed == 0


@pytest.mark.parametrize(
    ("key", "slug"),
    [
        ("photos/cat 01.jpg", "photos_cat-01-jpg"),
        ("photos/Ünïcödé.png", "photos_Unicode-png"),
        ("photos/猫.png", "photos_732b-png"),
        ("photos/con", "photos_con"),
        ("con", "con"),
        ("-rf", "rf"),
        ("..", "sample"),
        ("a.b/../c", "a-b_c"),
        ("trailing. ", "trailing"),
        ("x" * 300, "x" * 39 + "--" + "x" * 39),
    ],
)
def test_a_stem_is_a_slug_and_eight_digits(key: str, slug: str) -> None:
    stem = file_stem(key)
    assert stem[:-9] == slug
    assert stem[-9] == "_"
    assert int(stem[-8:], 16) >= 0


def test_long_keys_keep_both_ends() -> None:
    stem = file_stem(f"videos/{'long' * 50}.mp4/f000123/t0")
    assert stem.startswith("videos_long")
    assert stem[:-9].endswith("mp4_f000123_t0")


@pytest.mark.parametrize("pair", [("a/B.png", "a/b.png"), ("a/b c", "a/b-c"), ("é", "e"), ("a_b", "a/b")])
def test_keys_that_fold_together_do_not_collide_where_case_is_ignored(pair: tuple[str, str]) -> None:
    assert file_stem(pair[0]).casefold() != file_stem(pair[1]).casefold()


@given(st.text(st.characters(codec=None, exclude_categories=[])))
def test_any_key_gives_a_safe_stem(key: str) -> None:
    stem = file_stem(key)
    assert all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in stem)
    assert 0 < len(stem) <= SLUG_LETTERS + 9
    assert stem[0] not in "-_."


def test_a_row_tells_the_whole_story_in_a_fixed_order() -> None:
    row = manifest_row(HR.key, "x", FILES, {"lr": LR, "hr": HR}, {"shift_px": 0.0, "correlation": 0.99})
    assert list(row) == ["key", "stem", "files", "source", "frame", "crop", "facts", "trail", "trails"]
    assert json.dumps(row) == json.dumps(
        {
            "key": "videos/walk.mp4/f30/t0",
            "stem": "x",
            "files": {
                "hr": {"path": "hr/x.png", "digest": "aa", "bytes_digest": "a0", "height": 256, "width": 256},
                "lr": {"path": "lr/x.png", "digest": "bb", "bytes_digest": "b0", "height": 64, "width": 64},
            },
            "source": {"path": "walk.mp4", "digest": "5d"},
            "frame": {"index": 30, "pts": 1.25},
            "crop": {"height": 256, "width": 256, "x": 8, "y": 0},
            "facts": {"correlation": 0.99, "shift_px": 0.0},
            "trail": [
                {
                    "step": "videos",
                    "fields": {"source.codec": "h264", "source.digest": "5d", "source.path": "walk.mp4"},
                },
                {"step": "frames", "fields": {"frame": 30, "pts": 1.25}},
                {
                    "step": "tiles",
                    "fields": {"complexity": 0.25, "crop": {"height": 256, "width": 256, "x": 8, "y": 0}},
                },
            ],
            "trails": {"lr": [{"step": "lr", "fields": {}}]},
        }
    )


def test_a_photo_has_no_frame_and_no_crop() -> None:
    photo = Sample("photos/a.png", "image", "aa", {}, (Link("photos", {"source.path": "a.png", "source.digest": "1"}),))
    row = manifest_row(photo.key, "a", {"in": FILES["hr"]}, {"in": photo})
    assert (row["frame"], row["crop"], row["trails"], row["facts"]) == (None, None, {}, {})


def test_the_header_is_not_told_of_a_file_that_holds_other_pixels() -> None:
    cropped = {"path": "hr/x.png", "digest": "cc", "bytes_digest": "c0", "width": 252, "height": 252}
    row = manifest_row(HR.key, "x", {**FILES, "hr": cropped}, {"hr": HR, "lr": LR})
    assert (row["files"]["hr"]["width"], row["files"]["hr"]["height"]) == (252, 252)


def test_ports_with_sources_of_their_own_keep_their_whole_trails() -> None:
    one = Sample("k", "image", "1", {}, (Link("sharp", {"source.path": "s"}),))
    two = Sample("k", "image", "2", {}, (Link("blurred", {"source.path": "b"}), Link("crop", {"crop": [0, 0]})))
    row = manifest_row("k", "k", FILES, {"hr": one, "lr": two})
    assert row["trail"] == []
    assert {port: [link["step"] for link in trail] for port, trail in row["trails"].items()} == {
        "hr": ["sharp"],
        "lr": ["blurred", "crop"],
    }


def test_manifests_are_the_same_bytes_in_any_order_and_read_back(tmp_path: Path) -> None:
    rows = [
        manifest_row(f"photos/{name}", name, FILES, {"hr": HR, "lr": LR}) for name in ("b", "a", "Z", "猫", "\udc80")
    ]
    data = write_manifest(rows)
    assert data == write_manifest(reversed(rows))
    assert data.count(b"\n") == 5
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(data)
    read = read_manifest(path)
    assert [row["key"] for row in read] == [f"photos/{name}" for name in ("Z", "a", "b", "猫", "\udc80")]
    assert read[1] == rows[1]
    assert "猫".encode() in data


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"key": ', "not a line of JSON: expecting value: line 1 column 9 (char 8)"),
        (b"", "not a line of JSON: expecting value: line 1 column 1 (char 0)"),
        (b"[1]", "expected a JSON object, found list"),
        (
            b'{"key": "a", "files": {"hr": {"path": 1}}}',
            "not a row of a manifest: expected 'key', and 'files' with 'path' and 'bytes_digest' each",
        ),
    ],
)
def test_a_damaged_manifest_is_refused_by_line(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "manifest.jsonl"
    good = write_manifest([manifest_row(HR.key, "x", FILES, {"hr": HR, "lr": LR})])
    path.write_bytes(good + line + b"\n")
    with pytest.raises(PublicationError) as caught:
        read_manifest(path)
    assert str(caught.value) == f"{path}:2: {message}\n  hint: move the damaged manifest away and run again"


def test_a_reject_tells_step_reason_values_and_source() -> None:
    row = reject_row("clean", HR.key, "rejected", "blocky", "", {"laplacian": 0.1, "blockiness": 31.5}, HR.trail)
    assert write_rejects([row]) == (
        b'{"step":"clean","key":"videos/walk.mp4/f30/t0","kind":"rejected","reason":"blocky","message":"",'
        b'"values":{"blockiness":31.5,"laplacian":0.1},"source":{"path":"walk.mp4","digest":"5d"},'
        b'"trail":[{"step":"videos","fields":{"source.codec":"h264","source.digest":"5d","source.path":"walk.mp4"}},'
        b'{"step":"frames","fields":{"frame":30,"pts":1.25}},'
        b'{"step":"tiles","fields":{"complexity":0.25,"crop":{"height":256,"width":256,"x":8,"y":0}}}]}\n'
    )


def test_rejects_are_the_same_bytes_in_any_order() -> None:
    rows = [
        reject_row(step, key, kind, reason, "", {}, ())
        for step, key, kind, reason in [
            ("read", "b", "failed", "truncated"),
            ("frames", "a", "partial", "truncated"),
            ("clean", "b", "rejected", "blocky"),
        ]
    ]
    assert write_rejects(rows) == write_rejects(rows[::-1])
    order = [json.loads(line)["step"] for line in write_rejects(rows).splitlines()]
    assert order == ["frames", "clean", "read"]
    assert write_rejects([]) == b""


def test_a_value_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        write_manifest([manifest_row("k", "k", FILES, {"hr": HR, "lr": LR}, {"score": float("nan")})])
