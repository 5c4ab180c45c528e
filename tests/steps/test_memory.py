"""What operators declare to need of memory is what they take."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

WIDTH, HEIGHT = 4000, 3000


@pytest.mark.slow
@pytest.mark.parametrize("channels", [3, 1], ids=["rgb", "gray"])
def test_no_operator_takes_more_memory_than_it_declares_or_far_less(channels: int) -> None:
    command = [sys.executable, "-m", "tests.steps.peaks", str(WIDTH), str(HEIGHT), str(channels)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert len(found) == (28 if channels == 3 else 20)
    image_bytes, rgb_bytes = WIDTH * HEIGHT * channels, WIDTH * HEIGHT * 3
    told = {name: (measured / image_bytes, reserved / image_bytes) for name, (measured, reserved) in found.items()}
    # What is reserved in vain keeps other tasks out.
    assert {n: t for n, t in told.items() if t[0] > t[1]} == {}
    assert {n: t for n, t in told.items() if (t[1] - t[0]) * image_bytes > 1.7 * rgb_bytes} == {}
