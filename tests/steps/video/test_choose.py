"""The even spread of a cap, and thumbnails in integers."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from forge_steps.video._choose import even_spread
from forge_steps.video._luma import thumbnail_of
from tests.steps.video.clips import write_planes


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [(0, 3, []), (2, 3, [0, 1]), (5, 1, [0]), (5, 2, [0, 4]), (5, 3, [0, 2, 4]), (10, 4, [0, 3, 6, 9])],
)
def test_a_spread_keeps_the_first_and_the_last(count: int, most: int, expected: list[int]) -> None:
    assert even_spread(range(count), most) == expected


def test_a_spread_never_takes_one_twice() -> None:
    for count in range(1, 40):
        for most in range(1, 45):
            taken = even_spread(range(count), most)
            assert len(taken) == len(set(taken)) == min(count, most)


def thumbnail(path: Path, luma: np.ndarray, full_range: bool) -> object:
    chroma = np.full(luma.shape, 128, np.uint8)
    with av.open(str(write_planes(path, [luma, chroma, chroma], "yuv444p"))) as container:
        return thumbnail_of(next(container.decode(video=0)), full_range)


def test_a_thumbnail_is_the_sums_of_whole_blocks(tmp_path: Path) -> None:
    luma = np.random.default_rng(1).integers(0, 256, (60, 139), dtype=np.uint8)
    found = thumbnail(tmp_path / "v.mkv", luma, False)
    blocks = luma[:60, :138].reshape(20, 3, 46, 3).sum(axis=(1, 3), dtype=np.int64)
    assert np.array_equal(found.sums, blocks)  # type: ignore[attr-defined]


def test_the_range_of_luma_does_not_change_a_difference(tmp_path: Path) -> None:
    a, b = (thumbnail(tmp_path / f"{level}.mkv", np.full((20, 20), level, np.uint8), False) for level in (16, 235))
    assert a.difference(b) == 1.0  # type: ignore[attr-defined]
    a, b = (thumbnail(tmp_path / f"{level}.mkv", np.full((20, 20), level, np.uint8), True) for level in (0, 51))
    assert a.difference(b) == 0.2  # type: ignore[attr-defined]


def test_another_size_is_all_different(tmp_path: Path) -> None:
    a = thumbnail(tmp_path / "a.mkv", np.full((20, 20), 99, np.uint8), False)
    b = thumbnail(tmp_path / "b.mkv", np.full((20, 22), 99, np.uint8), False)
    assert a.difference(b) == 1.0  # type: ignore[attr-defined]
