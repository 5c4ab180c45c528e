"""The DCT hash against imagehash, and across depths, modes and layouts."""

from __future__ import annotations

from typing import Any

import imagehash
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PillowImage
from skimage import data

from forge_pipeline.digest import digest_bytes
from forge_pipeline.step import DataError
from forge_steps.dedup._hash import _COSINES, DctHash, dct_hash

Array = npt.NDArray[Any]
PHOTO: Array = data.chelsea()


def distance(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def by_imagehash(image: Array) -> int:
    return int(str(imagehash.phash(PillowImage.fromarray(image))), 16)


def test_it_is_within_a_bit_of_imagehash_on_average() -> None:
    rng = np.random.default_rng(3)
    found = []
    for image in (data.astronaut(), data.coffee(), PHOTO, data.rocket()):
        for _ in range(25):
            side = int(rng.integers(100, 290))
            y, x = int(rng.integers(image.shape[0] - side)), int(rng.integers(image.shape[1] - side))
            crop = np.ascontiguousarray(image[y : y + side, x : x + int(side * rng.uniform(0.6, 1))])
            found.append(distance(dct_hash(crop), by_imagehash(crop)))
    assert np.mean(found) <= 1
    assert max(found) <= 8


def test_it_equals_the_formula_in_float64() -> None:
    cells = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    cosines = np.cos((2 * np.arange(32) + 1) * np.arange(8)[:, None] * np.pi / 64)
    low = cosines @ cells @ cosines.T
    expected = int("".join("1" if value > np.median(low) else "0" for value in low.ravel()), 2)
    assert dct_hash(cells) == expected
    assert dct_hash(np.kron(cells, np.ones((5, 3), np.uint8))) == expected


def test_sizes_that_32_does_not_divide_are_averaged_exactly() -> None:
    # 33 x 45 pixels, each blown up to 32 x 32: every cell boundary falls between pixels, and nothing may change.
    image = PHOTO[100:133, 100:145]
    assert dct_hash(image) == dct_hash(np.kron(image, np.ones((32, 32, 1), np.uint8)))
    assert dct_hash(image[:5, :7]) == dct_hash(np.kron(image[:5, :7], np.ones((32, 32, 1), np.uint8)))


def test_it_is_16_hex_digits() -> None:
    found = DctHash(DctHash.Params()).measure(PHOTO)
    assert found == f"{dct_hash(PHOTO):016x}"
    assert len(found) == 16


def test_depths_give_one_hash() -> None:
    sixteen = PHOTO.astype(np.uint16) * 257
    assert dct_hash(sixteen) == dct_hash(PHOTO)
    assert distance(dct_hash((PHOTO / np.float32(255)).astype(np.float32)), dct_hash(PHOTO)) == 0


def test_modes_give_one_hash() -> None:
    gray = PHOTO[..., 1]
    expected = dct_hash(gray)
    full = np.full_like(gray, 255)
    assert dct_hash(gray[..., None]) == expected
    assert dct_hash(np.stack([gray] * 3, axis=2)) == expected
    assert dct_hash(np.stack([gray, full], axis=2)) == expected
    assert dct_hash(np.stack([gray, gray, gray, full], axis=2)) == expected


def test_a_drawing_is_seen_by_its_alpha_whatever_its_colour() -> None:
    alpha = np.where(PHOTO[..., 0] > 120, 255, 0).astype(np.uint8)
    black, white = np.zeros_like(alpha), np.full_like(alpha, 255)
    hidden = np.where(alpha > 0, black, 200).astype(np.uint8)
    found = dct_hash(np.stack([black, alpha], axis=2))
    assert found == dct_hash(np.stack([hidden, alpha], axis=2))
    measure = DctHash(DctHash.Params()).measure
    assert measure(np.stack([black, alpha], axis=2)) != ""
    assert measure(np.stack([white, alpha], axis=2)) != ""


def test_memory_layout_does_not_matter() -> None:
    assert dct_hash(np.asfortranarray(PHOTO)) == dct_hash(PHOTO)
    assert dct_hash(np.repeat(PHOTO, 2, axis=1)[:, ::2]) == dct_hash(PHOTO)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (31, 7), (100, 200), (64, 64)])
def test_an_image_of_one_colour_has_no_hash(size: tuple[int, int], channels: int, kind: Any) -> None:
    for value in (0, 1):
        assert DctHash(DctHash.Params()).measure(np.full((*size, channels), value, kind)) == ""


def test_16_bit_textures_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    coarse = [rng.integers(30_000, 30_200, (16, 16)) for _ in range(3)]
    hashes = [dct_hash(np.kron(texture, np.ones((16, 16))).astype(np.uint16)) for texture in coarse]
    assert min(distance(hashes[a], hashes[b]) for a in range(3) for b in range(a)) > 10


def test_copies_are_near_and_other_photographs_are_far() -> None:
    small = np.asarray(PillowImage.fromarray(PHOTO).resize((200, 133), PillowImage.Resampling.BICUBIC))
    assert distance(dct_hash(PHOTO), dct_hash(small)) <= 4
    assert distance(dct_hash(PHOTO), dct_hash(data.astronaut())) > 16


def test_the_table_of_cosines_is_the_same_everywhere() -> None:
    assert _COSINES[1:].sum(axis=1).tolist() == [0] * 7
    assert digest_bytes(_COSINES.astype("<i4").tobytes()) == "005757b3026bea3eb6c14b188e82560d0016b0cc"


def test_nan_and_other_modes_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        dct_hash(np.full((8, 8, 1), np.nan, np.float32))
    assert caught.value.reason == "not_finite"
    with pytest.raises(DataError) as caught:
        dct_hash(np.zeros((8, 8, 1), np.int32))
    assert caught.value.reason == "unsupported_mode"
