"""`native_scale` tells enlarged photographs from native ones, textured, smooth and noisy."""

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from forge_pipeline.step import Params
from forge_steps.metrics._luma import luma_plane
from forge_steps.metrics._spectrum import power_of_differences
from forge_steps.metrics.native_scale import NativeScale

PHOTOS = {
    "portrait": skimage.data.astronaut,
    "smooth": skimage.data.coffee,
    "fur": skimage.data.chelsea,
    "stars": lambda: skimage.data.hubble_deep_field()[:500, :500],
    "texture": lambda: skimage.data.gravel()[:, :, None],
    "grass": lambda: skimage.data.grass()[:, :, None],
    "gray": lambda: skimage.data.camera()[:, :, None],
    "noisy": lambda: noisy(skimage.data.chelsea(), 4.0),
}
FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def noisy(image: NDArray, sigma: float) -> NDArray:
    grain = np.random.default_rng(3).normal(0, sigma, image.shape)
    return np.clip(np.rint(image + grain), 0, 255).astype(np.uint8)


def enlarged(image: NDArray, factor: float, name: str) -> NDArray:
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    pixels = np.asarray(Image.fromarray(image.squeeze()).resize(size, FILTERS[name]))
    return pixels.reshape(*pixels.shape[:2], -1)


def native_scale(image: NDArray) -> float:
    return float(NativeScale(Params()).measure(image))


@pytest.mark.parametrize("name", PHOTOS)
def test_native_photographs_are_native(name: str):
    image = PHOTOS[name]()
    assert native_scale(image) == 1.0
    assert native_scale(image[40:296, 30:286]) == 1.0


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("kernel", FILTERS)
def test_enlarged_photographs_are_found(name: str, kernel: str):
    image = PHOTOS[name]()
    twice, four_times = native_scale(enlarged(image, 2, kernel)), native_scale(enlarged(image, 4, kernel))
    assert 1.5 <= twice <= 2.8
    assert 2.7 <= four_times <= 5.0
    assert twice < four_times


def test_an_enlargement_by_half_reads_so_on_the_median():
    for kernel in FILTERS:
        scales = [native_scale(enlarged(make(), 1.5, kernel)) for make in PHOTOS.values()]
        assert 1.3 <= np.median(scales) <= 1.9


def test_an_image_enlarged_in_one_direction_only_counts_by_the_other():
    photo = skimage.data.astronaut()
    wide = np.asarray(Image.fromarray(photo).resize((1024, 512), FILTERS["bicubic"]))
    assert native_scale(wide) == 1.0


def test_a_16_bit_or_float_copy_reads_the_same():
    image = enlarged(skimage.data.astronaut()[:256, :256], 2, "bicubic")
    assert native_scale(image.astype(np.uint16) * 257) == pytest.approx(native_scale(image), abs=0.05)
    assert native_scale((image / 255).astype(np.float32)) == pytest.approx(native_scale(image), abs=0.05)


def test_the_spectrum_equals_numpys():
    plane = luma_plane(skimage.data.chelsea(), "test")
    hann = np.hanning(129)[:128]
    differences = np.diff(plane.astype(float), axis=1, prepend=0)
    starts = [*range(0, plane.shape[1] - 128, 64), plane.shape[1] - 128]
    windows = np.concatenate([differences[:, s : s + 128] for s in starts])
    expected = (np.abs(np.fft.rfft(windows * hann, axis=1)) ** 2).mean(axis=0) / np.sum(hann**2)
    assert power_of_differences(plane) == pytest.approx(expected, rel=1e-9)
