"""Real photographs to measure on: those of scikit-image, enlarged with grain where more pixels are needed."""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import skimage.data

Image = npt.NDArray[np.uint8]

# Public domain, and CC0 (coffee, chelsea). Screenshots, charts and microscopy are no photographs.
NAMES = ("astronaut", "coffee", "chelsea", "rocket", "hubble_deep_field", "retina")

# Standard deviation in levels of 8 bits. An enlarged picture lacks the grain of a real one, which costs an encoder
# and a Laplacian most; a camera at base sensitivity has about this much.
_GRAIN = 2.0


@functools.cache
def photograph(name: str) -> Image:
    """Return one of the photographs as it is: (H, W, 3) uint8 RGB, read-only."""
    image: Any = getattr(skimage.data, name)()
    return _frozen(np.ascontiguousarray(image[:, :, :3]))


@functools.cache
def enlarged(name: str, height: int, width: int) -> Image:
    """Return the middle of a photograph in another size, with grain where it had to be enlarged."""
    return _frozen(_fitted(photograph(name), height, width, np.random.default_rng(len(name))))


@functools.cache
def tiles(count: int, size_px: int = 512) -> tuple[Image, ...]:
    """Return square tiles of all photographs, as they are where they have the pixels."""
    rng = np.random.default_rng(7)
    found = []
    for number in range(count):
        image = photograph(NAMES[number % len(NAMES)])
        if min(image.shape[:2]) < size_px:
            side = min(image.shape[:2])
            x = int(rng.integers(image.shape[1] - side + 1))
            found.append(_frozen(_fitted(image[:, x : x + side], size_px, size_px, rng)))
            continue
        y, x = (int(rng.integers(n - size_px + 1)) for n in image.shape[:2])
        found.append(_frozen(image[y : y + size_px, x : x + size_px].copy()))
    return tuple(found)


def many(count: int, height: int, width: int, seed: int = 11) -> list[Image]:
    """Return different crops of all photographs in turn, at different scales, some mirrored, with grain."""
    return [variant(number, height, width, seed) for number in range(count)]


def variant(number: int, height: int, width: int, seed: int = 11) -> Image:
    """Return one of an endless row of pictures: a crop of the photograph whose turn it is."""
    rng = np.random.default_rng((seed, number))
    return _crop(photograph(NAMES[number % len(NAMES)]), height, width, rng)


def drawing(height: int, width: int) -> Image:
    """Return a flat drawing: areas of one colour, lines and text, as manga and diagrams have them."""
    rng = np.random.default_rng(5)
    image = np.full((height, width, 3), 245, np.uint8)
    for _ in range(24):
        x, y, radius = (int(v) for v in rng.integers(0, (width, height, min(height, width) // 5)))
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        cv2.circle(image, (x, y), radius, colour, -1)
        cv2.line(image, (x, y), tuple(int(v) for v in rng.integers(0, (width, height))), (20, 20, 20), 2)
    for line in range(height // 64):
        cv2.putText(image, f"panel {line}: flat ink", (12, 40 + 64 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (0, 0, 0), 2)
    return _frozen(image)


def _crop(image: Image, height: int, width: int, rng: np.random.Generator) -> Image:
    share = float(rng.uniform(0.6, 1.0))
    rows, columns = (max(16, int(n * share)) for n in image.shape[:2])
    y, x = int(rng.integers(image.shape[0] - rows + 1)), int(rng.integers(image.shape[1] - columns + 1))
    part = image[y : y + rows, x : x + columns]
    part = np.ascontiguousarray(part[:, ::-1] if rng.integers(2) else part)
    return _frozen(_fitted(part, height, width, rng))


def _fitted(image: Image, height: int, width: int, rng: np.random.Generator) -> Image:
    scale = max(height / image.shape[0], width / image.shape[1])
    rows, columns = round(image.shape[0] * scale), round(image.shape[1] * scale)
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    scaled = cv2.resize(image, (max(columns, width), max(rows, height)), interpolation=method)
    y, x = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    part = scaled[y : y + height, x : x + width]
    if scale > 1:
        grain = rng.normal(0, _GRAIN, part.shape)
        part = np.clip(np.rint(part + grain), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(part)


def _frozen(image: Any) -> Image:
    image.flags.writeable = False
    return image  # type: ignore[no-any-return]
