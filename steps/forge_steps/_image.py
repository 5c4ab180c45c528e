"""What an image is in memory: the array type, its modes, and its check at the door."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from forge_pipeline.errors import DataError

Image: TypeAlias = npt.NDArray[Any]
"""(H, W, C): C is 1 (gray), 2 (gray + alpha), 3 (RGB) or 4 (RGBA, alpha not multiplied in); uint8, uint16 or float32
(nominal range 0..1); C-contiguous and handed over read-only."""

MODES = {1: "gray", 2: "gray+alpha", 3: "RGB", 4: "RGBA"}
DTYPES = {np.dtype(dtype): np.dtype(dtype).name for dtype in (np.uint8, np.uint16, np.float32)}
"""With their names: numpy takes longer to spell one than a small operator to work."""


def check_image(value: Any) -> Image:
    """Check that a value is a legal image and return it as it is.

    Raises:
        DataError: `unsupported_mode` (another type, shape, channel count or dtype), `empty_image`, `not_finite`.
    """
    if not isinstance(value, np.ndarray):
        raise DataError("unsupported_mode", f"found a {type(value).__name__}, expected pixels as a numpy array")
    if value.ndim != 3 or value.shape[2] not in MODES or value.dtype not in DTYPES:
        found = f"{value.dtype} {'x'.join(map(str, value.shape))}"
        expected = "height x width x 1..4 channels of uint8, uint16 or float32"
        raise DataError("unsupported_mode", f"found pixels {found}, expected {expected}")
    if value.size == 0:
        raise DataError("empty_image", f"found {value.shape[1]} x {value.shape[0]} pixels, expected at least 1 x 1")
    if value.dtype == np.float32 and not np.isfinite(value).all():
        count = int(np.count_nonzero(~np.isfinite(value)))
        raise DataError("not_finite", f"found {count} values that are NaN or infinite, expected finite floats")
    return value
