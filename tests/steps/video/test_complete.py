"""The bytes that a container promises and its file lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge_steps.video._complete import missing_bytes
from tests.steps.video.clips import numbered, write_video


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi"])
def test_what_was_cut_off_is_counted(tmp_path: Path, suffix: str) -> None:
    codec, pix_fmt = ("mpeg4", "yuv420p")
    path = write_video(
        tmp_path / f"v.{suffix}",
        map(numbered, range(20)),
        codec,
        pix_fmt,
        container_options={"movflags": "faststart"} if suffix in ("mp4", "mov") else {},
    )
    data = path.read_bytes()
    assert missing_bytes(path) == 0
    path.write_bytes(data[:-100])
    assert missing_bytes(path) == 100


def test_a_transport_stream_promises_nothing(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.ts", map(numbered, range(20)), "mpeg2video", "yuv420p", rate=25)
    path.write_bytes(path.read_bytes()[:-1000])
    assert missing_bytes(path) == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x1a\x45\xdf\xa3",
        b"\x1a\x45\xdf\xa3\x84abcd\x18\x53\x80\x67\xff",  # Segment of unknown length, as live recordings write
        b"RIFF",
        b"\0\0\0\0ftypisom",  # length 0: up to the end of the file
        b"\0\0\0\1mdat\0\0\0\0\0\0\0\0",
        b"hello world, this is text",
    ],
)
def test_headers_that_promise_nothing_give_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "v.bin"
    path.write_bytes(data)
    assert missing_bytes(path) == 0


def test_a_64_bit_box_is_read(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"\0\0\0\x08wide" + b"\0\0\0\1mdat" + (1 << 33).to_bytes(8, "big") + bytes(84))
    assert missing_bytes(path) == 8 + (1 << 33) - 108
