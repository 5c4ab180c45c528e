"""The rules by which three trainers find and read pairs, as small classes without their dependencies.

They follow the dataset classes `PairedImageDataset` of BasicSR and traiNNer-redux and `paired` of neosr: which files
count, how a partner is found, and which sizes are refused. Each class refuses what its trainer refuses.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[Any]


class Pair(NamedTuple):
    """One training pair: file stem, HR and LR pixels (H, W, 3) uint8, RGB."""

    stem: str
    hr: Image
    lr: Image


class Refused(Exception):
    """The trainer would stop here."""


class BasicSR:
    """Flat folders, equal count, partner by `filename_tmpl` with the same extension; or names from a list."""

    def __init__(self, hr: Path, lr: Path, scale: int, meta_info: Path | None = None, template: str = "{}") -> None:
        self.scale = scale
        names = self._listed(meta_info) if meta_info else self._found(hr, lr)
        self.paths = []
        for name in names:
            partner = template.format(Path(name).stem) + Path(name).suffix
            if not (lr / partner).is_file():
                raise Refused(f"{partner} is not in lq_paths.")
            self.paths.append((hr / name, lr / partner))

    @staticmethod
    def _listed(meta_info: Path) -> list[str]:
        # Only the first word of a line counts: a space in a name would cut it.
        return [line.split(" ")[0] for line in meta_info.read_text().splitlines()]

    @staticmethod
    def _found(hr: Path, lr: Path) -> list[str]:
        hr_names, lr_names = list(_files(hr)), list(_files(lr))
        if len(hr_names) != len(lr_names):
            raise Refused(f"lq and gt datasets have different number of images: {len(lr_names)}, {len(hr_names)}.")
        return hr_names

    def __iter__(self) -> Iterator[Pair]:
        return _read_all(self.paths, self.scale)


class Redux:
    """Lists of folders, zipped; scanned recursively; every file counts; partner by relative path without suffix."""

    def __init__(self, hr: Sequence[Path], lr: Sequence[Path], scale: int) -> None:
        self.scale = scale
        self.paths = []
        for hr_folder, lr_folder in zip(hr, lr, strict=True):
            hr_files, lr_files = self._by_stem(hr_folder), self._by_stem(lr_folder)
            if missing := sorted(hr_files.keys() - lr_files.keys()):
                raise Refused(f"{missing} are missing from lq_paths.")
            if missing := sorted(lr_files.keys() - hr_files.keys()):
                raise Refused(f"{missing} are missing from gt_paths.")
            self.paths += [(hr_files[stem], lr_files[stem]) for stem in sorted(hr_files)]

    @staticmethod
    def _by_stem(folder: Path) -> dict[str, Path]:
        return {str(Path(name).with_suffix("")): folder / name for name in _files(folder, recursive=True)}

    def __iter__(self) -> Iterator[Pair]:
        return _read_all(self.paths, self.scale)


class Neosr:
    """Flat folders; only four suffixes count; partner by replacing one root's text with the other's."""

    SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

    def __init__(self, hr: str, lr: str, scale: int) -> None:
        self.scale = scale
        hr_paths, lr_paths = self._images(hr), self._images(lr)
        if len(hr_paths) != len(lr_paths):
            raise Refused(f"lq and gt datasets have different number of images: {len(lr_paths)}, {len(hr_paths)}.")
        self.paths = []
        for path in hr_paths:
            partner = path.replace(hr, lr)
            if partner not in lr_paths:
                raise Refused(f"{partner} is not in lq_paths.")
            self.paths.append((Path(path), Path(partner)))

    def _images(self, folder: str) -> list[str]:
        return [f"{folder.rstrip('/')}/{name}" for name in _files(Path(folder)) if name.lower().endswith(self.SUFFIXES)]

    def __iter__(self) -> Iterator[Pair]:
        return _read_all(self.paths, self.scale)


def load_all_pairs(folder: Path, scale: int) -> list[Pair]:
    """Load a published dataset by the rules of all three trainers and return its pairs, sorted by stem.

    Asserts that all of them, and BasicSR's list, find the same pairs with the same pixels, that sizes and names are
    legal, and that each LR is what the box mean of its HR looks like.
    """
    hr, lr = folder / "hr", folder / "lr"
    loaded = {
        "basicsr": list(BasicSR(hr, lr, scale)),
        "basicsr, listed": list(BasicSR(hr, lr, scale, folder / "meta_info.txt")),
        "redux": list(Redux([hr], [lr], scale)),
        "neosr": list(Neosr(str(hr), str(lr), scale)),
    }
    by_trainer = {name: sorted(pairs, key=lambda pair: pair.stem) for name, pairs in loaded.items()}
    pairs = by_trainer["basicsr"]
    for name, others in by_trainer.items():
        assert [pair.stem for pair in others] == [pair.stem for pair in pairs], name
        assert all(
            np.array_equal(a.hr, b.hr) and np.array_equal(a.lr, b.lr) for a, b in zip(others, pairs, strict=True)
        ), name
    for pair in pairs:
        assert pair.stem.isascii() and not set(pair.stem) & set(" ./\\"), pair.stem
        assert corresponds(pair, scale), f"{pair.stem}: lr does not show what hr shows"
    return pairs


def corresponds(pair: Pair, scale: int) -> bool:
    """Say whether the LR looks like the HR's box mean: an own, plainer check than the export's."""
    height, width = pair.lr.shape[:2]
    small = pair.hr.reshape(height, scale, width, scale, 3).mean((1, 3, 4))
    shown = pair.lr.mean(2)
    if small.std() < 1 or shown.std() < 1:
        return bool(abs(small.mean() - shown.mean()) < 4)
    return bool(np.corrcoef(small.ravel(), shown.ravel())[0, 1] > 0.8)


def _files(folder: Path, recursive: bool = False) -> Iterator[str]:
    """Yield relative paths of files; dotfiles are skipped by all three trainers."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_file():
            yield entry.name
        elif recursive and entry.is_dir():
            yield from (f"{entry.name}/{name}" for name in _files(entry, recursive=True))


def _read_all(paths: Sequence[tuple[Path, Path]], scale: int) -> Iterator[Pair]:
    for hr_path, lr_path in paths:
        hr, lr = _read(hr_path), _read(lr_path)
        if hr.shape[:2] != (lr.shape[0] * scale, lr.shape[1] * scale):
            raise Refused(f"Scale mismatches. GT {hr.shape[:2]} is not {scale}x multiplication of LQ {lr.shape[:2]}.")
        yield Pair(hr_path.stem, hr, lr)


def _read(path: Path) -> Image:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise Refused(f"{path.name} is no image")
    return np.ascontiguousarray(image[..., ::-1])
