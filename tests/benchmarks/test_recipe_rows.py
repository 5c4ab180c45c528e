"""The shipped recipe and the script beside it count as the same job only where they make about as many pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.case import WrongAnswer
from benchmarks.end_to_end.recipe_rows import same_work


def _export(folder: Path, hr: int, lr: int) -> Path:
    for part, count in (("hr", hr), ("lr", lr)):
        (folder / part).mkdir(parents=True)
        for number in range(count):
            (folder / part / f"{number}.png").touch()
    return folder


def test_counts_within_a_tenth_are_the_same_job(tmp_path: Path) -> None:
    assert same_work(_export(tmp_path / "ours", 18, 18), _export(tmp_path / "script", 20, 20)) == (18, 20)


@pytest.mark.parametrize("ours", [17, 23])
def test_more_than_a_tenth_apart_is_a_wrong_answer(ours: int, tmp_path: Path) -> None:
    with pytest.raises(WrongAnswer, match=rf"^{ours} pairs, expected the script's 20 within 10 %$"):
        same_work(_export(tmp_path / "ours", ours, ours), _export(tmp_path / "script", 20, 20))


@pytest.mark.parametrize(("hr", "lr"), [(0, 0), (3, 2)])
def test_an_export_without_pairs_is_a_wrong_answer(hr: int, lr: int, tmp_path: Path) -> None:
    with pytest.raises(WrongAnswer, match=rf"^{hr} HR images and {lr} LR images in 'script', expected pairs$"):
        same_work(_export(tmp_path / "ours", 3, 3), _export(tmp_path / "script", hr, lr))
