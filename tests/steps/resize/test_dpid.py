"""DPID against the paper in float64, against pepedpid's arrays, and on pixels whose answer is known."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pepedpid
import pytest
from pydantic import ValidationError
from skimage import data

from forge_pipeline.step import Context, DataError
from forge_steps.resize._dpid import dpid
from forge_steps.resize.dpid import Dpid
from tests.steps.resize.reference import dpid_reference

Array = npt.NDArray[Any]
RNG = np.random.default_rng(5)
PHOTO: Array = np.ascontiguousarray(data.chelsea()[60:204, 100:268])
# 256ths, so that pepedpid's sums are exact at powers of two. Elsewhere a pixel that equals its guidance is 3e-8 away
# from it there, and at lambda 1/4 that weighs 0.013: the formula is ill-conditioned, and neither side is at fault.
UNIT = (PHOTO / np.float32(256)).astype(np.float32)


def with_alpha(image: Array, alpha: Array) -> Array:
    return np.concatenate([image, alpha[..., None].astype(image.dtype)], axis=2)


def run(image: Array, **params: Any) -> Array:
    image = image.copy()
    image.flags.writeable = False
    (child,) = Dpid(Dpid.Params(**params)).apply(image, Context())
    assert child.suffix == ""
    result: Array = child.value
    return result


@pytest.mark.parametrize("lam", [0.0, 0.25, 0.5, 0.7, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_integer_ratios_equal_pepedpid(scale: int, lam: float) -> None:
    height, width = 144 // scale, 168 // scale
    # pepedpid adds the 64 pixels of a cell to one running float32.
    bound = 1e-6 if scale < 8 else 1.5e-6
    expected = pepedpid.dpid_resize(UNIT, height, width, lam)
    assert np.abs(dpid(UNIT, height, width, lam) - expected).max() <= bound
    gray = np.ascontiguousarray(UNIT[..., :1])
    expected = pepedpid.dpid_resize(gray[..., 0].copy(), height, width, lam)
    assert np.abs(dpid(gray, height, width, lam)[..., 0] - expected).max() <= bound


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("size", [(48, 56), (44, 51), (101, 97), (143, 167), (1, 1), (7, 168), (144, 5)])
def test_fractional_and_uneven_ratios_equal_pepedpid(size: tuple[int, int], lam: float) -> None:
    expected = pepedpid.dpid_resize(UNIT, *size, lam)
    # 1 x 1 sums 24,192 pixels: pepedpid does so in one running float32.
    assert np.abs(dpid(UNIT, *size, lam) - expected).max() <= (1e-6 if size != (1, 1) else 2e-5)


@pytest.mark.parametrize("boundary", ["replicate", "renormalize"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(9, 12), (10, 11)])
def test_every_mode_equals_the_paper_in_float64(boundary: Any, channels: int, size: tuple[int, int]) -> None:
    image = UNIT[40:76, 30:78, : 1 if channels < 3 else 3]
    if channels % 2 == 0:
        image = with_alpha(image, RNG.random(image.shape[:2]) * (RNG.random(image.shape[:2]) > 0.4))
    for lam in (0.0, 0.5, 0.8, 1.0, 2.0):
        expected = dpid_reference(image, *size, lam, boundary)
        assert np.abs(dpid(np.ascontiguousarray(image), *size, lam, boundary) - expected).max() <= 1e-6


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_integers_are_the_exact_result_rounded_once(kind: Any, channels: int) -> None:
    top = np.iinfo(kind).max
    image = RNG.integers(0, int(top) + 1, (24, 36, channels)).astype(kind)
    for size in ((6, 9), (7, 11)):
        for lam in (0.0, 0.5, 0.7, 1.0):
            found = dpid(image, *size, lam)
            assert found.dtype == kind
            exact = dpid_reference(image, *size, lam)
            assert np.abs(found - exact).max() <= 0.5 + 3e-6 * top


def test_the_two_boundaries_differ_in_the_border_only() -> None:
    one, other = dpid(UNIT, 36, 42, 1.0, "replicate"), dpid(UNIT, 36, 42, 1.0, "renormalize")
    assert np.array_equal(one[1:-1, 1:-1], other[1:-1, 1:-1])
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize("scale", [2, 3, 4, 5, 6, 8])
def test_lambda_0_is_the_box_mean_rounded_half_to_even(scale: int) -> None:
    height, width = 144 // scale, 168 // scale
    image = PHOTO[: height * scale, : width * scale]
    sums = image.reshape(height, scale, width, scale, 3).sum(axis=(1, 3), dtype=np.int64)
    assert np.array_equal(dpid(image, height, width, 0.0), np.rint(sums / scale**2))


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.75, 1.0, 8.0])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("value", [np.uint8(0), np.uint8(128), np.uint8(255), np.uint16(65535), np.float32(0.1)])
def test_a_constant_image_stays_constant(value: Any, channels: int, lam: float) -> None:
    image = np.full((23, 31, channels), value)
    for size in ((23, 31), (11, 9), (1, 1)):
        found = dpid(image, *size, lam)
        assert np.abs(found.astype(np.float64) - value).max() <= (0 if image.dtype.kind == "u" else 1e-7)


def test_permuted_channels_give_the_permuted_result() -> None:
    for lam in (0.5, 0.7, 1.0):
        swapped = dpid(PHOTO[..., ::-1], 36, 42, lam)
        assert np.abs(swapped[..., ::-1].astype(int) - dpid(PHOTO, 36, 42, lam)).max() <= 1
        floats = dpid(UNIT[..., ::-1], 36, 42, lam)
        assert np.abs(floats[..., ::-1] - dpid(UNIT, 36, 42, lam)).max() <= 1e-6


def test_colours_under_full_transparency_count_nothing() -> None:
    alpha = np.where(RNG.random((144, 168)) > 0.5, 255, 0).astype(np.uint8)
    shown = with_alpha(PHOTO, alpha)
    hidden = shown.copy()
    hidden[alpha == 0, :3] = RNG.integers(0, 256, (int((alpha == 0).sum()), 3))
    found = dpid(shown, 36, 42, 0.5)
    assert np.array_equal(found, dpid(hidden, 36, 42, 0.5))
    assert np.array_equal(found[..., 3], np.rint(alpha.reshape(36, 4, 42, 4).mean(axis=(1, 3))))


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.7, 1.0])
def test_opaque_alpha_gives_the_colours_of_the_image_without_it(lam: float) -> None:
    found = dpid(with_alpha(UNIT, np.ones((144, 168))), 36, 42, lam)
    assert np.abs(found[..., :3] - dpid(UNIT, 36, 42, lam)).max() <= 1e-6
    assert (found[..., 3] == 1).all()


def test_any_memory_layout_gives_the_same_pixels_and_the_input_stays() -> None:
    before = PHOTO.copy()
    expected = dpid(PHOTO, 36, 42, 0.5)
    assert np.array_equal(dpid(np.asfortranarray(PHOTO), 36, 42, 0.5), expected)
    wide = np.repeat(PHOTO, 2, axis=1)
    assert np.array_equal(dpid(wide[:, ::2], 36, 42, 0.5), expected)
    assert dpid(PHOTO[..., 0], 36, 42, 0.5).shape == (36, 42)
    assert np.array_equal(PHOTO, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_nan_and_infinity_are_refused(channels: int, bad: float) -> None:
    for c in range(channels):
        image = np.full((16, 16, channels), 0.5, np.float32)
        image[9, 9, c] = bad
        for lam in (0.0, 0.5, 0.7):
            with pytest.raises(DataError) as caught:
                dpid(image, 4, 4, lam)
            assert caught.value.reason == "not_finite"
            assert str(caught.value) == "dpid: found NaN or infinity among the pixels, expected numbers in 0..1"


def test_other_modes_are_refused_by_name() -> None:
    with pytest.raises(DataError) as caught:
        dpid(np.zeros((8, 8, 3), np.int16), 4, 4)
    assert caught.value.reason == "unsupported_mode"
    assert str(caught.value) == (
        "dpid: found int16 of shape (8, 8, 3), expected (height, width, 1 to 4 channels) of uint8, uint16 or float32"
    )


def test_sizes_and_lambdas_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^size is 9 x 4, expected 1 x 1 to 8 x 8$"):
        dpid(np.zeros((8, 8, 3), np.uint8), 4, 9)
    with pytest.raises(ValueError, match=r"^lambda is -1, expected 0 to 8$"):
        dpid(np.zeros((8, 8, 3), np.uint8), 4, 4, -1)


def test_equal_pixels_keep_exact_sums_where_pepedpid_rounds() -> None:
    # One odd pixel on a plane: the guidance of far cells must equal the plane exactly, or noise would weigh.
    image = np.full((32, 32, 3), 77, np.uint8)
    image[17, 14] = 78
    found = dpid(image, 16, 16, 0.5).astype(int)
    assert np.array_equal(found[8, 7], [78, 78, 78])
    found[8, 7] = 77
    assert (found == 77).all()


def test_the_operator_takes_lambda_by_its_name_and_auto() -> None:
    assert np.array_equal(run(PHOTO, scale=4), dpid(PHOTO, 36, 42, 0.5))
    assert np.array_equal(run(PHOTO, scale=4, **{"lambda": "auto"}), dpid(PHOTO, 36, 42, 0.75))
    assert np.array_equal(run(PHOTO, scale=4, **{"lambda": 1}), dpid(PHOTO, 36, 42, 1.0))
    assert Dpid.Params(scale=4).model_dump(mode="json", by_alias=True) == {
        "scale": 4.0,
        "on_mismatch": "crop",
        "lambda": 0.5,
        "boundary": "replicate",
    }


@pytest.mark.parametrize("wrong", [{"scale": 1}, {"scale": 4, "lambda": -0.1}, {"scale": 4, "lam": 1}, {}])
def test_wrong_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Dpid.Params(**wrong)


def test_a_crop_leaves_out_the_right_and_the_bottom() -> None:
    assert np.array_equal(run(PHOTO[:143, :167], scale=4), dpid(PHOTO[:140, :164], 35, 41, 0.5))
    assert np.array_equal(run(PHOTO, scale=3.3), dpid(PHOTO[:132, :165], 40, 50, 0.5))


def test_a_fit_rounds_the_size() -> None:
    assert np.array_equal(run(PHOTO[:143, :167], scale=4, on_mismatch="fit"), dpid(PHOTO[:143, :167], 36, 42, 0.5))
    assert run(PHOTO[:2, :1], scale=4, on_mismatch="fit").shape == (1, 1, 3)


def test_an_error_names_the_size_and_a_way_out() -> None:
    with pytest.raises(DataError) as caught:
        run(PHOTO[:143, :167], scale=4, on_mismatch="error")
    assert caught.value.reason == "size_mismatch"
    assert str(caught.value) == (
        "resize.dpid: image is 167 x 143, expected multiples of 4 for scale 4\n  hint: set `on_mismatch: crop`"
    )
    with pytest.raises(DataError) as caught:
        run(PHOTO[:3], scale=4)
    assert caught.value.reason == "too_small"
    assert str(caught.value) == (
        "resize.dpid: image is 168 x 3, expected at least 4 x 4 for scale 4\n  hint: set `on_mismatch: fit`"
    )


_DIGEST = """
import numpy as np
from forge_steps.resize._dpid import dpid
from forge_pipeline.digest import digest_bytes
image = np.random.default_rng(1).integers(0, 256, (97, 131, 3)).astype(np.uint8)
floats = image.astype(np.float32) / 255
parts = [dpid(x, *s, lam).tobytes() for x in (image, floats) for s in ((24, 32), (30, 40)) for lam in (0.5, 0.7, 1.0)]
print(digest_bytes(*parts))
"""


@pytest.mark.slow
def test_the_pixels_are_the_same_for_every_vector_width(plain_kernels: Path) -> None:
    # For this processor kernels lie compiled where they always do; for the plainest one they are compiled apart.
    plainest = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(plain_kernels)}
    here, there = (
        subprocess.run([sys.executable, "-c", _DIGEST], env={**os.environ, **cpu}, check=True, capture_output=True)
        for cpu in ({}, plainest)
    )
    assert here.stdout == there.stdout != b""
    assert list(plain_kernels.rglob("*dpid*.nbc")) != []
