"""`tile.grid` covers an image with windows in reading order, none of them twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from forge_pipeline.errors import Reject
from forge_pipeline.step import Child, Context
from forge_steps.tile.grid import Grid, GridParams, starts


def tiles(image: NDArray, **params: object) -> list[Child]:
    return list(Grid(GridParams(**params)).apply(image, Context()))  # type: ignore[arg-type]


def numbered(height: int, width: int) -> NDArray:
    image = np.arange(height * width * 3, dtype=np.uint16).reshape(height, width, 3)
    image.flags.writeable = False
    return image


def test_windows_come_row_by_row_and_the_last_ones_touch_the_border():
    children = tiles(numbered(10, 9), size_px=4)
    assert [child.suffix for child in children] == [f"y{y:05d}x{x:05d}" for y in (0, 4, 6) for x in (0, 4, 5)]
    assert children[-1].fields == {"crop": [5, 6, 4, 4]}
    for child in children:
        x, y, width, height = child.fields["crop"]
        assert np.array_equal(child.value, numbered(10, 9)[y : y + height, x : x + width])
        assert child.value.base is None


def test_a_stride_makes_tiles_overlap():
    assert [child.fields["crop"][0] for child in tiles(numbered(4, 9), size_px=4, stride_px=2)] == [0, 2, 4, 5]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_starts_are_distinct_ascending_and_cover_the_side(length: int, size: int, stride: int):
    if size > length:
        return
    found = starts(length, size, stride)
    assert found == sorted(set(found))
    assert found[0] == 0
    assert found[-1] == length - size
    if stride <= size:
        assert {p for s in found for p in range(s, s + size)} == set(range(length))


def test_an_image_of_the_tile_size_gives_itself():
    (child,) = tiles(numbered(8, 8), size_px=8, stride_px=3)
    assert np.array_equal(child.value, numbered(8, 8))


def test_a_small_image_is_skipped_or_kept_whole():
    with pytest.raises(Reject) as caught:
        tiles(numbered(3, 9), size_px=4)
    assert (caught.value.reason, caught.value.values) == ("small", {"width": 9, "height": 3, "size_px": 4})
    (child,) = tiles(numbered(3, 9), size_px=4, small="keep")
    assert child.fields == {"crop": [0, 0, 9, 3]}
