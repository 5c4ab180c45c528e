"""One decoded frame becomes an image: RGB or gray, upright, and what was assumed on the way."""

from __future__ import annotations

import av
import numpy as np

from forge_pipeline.sample import Fields
from forge_steps._image import Image
from forge_steps.video._colour import Colour, colour_of, rgb_weights
from forge_steps.video._open import turn_of
from forge_steps.video._planes import Layout, layout_of, planes_of
from forge_steps.video._yuv import FRACTION_BITS, gray_to_full, yuv_to_rgb


def frame_colour(frame: av.VideoFrame) -> Colour:
    """Read how a frame's numbers mean colours; raises DataError as `colour_of`."""
    return colour_of(frame.colorspace, frame.color_range, frame.color_trc, frame.format.name, frame.width, frame.height)


def to_image(frame: av.VideoFrame, keep_depth: bool) -> tuple[Image, Fields]:
    """Convert a frame.

    Args:
        frame: as decoded, planar YUV, gray or RGB of 8 to 16 bits.
        keep_depth: give uint16 (full scale 65535) where the frame has more than 8 bits; else always uint8.

    Returns:
        (H, W, 3), or (H, W, 1) of a gray video; and the fields matrix, range, rotation, interlaced.

    Raises:
        DataError: `unsupported_mode`, `unsupported_matrix`, `hdr_transfer`, `unsupported_rotation`.
    """
    layout = layout_of(frame.format)
    colour = frame_colour(frame)
    degrees, mirrored = turn_of(frame)
    image = _pixels(frame, layout, colour, 65535 if keep_depth and layout.bits > 8 else 255)
    upright = np.rot90(image[:, ::-1] if mirrored else image, -(degrees // 90))
    fields = {**colour.fields(), "rotation": degrees, "interlaced": frame.interlaced_frame}
    return np.ascontiguousarray(upright), fields | ({"mirrored": True} if mirrored else {})


def _pixels(frame: av.VideoFrame, layout: Layout, colour: Colour, top: int) -> Image:
    planes = planes_of(frame, layout)
    dtype = np.uint8 if top == 255 else np.uint16
    if layout.family in ("gbr", "packed"):
        stacked = np.stack([plane[:, : frame.width] for plane in planes], axis=2)
        highest = (1 << layout.bits) - 1
        if highest == top:
            return stacked
        return ((stacked.astype(np.int64) * (2 * top) + highest) // (2 * highest)).astype(dtype)
    weights = rgb_weights(colour, layout.bits, top, FRACTION_BITS)
    if layout.family == "gray":
        gray = np.empty((frame.height, frame.width, 1), dtype)
        gray_to_full(planes[0], weights, gray)
        return gray
    rgb = np.empty((frame.height, frame.width, 3), dtype)
    luma, blue, red = planes
    yuv_to_rgb(luma, blue, red, layout.shift_x, layout.shift_y, weights, rgb)
    return rgb
