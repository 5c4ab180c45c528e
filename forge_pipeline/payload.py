"""What the engine may ask of a value (an image) without knowing what it is."""

from __future__ import annotations

from typing import Any, Protocol

from forge_pipeline.sample import Fields


class Codec(Protocol):
    """How values of one kind are named, described, kept and read back. Operators' packages bring them."""

    kind: str
    """The kind of samples it is for: `image`."""
    version: int
    """Goes up when digests or encoded bytes change."""

    def digest(self, value: Any) -> str:
        """Name the value by its content, in hex digits."""

    def header(self, value: Any) -> Fields:
        """Describe it without its content: width, height, channels, dtype."""

    def size_bytes(self, value: Any) -> int:
        """Return its size in memory."""

    def suffix(self, value: Any) -> str:
        """Return the file suffix of its encoding, such as `.png`."""

    def encode(self, value: Any) -> bytes:
        """Encode it without loss and always to the same bytes."""

    def decode(self, data: bytes) -> Any:
        """Decode what `encode` gave. Raises DataError for other bytes."""

    def freeze(self, value: Any) -> Any:
        """Return the value guarded against change, checked to be a legal value of this kind. Raises DataError."""
