"""Calls of everything that runs kernels, on pictures of every kind: made the same here and where numba is missing."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

import forge_steps
from forge_pipeline.errors import DataError
from forge_steps import kernels
from forge_steps._png import decode_png
from forge_steps.augment._render import Tone, Warp, render, valid_size
from forge_steps.augment.dpa import stream_parameters
from forge_steps.dedup._hash import DctHash
from forge_steps.dedup._neighbours import nearest, star
from forge_steps.export._pair_check import check_pair
from forge_steps.metrics._luma import luma_plane
from forge_steps.metrics.catalog import METRICS
from forge_steps.resize._reduce import Size
from forge_steps.resize._separable import CUBIC, LANCZOS, reduce_by_filter
from forge_steps.tile._windows import best_windows
from forge_steps.video._colour import Colour, rgb_weights
from forge_steps.video._luma import Thumbnail, _sum_blocks
from forge_steps.video._yuv import FRACTION_BITS, gray_to_full, yuv_to_rgb

Array = npt.NDArray[Any]
MEASURES = ("blockiness", "clipping", "edge_density", "entropy", "laplacian", "native_scale", "noise_sigma")


@dataclass(frozen=True)
class Picture:
    """What pixels are made from."""

    height: int
    width: int
    channels: int
    dtype: Literal["uint8", "uint16", "float32"]
    texture: Literal["noise", "smooth", "flat", "specks", "blocks", "odd", "broken"]
    layout: Literal["whole", "fortran", "upside down", "every second", "part"]
    seed: int

    def pixels(self) -> Array:
        """Return (height, width, channels), laid out in memory as `layout` says; floats overshoot 0..1 a little."""
        rng = np.random.default_rng(self.seed)
        shape = (self.height, self.width, self.channels)
        if self.texture == "flat":
            values = np.broadcast_to(rng.random(self.channels), shape)
        elif self.texture == "specks":
            values = np.where(rng.random(shape) < 0.1, rng.integers(0, 2, shape), 0.5)
        elif self.texture == "blocks":
            values = np.kron(rng.random((-(-shape[0] // 8), -(-shape[1] // 8), shape[2])), np.ones((8, 8, 1)))
            values = values[: shape[0], : shape[1]]
        elif self.texture == "smooth":
            values = 0.5 + np.cumsum(rng.normal(0, 0.02, shape), axis=1)
        else:
            values = rng.random(shape)
        if self.dtype == "float32":
            floats = (values * 1.2 - 0.1).astype(np.float32)
            if self.texture in _ODD:
                floats.ravel()[rng.integers(0, floats.size)] = rng.choice(_ODD[self.texture])
            return self._laid(floats)
        top = np.iinfo(self.dtype).max
        return self._laid(np.clip(np.rint(values * top), 0, top).astype(self.dtype))

    def _laid(self, pixels: Array) -> Array:
        if self.layout == "fortran":
            return np.asfortranarray(pixels)
        if self.layout == "upside down":
            return np.ascontiguousarray(pixels[::-1, ::-1])[::-1, ::-1]
        if self.layout == "every second":
            return np.repeat(np.repeat(pixels, 2, axis=0), 2, axis=1)[::2, ::2]
        if self.layout == "part":
            return np.pad(pixels, ((1, 2), (3, 1), (0, 1)))[1:-2, 3:-1, :-1]
        return pixels


# float32 holds 1e38, but not its square. What is no number must be refused.
_ODD = {"odd": [-0.0, 1e38, -1e38], "broken": [np.nan, np.inf, -np.inf]}


def pictures(smallest_px: int, largest_px: int, channels: tuple[int, ...] = (1, 2, 3, 4)) -> st.SearchStrategy[Picture]:
    """Draw pictures."""
    side = st.integers(smallest_px, largest_px)
    return st.builds(
        Picture,
        height=side,
        width=side,
        channels=st.sampled_from(channels),
        dtype=st.sampled_from(("uint8", "uint16", "float32")),
        texture=st.sampled_from(("noise", "smooth", "flat", "specks", "blocks", "odd", "broken")),
        layout=st.sampled_from(("whole", "fortran", "upside down", "every second", "part")),
        seed=st.integers(0, 999),
    )


def import_everything() -> list[str]:
    """Import every module of the operators."""
    names = [module.name for module in pkgutil.walk_packages(forge_steps.__path__, "forge_steps.")]
    return [name for name in names if import_module(name)]


_share = st.floats(0, 1)


def dpid(picture: Picture, down: float, across: float, lam: float, boundary: Any) -> Any:
    """Downscale to any size."""
    height, width = 1 + int(down * (picture.height - 1)), 1 + int(across * (picture.width - 1))
    return kernels.dpid(picture.pixels(), height, width, lam, boundary)


def broken(picture: Picture, share: float, lam: float) -> Any:
    """Give floats that are no colours to what looks at them last, or not at all."""
    height, width = 1 + int(share * (picture.height - 1)), 1 + int(share * (picture.width - 1))
    try:
        return reduce_by_filter(picture.pixels(), Size(picture.height, picture.width, height, width), CUBIC, "test")
    except DataError as error:
        return str(error), kernels.dpid(picture.pixels(), height, width, lam)


def dpid_whole(picture: Picture, factor: int, lam: float) -> Any:
    """Downscale by a whole factor, whose sums have a shape of their own."""
    height, width = max(1, picture.height // factor), max(1, picture.width // factor)
    pixels = picture.pixels()[: height * factor, : width * factor]
    return kernels.dpid(pixels, height, width, lam)


def filtered(picture: Picture, down: float, across: float, lanczos: bool) -> Any:
    """Downscale by a filter."""
    height, width = 1 + int(down * (picture.height - 1)), 1 + int(across * (picture.width - 1))
    size = Size(picture.height, picture.width, height, width)
    return reduce_by_filter(picture.pixels(), size, LANCZOS if lanczos else CUBIC, "resize.test")


def tiles(picture: Picture, share: float, most: int, align_px: int, overlap: float) -> Any:
    """Choose windows."""
    size_px = 1 + int(share * (min(picture.height, picture.width) - 1))
    return best_windows(picture.pixels(), size_px, most, align_px, overlap)


def measured(picture: Picture, name: str) -> Any:
    """Measure, with the luma that all start from."""
    cls = METRICS[name]
    return luma_plane(picture.pixels(), name), cls(cls.Params()).measure(picture.pixels())


def unsearched(picture: Picture) -> Any:
    """Look for blocks at the first pixel only."""
    return kernels.blockiness(picture.pixels(), grid_search=False)


def hashed(picture: Picture) -> Any:
    """Hash."""
    return kernels.dct_hash(picture.pixels()), DctHash(DctHash.Params()).measure(picture.pixels())


def hashes(seed: int, count: int, spread_bits: int) -> Array:
    """Return hashes in clusters, some of them equal."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 1 << 63, 1 + count // 5, dtype=np.uint64)
    made = rng.choice(centres, count)
    for _ in range(spread_bits):
        made ^= np.uint64(1) << rng.integers(0, 64, count, dtype=np.uint64)
    return made


def neighbours(seed: int, count: int, spread_bits: int, radius: int) -> Any:
    """Search in every way, with an index where one pays."""
    known = hashes(seed, count, spread_bits)
    found = kernels.hamming_pairs(known, radius), star(known, radius)
    return *found, nearest(known, hashes(seed, count // 3, spread_bits + 1), radius)


def drawn(start: int, count: int, preset: str, depth: int) -> Any:
    """Compute DPA's parameters, as arrays and as a stream."""
    arrays = kernels.dpa_parameters(start, start + count, preset, depth)
    return list(arrays.items()), list(stream_parameters(preset, depth, start, start + count))


def encoded(picture: Picture) -> Any:
    """Write and read PNG."""
    data = kernels.encode_png(picture.pixels())
    return data, decode_png(data)


def rendered(
    picture: Picture, rotation_deg: float, zoom: float, warped: bool, tone: tuple[float, float, float] | None
) -> Any:
    """Warp and tone."""
    width, height = valid_size(picture.width, picture.height, rotation_deg, zoom, 1)
    if warped and min(width, height) == 0:
        return "small"
    warp = Warp(rotation_deg, zoom, width, height) if warped else None
    return render(picture.pixels(), warp, Tone(*tone, 2**127 + picture.seed) if tone else None)


def paired(picture: Picture, scale: int, moved: int) -> Any:
    """Check a pair, the LR being the HR's corner pixels or another picture's."""
    hr = picture.pixels()[: picture.height // scale * scale, : picture.width // scale * scale]
    lr = np.roll(hr[::scale, ::scale], moved, axis=1)
    return check_pair(hr, lr, scale)


def converted(
    seed: int, height: int, width: int, shift_x: int, shift_y: int, bits: int, top: int, matrix: Any, full: bool
) -> Any:
    """Convert planes with padded rows to RGB and gray, and sum their blocks."""
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if bits == 8 else np.uint16
    small = (-(-height // (1 << shift_y)), -(-width // (1 << shift_x)) + 3)
    luma, blue, red = (rng.integers(0, 1 << bits, shape, dtype) for shape in ((height, width + 5), small, small))
    weights = rgb_weights(Colour(matrix, full), bits, top, FRACTION_BITS)
    rgb = np.empty((height, width, 3), np.uint8 if top == 255 else np.uint16)
    gray = np.empty((height, width, 1), rgb.dtype)
    yuv_to_rgb(luma, blue, red, shift_x, shift_y, weights, rgb)
    gray_to_full(luma, weights, gray)
    side = 1 + seed % min(height, width)
    sums = np.empty((2, height // side, width // side), np.int64)
    _sum_blocks(luma, side, sums[0])
    _sum_blocks(luma[::-1], side, sums[1])
    one, two = (Thumbnail(part, 0, side * side * ((1 << bits) - 1)) for part in sums)
    return rgb, gray, sums, one.difference(two)


def _is_finite(picture: Picture) -> bool:
    return picture.texture != "broken"


_tones = st.none() | st.tuples(st.floats(0.5, 1.5), st.floats(0.5, 1.5), st.sampled_from((0.0, 0.02, 0.3)))

CALLS: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
    "dpid": st.tuples(
        pictures(1, 40), _share, _share, st.sampled_from((0.0, 0.3, 0.5, 1.0, 2.0, 3.7, 8.0)),
        st.sampled_from(("replicate", "renormalize")),
    ),
    "dpid_whole": st.tuples(
        # RGB at lambda 1/2 and 1 has loops of its own.
        pictures(2, 70, (1, 2, 3, 3, 3, 4)), st.sampled_from((2, 3, 4, 5, 8)),
        st.sampled_from((0.5, 0.5, 1.0, 1.0, 0.0, 0.75, 2.0)),
    ),
    "broken": st.tuples(
        pictures(1, 20).map(lambda picture: replace(picture, dtype="float32", texture="broken")), _share,
        st.sampled_from((0.0, 0.4, 0.5, 1.0)),
    ),
    "filtered": st.tuples(pictures(1, 40), _share, _share, st.booleans()),
    "tiles": st.tuples(
        pictures(1, 90), _share, st.sampled_from((1, 2, 7)), st.sampled_from((1, 2, 8)),
        st.sampled_from((0.0, 0.1, 0.6)),
    ),
    "measured": st.tuples(pictures(1, 70), st.sampled_from(MEASURES)),
    "native_scale": st.tuples(pictures(128, 160), st.just("native_scale")),
    "unsearched": st.tuples(pictures(43, 90)),
    "hashed": st.tuples(pictures(1, 80)),
    "neighbours": st.tuples(st.integers(0, 99), st.integers(0, 400), st.integers(0, 4), st.integers(0, 64)),
    "drawn": st.tuples(
        st.sampled_from((0, 9, 12345, 2**63 - 200)), st.integers(0, 150),
        st.sampled_from(("mild", "moderate", "aggressive")), st.sampled_from((1, 10, 130)),
    ),
    "encoded": st.tuples(pictures(1, 60)),
    "rendered": st.tuples(
        pictures(1, 70).filter(_is_finite), st.floats(-45, 45), st.floats(0.2, 1.5), st.booleans(), _tones
    ),
    "paired": st.tuples(
        pictures(40, 80, (3,)).filter(lambda picture: picture.dtype == "uint8"), st.integers(1, 4), st.integers(0, 2)
    ),
    "converted": st.tuples(
        st.integers(0, 99), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2), st.integers(0, 1),
        st.sampled_from((8, 10, 16)), st.sampled_from((255, 65535)), st.sampled_from(("bt709", "smpte170m")),
        st.booleans(),
    ),
}  # fmt: skip
"""What to call, and strategies of its arguments."""

FUNCTIONS = {name: f"tests.steps.kernel_calls:{name}" for name in CALLS} | {
    "native_scale": "tests.steps.kernel_calls:measured"
}
