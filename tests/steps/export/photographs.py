"""Real photographs from scikit-image's wheel, their tiles, and the downscales that make pairs of them."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pepedpid
import skimage
from PIL import Image as Pillow

Image = npt.NDArray[Any]

FILES = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "retina.jpg", "hubble_deep_field.jpg")


@functools.cache
def photograph(name: str) -> Image:
    """Return (H, W, 3) uint8 RGB, read-only."""
    with Pillow.open(Path(skimage.__file__).parent / "data" / name) as opened:
        return read_only(np.array(opened.convert("RGB")))


def read_only(image: Image) -> Image:
    """Let nobody change an image that others are given too."""
    image.flags.writeable = False
    return image


def tiles(image: Image, side_px: int, most: int) -> Iterator[Image]:
    """Yield up to about `most` tiles of a grid, evenly spread."""
    places = [
        (y, x)
        for y in range(0, image.shape[0] - side_px + 1, side_px)
        for x in range(0, image.shape[1] - side_px + 1, side_px)
    ]
    for y, x in places[:: max(1, len(places) // most)]:
        yield np.ascontiguousarray(image[y : y + side_px, x : x + side_px])


def _dpid(degree: float) -> Callable[[Image, int], Image]:
    def resize(image: Image, scale: int) -> Image:
        unit = image.astype(np.float32) / np.float32(255)
        small = pepedpid.dpid_resize(unit, image.shape[0] // scale, image.shape[1] // scale, degree)
        return np.clip(np.floor(small * 255 + 0.5), 0, 255).astype(np.uint8)

    return resize


def _pillow(kernel: Pillow.Resampling) -> Callable[[Image, int], Image]:
    def resize(image: Image, scale: int) -> Image:
        return np.array(Pillow.fromarray(image).resize((image.shape[1] // scale, image.shape[0] // scale), kernel))

    return resize


def _area(image: Image, scale: int) -> Image:
    size = (image.shape[1] // scale, image.shape[0] // scale)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


DOWNSCALES: dict[str, Callable[[Image, int], Image]] = {
    "DPID, lambda 0": _dpid(0.0),
    "DPID, lambda 0.5": _dpid(0.5),
    "DPID, lambda 1": _dpid(1.0),
    "bicubic": _pillow(Pillow.Resampling.BICUBIC),
    "lanczos": _pillow(Pillow.Resampling.LANCZOS),
    "area": _area,
}
