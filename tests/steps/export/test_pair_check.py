"""The pair check on real photographs: every downscale passes, every broken pair is caught."""

import functools
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from forge_steps.export._pair_check import Verdict, check_pair
from tests.steps.export.photographs import DOWNSCALES, FILES, photograph, read_only, tiles

Image = npt.NDArray[Any]

LEAST = 0.5


def _passes(verdict: Verdict) -> bool:
    return verdict.correlation is None or (verdict.correlation >= LEAST and verdict.best_shift == (0, 0))


@functools.cache
def _tiles(side_px: int, most: int) -> tuple[Image, ...]:
    return tuple(read_only(tile.copy()) for name in FILES for tile in tiles(photograph(name), side_px, most))


@functools.cache
def _pairs(side_px: int, most: int, scale: int) -> tuple[tuple[Image, Image], ...]:
    downscale = DOWNSCALES["DPID, lambda 0.5"]
    return tuple((hr, read_only(downscale(hr, scale))) for hr in _tiles(side_px, most))


BREAKS: dict[str, Callable[[Image, int], Image]] = {
    "mirrored left to right": lambda hr, scale: hr[:, ::-1],
    "mirrored top to bottom": lambda hr, scale: hr[::-1],
    "turned by 90 degrees": lambda hr, scale: np.rot90(hr),
    "turned by 180 degrees": lambda hr, scale: hr[::-1, ::-1],
    "moved by one LR pixel right": lambda hr, scale: np.roll(hr, scale, 1),
    "moved by one LR pixel up": lambda hr, scale: np.roll(hr, -scale, 0),
    "inverted": lambda hr, scale: 255 - hr,
}


@pytest.mark.slow
@pytest.mark.parametrize("downscale", sorted(DOWNSCALES))
@pytest.mark.parametrize(
    ("side_px", "scale", "most"), [(256, 4, 9), (64, 4, 30), (256, 2, 9), (64, 2, 30), (255, 3, 9)]
)
def test_every_downscale_of_a_photograph_passes(downscale: str, side_px: int, scale: int, most: int) -> None:
    found = [check_pair(tile, DOWNSCALES[downscale](tile, scale), scale) for tile in _tiles(side_px, most)]
    assert [verdict for verdict in found if not _passes(verdict)] == []
    assert sum(verdict.judged_by == "detail" for verdict in found) > 0.8 * len(found)


@pytest.mark.slow
@pytest.mark.parametrize("broken", sorted(BREAKS))
@pytest.mark.parametrize("scale", [2, 4])
def test_every_broken_pair_of_256_px_is_caught(broken: str, scale: int) -> None:
    for hr, lr in _pairs(256, 9, scale):
        assert not _passes(check_pair(np.ascontiguousarray(BREAKS[broken](hr, scale)), lr, scale))


@pytest.mark.parametrize("broken", sorted(BREAKS))
def test_of_broken_pairs_of_64_px_nearly_all_are_caught(broken: str) -> None:
    # An LR of 16 px may well be its own mirror image: an edge, a spot. Nothing else looks like itself.
    share = 0.03 if broken.startswith("mirrored") else 0.0
    found = [check_pair(np.ascontiguousarray(BREAKS[broken](hr, 4)), lr, 4) for hr, lr in _pairs(64, 40, 4)]
    judged = [verdict for verdict in found if verdict.judged_by == "detail"]
    assert sum(_passes(verdict) for verdict in judged) <= share * len(judged)


def test_the_lr_of_another_tile_is_caught() -> None:
    found = _tiles(256, 9)
    for hr, other in pairwise(found):
        assert not _passes(check_pair(hr, DOWNSCALES["area"](other, 4), 4))


def test_the_shift_is_named_in_lr_pixels() -> None:
    hr = photograph("coffee.png")[:256, :256]
    lr = DOWNSCALES["area"](hr, 4)
    moved_right = np.ascontiguousarray(np.roll(hr, 4, 1))
    moved_up = np.ascontiguousarray(np.roll(hr, -8, 0))
    assert check_pair(moved_right, lr, 4).best_shift == (1, 0)
    assert check_pair(moved_up, lr, 4).best_shift == (0, -2)


def test_brightness_and_contrast_may_differ() -> None:
    for hr in _tiles(256, 9):
        lr = DOWNSCALES["bicubic"](hr, 4).astype(np.float64)
        assert _passes(check_pair(hr, np.clip(lr * 0.8 + 10, 0, 255).astype(np.uint8), 4))


def test_the_correlation_is_that_of_numpy() -> None:
    hr = photograph("chelsea.png")[:128, :128]
    lr = DOWNSCALES["bicubic"](hr, 4)

    def detail(luma: Image) -> Image:
        total = sum(luma[y : y + 30, x : x + 30] for y in range(3) for x in range(3))
        return (9 * luma[1:31, 1:31] - total)[2:-2, 2:-2]

    weights = np.array([77, 150, 29])
    small = (hr.astype(np.int64) * weights).sum(2).reshape(32, 4, 32, 4).sum((1, 3)) / (256 * 16)
    expected = np.corrcoef(detail(small).ravel(), detail((lr.astype(np.int64) * weights).sum(2) / 256).ravel())[0, 1]
    # The check rounds luma to a sixteenth of a level first.
    assert check_pair(np.ascontiguousarray(hr), lr, 4).correlation == pytest.approx(expected, abs=1e-3)


def test_flat_images_are_exempt() -> None:
    for level in (0, 128, 255):
        flat = np.full((64, 64, 3), level, np.uint8)
        assert check_pair(flat, flat[:16, :16].copy(), 4) == Verdict("flat")


def test_rounding_noise_on_a_flat_image_is_exempt() -> None:
    flat = np.full((128, 128, 3), 100, np.uint8) + np.random.default_rng(0).integers(0, 2, (128, 128, 1), np.uint8)
    assert check_pair(flat, flat[::4, ::4].copy(), 4) == Verdict("flat")


def test_a_smooth_ramp_is_judged_by_its_tone() -> None:
    ramp = np.ascontiguousarray(np.broadcast_to(np.arange(128, dtype=np.uint8)[None, :, None], (128, 128, 3)))
    lr = DOWNSCALES["area"](ramp, 4)
    found = check_pair(ramp, lr, 4)
    assert (found.judged_by, found.best_shift) == ("tone", (0, 0))
    assert found.correlation == pytest.approx(1.0, abs=1e-6)
    assert not _passes(check_pair(np.ascontiguousarray(ramp[:, ::-1]), lr, 4))


def test_an_lr_that_lost_all_detail_is_caught() -> None:
    hr = photograph("hubble_deep_field.jpg")[:256, :256]
    found = check_pair(np.ascontiguousarray(hr), np.zeros((64, 64, 3), np.uint8), 4)
    assert found.correlation == 0.0


def test_stripes_that_fit_at_several_shifts_alike_are_no_shift() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::8] = 255  # every second LR pixel
    assert _passes(check_pair(stripes, DOWNSCALES["area"](stripes, 4), 4))


def test_an_lr_under_16_pixels_is_too_small_to_judge() -> None:
    hr = photograph("astronaut.png")[:60, :60]
    assert check_pair(np.ascontiguousarray(hr), np.zeros((15, 15, 3), np.uint8), 4) == Verdict("small")


def test_scale_1_compares_pixel_by_pixel() -> None:
    image = np.ascontiguousarray(photograph("coffee.png")[:64, :64])
    assert check_pair(image, image, 1).correlation == 1.0
