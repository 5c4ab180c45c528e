"""Every metric equals an independent reference, on one scale for all depths, and refuses what it cannot read."""

import inspect
import pickle

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage, stats

import forge_steps.metrics.catalog as catalog
from forge_pipeline.errors import DataError
from forge_pipeline.step import Metric, Params

PIXEL_METRICS = sorted(name for name, cls in catalog.METRICS.items() if cls.reads == "pixels")


def measure(name: str, image: NDArray) -> float:
    return catalog.METRICS[name](Params()).measure(image)


def photo(height: int = 150, width: int = 170) -> NDArray:
    return np.ascontiguousarray(skimage.data.astronaut()[:height, :width])


def float_luma(image: NDArray) -> NDArray:
    scale = {"uint8": 255, "uint16": 65535, "float32": 1}[image.dtype.name]
    levels = image.astype(np.float64) / scale
    return levels[:, :, :3] @ np.array([4899, 9617, 1868]) / 16384 if image.shape[2] >= 3 else levels[:, :, 0]


def reference(name: str, image: NDArray) -> float:
    y = float_luma(image)
    if name == "laplacian":
        return float(np.abs(ndimage.laplace(y, mode="mirror")).mean())
    if name == "noise_sigma":
        mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
        return float(np.sqrt(np.pi / 2) / 6 * np.abs(ndimage.convolve(y, mask)[1:-1, 1:-1]).mean())
    if name == "entropy":
        return float(stats.entropy(np.bincount(np.rint(y * 255).astype(int).ravel()), base=2))
    if name == "clipping":
        colours = image[:, :, :3] if image.shape[2] >= 3 else image[:, :, :1]
        return float(np.mean((colours == 0) | (colours == np.iinfo(image.dtype).max)))
    steep = np.abs(ndimage.sobel(y, axis=0)) + np.abs(ndimage.sobel(y, axis=1))
    return float((steep[1:-1, 1:-1] >= 99.5 / 255).mean())


@pytest.mark.parametrize("name", ["laplacian", "noise_sigma", "entropy", "clipping", "edge_density"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_8_and_16_bit_and_float_equal_a_float64_reference(name: str, channels: int):
    rgba = np.dstack([photo(60, 70), photo(60, 70)[:, :, :1] // 2])
    image = np.ascontiguousarray(rgba[:, :, {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]])
    assert measure(name, image) == pytest.approx(reference(name, image), rel=1e-9, abs=2e-9)
    deep = image.astype(np.uint16) * 257
    assert measure(name, deep) == pytest.approx(reference(name, image), rel=1e-9, abs=2e-9)
    floats = (image / np.float32(255)).astype(np.float32)
    # Floats are read at 20 bits: pixels that lie on a threshold or between two bins may fall on its other side.
    assert measure(name, floats) == pytest.approx(reference(name, image), abs=2e-3 if name == "entropy" else 3e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 12), st.integers(3, 12), st.integers(0, 2**32 - 1))
def test_small_random_maps_equal_the_reference(height: int, width: int, seed: int):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for name in ("laplacian", "noise_sigma", "entropy", "clipping", "edge_density"):
        assert measure(name, image) == pytest.approx(reference(name, image), rel=1e-9, abs=2e-9)


def test_images_of_one_row_or_column_have_a_laplacian():
    row = np.array([[[0], [255], [0]]], np.uint8)
    # Mirrored without the edge: the outer pixels see the white one twice.
    assert measure("laplacian", row) == measure("laplacian", row.transpose(1, 0, 2)) == 2.0
    assert measure("laplacian", np.full((1, 1, 1), 9, np.uint8)) == 0.0


@pytest.mark.parametrize("name", PIXEL_METRICS)
def test_distinct_16_bit_textures_are_told_apart(name: str):
    noise = np.random.default_rng(5).integers(0, 65536, (160, 160, 1))
    smooth = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 3)[:, :, None]
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    textures = [noise, smooth * 65535, np.kron(noise[::8, ::8, 0], np.ones((8, 8), int))[:, :, None]]
    scores = [measure(name, np.rint(texture).astype(np.uint16)) for texture in textures]
    low, high = catalog.METRICS[name].range
    assert all(score >= (low or 0) and (high is None or score <= high) for score in scores)
    if name != "clipping":
        assert len(set(scores)) == 3


@pytest.mark.parametrize("name", PIXEL_METRICS)
def test_alpha_is_left_out_and_the_input_is_not_changed(name: str):
    image = photo()
    image.flags.writeable = False
    before = image.tobytes()
    with_alpha = np.dstack([image, np.random.default_rng(0).integers(0, 256, image.shape[:2], dtype=np.uint8)])
    assert measure(name, np.ascontiguousarray(with_alpha)) == measure(name, image)
    assert image.tobytes() == before


@pytest.mark.parametrize("name", PIXEL_METRICS)
def test_a_flat_image_has_a_defined_measure(name: str):
    flat = np.full((130, 130, 3), 128, np.uint8)
    assert measure(name, flat) == (1.0 if name == "native_scale" else 0.0)
    assert measure(name, flat.astype(np.float32) / 255) == (1.0 if name == "native_scale" else 0.0)


@pytest.mark.parametrize("name", PIXEL_METRICS)
def test_unsupported_modes_and_nan_are_refused_by_name(name: str):
    with pytest.raises(DataError) as caught:
        measure(name, np.zeros((130, 130, 3), np.float64))
    assert (caught.value.reason, str(caught.value)) == (
        "unsupported_mode",
        f"{name}: found float64 of shape (130, 130, 3), expected (height, width, 1 to 4 channels) "
        "of uint8, uint16 or float32",
    )
    broken = np.full((130, 130, 1), np.inf, np.float32)
    with pytest.raises(DataError) as caught:
        measure(name, broken)
    assert caught.value.reason == "not_finite"


@pytest.mark.parametrize(("name", "least"), [("noise_sigma", 3), ("edge_density", 3), ("native_scale", 128)])
def test_too_small_images_are_refused_with_their_size(name: str, least: int):
    with pytest.raises(DataError) as caught:
        measure(name, np.zeros((least - 1, 200, 3), np.uint8))
    assert (caught.value.reason, str(caught.value)) == (
        "small",
        f"{name}: found 200 x {least - 1} pixels, expected at least {least} x {least}",
    )


def test_noise_of_known_sigma_is_estimated():
    for sigma in (2.0, 8.0):
        noisy = 128 + np.random.default_rng(1).normal(0, sigma, (256, 256, 1))
        assert measure("noise_sigma", np.rint(noisy).astype(np.uint8)) * 255 == pytest.approx(sigma, rel=0.03)


def test_header_metrics_read_the_header_alone():
    header = {"width": 1920, "height": 1080, "channels": 3, "dtype": "uint8"}
    found = {name: cls(Params()).measure(header) for name, cls in catalog.METRICS.items() if cls.reads == "header"}
    assert found == {"width": 1920, "height": 1080, "megapixels": 2.0736, "aspect": 1920 / 1080}


def test_every_metric_states_what_it_measures():
    for name, cls in catalog.METRICS.items():
        metric = cls(Params())
        assert cls.name == name
        assert cls.version >= 1
        assert issubclass(cls, Metric)
        assert cls.direction in ("higher is better", "lower is better", "neither")
        assert len(cls.range) == 2
        assert cls.unit
        assert cls.source
        assert inspect.getdoc(cls)
        assert type(pickle.loads(pickle.dumps(metric))) is cls
