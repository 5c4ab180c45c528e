"""The planes of a decoded frame as arrays, for the pixel formats that are read; any other is refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
from av.video.plane import VideoPlane

from forge_pipeline.errors import DataError
from forge_steps.video._colour import luma_range

Plane = npt.NDArray[Any]

# Bytes a pixel and the places of R, G, B in it.
_PACKED = {
    "rgb24": (3, (0, 1, 2)),
    "bgr24": (3, (2, 1, 0)),
    "rgb0": (4, (0, 1, 2)),
    "bgr0": (4, (2, 1, 0)),
    "0rgb": (4, (1, 2, 3)),
    "0bgr": (4, (3, 2, 1)),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How a pixel format lies in memory.

    Attributes:
        family: `yuv` and `gbr` (three planes), `gray` (one), `packed` (RGB, pixel by pixel).
        bits: depth, 8 to 16.
        shift_x: log2 of the horizontal chroma subsampling.
        shift_y: log2 of the vertical chroma subsampling.
    """

    family: Literal["yuv", "gbr", "gray", "packed"]
    bits: int = 8
    shift_x: int = 0
    shift_y: int = 0


def layout_of(pixel_format: av.VideoFormat) -> Layout:
    """Describe a pixel format.

    Raises:
        DataError: `unsupported_mode`: alpha, palette, big-endian, float, semi-planar, 4:1:0 and rarer ones.
    """
    return _layout(pixel_format.name)


@lru_cache(maxsize=64)  # all frames of a video have one format, which takes longer to look at than a frame to judge
def _layout(name: str) -> Layout:
    pixel_format = av.VideoFormat(name)
    if name in _PACKED:
        return Layout("packed")
    parts = pixel_format.components
    bits = parts[0].bits if parts else 0
    plain = 8 <= bits <= 16 and not (pixel_format.is_big_endian or pixel_format.has_palette or pixel_format.is_bayer)
    one_each = len({part.plane for part in parts}) == len(parts)
    if plain and one_each and not any(part.is_alpha for part in parts):
        if len(parts) == 1:
            return Layout("gray", bits)
        if len(parts) == 3 and pixel_format.is_rgb:
            return Layout("gbr", bits)
        if len(parts) == 3:
            shift_x = 6 - (pixel_format.chroma_width(64)).bit_length() + 1
            shift_y = 6 - (pixel_format.chroma_height(64)).bit_length() + 1
            if shift_x <= 2 and shift_y <= 1:
                return Layout("yuv", bits, shift_x, shift_y)
    raise DataError(
        "unsupported_mode",
        f"pixel format {name} is not supported, expected planar YUV (4:4:4, 4:4:0, 4:2:2, 4:2:0, 4:1:1), gray or RGB "
        "without alpha",
    )


def planes_of(frame: av.VideoFrame, layout: Layout) -> list[Plane]:
    """Return views of a frame's planes, in the order Y, Cb, Cr or R, G, B; rows of planar ones keep their padding."""
    if layout.family == "packed":
        step, places = _PACKED[frame.format.name]
        pixels = _rows(frame.planes[0])[:, : frame.width * step].reshape(frame.height, frame.width, step)
        return [pixels[:, :, place] for place in places]
    return [_plane(frame, layout, index) for index in range(len(frame.format.components))]


def luma_plane(frame: av.VideoFrame, full_range: bool) -> tuple[Plane, int, int]:
    """Return the Y plane (of RGB: green) with its padding, its value of black, and how much more white is."""
    layout = layout_of(frame.format)
    index = 0 if layout.family in ("yuv", "gray") else 1
    zero, span = luma_range(full_range, layout.bits)
    if layout.family == "packed":
        return planes_of(frame, layout)[index], zero, span
    return _plane(frame, layout, index), zero, span


def _plane(frame: av.VideoFrame, layout: Layout, index: int) -> Plane:
    """View one component of a planar frame."""
    place = frame.format.components[index].plane
    return _rows(frame.planes[place]).view(np.uint8 if layout.bits == 8 else np.uint16)


def _rows(plane: VideoPlane) -> Plane:
    """View a plane as rows of bytes, padding included; negative strides mean bottom-up."""
    stride = plane.line_size
    rows: Plane = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, abs(stride))
    return rows if stride > 0 else np.ascontiguousarray(rows[::-1])
