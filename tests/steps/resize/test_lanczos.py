"""Lanczos against Pillow's, which agrees with it away from the border."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PillowImage
from skimage import data

from forge_pipeline.step import Context
from forge_steps.resize._taps import LANCZOS, taps
from forge_steps.resize.lanczos import Lanczos

Array = npt.NDArray[Any]
PHOTO: Array = np.ascontiguousarray(data.chelsea()[60:204, 100:244])


def run(image: Array, **params: Any) -> Array:
    (child,) = Lanczos(Lanczos.Params(**params)).apply(image, Context())
    result: Array = child.value
    return result


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_inside_it_equals_pillow(scale: int) -> None:
    gray = (PHOTO[..., :1] / np.float32(255)).astype(np.float32)
    size = 144 // scale
    expected = np.asarray(PillowImage.fromarray(gray[..., 0]).resize((size, size), PillowImage.Resampling.LANCZOS))
    assert np.abs(run(gray, scale=scale)[4:-4, 4:-4, 0] - expected[4:-4, 4:-4]).max() <= 1e-6


def test_the_weights_are_the_windowed_sinc() -> None:
    found = taps(LANCZOS, 40, 10)
    x = np.arange(-11.5, 12) / 4
    expected = np.sinc(x) * np.sinc(x / 3)
    assert np.abs(found.weight[5] - expected / expected.sum()).max() <= 1e-7
    assert np.abs(found.weight.sum(axis=1) - 1).max() <= 1e-6


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_constant_image_stays_constant(channels: int) -> None:
    assert (run(np.full((32, 48, channels), 99, np.uint8), scale=4) == 99).all()


def test_integers_are_clipped_and_never_wrap() -> None:
    image = np.zeros((40, 40, 1), np.uint8)
    image[:, 19:] = 255
    found = run(image, scale=2)[10, :, 0].astype(int)
    assert np.array_equal(found[:6], [0] * 6)
    assert np.array_equal(found[-6:], [255] * 6)
    assert (np.diff(found)[8:10] >= 0).all()
