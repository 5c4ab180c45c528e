"""Large images are read as small ones are: to the bit, strictly, and with little beside what is returned."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from forge_pipeline.bench import CheckedFile
from forge_pipeline.digest import digest_bytes
from forge_pipeline.errors import DataError, EnvironmentFault
from forge_pipeline.files import SourceFile
from forge_pipeline.sample import Location
from forge_pipeline.step import Context
from forge_steps import _modes
from forge_steps._colour import cmyk_to_rgb
from forge_steps.read._large import is_decoded_in_place
from tests.steps.read.image_files import loaded, reader

WIDTH, HEIGHT = 3500, 3200


@pytest.fixture(scope="module")
def jpeg() -> bytes:
    """A JPEG that is decoded in place, of soft noise."""
    assert is_decoded_in_place(WIDTH, HEIGHT)
    assert not is_decoded_in_place(WIDTH, HEIGHT - 100)
    noise = np.random.default_rng(1).integers(0, 256, (HEIGHT // 50, WIDTH // 50, 3), np.uint8)
    return cv2.imencode(".jpg", cv2.resize(noise, (WIDTH, HEIGHT)))[1].tobytes()


def decoded(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def test_a_large_jpeg_is_read_bit_for_bit(tmp_path: Path, jpeg: bytes) -> None:
    assert np.array_equal(loaded(tmp_path, jpeg, "a.jpg"), decoded(jpeg))


def test_a_large_jpeg_is_read_from_an_archive(tmp_path: Path, jpeg: bytes) -> None:
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.jpg", jpeg)
    member = CheckedFile(SourceFile("a.jpg", digest_bytes(jpeg), Location(str(archive), "a.jpg")))
    [child] = reader().load(member, Context())
    assert np.array_equal(child.value, decoded(jpeg))  # type: ignore[union-attr]


def test_what_is_wrong_with_a_file_that_was_rewritten_meanwhile_is_not_said_of_what_it_was(
    tmp_path: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg)
    file = CheckedFile(SourceFile("a.jpg", digest_bytes(jpeg), Location(str(path))))
    read = file.read
    monkeypatch.setattr(file, "read", lambda: (read(), path.write_bytes(jpeg[:300]))[0])  # right after it was read
    with pytest.raises(EnvironmentFault) as caught:
        list(reader().load(file, Context()))
    assert caught.value.message == f"{path}: changed while the run was reading it"


@pytest.mark.parametrize(
    ("cut", "reason", "message"),
    [
        (slice(0, 100_000), "truncated", "a.jpg: jpeg file ends at byte 100000 without its end marker"),
        (slice(0, -2), "truncated", "a.jpg: jpeg file ends at byte {size} without its end marker"),
    ],
)
def test_a_large_jpeg_is_read_strictly(tmp_path: Path, jpeg: bytes, cut: slice, reason: str, message: str) -> None:
    data = jpeg[cut]
    with pytest.raises(DataError) as caught:
        loaded(tmp_path, data, "a.jpg")
    assert (caught.value.reason, caught.value.message) == (reason, message.format(size=len(data)))


def test_a_large_jpeg_that_libjpeg_gives_up_is_damaged(tmp_path: Path, jpeg: bytes) -> None:
    start = jpeg.index(b"\xff\xc4")  # the first Huffman table becomes one with too many codes
    data = jpeg[: start + 5] + b"\xff" * 16 + jpeg[start + 21 :]
    assert decoded(data) is None
    with pytest.raises(DataError) as caught:
        loaded(tmp_path, data, "a.jpg")
    assert (caught.value.reason, caught.value.message) == (
        "damaged",
        "a.jpg: jpeg pixels cannot be decoded (OpenCV finds its pixels incomplete or damaged)",
    )


def test_a_large_jpeg_that_libjpeg_bears_with_is_read_as_a_small_one_would_be(tmp_path: Path, jpeg: bytes) -> None:
    middle = len(jpeg) // 2
    data = jpeg[:middle] + b"\xff\xd8" + jpeg[middle:]  # a second start of the image amid the coded data
    assert np.array_equal(loaded(tmp_path, data, "a.jpg"), decoded(data))


SHORT_OF_MEMORY = """
import resource, sys
from pathlib import Path
from forge_pipeline.step import Context
from tests.steps.read.image_files import reader, source_file

small, large = (Path(path) for path in sys.argv[1:])
load = lambda path: list(reader().load(source_file(path.parent, path.read_bytes(), path.name), Context()))
load(small)
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (24 << 20), resource.RLIM_INFINITY))
try:
    load(large)
except MemoryError:
    print("MemoryError")
"""


def test_too_little_memory_is_no_fault_of_the_file(tmp_path: Path, jpeg: bytes) -> None:
    small = np.zeros((50, 50, 3), np.uint8)
    for name, data in (("a.jpg", jpeg), ("b.jpg", cv2.imencode(".jpg", small)[1].tobytes())):
        (tmp_path / name).write_bytes(data)
    image = np.zeros((3200, 3000, 3), np.uint8)  # copied by OpenCV, which tells of it in its own way
    (tmp_path / "c.jpg").write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
    for name in "ac":
        command = [sys.executable, "-c", SHORT_OF_MEMORY, str(tmp_path / "b.jpg"), str(tmp_path / f"{name}.jpg")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.stdout, done.returncode) == ("MemoryError\n", 0), done.stderr


# --- conversions by bands -------------------------------------------------------------------------


def bands(shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    """Return random pixels of a few rows, each a band of its own."""
    draw = np.random.default_rng(2)
    values = draw.random(shape, np.float32)
    return values if dtype == np.float32 else (values * np.iinfo(dtype).max).astype(dtype)


def rows_apart(convert: object, image: np.ndarray) -> np.ndarray:
    return np.concatenate([convert(image[y : y + 1]) for y in range(len(image))])  # type: ignore[operator]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_conversions_of_large_images_are_those_of_their_rows(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    image = bands((7, 40, 4), dtype)
    conversions = [_modes.in_8_bits, lambda part: _modes.over(part, "white"), lambda part: _modes.over(part, "black")]
    if dtype == np.uint8:
        conversions.append(cmyk_to_rgb)
    whole = [convert(image) for convert in conversions]
    monkeypatch.setattr(_modes, "_BAND_PX", 90)  # two rows
    for convert, expected in zip(conversions, whole, strict=True):
        assert np.array_equal(convert(image), expected)
        assert np.array_equal(rows_apart(convert, image), expected)
