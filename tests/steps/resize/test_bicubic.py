"""Bicubic against MATLAB's formula in float64 and against pepedpid's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pepedpid
import pytest
from skimage import data

from forge_pipeline.step import Context, DataError
from forge_steps.resize.bicubic import Bicubic
from tests.steps.resize.reference import imresize_reference

Array = npt.NDArray[Any]
PHOTO: Array = np.ascontiguousarray(data.chelsea()[60:180, 100:196])
UNIT = (PHOTO / np.float32(255)).astype(np.float32)


def run(image: Array, **params: Any) -> Array:
    (child,) = Bicubic(Bicubic.Params(**params)).apply(image, Context())
    result: Array = child.value
    return result


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_whole_image_equals_matlab_and_pepedpid(scale: int) -> None:
    found = run(UNIT, scale=scale)
    assert np.abs(found - imresize_reference(UNIT, 120 // scale, 96 // scale)).max() <= 2e-7
    # pepedpid computes its weights in float32 and is 3e-7 off the exact result itself.
    assert np.abs(found - pepedpid.cubic_resize(UNIT, 120 // scale, 96 // scale)).max() <= 5e-7


def test_a_fit_equals_imresize_at_that_size() -> None:
    found = run(UNIT[:119, :95], scale=4, on_mismatch="fit")
    assert found.shape == (30, 24, 3)
    assert np.abs(found - imresize_reference(UNIT[:119, :95], 30, 24)).max() <= 2e-7


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_integers_are_rounded_once_and_clipped(kind: Any) -> None:
    top = int(np.iinfo(kind).max)
    image = (np.indices((40, 40)).sum(axis=0) // 6 % 2 * top).astype(kind)[..., None]
    exact = imresize_reference(image, 20, 20)
    assert exact.max() > top
    assert exact.min() < 0
    assert np.abs(run(image, scale=2) - np.clip(exact, 0, top)).max() <= 0.5 + 1e-6 * top


def test_hidden_colours_do_not_bleed() -> None:
    alpha = np.zeros((120, 96, 1), np.uint8)
    alpha[30:90, 20:70] = 255
    one = np.concatenate([np.where(alpha > 0, 200, 0).repeat(3, axis=2).astype(np.uint8), alpha], axis=2)
    other = one.copy()
    other[alpha[..., 0] == 0, :3] = (255, 0, 255)
    found = run(one, scale=4)
    assert np.array_equal(found, run(other, scale=4))
    assert (found[found[..., 3] > 0, :3] == 200).all()
    assert np.array_equal(found[..., 3:], run(alpha, scale=4))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_constant_image_stays_constant(channels: int) -> None:
    assert (run(np.full((33, 47, channels), 201, np.uint8), scale=3) == 201).all()


def test_a_crop_leaves_out_the_right_and_the_bottom() -> None:
    assert np.array_equal(run(PHOTO[:119, :95], scale=4), run(np.ascontiguousarray(PHOTO[:116, :92]), scale=4))


def test_scale_1_changes_nothing() -> None:
    assert run(PHOTO, scale=1) is PHOTO


def test_nan_is_refused() -> None:
    image = UNIT.copy()
    image[5, 5, 1] = np.nan
    with pytest.raises(DataError) as caught:
        run(image, scale=4)
    assert str(caught.value) == "resize.bicubic: found NaN or infinity among the pixels, expected numbers in 0..1"
