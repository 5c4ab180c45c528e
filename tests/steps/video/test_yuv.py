"""The fixed-point conversion against the equations in floats, and against FFmpeg's own."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation

from forge_steps.video._colour import Colour, rgb_weights
from forge_steps.video._yuv import FRACTION_BITS, yuv_to_rgb
from tests.steps.video.clips import write_planes

_LUMA = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114), "bt2020nc": (0.2627, 0.0593)}


def convert(
    planes: list[np.ndarray], shifts: tuple[int, int], colour: Colour, bits: int = 8, dtype: type = np.uint8
) -> np.ndarray:
    out = np.empty((*planes[0].shape, 3), dtype)
    top = 255 if dtype is np.uint8 else 65535
    luma, blue, red = planes
    yuv_to_rgb(luma, blue, red, *shifts, rgb_weights(colour, bits, top, FRACTION_BITS), out)
    return out


def upsampled(plane: np.ndarray, shift: int, centred: bool, length: int, axis: int) -> np.ndarray:
    """Interpolate linearly along an axis, in floats; beyond the border the last value goes on."""
    factor = 1 << shift
    offset = (factor - 1) / 2 if centred else 0.0
    places = (np.arange(length) - offset) / factor
    lines = np.moveaxis(plane.astype(np.float64), axis, -1)
    known = np.arange(lines.shape[-1])
    return np.moveaxis(np.apply_along_axis(lambda line: np.interp(places, known, line), -1, lines), -1, axis)


def reference(planes: list[np.ndarray], shifts: tuple[int, int], colour: Colour, bits: int, top: int) -> np.ndarray:
    height, width = planes[0].shape
    blue, red = (
        upsampled(upsampled(plane, shifts[1], True, height, 0), shifts[0], False, width, 1) for plane in planes[1:]
    )
    scale = 1 << (bits - 8)
    zero, luma_span, chroma_span = (0, (1 << bits) - 1, (1 << bits) - 1)
    if not colour.full_range:
        zero, luma_span, chroma_span = 16 * scale, 219 * scale, 224 * scale
    y, b, r = (
        (planes[0] - float(zero)) / luma_span,
        (blue - 128 * scale) / chroma_span,
        (red - 128 * scale) / chroma_span,
    )
    kr, kb = _LUMA[colour.matrix]
    parts = [
        y + 2 * (1 - kr) * r,
        y - (2 * kb * (1 - kb) * b + 2 * kr * (1 - kr) * r) / (1 - kr - kb),
        y + 2 * (1 - kb) * b,
    ]
    return np.clip(np.stack(parts, axis=2) * top, 0, top)


@pytest.mark.parametrize("shifts", [(0, 0), (1, 0), (1, 1), (0, 1), (2, 0)])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", list(_LUMA))
def test_it_is_the_float_equation_rounded_once(matrix: str, full_range: bool, shifts: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    height, width = 23, 37
    small = (-(-height // (1 << shifts[1])), -(-width // (1 << shifts[0])))
    planes = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((height, width), small, small)]
    colour = Colour(matrix, full_range)
    error = np.abs(convert(planes, shifts, colour) - reference(planes, shifts, colour, 8, 255))
    assert error.max() <= 0.5 + 1e-3


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deeper_planes_are_rounded_once_too(bits: int, dtype: type, top: int) -> None:
    rng = np.random.default_rng(7)
    planes = [rng.integers(0, 1 << bits, shape, dtype=np.uint16) for shape in ((20, 30), (10, 15), (10, 15))]
    colour = Colour("bt709", False)
    error = np.abs(convert(planes, (1, 1), colour, bits, dtype) - reference(planes, (1, 1), colour, bits, top))
    assert error.max() <= 0.5 + 1e-3


def test_black_gray_and_white_are_exact_and_what_lies_beyond_is_clipped() -> None:
    luma = np.array([[0, 16, 235, 255]], np.uint8)
    chroma = np.full((1, 4), 128, np.uint8)
    image = convert([luma, chroma, chroma], (0, 0), Colour("bt709", False))
    assert image[0].tolist() == [[0] * 3, [0] * 3, [255] * 3, [255] * 3]
    full = convert([luma, chroma, chroma], (0, 0), Colour("bt709", True))
    assert full[0].tolist() == [[0] * 3, [16] * 3, [235] * 3, [255] * 3]


@pytest.mark.parametrize(("matrix", "code"), [("bt709", 1), ("smpte170m", 6), ("bt2020nc", 9)])
def test_it_is_within_a_level_of_swscale(tmp_path: Path, matrix: str, code: int) -> None:
    rng = np.random.default_rng(3)
    # In gamut, as real pictures are: where a channel is clipped swscale's small tables clip a little elsewhere.
    planes = [rng.integers(low, high, (32, 64), dtype=np.uint8) for low, high in ((90, 160), (108, 148), (108, 148))]
    path = write_planes(tmp_path / "v.mkv", planes, "yuv444p", matrix=code, colour_range=1)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    accurate = int(Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BICUBIC)
    theirs = frame.reformat(format="rgb24", src_colorspace=code, src_color_range=1, interpolation=accurate)
    ours = convert(planes, (0, 0), Colour(matrix, False))
    assert np.abs(ours.astype(int) - theirs.to_ndarray().astype(int)).max() <= 1
