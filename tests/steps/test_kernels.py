"""The public functions on arrays: what they take, what they give, and that they are what the operators use."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from skimage import data as photographs

from forge_pipeline.errors import DataError
from forge_pipeline.step import Context
from forge_steps import kernels
from forge_steps._pixels import ImageCodec
from forge_steps.augment.dpa import stream_parameters
from forge_steps.metrics.blockiness import Blockiness
from forge_steps.resize.dpid import Dpid
from forge_steps.tile.best import Best

COFFEE = photographs.coffee()


def test_every_function_has_the_signature_and_the_docstring_of_the_contract() -> None:
    signatures = {name: str(inspect.signature(getattr(kernels, name), eval_str=False)) for name in kernels.__all__}
    parameters = {name: text[: text.index(" ->")].replace("'", "") for name, text in signatures.items()}
    assert parameters == {
        "best_tiles": "(image: Image, size_px: int, max_tiles: int = 1)",
        "blockiness": "(gray: Image, grid_search: bool = True)",
        "dct_hash": "(image: Image)",
        "dpa_parameters": "(start: int, stop: int, preset: str = moderate, depth: int = 10)",
        "dpid": "(image: Image, height_px: int, width_px: int, lam: float = 0.5, boundary: Boundary = replicate)",
        "encode_png": "(image: Image)",
        "hamming_pairs": "(hashes: Hashes, max_distance_bits: int)",
    }
    for name in kernels.__all__:
        text = inspect.getdoc(getattr(kernels, name)) or ""
        assert "\nArgs:\n" in text and ("\nReturns:\n" in text or "\nReturns " in f"\n{text}" or "Return " in text), (
            name
        )


def test_best_tiles_are_those_of_the_operator() -> None:
    tiles = kernels.best_tiles(COFFEE, 96, max_tiles=3)
    operator = Best(Best.Params(size_px=96, max_tiles=3))
    children = list(operator.apply(COFFEE, Context()))
    assert [COFFEE[y : y + 96, x : x + 96].tobytes() for y, x, _ in tiles] == [c.value.tobytes() for c in children]  # type: ignore[union-attr]
    assert [type(value) for value in tiles[0]] == [int, int, float]


def test_a_planted_square_is_found() -> None:
    image = np.full((60, 80), 0.5, np.float32)
    image[21:29:2, 33:41:2] = 1
    ((y, x, _),) = kernels.best_tiles(image, 9)
    assert (y, x) == (20, 32)


@pytest.mark.parametrize(
    ("size_px", "max_tiles", "message"),
    [
        (401, 1, "size_px is 401, expected 1 to 400, the shorter side of the image"),
        (0, 1, "size_px is 0, expected 1 to 400, the shorter side of the image"),
        (8, 0, "max_tiles is 0, expected 1 or more"),
    ],
)
def test_best_tiles_refuse_what_cannot_be(size_px: int, max_tiles: int, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        kernels.best_tiles(COFFEE, size_px, max_tiles)
    assert str(caught.value) == message


def test_best_tiles_refuse_sums_that_may_overflow() -> None:
    with pytest.raises(ValueError) as caught:
        kernels.best_tiles(np.zeros((8193, 8193), np.uint8), 8193)
    assert str(caught.value) == "size_px is 8193, expected at most 8192: sums over more pixels may overflow"


def test_dpid_is_that_of_the_operator() -> None:
    (child,) = Dpid(Dpid.Params(scale=4)).apply(COFFEE, Context())
    assert np.array_equal(kernels.dpid(COFFEE, 100, 150), child.value)


def test_blockiness_is_that_of_the_metric() -> None:
    gray = np.ascontiguousarray(COFFEE[..., :1])
    assert kernels.blockiness(gray) == kernels.blockiness(gray[..., 0]) == Blockiness(Blockiness.Params()).measure(gray)
    assert kernels.blockiness(gray, grid_search=False) <= kernels.blockiness(gray)


def test_copies_have_near_hashes_and_are_found_as_pairs() -> None:
    smaller = kernels.dpid(COFFEE, 200, 300)
    hashes = [kernels.dct_hash(image) for image in (COFFEE, photographs.astronaut(), smaller)]
    assert all(0 <= value < 2**64 for value in hashes)
    assert kernels.hamming_pairs(np.array(hashes, np.uint64), 4).tolist() == [[0, 2]]


def test_dpa_parameters_are_those_of_the_stream() -> None:
    arrays = kernels.dpa_parameters(40, 44)
    rows = list(stream_parameters("moderate", 10, 40, 44))
    assert {name: array.tolist() for name, array in arrays.items()} == {n: [row[n] for row in rows] for n in rows[0]}


def test_encode_png_gives_the_payload_of_the_engine() -> None:
    assert kernels.encode_png(COFFEE) == ImageCodec().encode(COFFEE)
    gray = np.ascontiguousarray(COFFEE[..., 0])
    assert kernels.encode_png(gray) == kernels.encode_png(gray[..., None])


def test_encode_png_refuses_what_png_cannot_hold() -> None:
    with pytest.raises(DataError) as caught:
        kernels.encode_png(np.zeros((4, 4, 3), np.float32))
    assert caught.value.reason == "unsupported_mode"
    assert caught.value.message == (
        "encode_png: found float32 of shape (4, 4, 3), expected (height, width, 1 to 4 channels) of uint8 or uint16"
    )


def test_memory_layout_does_not_matter() -> None:
    view = COFFEE[::-1, ::-1]
    assert not view.flags.c_contiguous
    whole = np.ascontiguousarray(view)
    assert np.array_equal(kernels.dpid(view, 100, 150), kernels.dpid(whole, 100, 150))
    assert kernels.best_tiles(view, 64) == kernels.best_tiles(whole, 64)
    assert kernels.blockiness(view) == kernels.blockiness(whole)
    assert kernels.dct_hash(view) == kernels.dct_hash(whole)
    assert kernels.encode_png(view) == kernels.encode_png(whole)


def test_no_image_is_changed() -> None:
    image = COFFEE.copy()
    for call in (
        lambda: kernels.dpid(image, 100, 150),
        lambda: kernels.best_tiles(image, 64, 2),
        lambda: kernels.blockiness(image),
        lambda: kernels.dct_hash(image),
        lambda: kernels.encode_png(image),
    ):
        call()
        assert np.array_equal(image, COFFEE)
        assert image.flags.writeable
