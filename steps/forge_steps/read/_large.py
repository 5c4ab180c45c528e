"""Which JPEGs are so large that they are decoded in place; apart from the decoder, since an estimate needs no more."""

from __future__ import annotations

# From here on a second copy of the pixels costs more than to open the file again (49 ms against 68 at 4000 x 3000).
_LARGE_BYTES = 32 << 20


def is_decoded_in_place(width: int, height: int) -> bool:
    """Tell whether an RGB JPEG is so large that `_decode.decode_in_place` is for it."""
    return 3 * width * height >= _LARGE_BYTES
