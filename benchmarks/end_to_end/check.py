"""Do the plain script and the engine make the same pairs?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2

from benchmarks.case import WrongAnswer


def check_same(plain: Path, engine: Path) -> None:
    """Compare the pixels of two export folders: in any order, for their names differ. Raises WrongAnswer."""
    for part in ("hr", "lr"):
        expected, found = _pixels(plain / part), _pixels(engine / part)
        if expected != found:
            raise WrongAnswer(
                f"{part}: {len(expected - found)} of {len(expected)} images differ from the plain script's"
            )


def _pixels(folder: Path) -> set[bytes]:
    read: Any = cv2.imread
    return {read(str(path), cv2.IMREAD_UNCHANGED).tobytes() for path in folder.iterdir()}
