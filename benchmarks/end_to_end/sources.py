"""The photographs of the whole job, as JPEG files of 2K."""

from __future__ import annotations

from pathlib import Path

import cv2

from benchmarks.photographs import variant

_HEIGHT_PX, _WIDTH_PX = 1365, 2048


def write_photographs(folder: Path, count: int, quality: int = 92) -> int:
    """Write so many different photographs, at a quality of JPEG, and return their bytes in all."""
    folder.mkdir(parents=True)
    total = 0
    for number in range(count):
        image = variant(number, _HEIGHT_PX, _WIDTH_PX)
        data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        (folder / f"photo_{number:04d}.jpg").write_bytes(data.tobytes())
        total += len(data)
    return total
