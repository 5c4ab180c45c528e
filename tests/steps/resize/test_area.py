"""The box mean, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forge_pipeline.step import Context
from forge_steps.resize.area import Area

Array = npt.NDArray[Any]


def run(image: Array, **params: Any) -> Array:
    (child,) = Area(Area.Params(**params)).apply(image, Context())
    result: Array = child.value
    return result


def test_each_pixel_is_the_mean_of_its_cell_rounded_half_to_even() -> None:
    image = np.array([[0, 1, 2, 3], [0, 1, 2, 3]], np.uint8)[..., None]
    assert run(image, scale=2)[..., 0].tolist() == [[0, 2]]
    image = np.random.default_rng(0).integers(0, 65536, (30, 24, 3)).astype(np.uint16)
    expected = np.rint(image.reshape(10, 3, 8, 3, 3).sum(axis=(1, 3), dtype=np.int64) / 9)
    assert np.array_equal(run(image, scale=3), expected)


def test_a_fractional_scale_shares_pixels_between_cells() -> None:
    image = np.array([[[0.0], [3.0], [6.0]]], np.float32).repeat(3, axis=0)
    found = run(image, scale=1.5)
    assert np.abs(found[..., 0] - [[1, 5], [1, 5]]).max() <= 1e-6


def test_colours_weigh_by_alpha() -> None:
    image = np.array([[[200, 255], [0, 0]], [[100, 255], [0, 0]]], np.uint8)
    assert run(image, scale=2).tolist() == [[[150, 128]]]
