"""`tile.best` finds exactly the windows that a brute-force search in float64 finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import ValidationError

from forge_pipeline.errors import DataError, Reject
from forge_pipeline.step import Child, Context
from forge_steps.metrics._laplacian import mean_abs_laplacian
from forge_steps.tile._windows import best_windows
from forge_steps.tile.best import Best, BestParams

WEIGHTS = (4899, 9617, 1868)


def reference_map(image: NDArray) -> NDArray:
    """|Laplacian| of integer luma by padding and slicing, in Python-sized integers."""
    levels = image.astype(np.float64)
    if image.dtype == np.float32:
        levels = np.floor(np.clip(levels, 0, 1) * 2**20 + 0.5)
    levels = levels.astype(np.int64)
    if image.ndim == 2:
        luma = levels << 14
    elif image.shape[2] >= 3:
        luma = sum(w * levels[:, :, c] for c, w in enumerate(WEIGHTS))
    else:
        luma = levels[:, :, 0] << 14
    p = np.pad(luma, 1, mode="reflect")
    return np.abs(p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] - 4 * luma)


def full_scale(image: NDArray) -> int:
    return {"uint8": 255, "uint16": 65535, "float32": 2**20}[image.dtype.name] << 14


def brute_force(image: NDArray, size: int, count: int, align: int = 1, max_overlap: float = 0.0) -> list[tuple]:
    sums = sliding_window_view(reference_map(image), (size, size)).sum(axis=(2, 3))[::align, ::align]
    found: list[tuple] = []
    for _ in range(count):
        best = None
        for (i, j), total in np.ndenumerate(sums):
            y, x = i * align, j * align
            shared = [max(0, size - abs(y - a)) * max(0, size - abs(x - b)) for a, b, _ in found]
            if all(area <= max_overlap * size * size for area in shared) and (best is None or total > best[2]):
                best = (y, x, int(total))
        if best is None:
            break
        found.append(best)
    return [(y, x, total / (size * size * full_scale(image))) for y, x, total in found]


def tiles(image: NDArray, **params: object) -> list[Child]:
    image.flags.writeable = False
    return list(Best(BestParams(**params)).apply(image, Context()))  # type: ignore[arg-type]


def test_300_random_maps_equal_brute_force():
    rng = np.random.default_rng(7)
    for _ in range(300):
        height, width, size = int(rng.integers(9, 40)), int(rng.integers(9, 40)), int(rng.integers(1, 10))
        image = rng.integers(0, 256, (height, width, 1), dtype=np.uint8)
        assert best_windows(image, size) == brute_force(image, size, 1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_mode_equals_brute_force(dtype: str, channels: int):
    rng = np.random.default_rng(channels)
    image = rng.random((23, 31, channels), dtype=np.float32) * 1.2 - 0.1
    if dtype != "float32":
        image = (np.clip(image, 0, 1) * np.iinfo(dtype).max).astype(dtype)
    assert best_windows(image, 7) == brute_force(image, 7, 1)
    assert best_windows(image, 5, 6) == brute_force(image, 5, 6)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_greedy_choice_equals_brute_force_for_any_alignment_and_overlap(data: st.DataObject):
    height, width = data.draw(st.integers(6, 24)), data.draw(st.integers(6, 150))
    size, align = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    overlap = data.draw(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    # Few levels, so that equal sums are common and ties are tried.
    image = rng.integers(0, data.draw(st.sampled_from([2, 4, 256])), (height, width, 1), dtype=np.uint8)
    count = data.draw(st.integers(2, 9))
    assert best_windows(image, size, count, align, overlap) == brute_force(image, size, count, align, overlap)
    assert best_windows(image, size, 1, align) == brute_force(image, size, 1, align)


def test_a_square_is_found_at_every_parity():
    for y in range(8, 14):
        for x in range(17, 25):
            image = np.zeros((48, 64, 1), np.uint8)
            image[y : y + 8, x : x + 8, 0] = np.indices((8, 8)).sum(axis=0) % 2 * 255
            # The map of an 8 px chessboard is one pixel wider on each side: a window of 10 holds all of it.
            assert best_windows(image, 10)[0][:2] == (y - 1, x - 1)


def test_a_planted_unit_square_is_found_by_a_window_of_its_size():
    for y in range(3, 7):
        for x in range(3, 7):
            image = np.zeros((12, 12, 1), np.uint8)
            image[y, x] = 255
            assert best_windows(image, 1)[0] == (y, x, 4.0)


def test_ties_go_to_the_smallest_y_then_x():
    image = np.zeros((20, 30, 1), np.uint8)
    for y, x in ((12, 4), (5, 20), (5, 9)):
        image[y, x] = 200
    assert [window[:2] for window in best_windows(image, 3, 3)] == [(4, 8), (4, 19), (11, 3)]
    assert best_windows(np.zeros((9, 9, 1), np.uint8), 4) == [(0, 0, 0.0)]


def test_a_16_bit_or_float_copy_gives_the_same_windows_and_scores():
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    deep = small.astype(np.uint16) * 257
    assert best_windows(deep, 16, 3) == best_windows(small, 16, 3)
    for (y, x, score), other in zip(
        best_windows(small, 16, 3), best_windows((small / 255).astype(np.float32), 16, 3), strict=True
    ):
        assert (y, x) == other[:2]
        assert other[2] == pytest.approx(score, abs=1e-5)


def test_a_view_gives_the_same_as_its_copy():
    image = np.random.default_rng(2).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    view = image[::-1, ::2]
    assert best_windows(view, 9, 2) == best_windows(view.copy(), 9, 2)


def test_children_are_named_cut_and_described():
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:18, 30:38] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    (child,) = tiles(image, size_px=16, align_px=8)
    assert child.suffix == "y00008x00024"
    assert child.fields["crop"] == [24, 8, 16, 16]
    assert child.fields["complexity"] == best_windows(image, 16, align_px=8)[0][2]
    assert np.array_equal(child.value, image[8:24, 24:40])
    assert child.value.flags.c_contiguous
    assert child.value.base is None


def test_a_tile_as_large_as_the_image_has_the_complexity_of_the_metric():
    image = np.random.default_rng(3).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    (child,) = tiles(image, size_px=16, max_tiles=5)
    assert child.fields["complexity"] == mean_abs_laplacian(image, "test")
    assert not np.shares_memory(child.value, image)


def test_tiles_under_the_minimum_are_not_taken():
    image = np.zeros((16, 48, 1), np.uint8)
    image[:, :16, 0] = np.indices((16, 16)).sum(axis=0) % 2 * 255
    assert len(tiles(image, size_px=16, max_tiles=3)) == 3
    assert [child.suffix for child in tiles(image, size_px=16, max_tiles=3, min_complexity=0.5)] == ["y00000x00000"]


def test_an_image_without_detail_is_rejected_with_its_best_value():
    with pytest.raises(Reject) as caught:
        tiles(np.full((20, 20, 1), 9, np.uint8), size_px=8, min_complexity=0.01)
    assert caught.value.reason == "low_complexity"
    assert caught.value.values == {"complexity": 0.0, "min_complexity": 0.01}


def test_a_small_image_is_skipped_or_kept_whole():
    image = np.random.default_rng(4).integers(0, 256, (8, 30, 3), dtype=np.uint8)
    with pytest.raises(Reject) as caught:
        tiles(image, size_px=16)
    assert (caught.value.reason, caught.value.values) == ("small", {"width": 30, "height": 8, "size_px": 16})
    (child,) = tiles(image, size_px=16, small="keep")
    assert (child.suffix, child.fields["crop"]) == ("y00000x00000", [0, 0, 30, 8])
    assert np.array_equal(child.value, image)


def test_unsupported_modes_and_nan_are_refused_by_name():
    with pytest.raises(DataError) as caught:
        tiles(np.zeros((20, 20, 3), np.int16), size_px=8)
    assert caught.value.reason == "unsupported_mode"
    assert str(caught.value) == (
        "tile.best: found int16 of shape (20, 20, 3), expected (height, width, 1 to 4 channels) "
        "of uint8, uint16 or float32"
    )
    with pytest.raises(DataError) as caught:
        tiles(np.full((20, 20, 1), np.nan, np.float32), size_px=8)
    assert str(caught.value) == "tile.best: found NaN or infinity among the pixels, expected numbers in 0..1"


def test_unknown_parameters_are_refused():
    with pytest.raises(ValidationError):
        BestParams(size=3)  # type: ignore[call-arg]
