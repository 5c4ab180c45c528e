"""Our PNG files: read back by every common reader, smaller than OpenCV's, the same bytes with and without numba."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image as PilImage
from skimage import data as photographs

from forge_steps import _png_code, _png_kernel, _png_numpy
from forge_steps._png import decode_png, encode_png

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "retina", "hubble_deep_field", "immunohistochemistry")


def drawings() -> Iterator[tuple[str, np.ndarray]]:
    """Flat colours: none, a frame, text, a chart."""
    yield "flat", np.full((300, 400, 3), 200, np.uint8)
    frame = np.full((300, 400, 3), 255, np.uint8)
    cv2.rectangle(frame, (20, 30), (370, 250), (200, 30, 40), 3)
    yield "frame", frame
    text = np.full((300, 400, 3), 255, np.uint8)
    for line in range(9):
        cv2.putText(text, "No larger than it must be", (5, 30 + 30 * line), 0, 0.8, (0, 0, 0), 1, cv2.LINE_AA)
    yield "text", text
    chart = np.full((300, 400, 3), 240, np.uint8)
    for n in range(40):
        cv2.circle(chart, (10 * n, 150 + (n * 37) % 90), 12, (40 * n % 256, 200, 90), -1)
    yield "chart", chart


def odd_images() -> Iterator[np.ndarray]:
    """Every filter, run length and edge case that the encoder tells apart, in all modes."""
    rng = np.random.default_rng(7)
    for dtype in (np.uint8, np.uint16):
        top = np.iinfo(dtype).max
        for channels in (1, 2, 3, 4):
            for height, width in ((1, 1), (1, 2), (3, 1), (2, 700), (9, 14), (40, 61)):
                yield rng.integers(0, top + 1, (height, width, channels), dtype)
                yield np.full((height, width, channels), top // 3, dtype)
            sparse = rng.integers(0, top + 1, (60, 81, channels), dtype)
            yield np.where(rng.random(sparse.shape) < 0.04, sparse, 0).astype(dtype)
            smooth = np.cumsum(rng.normal(0, top / 900, (60, 81, channels)), axis=1) + top / 2
            yield np.clip(smooth, 0, top).astype(dtype)
    # Many bands, runs over 258 and across bands, and one row that is longer than a band.
    yield np.repeat(rng.integers(0, 256, (3, 1, 3), np.uint8), 90_000, axis=1)
    steps = np.repeat(rng.integers(0, 256, (70, 3, 1), np.uint8), 1000, axis=1)
    steps[::5, ::97] = 9
    yield steps


def read_by_opencv(data: bytes, channels: int) -> np.ndarray:
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    order = {1: [0], 2: [0, 3], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    return read.reshape(*read.shape[:2], -1)[..., order]


def test_every_reader_gets_the_pixels_back() -> None:
    for image in odd_images():
        data = encode_png(image)
        assert np.array_equal(decode_png(data), image)
        assert np.array_equal(read_by_opencv(data, image.shape[2]), image)
        assert np.array_equal(imagecodecs.png_decode(data).reshape(image.shape), image)
        if image.dtype == np.uint8 or image.shape[2] == 1:  # Pillow has no 16-bit colours
            with PilImage.open(io.BytesIO(data)) as opened:
                assert np.array_equal(np.asarray(opened).reshape(image.shape), image)


def test_other_inflaters_accept_the_stream() -> None:
    for _, image in drawings():
        data = encode_png(image)
        stream = data[41 : 41 + int.from_bytes(data[33:37])]
        rows = zlib.decompress(stream)
        assert imagecodecs.zlibng_decode(stream, out=len(rows)) == rows
        assert imagecodecs.deflate_decode(stream, out=len(rows)) == rows  # libdeflate


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_are_no_larger_than_opencv_makes_them(name: str) -> None:
    image = np.ascontiguousarray(getattr(photographs, name)())
    theirs = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    assert len(encode_png(image)) < 0.97 * len(theirs)


def test_flat_drawings_are_no_larger_than_opencv_makes_them() -> None:
    for name, image in drawings():
        theirs = cv2.imencode(".png", image)[1]
        assert len(encode_png(image)) < len(theirs), name


def test_noise_grows_by_less_than_a_hundredth() -> None:
    image = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    assert len(encode_png(image)) < 1.01 * image.nbytes


def test_memory_layout_changes_no_byte() -> None:
    image = photographs.coffee()[:40, :50]
    expected = encode_png(np.ascontiguousarray(image))
    assert encode_png(image) == encode_png(np.asfortranarray(image)) == expected
    assert encode_png(image.astype(">u2")) == encode_png(image.astype("<u2"))


@pytest.mark.slow
def test_numpy_writes_the_bytes_of_the_kernel() -> None:
    for image in [*odd_images(), *(drawing[:70] for _, drawing in drawings()), photographs.coffee()[:50]]:
        rows = np.ascontiguousarray(image.astype(image.dtype.newbyteorder(">"))).view(np.uint8)
        rows = rows.reshape(image.shape[0], -1)
        pixel_bytes = image.shape[2] * image.itemsize
        for band_rows in (7, 1000):
            ours = _png_kernel.deflate_rows(rows, pixel_bytes, band_rows)
            assert _png_numpy.deflate_rows(rows, pixel_bytes, band_rows).tobytes() == ours.tobytes()
            filtered = np.frombuffer(zlib.decompress(ours.tobytes()), np.uint8).reshape(image.shape[0], -1)
            assert np.array_equal(_png_numpy.restore_rows(filtered, pixel_bytes), rows)


def test_every_filter_is_undone_by_both() -> None:
    rng = np.random.default_rng(3)
    filtered = rng.integers(0, 256, (50, 1 + 3 * 40), np.uint8)
    filtered[:, 0] = np.arange(50) % 5
    compiled, interpreted = (coder.restore_rows(filtered, 3) for coder in (_png_kernel, _png_numpy))
    assert np.array_equal(compiled, interpreted)
    assert len(np.unique(compiled)) == 256


def test_without_numba_the_bytes_are_the_same() -> None:
    script = (
        "import sys; sys.modules['numba'] = None  # as if it were not there\n"
        "import hashlib; from skimage import data; from forge_steps._png import decode_png, encode_png\n"
        "image = data.coffee()[:90, :200]; encoded = encode_png(image)\n"
        "print(hashlib.sha256(encoded).hexdigest(), (decode_png(encoded) == image).all())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    digest = hashlib.sha256(encode_png(photographs.coffee()[:90, :200])).hexdigest()
    assert done.stdout.split() == [digest, "True"]


def test_codes_are_whole_and_as_short_as_they_can_be() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        counts = np.zeros(286, np.int64)
        used = rng.choice(286, int(rng.integers(2, 287)), replace=False)
        counts[used] = rng.integers(1, 5, used.size) ** rng.integers(1, 4)
        lengths = _png_code.code_lengths(counts, np.int64(14))
        assert (lengths > 0).sum() == used.size
        assert sum(2.0 ** -lengths[lengths > 0]) == 1.0
        assert (counts * lengths).sum() == shortest_bits(counts[used].tolist(), lengths.max())


def shortest_bits(counts: list[int], longest: int) -> int:
    """The total of the best code, by merging the two rarest again and again; these stay within 14 bits."""
    assert longest <= 14
    total = 0
    while len(counts) > 1:
        counts.sort()
        counts = [counts[0] + counts[1], *counts[2:]]
        total += counts[0]
    return total


def test_codes_over_the_limit_are_cut_to_it_and_stay_whole() -> None:
    fibonacci = [1, 1]
    while len(fibonacci) < 40:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = _png_code.code_lengths(np.array(fibonacci), np.int64(14))
    assert lengths.max() == 14
    assert sum(2.0**-lengths) == 1.0
    assert lengths.tolist() == sorted(lengths.tolist(), reverse=True)


def test_bands_of_every_length_around_a_word_come_back() -> None:
    for width in range(1, 40):
        image = np.zeros((1, width, 1), np.uint8)
        image[0, -1] = 255
        assert np.array_equal(decode_png(encode_png(image)), image)


# A change of it means that `ImageCodec.version` goes up.
GOLDEN = "fdbd28f77f2ad0f4117de4d74b1dcc22e48d5b4997fd1cc597e1d73a19e3bcc3"
_GOLDEN_SCRIPT = (
    "import hashlib; from skimage import data; from forge_steps._png import encode_png\n"
    "images = data.coffee(), data.camera()[..., None], data.logo(), data.coffee()[:99, :99].astype('u2') * 257\n"
    "print(hashlib.sha256(b''.join(map(encode_png, images))).hexdigest())"
)


@pytest.mark.slow
@pytest.mark.parametrize("cpu", ["host", "generic"])
def test_the_bytes_are_golden_whatever_the_processor_can_do(cpu: str, plain_kernels: Path) -> None:
    plain = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(plain_kernels)}
    variables = os.environ | ({} if cpu == "host" else plain)
    done = subprocess.run(
        [sys.executable, "-c", _GOLDEN_SCRIPT], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == GOLDEN
