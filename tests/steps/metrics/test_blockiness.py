"""`blockiness` equals the published definition, and finds the block grid wherever a crop has moved it."""

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from scipy.fft import dctn

from forge_pipeline.errors import DataError
from forge_pipeline.step import Params
from forge_steps.metrics._luma import luma_plane
from forge_steps.metrics.blockiness import Blockiness, blockiness


def reference(gray: NDArray) -> float:
    """DiverSeg's definition by scipy's DCT in float64."""

    def blocks(length: int) -> int:
        rest = length % 8
        return (length - (rest if rest >= 4 else rest + 8)) // 8

    down, across = blocks(gray.shape[0]), blocks(gray.shape[1])

    def changes(image: NDArray) -> NDArray:
        whole = image[: down * 8, : across * 8].astype(np.float64).reshape(down, 8, across, 8)
        c = dctn(whole, axes=(1, 3), norm="ortho").transpose(0, 2, 1, 3)
        here = c[2 : down - 1, 2 : across - 1]
        beside = c[2 : down - 1, 1 : across - 2] + c[2 : down - 1, 3:across] - 2 * here
        over = c[1 : down - 2, 2 : across - 1] + c[3:down, 2 : across - 1] - 2 * here
        return np.sqrt(beside**2 + over**2).sum(axis=(0, 1)) / ((down - 2) * (across - 2))

    there, shifted = changes(gray), changes(gray[4:, 4:])
    return float(np.sum(np.abs(shifted - there) / there))


def as_jpeg(photo: NDArray, quality: int) -> NDArray:
    data = cv2.imencode(".jpg", photo[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1])


@pytest.mark.parametrize("shape", [(43, 43), (61, 100), (128, 96), (131, 84)])
def test_without_the_search_it_is_the_published_definition(shape: tuple[int, int]):
    photo = skimage.data.chelsea()[: shape[0], : shape[1]]
    assert blockiness(photo, grid_search=False) == pytest.approx(reference(luma_plane(photo, "test")), rel=1e-9)
    gray = skimage.data.camera()[: shape[0], : shape[1]]
    assert blockiness(gray, grid_search=False) == pytest.approx(reference(gray), rel=1e-9)


def test_a_crop_does_not_hide_the_grid():
    for photo in (skimage.data.astronaut(), skimage.data.coffee()):
        blocked = as_jpeg(photo, 50)
        whole = blockiness(blocked)
        for top, left in ((3, 3), (1, 6), (4, 4), (0, 3)):
            assert blockiness(blocked[top:, left:]) == pytest.approx(whole, rel=0.03)
        assert blockiness(blocked[3:, 3:], grid_search=False) < 30 <= blockiness(blocked[3:, 3:])


def test_the_search_finds_what_all_64_places_give():
    blocked = as_jpeg(skimage.data.chelsea()[:180, :220], 85)[5:, 2:]
    places = [reference(luma_plane(blocked, "test")[top:, left:]) for top in range(8) for left in range(8)]
    assert blockiness(blocked) == pytest.approx(max(places), rel=1e-9)


def test_a_large_image_is_searched_in_a_part_of_its_rows():
    photo = as_jpeg(cv2.resize(skimage.data.astronaut(), (1100, 1000), interpolation=cv2.INTER_CUBIC), 50)
    assert blockiness(photo[3:, 5:]) == pytest.approx(blockiness(photo), rel=0.03)


def test_clean_photographs_are_low_and_compression_raises_the_score():
    photo = skimage.data.astronaut()
    scores = [blockiness(photo), *(blockiness(as_jpeg(photo, quality)) for quality in (95, 85, 75, 50))]
    assert scores == sorted(scores)
    assert scores[0] < 3
    assert scores[1] < 30 < scores[3]


def test_flat_images_have_no_grid():
    assert blockiness(np.full((64, 64, 3), 77, np.uint8)) == 0.0
    assert blockiness(np.full((64, 64, 1), 0.3, np.float32)) == 0.0


def test_blocks_of_flat_colour_give_a_large_finite_score():
    blocks = np.random.default_rng(0).integers(0, 256, (16, 16, 1), dtype=np.uint8)
    score = blockiness(np.repeat(np.repeat(blocks, 8, axis=0), 8, axis=1))
    assert 1e4 < score < 1e9


def test_a_deeper_copy_has_the_same_score():
    photo = as_jpeg(skimage.data.chelsea()[:120, :160], 75)
    assert blockiness(photo.astype(np.uint16) * 257) == pytest.approx(blockiness(photo), rel=1e-9)
    assert blockiness((photo / 255).astype(np.float32)) == pytest.approx(blockiness(photo), rel=1e-3)


def test_an_image_without_four_blocks_is_refused():
    with pytest.raises(DataError) as caught:
        Blockiness(Params()).measure(np.zeros((42, 99, 3), np.uint8))
    assert (caught.value.reason, str(caught.value)) == (
        "small",
        "blockiness: found 99 x 42 pixels, expected at least 43 x 43",
    )
