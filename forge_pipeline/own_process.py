"""What the command and its workers set in their own processes for speed; who calls the library keeps his settings."""

from __future__ import annotations

import gc
import sys

KEPT_BYTES = 256 << 20
"""Freed memory that the command keeps for the next image."""
KEPT_BY_WORKER_BYTES = 64 << 20
"""The same of a worker process: there are many, and none gives its own back when memory runs short."""

# glibc's mallopt(3). By default it gives memory back when 128 KiB at its end are free, and asks for images anew: each
# photograph of 2K then costs 2,500 page faults, 4 to 6 ms. So much that is free is kept instead.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Python looks for cycles after every 700 new objects; imports alone make 500,000 and hardly a cycle.
_OBJECTS_BETWEEN_LOOKS = 50_000


def settle_process(kept_bytes: int = KEPT_BYTES) -> None:
    """Keep freed memory for the next image, and look for cycles of objects less often."""
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS, 20, 50)
    if sys.platform == "linux":
        import ctypes

        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:  # musl has none
            mallopt(_MMAP_THRESHOLD, kept_bytes)
            mallopt(_TRIM_THRESHOLD, kept_bytes)
