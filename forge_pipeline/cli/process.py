"""What a run's command sets in its own process, for speed; a program that calls the library keeps its own settings."""

from __future__ import annotations

import gc
import sys

# glibc's mallopt(3). By default it gives memory back when 128 KiB at its end are free, and asks for images anew: each
# photograph of 2K then costs 2,500 page faults, 4 to 6 ms. So much that is free is kept instead.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 256 << 20
# Python looks for cycles after every 700 new objects; imports alone make 500,000 and hardly a cycle.
_OBJECTS_BETWEEN_LOOKS = 50_000


def settle_process() -> None:
    """Keep freed memory for the next image, and look for cycles of objects less often."""
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS, 20, 50)
    if sys.platform == "linux":
        import ctypes

        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:  # musl has none
            mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
            mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
