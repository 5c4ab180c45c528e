"""An uncompressed float TIFF that always has the same bytes, and the reader of exactly those bytes."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

_SHORT, _LONG = 3, 4
_HEADER = struct.pack("<2sHI", b"II", 42, 8)
_FLOAT_BYTES = 4
# File offsets of classic TIFF have 32 bits.
_MAX_BYTES = (1 << 32) - 1


def encode_tiff(image: npt.NDArray[np.float32]) -> bytes:
    """Encode pixels (H, W, 1..4) of float32 as one strip of a little-endian TIFF; raises ValueError beyond 4 GiB."""
    height, width, channels = image.shape
    head = _head(height, width, channels)
    if len(head) + image.nbytes > _MAX_BYTES:
        raise ValueError(f"{image.nbytes} bytes of pixels, a TIFF holds {_MAX_BYTES - len(head)}")
    return head + np.ascontiguousarray(image, "<f4").tobytes()


def decode_tiff(data: bytes) -> npt.NDArray[np.float32]:
    """Decode what `encode_tiff` gave; raises ValueError for any other bytes."""
    if data[:8] != _HEADER or len(data) < 48:
        raise ValueError("no TIFF header of ours")
    width, height, channels = (struct.unpack_from("<I", data, place)[0] for place in (18, 30, 10 + 12 * 6 + 8))
    head = _head(height, width, channels) if 1 <= channels <= 4 else b""
    if not head or data[: len(head)] != head:
        raise ValueError("a TIFF directory that is not ours")
    if len(data) - len(head) != height * width * channels * _FLOAT_BYTES:
        raise ValueError(f"{len(data) - len(head)} bytes of pixels, expected {width} x {height} x {channels} floats")
    return np.frombuffer(data, "<f4", offset=len(head)).astype(np.float32).reshape(height, width, channels)


def _head(height: int, width: int, channels: int) -> bytes:
    """Return header, directory and the values that do not fit into it (TIFF 6.0, section 2)."""
    alpha = channels in (2, 4)
    count = 11 + alpha
    after = 8 + 2 + 12 * count + 4
    shorts = struct.pack(f"<{channels}H", *[32] * channels), struct.pack(f"<{channels}H", *[3] * channels)
    # Two shorts fit into an entry; more lie behind the directory.
    outside = b"".join(shorts) if channels > 2 else b""
    strip = after + len(outside)
    bits = struct.pack("<I", after) if channels > 2 else shorts[0].ljust(4, b"\0")
    formats = struct.pack("<I", after + len(shorts[0])) if channels > 2 else shorts[1].ljust(4, b"\0")

    def entry(tag: int, kind: int, value: int | bytes, length: int = 1) -> bytes:
        return struct.pack("<HHI", tag, kind, length) + (
            value if isinstance(value, bytes) else struct.pack("<I", value)
        )

    entries = [
        entry(256, _LONG, width),
        entry(257, _LONG, height),
        entry(258, _SHORT, bits, channels),
        entry(259, _SHORT, 1),  # no compression
        entry(262, _SHORT, 1 if channels < 3 else 2),  # black is zero, or RGB
        entry(273, _LONG, strip),
        entry(277, _SHORT, channels),
        entry(278, _LONG, height),
        entry(279, _LONG, height * width * channels * _FLOAT_BYTES),
        entry(284, _SHORT, 1),  # chunky
        *([entry(338, _SHORT, 2)] if alpha else []),  # unassociated alpha
        entry(339, _SHORT, formats, channels),  # IEEE floats
    ]
    return _HEADER + struct.pack("<H", count) + b"".join(entries) + struct.pack("<I", 0) + outside
