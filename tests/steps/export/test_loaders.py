"""The loaders refuse what their trainers refuse: the measured table of layouts, so that a pass means something."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.steps.export.loaders import BasicSR, Neosr, Redux, Refused, load_all_pairs

SCALE = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a_1", "b_2", "c_3"):
        _write(tmp_path / "hr" / f"{name}.png", tmp_path / "lr" / f"{name}.png", name)
    (tmp_path / "meta_info.txt").write_text("".join(f"{name}.png (64,48,3)\n" for name in ("a_1", "b_2", "c_3")))
    return tmp_path


def _write(hr_path: Path, lr_path: Path, seed: str) -> None:
    small = np.random.default_rng(list(seed.encode())).integers(0, 256, (16, 12, 3), dtype=np.uint8)
    for path, image in ((hr_path, small.repeat(SCALE, 0).repeat(SCALE, 1)), (lr_path, small)):
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image)


def _loads(folder: Path) -> dict[str, bool]:
    hr, lr = folder / "hr", folder / "lr"
    trainers: dict[str, Callable[[], object]] = {
        "basicsr": lambda: list(BasicSR(hr, lr, SCALE)),
        "redux": lambda: list(Redux([hr], [lr], SCALE)),
        "neosr": lambda: list(Neosr(str(hr), str(lr), SCALE)),
    }
    found = {}
    for name, load in trainers.items():
        try:
            load()
        except Refused:
            found[name] = False
        else:
            found[name] = True
    return found


def test_flat_folders_with_equal_names_load_everywhere(folder: Path) -> None:
    assert _loads(folder) == {"basicsr": True, "redux": True, "neosr": True}
    assert [pair.stem for pair in load_all_pairs(folder, SCALE)] == ["a_1", "b_2", "c_3"]


def test_another_extension_on_one_side_loads_in_redux_only(folder: Path) -> None:
    (folder / "lr" / "a_1.png").rename(folder / "lr" / "a_1.webp")
    assert _loads(folder) == {"basicsr": False, "redux": True, "neosr": False}


def test_a_manifest_inside_hr_loads_in_neosr_only(folder: Path) -> None:
    (folder / "hr" / "manifest.jsonl").write_text("{}\n")
    assert _loads(folder) == {"basicsr": False, "redux": False, "neosr": True}


def test_a_dotfile_inside_hr_is_skipped_everywhere(folder: Path) -> None:
    (folder / "hr" / ".notes").write_text("{}\n")
    assert _loads(folder) == {"basicsr": True, "redux": True, "neosr": True}


def test_subfolders_are_seen_by_redux_only(folder: Path) -> None:
    _write(folder / "hr" / "deep" / "d_4.png", folder / "lr" / "deep" / "d_4.png", "d")
    assert len(list(Redux([folder / "hr"], [folder / "lr"], SCALE))) == 4
    assert len(list(BasicSR(folder / "hr", folder / "lr", SCALE))) == 3


def test_a_trailing_slash_on_one_root_only_is_refused_by_neosr(folder: Path) -> None:
    with pytest.raises(Refused):
        Neosr(f"{folder}/hr/", f"{folder}/lr", SCALE)


def test_a_bare_root_is_replaced_inside_names_too_by_neosr(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(folder / "hr" / "three.png", folder / "lr" / "three.png", "d")
    monkeypatch.chdir(folder)
    with pytest.raises(Refused):
        Neosr("hr", "lr", SCALE)
    assert len(list(Neosr(f"{folder}/hr", f"{folder}/lr", SCALE))) == 4


def test_a_wrong_scale_is_refused_everywhere(folder: Path) -> None:
    cv2.imwrite(str(folder / "hr" / "a_1.png"), np.zeros((63, 48, 3), np.uint8))
    assert _loads(folder) == {"basicsr": False, "redux": False, "neosr": False}


def test_pairs_that_do_not_correspond_are_told(folder: Path) -> None:
    image = cv2.imread(str(folder / "hr" / "b_2.png"))
    assert image is not None
    cv2.imwrite(str(folder / "hr" / "b_2.png"), image[:, ::-1])
    with pytest.raises(AssertionError, match="b_2: lr does not show what hr shows"):
        load_all_pairs(folder, SCALE)
