"""Image files made for the tests of reading: encoders with every knob in view, and one way to load them."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage
from PIL import ImageCms, TiffImagePlugin

from forge_pipeline.digest import digest_bytes
from forge_pipeline.files import SourceFile
from forge_pipeline.sample import Location
from forge_pipeline.step import Context
from forge_steps._png import encode_png
from forge_steps._png_chunks import SIGNATURE, write_chunk
from forge_steps.read.images import ImagesParams, ReadImages


def noise(height: int = 8, width: int = 12, channels: int = 3, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.random((height, width, channels), np.float32)
    return rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)


def smooth(height: int = 48, width: int = 64) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 3, y * 4, (x + y) * 2], axis=2).astype(np.uint8)


def encoded(image: np.ndarray | PilImage.Image, kind: str, **options: Any) -> bytes:
    if isinstance(image, np.ndarray):
        image = PilImage.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_with(image: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG with more chunks between IHDR and IDAT."""
    data = encode_png(image)
    return data[:33] + b"".join(b"".join(write_chunk(name, body)) for name, body in chunks) + data[33:]


def png_header_only(width: int, height: int, bits: int = 8, colour_type: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    parts = [SIGNATURE, *write_chunk(b"IHDR", header), *write_chunk(b"IDAT", b"\0" * 8), *write_chunk(b"IEND", b"")]
    return b"".join(parts)


def exif_with(orientation: int) -> bytes:
    exif = PilImage.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def tiff_with(image: np.ndarray, **tags: int) -> bytes:
    """Return an uncompressed TIFF with a tag more."""
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[int(tag.removeprefix("tag"))] = value
    return encoded(image, "TIFF", tiffinfo=directory)


def profile(kind: str) -> bytes:
    """Return an ICC profile: `sRGB`, `LAB`, or `swapped`: sRGB whose red and green primaries changed places."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB" if kind == "LAB" else "sRGB")).tobytes()
    if kind != "swapped":
        return made
    data = bytearray(made)
    for place in range(132, 132 + 12 * int.from_bytes(data[128:132]), 12):
        name = bytes(data[place : place + 4])
        if name in (b"rXYZ", b"gXYZ"):
            data[place : place + 4] = b"gXYZ" if name == b"rXYZ" else b"rXYZ"
    return bytes(data)


def source_file(folder: Path, data: bytes, name: str = "a.png") -> SourceFile:
    path = folder / name
    path.write_bytes(data)
    return SourceFile(name, digest_bytes(data), Location(str(path)))


def loaded(folder: Path, data: bytes, name: str = "a.png", **params: Any) -> np.ndarray:
    """Load one file by `read.images` and return its pixels."""
    [child] = reader(**params).load(source_file(folder, data, name), Context())
    assert not getattr(child, "suffix", "")
    value = child.value  # type: ignore[union-attr]
    assert isinstance(value, np.ndarray)
    return value


def facts(folder: Path, data: bytes, name: str = "a.png") -> dict[str, Any]:
    return dict(reader().facts(source_file(folder, data, name)))


def reader(**params: Any) -> ReadImages:
    return ReadImages(ImagesParams(path=".", **params))
