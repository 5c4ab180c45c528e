"""Choosing frames of a 1080p video: what it costs beyond decoding, and what key frames alone cost."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks.case import Call, Case, WrongAnswer
from benchmarks.ours import LocalFile, frames_of
from benchmarks.peers import PEERS
from benchmarks.photographs import NAMES, enlarged

_FRAMES = 240
_GROUP = 48  # frames from one key frame to the next
_RATE = 30
# New in each frame: about 8 Mbit/s at this quality, as a camera gives.
_GRAIN = 4


def cases() -> Iterator[Case]:
    """Yield the selectors `diff` and `iframes`."""
    peers: dict[str, Call] = {"PyAV, decoding alone": lambda: _decode(clip())}
    versions = {"PyAV, decoding alone": PEERS["PyAV"].version}
    if scenedetect := PEERS["PySceneDetect"].load():
        peers["PySceneDetect content"] = _by_pyscenedetect(scenedetect)
        versions["PySceneDetect content"] = PEERS["PySceneDetect"].version
    # A difference that no frame reaches: the first is kept, all others are only judged.
    yield Case(
        "video",
        f"{_FRAMES} frames 1080p h264, select diff, one kept",
        lambda: frames_of(_file(), select="diff", min_difference=1.0),
        lambda: _check_diff(_file()),
        peers,
        versions,
        # The selection costs under 5 % of decoding.
        {"PyAV, decoding alone": 1 / 1.05},
    )
    yield Case(
        "video",
        f"{_FRAMES} frames 1080p h264, select iframes, as RGB",
        lambda: frames_of(_file(), select="iframes"),
        lambda: _check_key_frames(_file()),
        {"PyAV, decoding alone": peers["PyAV, decoding alone"]},
        versions,
        {"PyAV, decoding alone": 7},
    )


def _file() -> LocalFile:
    return LocalFile(clip())


@functools.cache
def clip() -> Path:
    """Write a clip once a process: slow pans with grain over photographs, four cuts, a key frame every 48 frames."""
    folder = Path(_folder().name)
    path = folder / "clip.mp4"
    rng = np.random.default_rng(9)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=_RATE)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        stream.options = {
            "crf": "20",
            "preset": "medium",
            "g": str(_GROUP),
            "keyint_min": str(_GROUP),
            "sc_threshold": "0",
        }
        stream.codec_context.thread_count = 2
        for number in range(_FRAMES):
            image = enlarged(NAMES[number * 5 // _FRAMES], 1160, 2000)
            shift = number % _GROUP
            part = image[shift : shift + 1080, shift : shift + 1920].astype(np.int16)
            grain = rng.integers(-_GRAIN, _GRAIN + 1, (1080, 1920, 1), np.int16)
            frame = av.VideoFrame.from_ndarray(np.clip(part + grain, 0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, _RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="forge-benchmark-")


def _decode(path: Path) -> int:
    count = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            count += 1
    return count


def _by_pyscenedetect(scenedetect: Any) -> Call:
    def call() -> object:
        cv2.setNumThreads(1)
        with contextlib.redirect_stderr(None):
            return scenedetect.detect(str(clip()), scenedetect.ContentDetector())

    return call


def _check_diff(file: LocalFile) -> None:
    found = [child.fields["frame"] for child in frames_of(file, select="diff", min_difference=0.03)]
    expected = _differing(file.path, 0.03)
    if found != expected:
        raise WrongAnswer(f"frames {expected} differ by 0.03 from the last one kept, found {found}")


def _differing(path: Path, minimum: float) -> list[int]:
    """Choose by luma averaged over blocks of 30 x 30 pixels, in whole numbers of a 1080p frame."""
    kept: list[int] = []
    last: Any = None
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            plane = frame.planes[0]
            luma = (
                np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:1080, :1920].astype(np.int64)
            )
            small = luma.reshape(36, 30, 64, 30).sum(axis=(1, 3))
            # Video luma lies between 16 and 235.
            if last is None or np.abs(small - last).sum() / (small.size * 219 * 900) >= minimum:
                kept.append(number)
                last = small
    return kept


def _check_key_frames(file: LocalFile) -> None:
    found = [child.fields["frame"] for child in frames_of(file, select="iframes")]
    expected = list(range(0, _FRAMES, _GROUP))
    if found != expected:
        raise WrongAnswer(f"key frames are {expected}, found {found}")
