"""Makes videos whose every frame is known, and reads the numbers of frames back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from forge_pipeline.files import SourceFile
from forge_pipeline.sample import Location
from forge_pipeline.step import Child, Context, Partial
from forge_steps.video.frames import Frames, FramesParams

_BITS = 8
_BLOCK = 16
LOSSLESS = {"qp": "0", "preset": "ultrafast"}


def numbered(number: int) -> np.ndarray:
    """Draw a number as black and white blocks, half of them inverted so that no frame is black: (32, 128, 3)."""
    bits = [(number >> k) & 1 for k in range(_BITS)]
    rows = [np.repeat(np.array(line, np.uint8) * 255, _BLOCK) for line in (bits, [1 - bit for bit in bits])]
    return np.repeat(np.repeat(np.stack(rows), _BLOCK, axis=0)[:, :, None], 3, axis=2)


def read_number(image: np.ndarray) -> int:
    """Read the number that `numbered` drew."""
    centres = image[_BLOCK // 2, _BLOCK // 2 :: _BLOCK, 0]
    return sum(int(value > 127) << k for k, value in enumerate(centres[:_BITS]))


def flat(level: float, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """Return a picture of one gray, 0 to 1."""
    width, height = size
    return np.full((height, width, 3), round(level * 255), np.uint8)


def write_video(
    path: Path,
    pictures: Iterable[np.ndarray],
    codec: str = "ffv1",
    pix_fmt: str = "bgr0",
    rate: int = 10,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    key_every: int = 12,
    degrees: int = 0,
    mirrored: bool = False,
) -> Path:
    """Encode RGB pictures; `pts` counts in `time_base` (default: one a frame)."""
    base = time_base or Fraction(1, rate)
    with av.open(str(path), "w", container_options=dict(container_options or {})) as container:
        stream: Any = None
        for index, picture in enumerate(pictures):
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pix_fmt
                stream.codec_context.time_base = base
                stream.codec_context.gop_size = key_every
                stream.codec_context.thread_count = 1
                if degrees or mirrored:
                    stream.set_display_rotation(degrees, hflip=mirrored)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index if pts is None else pts[index]
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_planes(
    path: Path,
    planes: Sequence[np.ndarray],
    pix_fmt: str,
    codec: str = "ffv1",
    matrix: int = 2,
    colour_range: int = 0,
    transfer: int = 2,
) -> Path:
    """Encode one frame of given planes without loss, with the colour tags of ITU-T H.273."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    frame.colorspace, frame.color_range, frame.color_trc = matrix, colour_range, transfer
    frame.pts, frame.time_base = 0, Fraction(1, 10)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_trc = matrix, colour_range, transfer
        context.thread_count = 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def source_file(path: Path) -> SourceFile:
    """Wrap a file as sources do."""
    return SourceFile(path.name, "0" * 40, Location(str(path)))


def take(path: Path, **parameters: Any) -> list[Child | Partial]:
    """Run `video.frames` on a file."""
    return list(Frames(FramesParams(**parameters)).apply(source_file(path), Context()))


def kept(path: Path, **parameters: Any) -> list[int]:
    """Return the places of the frames that `video.frames` keeps."""
    return [child.fields["frame"] for child in take(path, **parameters) if isinstance(child, Child)]
