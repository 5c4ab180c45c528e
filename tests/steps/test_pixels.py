"""Images in memory: what is legal, what names them, and what their encoding keeps."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image as PilImage

from forge_pipeline.errors import DataError
from forge_pipeline.payload import Codec
from forge_steps._image import check_image
from forge_steps._pixels import ImageCodec

CODEC: Codec = ImageCodec()
DTYPES = [np.uint8, np.uint16, np.float32]


def noise(height: int, width: int, channels: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.normal(0.5, 1, (height, width, channels)).astype(np.float32)
    return rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (33, 65)])
def test_decode_gives_the_pixels_that_encode_was_given(dtype: type, channels: int, size: tuple[int, int]) -> None:
    image = noise(*size, channels, dtype)
    back = CODEC.decode(CODEC.encode(image))
    assert back.dtype == image.dtype
    assert back.shape == image.shape
    assert back.tobytes() == image.tobytes()
    assert not back.flags.writeable


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pillow_reads_the_same_pixels_from_our_png(channels: int) -> None:
    image = noise(9, 14, channels)
    with PilImage.open(io.BytesIO(CODEC.encode(image))) as opened:
        assert opened.mode == ["L", "LA", "RGB", "RGBA"][channels - 1]
        assert opened.info == {}
        assert np.array_equal(np.asarray(opened).reshape(image.shape), image)


@pytest.mark.parametrize(("channels", "order"), [(1, [0]), (3, [2, 1, 0]), (4, [2, 1, 0, 3])])
def test_opencv_reads_the_same_pixels_from_our_16_bit_png(channels: int, order: list[int]) -> None:
    image = noise(9, 14, channels, np.uint16)
    read = cv2.imdecode(np.frombuffer(CODEC.encode(image), np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    assert np.array_equal(read.reshape(image.shape)[..., order], image)


@pytest.mark.parametrize(("channels", "order"), [(1, [0]), (3, [2, 1, 0]), (4, [2, 1, 0, 3])])
def test_opencv_reads_the_same_pixels_from_our_float_tiff(channels: int, order: list[int]) -> None:
    image = noise(9, 14, channels, np.float32)
    read = cv2.imdecode(np.frombuffer(CODEC.encode(image), np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    assert np.array_equal(read.reshape(image.shape)[..., order], image)


def test_png_has_no_chunk_beside_the_three_that_it_needs() -> None:
    data = CODEC.encode(noise(4, 4, 3))
    assert [data.count(name) for name in (b"IHDR", b"IDAT", b"IEND")] == [1, 1, 1]
    assert len(data) == 8 + 3 * 12 + 13 + int.from_bytes(data[33:37])


@pytest.mark.slow
def test_bytes_are_the_same_with_cpu_features_off_and_on_many_threads() -> None:
    # Golden digest: a change of it means that `ImageCodec.version` goes up.
    script = (
        "import sys, numpy as np; from forge_steps._pixels import ImageCodec; from forge_pipeline.digest import *;"
        "y, x, c = np.mgrid[0:64, 0:48, 0:3]; codec = ImageCodec();"
        "images = [(x * 5 + y * 3 + c * 40).astype(t) for t in (np.uint8, np.uint16, np.float32)];"
        "print(*map(codec.digest, images)); encoded = [codec.encode(i) for i in images];"
        "print(*map(digest_bytes, encoded)); print(*(codec.digest(codec.decode(e)) for e in encoded))"
    )
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    off = {"NPY_DISABLE_CPU_FEATURES": " ".join(found), "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-AVX512F"}
    runs = [
        subprocess.check_output([sys.executable, "-c", script], env=os.environ | extra, text=True).split()
        for extra in ({}, off)
    ]
    assert runs[0] == runs[1]
    assert runs[0][:3] == runs[0][6:] == GOLDEN_DIGESTS


GOLDEN_DIGESTS = [
    "ad0f10104e44813a95be3ff67d5fb73b728efb66",
    "75ba11ffe94a8e4176356960b4075a7d202cabae",
    "09b1b32f1db77e87709f900ea8888ec77a1d7376",
]


def test_solid_images_of_swapped_shape_have_other_digests() -> None:
    wide, high = np.zeros((100, 200, 1), np.uint8), np.zeros((200, 100, 1), np.uint8)
    assert CODEC.digest(wide) != CODEC.digest(high)


def test_digest_knows_channels_dtype_and_every_value_apart() -> None:
    images = [
        np.zeros((4, 6, 1), np.uint8),
        np.zeros((4, 2, 3), np.uint8),
        np.zeros((4, 3, 2), np.uint8),
        np.zeros((4, 3, 1), np.uint16),
        np.zeros((2, 3, 1), np.float32),
        np.eye(4, 6, dtype=np.uint8)[..., None],
    ]
    assert len({CODEC.digest(image) for image in images}) == len(images)


def test_digest_does_not_know_memory_layout() -> None:
    image = noise(6, 5, 3)
    assert CODEC.digest(np.asfortranarray(image)) == CODEC.digest(image)
    assert CODEC.digest(image[:, ::-1]) == CODEC.digest(np.ascontiguousarray(image[:, ::-1]))


def test_header_size_and_suffix_describe_the_image() -> None:
    image = noise(4, 7, 2, np.uint16)
    assert CODEC.header(image) == {"width": 7, "height": 4, "channels": 2, "dtype": "uint16"}
    assert CODEC.size_bytes(image) == 4 * 7 * 2 * 2
    assert [CODEC.suffix(noise(1, 1, 1, dtype)) for dtype in DTYPES] == [".png", ".png", ".tif"]


def test_freeze_guards_the_image_without_touching_the_array_it_was_given() -> None:
    image = noise(4, 4, 3)
    frozen = CODEC.freeze(image)
    assert np.shares_memory(frozen, image)
    assert image.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        frozen[0, 0, 0] = 1


def test_freeze_makes_the_image_contiguous() -> None:
    image = noise(4, 6, 3)[:, ::2]
    frozen = CODEC.freeze(image)
    assert frozen.flags.c_contiguous
    assert np.array_equal(frozen, image)


@pytest.mark.parametrize(
    ("value", "reason", "message"),
    [
        ("text", "unsupported_mode", "found a str, expected pixels as a numpy array"),
        (
            np.zeros((4, 4), np.uint8),
            "unsupported_mode",
            "found pixels uint8 4x4, expected height x width x 1..4 channels of uint8, uint16 or float32",
        ),
        (
            np.zeros((4, 4, 5), np.uint8),
            "unsupported_mode",
            "found pixels uint8 4x4x5, expected height x width x 1..4 channels of uint8, uint16 or float32",
        ),
        (
            np.zeros((4, 4, 3), np.float64),
            "unsupported_mode",
            "found pixels float64 4x4x3, expected height x width x 1..4 channels of uint8, uint16 or float32",
        ),
        (np.zeros((0, 4, 3), np.uint8), "empty_image", "found 4 x 0 pixels, expected at least 1 x 1"),
        (
            np.array([[[0.0], [np.nan], [np.inf]]], np.float32),
            "not_finite",
            "found 2 values that are NaN or infinite, expected finite floats",
        ),
    ],
)
def test_illegal_values_are_refused_by_name(value: object, reason: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        check_image(value)
    assert (caught.value.reason, caught.value.message) == (reason, message)


def _foreign_png() -> bytes:
    stream = io.BytesIO()
    PilImage.new("RGB", (4, 4), (1, 2, 3)).save(stream, "PNG")
    return stream.getvalue()


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def _with_rows(rows: bytes) -> bytes:
    """Return our 4 x 4 gray PNG with another IDAT, whose CRC is right."""
    data, body = CODEC.encode(np.zeros((4, 4, 1), np.uint8)), zlib.compress(rows, 1)
    crc = zlib.crc32(b"IDAT" + body).to_bytes(4)
    return data[:33] + len(body).to_bytes(4) + b"IDAT" + body + crc + data[-12:]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no TIFF header of ours"),
        (b"hello", "no TIFF header of ours"),
        (_foreign_png(), "a zlib header 789c, expected 7801"),
        (CODEC.encode(noise(4, 4, 3))[:-5], "ends at byte 141 before its IEND chunk"),
        (_flipped(CODEC.encode(noise(4, 4, 3)), 60), "a chunk IDAT at byte 33 does not match its CRC"),
        (CODEC.encode(noise(4, 4, 3)) + b"x", "1 bytes after its IEND chunk"),
        (CODEC.encode(noise(4, 4, 3, np.float32))[:-1], "191 bytes of pixels, expected 4 x 4 x 3 floats"),
        (_flipped(CODEC.encode(noise(4, 4, 3, np.float32)), 20), "a TIFF directory that is not ours"),
        (_with_rows(bytes(100_000)), "21 or more bytes of rows, expected 20"),
        (_with_rows(bytes(19)), "19 or more bytes of rows, expected 20"),
        (_with_rows(b"\5" + bytes(19)), "a row has filter 5, expected 0 to 4"),
    ],
)
def test_decode_refuses_bytes_that_encode_never_gave(data: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        CODEC.decode(data)
    assert caught.value.reason == "damaged"
    assert caught.value.message == f"not an image payload of forge: {message}"
