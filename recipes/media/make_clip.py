"""Makes `panned.mp4`: slow pans over public-domain and CC0 photographs that come with scikit-image, with hard cuts.

    python recipes/media/make_clip.py [TARGET]

The photographs: Eileen Collins, astronaut (NASA, public domain); launch of a SpaceX rocket (public domain); human
retina (public domain); Hubble deep field (NASA, public domain); a cup of coffee by Rachel Michetti (CC0); the cat
Chelsea by Stefan van der Walt (CC0). Each shot moves a window over its photograph in whole pixels where the photograph
is large enough for it; small ones are enlarged (Lanczos) before. The same versions of the libraries give the same
bytes: one encoder thread, no time stamp, no version string of the muxer.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import skimage.data
from PIL import Image

WIDTH_PX, HEIGHT_PX = 640, 480
FPS = 24
FRAMES_PER_SHOT = 28
# Name; where the window starts, as shares (x, y) of the room it has; and how far it moves, in pixels: 2 a frame.
SHOTS = [
    ("hubble_deep_field", (0.2, 0.3), (56, 28)),
    ("coffee", (0.0, 0.5), (56, 0)),
    ("retina", (0.4, 0.4), (56, 0)),
    ("astronaut", (0.5, 0.0), (0, 56)),
    ("rocket", (0.3, 1.0), (28, -56)),
    ("chelsea", (0.0, 0.4), (56, 0)),
]
# Photographs that leave a window less room than this are enlarged.
_ROOM_PX = 64
_ENCODING = {
    "crf": "19",
    "preset": "slow",
    "g": "48",
    "threads": "1",
    "x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709:threads=1",
}


def main() -> None:
    """Write the clip beside this script, or where the first argument says."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("panned.mp4")
    write(target, frames())


def frames() -> Iterator[np.ndarray]:
    """Yield the pictures of all shots, (480, 640, 3) uint8."""
    for name, start, move_px in SHOTS:
        photograph = _photograph(name)
        room_y, room_x = photograph.shape[0] - HEIGHT_PX, photograph.shape[1] - WIDTH_PX
        for index in range(FRAMES_PER_SHOT):
            x = round(room_x * start[0]) + move_px[0] * index // FRAMES_PER_SHOT
            y = round(room_y * start[1]) + move_px[1] * index // FRAMES_PER_SHOT
            yield np.ascontiguousarray(photograph[y : y + HEIGHT_PX, x : x + WIDTH_PX])


def write(target: Path, pictures: Iterator[np.ndarray]) -> None:
    """Encode as H.264 in BT.709, limited range."""
    with av.open(str(target), "w", options={"fflags": "+bitexact", "movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options=_ENCODING)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        stream.codec_context.colorspace = 1
        stream.codec_context.color_range = 1
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", interpolation="BICUBIC"
            )
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _photograph(name: str) -> np.ndarray:
    """Load a photograph, enlarged where a window could not move in it."""
    pixels = getattr(skimage.data, name)()
    height, width = pixels.shape[:2]
    scale = max(1.0, (WIDTH_PX + _ROOM_PX) / width, (HEIGHT_PX + _ROOM_PX) / height)
    if scale == 1.0:
        return pixels
    size = (round(width * scale), round(height * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


if __name__ == "__main__":
    main()
