"""read.images on files whose pixels are known: every policy, every damage, bit for bit."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import tifffile
from PIL import Image as PilImage
from PIL import ImageFile, ImageOps, features

from forge_pipeline.errors import DataError, Reject
from forge_pipeline.files import SourceFile
from forge_pipeline.sample import Location
from forge_pipeline.step import Context
from forge_steps._colour import to_srgb
from forge_steps._pixels import ImageCodec
from forge_steps._png import encode_png
from forge_steps._png_chunks import write_chunk
from forge_steps._tiff import encode_tiff
from tests.steps.read.image_files import (
    encoded,
    exif_with,
    facts,
    loaded,
    noise,
    png_header_only,
    png_with,
    profile,
    reader,
    smooth,
    tiff_with,
)


def refused(folder: Path, data: bytes, name: str = "a.png", **params: Any) -> tuple[type[Exception], str, str]:
    """Return what reading a file raises: the class, its reason and its message."""
    with pytest.raises((DataError, Reject)) as caught:
        loaded(folder, data, name, **params)
    error = caught.value
    assert isinstance(error, DataError | Reject)
    return type(error), error.reason, error.message


# --- exact ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_pixels_are_read_bit_for_bit(tmp_path: Path, dtype: type, channels: int) -> None:
    image = noise(channels=channels, dtype=dtype)
    read = loaded(tmp_path, encode_png(image), alpha="keep", gray="keep")
    assert read.dtype == dtype
    assert np.array_equal(read, image)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_float_tiff_pixels_are_read_bit_for_bit(tmp_path: Path, channels: int) -> None:
    image = noise(channels=channels, dtype=np.float32)
    read = loaded(tmp_path, encode_tiff(image), "a.tif", alpha="keep", gray="keep")
    assert read.dtype == np.float32
    assert read.tobytes() == image.tobytes()


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("big", [False, True])
def test_16_bit_tiff_pixels_are_read_bit_for_bit(
    tmp_path: Path, channels: int, compression: str | None, big: bool
) -> None:
    image, stream = noise(40, 50, channels, np.uint16), io.BytesIO()
    tifffile.imwrite(
        stream,
        image if channels > 1 else image[:, :, 0],
        photometric="rgb" if channels > 2 else "minisblack",
        extrasamples=["unassalpha"] if channels == 4 else None,
        compression=compression,
        predictor=compression is not None,
        rowsperstrip=7,
        bigtiff=big,
    )
    read = loaded(tmp_path, stream.getvalue(), "a.tif", alpha="keep", gray="keep")
    assert read.dtype == np.uint16
    assert np.array_equal(read, image)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("PPM", {}),
        ("TGA", {}),
        ("QOI", {}),
        ("WEBP", {"lossless": True, "exact": True}),
        ("JPEG2000", {}),
        ("PNG", {"optimize": True}),
    ],
)
def test_lossless_formats_give_the_pixels_that_were_put_in(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    image = noise(40, 50)
    assert np.array_equal(loaded(tmp_path, encoded(image, kind, **options), f"a.{kind.lower()}"), image)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_pnm_is_read_bit_for_bit(tmp_path: Path, channels: int) -> None:
    image = noise(channels=channels, dtype=np.uint16)
    head = b"P%d\n# made by hand\n12 8\n65535\n" % (5 if channels == 1 else 6)
    assert np.array_equal(loaded(tmp_path, head + image.astype(">u2").tobytes(), "a.pnm", gray="keep"), image)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"keep_rgb": True, "subsampling": 0}, {"restart_marker_blocks": 1}]
)
@pytest.mark.parametrize("sampling", [0, 1, 2])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_pixels_are_those_of_libjpeg_turbo_at_its_defaults(
    tmp_path: Path, mode: str, sampling: int, options: dict[str, Any]
) -> None:
    picture = PilImage.fromarray(smooth(61, 83)).convert(mode)
    data = encoded(picture, "JPEG", **{"quality": 80, "subsampling": sampling, **options})
    # Pillow sets nothing: accurate integer DCT, fancy upsampling.
    with PilImage.open(io.BytesIO(data)) as opened:
        expected = np.asarray(opened).reshape(61, 83, -1)
    assert features.check_feature("libjpeg_turbo")
    assert np.array_equal(loaded(tmp_path, data, "a.jpg", gray="keep"), expected)


@pytest.mark.parametrize(
    "name", ["astronaut.png", "coffee.png", "chelsea.png", "retina.jpg", "hubble_deep_field.jpg", "camera.png"]
)
def test_real_photographs_are_read_as_pillow_reads_them(name: str) -> None:
    path = Path(skimage.data.__file__).parent / name
    [child] = reader().load(SourceFile(name, "", Location(str(path))), Context())
    with PilImage.open(path) as opened:
        expected = np.asarray(opened.convert("RGB"))
    assert np.array_equal(child.value, expected)  # type: ignore[union-attr]


def test_what_is_read_is_a_legal_image(tmp_path: Path) -> None:
    for data in (encode_png(noise(channels=4)), encoded(noise(), "JPEG", exif=exif_with(6))):
        read = loaded(tmp_path, data, alpha="drop")
        assert read.flags.c_contiguous
        assert np.shares_memory(ImageCodec().freeze(read), read)


def test_pixels_are_the_same_with_cpu_features_switched_off(tmp_path: Path) -> None:
    files = {
        "a.jpg": encoded(smooth(), "JPEG", quality=75, icc_profile=profile("swapped")),
        "b.webp": encoded(smooth(), "WEBP", quality=80),
        "c.png": encode_png(noise(dtype=np.uint16)),
        "d.tif": encode_tiff(noise(channels=4, dtype=np.float32)),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    script = (
        "import sys; from pathlib import Path; from forge_pipeline.files import SourceFile;"
        "from forge_pipeline.step import Context; from forge_steps.read.images import *;"
        "from forge_steps._pixels import ImageCodec; op = ReadImages(ImagesParams(path=sys.argv[1], alpha='white'));"
        "print(*(ImageCodec().digest(c.value) for e in op.entries(Path('.'))"
        " for c in op.load(SourceFile(e.name, '', e.location), Context())))"
    )
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    off = {
        "NPY_DISABLE_CPU_FEATURES": " ".join(found),
        "OPENCV_CPU_DISABLE": "SSE4_1,AVX,AVX2,AVX512_SKX",
        "OPENCV_FOR_THREADS_NUM": "1",
        "JSIMD_FORCENONE": "1",
    }
    plain, reduced = (
        subprocess.check_output([sys.executable, "-c", script, str(tmp_path)], env=os.environ | extra, text=True)
        for extra in ({}, off)
    )
    assert len(plain.split()) == 4
    assert plain == reduced


# --- orientation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("PNG", np.uint8), ("PNG", np.uint16), ("TIFF", np.uint8), ("TIFF", np.uint16), ("WEBP", np.uint8)],
)
def test_orientation_is_applied_or_ignored(tmp_path: Path, orientation: int, kind: str, dtype: type) -> None:
    # The picture that should be seen, and how a camera held that way stores it (EXIF 2.32, tag 274).
    picture = noise(5, 7, 3, dtype)
    stored = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, 1),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture, -1),
    }[orientation]
    stored = np.ascontiguousarray(stored)
    if kind == "PNG":
        data = png_with(stored, (b"eXIf", exif_with(orientation).removeprefix(b"Exif\0\0")))
    elif kind == "WEBP":
        data = encoded(stored, "WEBP", lossless=True, exact=True, exif=exif_with(orientation))
    elif dtype == np.uint8:
        data = tiff_with(stored, tag274=orientation)
    else:
        stream = io.BytesIO()
        tifffile.imwrite(stream, stored, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
        data = stream.getvalue()
    name = f"a.{kind.lower()}"
    assert np.array_equal(loaded(tmp_path, data, name), picture)
    assert np.array_equal(loaded(tmp_path, data, name, orientation="ignore"), stored)
    said = facts(tmp_path, data, name)
    assert said["source.orientation"] == orientation
    assert (said["source.height"], said["source.width"]) == stored.shape[:2]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_jpeg_is_that_of_pillows_transpose(tmp_path: Path, orientation: int) -> None:
    data = encoded(smooth(), "JPEG", exif=exif_with(orientation))
    with PilImage.open(io.BytesIO(data)) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    assert np.array_equal(loaded(tmp_path, data, "a.jpg"), expected)
    assert facts(tmp_path, data, "a.jpg")["source.orientation"] == orientation


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0junk" * 9, exif_with(9)])
def test_a_damaged_exif_block_means_no_orientation(tmp_path: Path, exif: bytes) -> None:
    data = encoded(smooth(), "JPEG", exif=exif)
    assert loaded(tmp_path, data, "a.jpg").shape == (48, 64, 3)
    assert facts(tmp_path, data, "a.jpg")["source.orientation"] == 1


# --- alpha ----------------------------------------------------------------------------------------


def alpha_image(dtype: type = np.uint8) -> np.ndarray:
    image = noise(channels=4, dtype=dtype)
    image[:, :, 3] = 1 if dtype == np.float32 else np.iinfo(dtype).max
    return image


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_opaque_alpha_is_dropped_by_default_and_a_transparent_one_rejected(tmp_path: Path, dtype: type) -> None:
    image = alpha_image(dtype)
    assert np.array_equal(loaded(tmp_path, encode_png(image)), image[:, :, :3])
    image[3, 4, 3] -= 1
    assert refused(tmp_path, encode_png(image)) == (Reject, "transparent", "transparent")


def test_alpha_reject_drop_and_keep(tmp_path: Path) -> None:
    image = noise(channels=4)
    assert refused(tmp_path, encode_png(image), alpha="reject") == (Reject, "alpha", "alpha")
    assert np.array_equal(loaded(tmp_path, encode_png(image), alpha="drop"), image[:, :, :3])
    assert np.array_equal(loaded(tmp_path, encode_png(image), alpha="keep"), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("background", ["white", "black"])
def test_an_image_laid_over_a_colour_is_rounded_to_nearest(tmp_path: Path, dtype: type, background: str) -> None:
    image, full = noise(30, 30, 4, dtype), int(np.iinfo(dtype).max)
    behind = full if background == "white" else 0
    exact = (image[..., :3].astype(object) * image[..., 3:] + behind * (full - image[..., 3:].astype(object))) * 2
    nearest = ((exact + full) // (2 * full)).astype(dtype)
    assert np.array_equal(loaded(tmp_path, encode_png(image), alpha=background), nearest)


def test_a_float_image_laid_over_white_is_not_rounded(tmp_path: Path) -> None:
    image = np.array([[[0.25, 0.5, 0.75, 0.5]]], np.float32)
    read = loaded(tmp_path, encode_tiff(image), "a.tif", alpha="white")
    assert np.array_equal(read, np.array([[[0.625, 0.75, 0.875]]], np.float32))


def test_a_transparent_colour_of_a_png_is_alpha(tmp_path: Path) -> None:
    image = noise(channels=3)
    keyed = png_with(image, (b"tRNS", struct.pack(">HHH", *map(int, image[0, 0]))))
    read = loaded(tmp_path, keyed, alpha="keep")
    hidden = (image == image[0, 0]).all(axis=2)
    assert np.array_equal(read[:, :, :3], image)
    assert np.array_equal(read[:, :, 3], np.where(hidden, 0, 255))
    assert refused(tmp_path, keyed) == (Reject, "transparent", "transparent")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_value_is_alpha_at_any_depth(tmp_path: Path, dtype: type, channels: int) -> None:
    image = noise(channels=channels, dtype=dtype)
    data = png_with(image, (b"tRNS", image[0, 0].astype(">u2").tobytes()))
    read = loaded(tmp_path, data, alpha="keep", gray="keep")
    full = np.iinfo(dtype).max
    assert np.array_equal(read[:, :, :-1], image)
    assert np.array_equal(read[:, :, -1], np.where((image == image[0, 0]).all(axis=2), 0, full))


# --- gray, depth, palette, CMYK -------------------------------------------------------------------


def test_gray_is_made_rgb_kept_or_rejected(tmp_path: Path) -> None:
    image = noise(channels=1)
    data = encode_png(image)
    assert np.array_equal(loaded(tmp_path, data), np.repeat(image, 3, axis=2))
    assert np.array_equal(loaded(tmp_path, data, gray="keep"), image)
    assert refused(tmp_path, data, gray="reject") == (Reject, "gray", "gray")


def test_gray_with_alpha_is_made_rgba(tmp_path: Path) -> None:
    image = noise(channels=2)
    expected = image[:, :, [0, 0, 0, 1]]
    assert np.array_equal(loaded(tmp_path, encode_png(image), alpha="keep"), expected)


def _few_bits(bits: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a gray PNG of one row that holds every value of so many bits."""
    row = "".join(f"{level:0{bits}b}" for level in range(1 << bits))
    packed = zlib.compress(b"\0" + int(row.ljust(8, "0"), 2).to_bytes(max(1, len(row) // 8)))
    parts = [png_header_only(1 << bits, 1, bits, 0)[:33]]
    for name, body in (*chunks, (b"IDAT", packed), (b"IEND", b"")):
        parts += write_chunk(name, body)
    return b"".join(parts)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_gray_of_few_bits_is_spread_over_the_whole_range(tmp_path: Path, bits: int) -> None:
    read = loaded(tmp_path, _few_bits(bits), gray="keep")
    assert read[0, :, 0].tolist() == [level * 255 // ((1 << bits) - 1) for level in range(1 << bits)]
    assert facts(tmp_path, _few_bits(bits))["source.bit_depth"] == bits


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_transparent_gray_of_few_bits_is_that_value(tmp_path: Path, bits: int) -> None:
    read = loaded(tmp_path, _few_bits(bits, (b"tRNS", b"\0\1")), gray="keep", alpha="keep")
    assert read[0, :, 1].tolist() == [0 if level == 1 else 255 for level in range(1 << bits)]


def test_16_bits_are_kept_made_8_by_rounding_or_rejected(tmp_path: Path) -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    data = encode_png(ramp)
    assert np.array_equal(loaded(tmp_path, data, gray="keep"), ramp)
    read = loaded(tmp_path, data, gray="keep", depth="to8")
    assert read.dtype == np.uint8
    assert np.array_equal(read, np.round(ramp.astype(np.float64) * 255 / 65535).astype(np.uint8))
    assert refused(tmp_path, data, depth="reject") == (Reject, "depth", "depth")


def test_floats_are_made_8_bits_by_rounding_and_clipping(tmp_path: Path) -> None:
    image = np.array([[[127.6 / 255, -0.5, 1.02]]], np.float32)
    read = loaded(tmp_path, encode_tiff(image), "a.tif", depth="to8")
    assert read.tolist() == [[[128, 0, 255]]]


def test_floats_that_are_no_numbers_are_damage(tmp_path: Path) -> None:
    image = np.array([[[0.5, np.nan, 1]]], np.float32)
    error, reason, message = refused(tmp_path, encode_tiff(image), "a.tif")
    assert (error, reason) == (DataError, "not_finite")
    assert message == "a.tif: found 1 values that are NaN or infinite, expected finite floats"


@pytest.mark.parametrize("keyed", [False, True])
def test_a_palette_is_expanded_or_rejected(tmp_path: Path, keyed: bool) -> None:
    colours = noise(1, 7)[0]
    indices = np.arange(35, dtype=np.uint8).reshape(5, 7) % 7
    picture = PilImage.frombytes("P", (7, 5), indices.tobytes())
    picture.putpalette(colours.tobytes())
    alphas = bytes([0, 128, 255, 255, 255, 255, 255])
    data = encoded(picture, "PNG", **({"transparency": alphas} if keyed else {}))
    read = loaded(tmp_path, data, alpha="keep")
    assert np.array_equal(read[:, :, :3], colours[indices])
    if keyed:
        assert np.array_equal(read[:, :, 3], np.frombuffer(alphas, np.uint8)[indices])
        assert refused(tmp_path, data) == (Reject, "transparent", "transparent")
    assert refused(tmp_path, data, palette="reject") == (Reject, "palette", "palette")
    assert facts(tmp_path, data)["source.channels"] == 3 + keyed


def test_cmyk_is_rejected_unless_asked_for(tmp_path: Path) -> None:
    picture = PilImage.new("CMYK", (16, 16), (0, 255, 255, 0))
    data = encoded(picture, "JPEG", quality=100)
    assert refused(tmp_path, data, "a.jpg") == (Reject, "cmyk", "cmyk")
    read = loaded(tmp_path, data, "a.jpg", cmyk="convert")
    assert np.abs(read.astype(int) - [255, 0, 0]).max() <= 2
    exact = loaded(tmp_path, encoded(PilImage.new("CMYK", (1, 1), (10, 20, 30, 40)), "TIFF"), "a.tif", cmyk="convert")
    assert exact.tolist() == [[[207, 198, 190]]]  # 245 * 215 / 255 = 206.6, 235 * 215 / 255 = 198.1, 189.7


# --- animation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_several_frames_are_rejected_or_the_first_is_read(tmp_path: Path, kind: str) -> None:
    frames = [PilImage.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    name = f"a.{kind.lower()}"
    assert refused(tmp_path, data, name) == (Reject, "animated", "animated")
    assert np.array_equal(loaded(tmp_path, data, name, animated="first"), np.full((8, 8, 3), (255, 0, 0), np.uint8))
    assert facts(tmp_path, data, name)["source.animated"] is True


def test_a_gif_of_one_frame_is_a_picture(tmp_path: Path) -> None:
    data = encoded(PilImage.new("RGB", (8, 8), (255, 0, 0)), "GIF")
    assert np.array_equal(loaded(tmp_path, data, "a.gif"), np.full((8, 8, 3), (255, 0, 0), np.uint8))


# --- colour ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["srgb", "ignore", "reject"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_srgb_profile_changes_nothing(tmp_path: Path, policy: str, dtype: type) -> None:
    image = noise(dtype=dtype)
    data = png_with(image, (b"iCCP", b"x\0\0" + zlib.compress(profile("sRGB"))))
    assert np.array_equal(loaded(tmp_path, data, icc=policy), image)


def test_another_profile_is_converted_by_littlecms(tmp_path: Path) -> None:
    image = noise()
    data = encoded(image, "PNG", icc_profile=profile("swapped"))
    # With red and green primaries exchanged, the colours come out with red and green exchanged.
    read = loaded(tmp_path, data)
    assert np.abs(read.astype(int) - image[:, :, [1, 0, 2]]).max() <= 1
    assert np.array_equal(loaded(tmp_path, data, icc="ignore"), image)
    error, reason, _ = refused(tmp_path, data, icc="reject")
    assert (error, reason) == (Reject, "icc")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP"])
def test_a_profile_is_found_in_every_format(tmp_path: Path, kind: str) -> None:
    data = encoded(smooth(), kind, icc_profile=profile("swapped"), **({"lossless": True} if kind == "WEBP" else {}))
    name = f"a.{kind.lower()}"
    plain, read = loaded(tmp_path, data, name, icc="ignore"), loaded(tmp_path, data, name)
    assert np.abs(read.astype(int) - plain[:, :, [1, 0, 2]]).max() <= 1
    assert facts(tmp_path, data, name)["source.icc"] == "sRGB built-in"


def test_one_transform_serves_many_threads_at_once(tmp_path: Path) -> None:
    images = [noise(64, 64, seed=seed) for seed in range(8)]
    alone = [to_srgb(image, profile("swapped"), "relative") for image in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda image: to_srgb(image, profile("swapped"), "relative"), images * 20))
    assert all(np.array_equal(found, alone[index % 8]) for index, found in enumerate(together))


def test_alpha_is_not_colour_converted(tmp_path: Path) -> None:
    image = noise(channels=4)
    read = loaded(tmp_path, encoded(image, "PNG", icc_profile=profile("swapped")), alpha="keep")
    assert np.array_equal(read[:, :, 3], image[:, :, 3])
    assert np.abs(read[:, :, :3].astype(int) - image[:, :, [1, 0, 2]]).max() <= 1


def test_a_palette_with_a_profile_is_converted(tmp_path: Path) -> None:
    picture = PilImage.new("P", (4, 4), 0)
    picture.putpalette(bytes([200, 100, 50]))
    read = loaded(tmp_path, encoded(picture, "PNG", icc_profile=profile("swapped")))
    assert np.abs(read.astype(int) - [100, 200, 50]).max() <= 1


def test_gray_with_an_rgb_profile_stays_gray(tmp_path: Path) -> None:
    image = noise(channels=1)
    read = loaded(tmp_path, encoded(image, "PNG", icc_profile=profile("sRGB")), gray="keep")
    assert np.array_equal(read, image)


def test_16_bits_with_another_profile_are_refused_by_name(tmp_path: Path) -> None:
    data = png_with(noise(dtype=np.uint16), (b"iCCP", b"x\0\0" + zlib.compress(profile("swapped"))))
    error, reason, message = refused(tmp_path, data)
    assert (error, reason) == (DataError, "unsupported_mode")
    assert message == "a.png: is uint16 with the ICC profile 'sRGB built-in', only 8 bits are converted to sRGB"
    assert loaded(tmp_path, data, depth="to8").dtype == np.uint8
    assert loaded(tmp_path, data, icc="ignore").dtype == np.uint16


@pytest.mark.parametrize(
    ("icc", "message"),
    [
        (b"junk" * 40, "a.png: its ICC profile of 160 bytes cannot be read"),
        (profile("LAB"), "a.png: its ICC profile is for Lab, expected RGB"),
    ],
)
def test_a_profile_that_is_damaged_or_of_another_space_is_a_failure(tmp_path: Path, icc: bytes, message: str) -> None:
    data = png_with(noise(), (b"iCCP", b"x\0\0" + zlib.compress(icc)))
    assert refused(tmp_path, data) == (DataError, "bad_icc", message)
    assert np.array_equal(loaded(tmp_path, data, icc="ignore"), noise())


def test_a_profile_that_cannot_be_unpacked_is_a_failure(tmp_path: Path) -> None:
    data = png_with(noise(), (b"iCCP", b"mine\0\0" + b"junk"))
    message = "a.png: its ICC profile 'mine' cannot be unpacked"
    assert refused(tmp_path, data) == (DataError, "bad_icc", message)


def test_gamma_is_recorded_and_not_applied(tmp_path: Path) -> None:
    image = noise()
    data = png_with(image, (b"gAMA", struct.pack(">I", 100_000)))
    assert np.array_equal(loaded(tmp_path, data), image)
    assert facts(tmp_path, data)["source.gamma"] == 1.0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_hdr_code_points_are_refused_by_name(tmp_path: Path, dtype: type) -> None:
    image = noise(dtype=dtype)
    data = png_with(image, (b"cICP", bytes([9, 16, 0, 1])))
    message = "a.png: its colours are coded as cICP 9-16-0-1 (HDR or wide gamut), expected sRGB"
    assert refused(tmp_path, data) == (DataError, "unsupported_mode", message)
    assert np.array_equal(loaded(tmp_path, data, icc="ignore"), image)
    assert np.array_equal(loaded(tmp_path, png_with(image, (b"cICP", bytes([1, 13, 0, 1])))), image)


# --- damage ---------------------------------------------------------------------------------------


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    message = "a.png: the file is empty, expected an image"
    assert refused(tmp_path, b"") == (DataError, "empty_file", message)


def test_text_under_an_image_name_is_named(tmp_path: Path) -> None:
    message = "a.png: starts with b'hello wo', which no known image format does"
    assert refused(tmp_path, b"hello world") == (DataError, "not_an_image", message)


BIG = noise(64, 64)
PHOTO = encoded(smooth(64, 64), "JPEG")


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("GIF", {}),
    ],
)
def test_a_truncated_file_is_refused_wherever_it_ends(
    tmp_path: Path, kind: str, options: dict[str, Any], keep: float
) -> None:
    data = encoded(BIG, kind, **options)
    error, reason, _ = refused(tmp_path, data[: int(len(data) * keep)], f"a.{kind.lower()}", alpha="keep")
    assert (error, reason) == (DataError, "truncated")


@pytest.mark.parametrize("missing", [1, 2, 3, 12])
def test_a_jpeg_or_png_without_its_last_bytes_is_truncated(tmp_path: Path, missing: int) -> None:
    for name, data in (("a.jpg", PHOTO), ("a.png", encode_png(BIG)), ("b.png", encode_png(noise(dtype=np.uint16)))):
        assert refused(tmp_path, data[:-missing], name)[:2] == (DataError, "truncated")


@pytest.mark.parametrize("keep", [0.3, 0.9])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_truncated_deep_tiff_is_refused(tmp_path: Path, dtype: type, keep: float) -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, noise(64, 64, dtype=dtype), photometric="rgb", rowsperstrip=8)
    data = stream.getvalue()
    error, reason, message = refused(tmp_path, data[: int(len(data) * keep)], "a.tif")
    assert (error, reason) == (DataError, "damaged")
    assert message == "a.tif: tiff pixels cannot be decoded (OpenCV finds its pixels incomplete or damaged)"


def test_a_flipped_bit_in_a_png_is_found_by_its_crc(tmp_path: Path) -> None:
    data = bytearray(encode_png(BIG))
    data[len(data) // 2] ^= 1
    message = "a.png: a chunk IDAT at byte 33 does not match its CRC"
    assert refused(tmp_path, bytes(data)) == (DataError, "damaged", message)


def test_a_damaged_deflate_stream_with_a_right_crc_is_found(tmp_path: Path) -> None:
    error, reason, _ = refused(tmp_path, png_header_only(8, 8))
    assert (error, reason) == (DataError, "damaged")


@pytest.mark.parametrize("rows", [0, 1, 32, 63])
@pytest.mark.parametrize(("bits", "colour_type"), [(8, 2), (16, 2), (8, 0), (1, 0), (4, 0), (8, 3)])
def test_a_png_that_packs_too_few_rows_is_found(tmp_path: Path, rows: int, bits: int, colour_type: int) -> None:
    channels = 3 if colour_type == 2 else 1
    packed = zlib.compress(bytes(rows * (1 + 64 * bits * channels // 8)))
    header, palette = png_header_only(64, 64, bits, colour_type)[:33], b"".join(write_chunk(b"PLTE", bytes(768)))
    parts = [header, palette if colour_type == 3 else b"", *write_chunk(b"IDAT", packed), *write_chunk(b"IEND", b"")]
    error, reason, message = refused(tmp_path, b"".join(parts))
    assert (error, reason) == (DataError, "damaged")
    assert message == "a.png: png pixels cannot be decoded (OpenCV finds its pixels incomplete or damaged)"


def test_a_jpeg_with_restarts_thumbnails_and_a_tail_is_complete(tmp_path: Path) -> None:
    exif = PilImage.Exif()
    exif[0x9286] = b"\xff\xd9 and \xff\xda"
    data = encoded(smooth(), "JPEG", restart_marker_blocks=2, exif=exif.tobytes(), comment=b"\xff\xd9")
    assert loaded(tmp_path, data + b"tail", "a.jpg").shape == (48, 64, 3)
    assert refused(tmp_path, data[:-2], "a.jpg") == (
        DataError,
        "truncated",
        f"a.jpg: jpeg file ends at byte {len(data) - 2} without its end marker",
    )


def test_reading_never_lets_pillow_load_truncated_images(tmp_path: Path) -> None:
    assert loaded(tmp_path, PHOTO, "a.jpg").shape == (64, 64, 3)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert PilImage.MAX_IMAGE_PIXELS == 89478485


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_rejected_before_its_pixels_are_unpacked(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(Reject) as caught:
        loaded(tmp_path, png_header_only(*size))
    assert caught.value.reason == "too_many_pixels"
    assert caught.value.values == {"pixels": size[0] * size[1], "max_pixels": 1 << 28}


def test_the_limit_counts_pixels_and_is_inclusive(tmp_path: Path) -> None:
    data = encode_png(noise(4, 5))
    assert loaded(tmp_path, data, max_pixels=20).shape == (4, 5, 3)
    assert refused(tmp_path, data, max_pixels=19)[:2] == (Reject, "too_many_pixels")


def _tiff(image: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, image, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.tif", _tiff(noise()[:, :, 0].astype(np.float64)), "a TIFF of 64 bits per channel with sample format 3"),
        ("a.tif", _tiff(noise()[:, :, 0].astype(np.uint32)), "a TIFF of 32 bits per channel with sample format 1"),
        (
            "a.tif",
            _tiff(np.moveaxis(noise(dtype=np.uint16), 2, 0), photometric="rgb", planarconfig="separate"),
            "a TIFF of 16 bits per channel in separate planes",
        ),
        (
            "a.tif",
            _tiff(noise(dtype=np.uint16)[:, :, 0], photometric="miniswhite"),
            "a TIFF of 16 bits per channel with photometric 0",
        ),
        (
            "a.tif",
            _tiff(noise(channels=4), photometric="rgb", extrasamples=["assocalpha"]),
            "a TIFF whose extra channel is of kind 1, where plain alpha is 2",
        ),
        ("a.pgm", b"P5 2 1 1023\n\0\1\0\2", "P5 with values up to 1023"),
        ("a.jp2", encoded(PilImage.fromarray(noise(dtype=np.uint16)[:, :, 0]), "JPEG2000"), None),
    ],
)
def test_what_would_not_be_read_exactly_is_refused_by_name(
    tmp_path: Path, name: str, data: bytes, said: str | None
) -> None:
    said = said or "jpeg2000 of 16 bits per channel"
    message = f"{name}: is {said}, which would not be read exactly"
    assert refused(tmp_path, data, name) == (DataError, "unsupported_mode", message)


# --- facts ----------------------------------------------------------------------------------------


def test_facts_of_a_png(tmp_path: Path) -> None:
    data = encode_png(noise(8, 12, 4, np.uint16))
    assert facts(tmp_path, data) == {
        "source.bytes": len(data),
        "source.format": "png",
        "source.width": 12,
        "source.height": 8,
        "source.channels": 4,
        "source.bit_depth": 16,
        "source.orientation": 1,
        "source.icc": None,
        "source.animated": False,
        "source.gamma": None,
        "source.cicp": None,
        "source.progressive": None,
        "source.jpeg_quality": None,
    }


@pytest.mark.parametrize("quality", [1, 5, 25, 49, 50, 51, 75, 90, 95, 99, 100])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_quality_is_the_one_that_it_was_saved_at(tmp_path: Path, quality: int, mode: str) -> None:
    data = encoded(PilImage.fromarray(smooth()).convert(mode), "JPEG", quality=quality)
    assert facts(tmp_path, data, "a.jpg")["source.jpeg_quality"] == quality


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [True, False])
def test_a_progressive_jpeg_says_so(tmp_path: Path, mode: str, progressive: bool) -> None:
    data = encoded(PilImage.fromarray(smooth()).convert(mode), "JPEG", progressive=progressive)
    assert facts(tmp_path, data, "a.jpg")["source.progressive"] is progressive


def test_a_sequential_jpeg_whose_first_scan_lacks_components_counts_as_progressive(tmp_path: Path) -> None:
    data = encoded(smooth(), "JPEG")
    scan = data.index(b"\xff\xda\0\x0c\x03")
    apart = data[:scan] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + data[scan + 14 :]
    assert facts(tmp_path, apart, "a.jpg")["source.progressive"] is True
    assert facts(tmp_path, data[: scan + 2], "a.jpg")["source.progressive"] is False  # nothing follows


def test_a_progressive_jpeg_is_expected_to_take_its_coefficients_too() -> None:
    from forge_steps.read.images import ReadImages

    source = ReadImages(ReadImages.Params(path="."))
    told = {"source.format": "jpeg", "source.channels": 3, "source.width": 4000, "source.height": 3000}
    upright = {**told, "source.orientation": 1, "source.icc": None}
    found = [source.load_expansion({**upright, "source.progressive": given}) for given in (False, True)]
    assert found == [1.1, 3.15]


def test_jpeg_quality_of_other_tables_is_the_nearest(tmp_path: Path) -> None:
    tables = [[16] * 64, [16] * 64]
    data = encoded(smooth(), "JPEG", qtables=tables)
    assert 80 <= facts(tmp_path, data, "a.jpg")["source.jpeg_quality"] <= 92


@pytest.mark.parametrize(
    ("kind", "mode", "channels"),
    [
        ("WEBP", "RGB", 3),
        ("WEBP", "RGBA", 4),
        ("BMP", "RGB", 3),
        ("GIF", "RGB", 3),
        ("PPM", "RGB", 3),
        ("JPEG2000", "RGB", 3),
        ("QOI", "RGBA", 4),
        ("TGA", "RGB", 3),
        ("TIFF", "RGBA", 4),
        ("TIFF", "L", 1),
        ("AVIF", "RGB", 3),
        ("PNG", "LA", 2),
        ("JPEG", "L", 1),
        ("PNG", "1", 1),
    ],
)
def test_facts_of_every_format(tmp_path: Path, kind: str, mode: str, channels: int) -> None:
    picture = PilImage.fromarray(smooth(20, 30)).convert(mode)
    if mode == "RGBA":
        picture.putalpha(100)
    data = encoded(picture, kind)
    said = facts(tmp_path, data, f"a.{kind.lower()}")
    assert (said["source.width"], said["source.height"]) == (30, 20)
    assert said["source.channels"] == channels
    assert said["source.animated"] is False
    assert said["source.bytes"] == len(data)


@pytest.mark.parametrize("keep", range(0, 200, 7))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "AVIF", "QOI", "TGA"])
def test_facts_of_a_cut_header_are_fewer_and_never_an_error(tmp_path: Path, kind: str, keep: int) -> None:
    data = encoded(smooth(20, 30), kind)[:keep]
    assert facts(tmp_path, data, f"a.{kind.lower()}")["source.bytes"] == len(data)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "PPM", "JPEG2000", "AVIF", "QOI", "TGA"])
def test_changed_bytes_give_facts_and_pixels_or_a_named_reason(tmp_path: Path, kind: str, seed: int) -> None:
    rng, data = random.Random(seed), encoded(smooth(20, 30), kind, **PROFILED.get(kind, {}))
    outcomes: set[str] = set()
    for _ in range(20):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 2, 8])):
            changed[rng.randrange(min(len(changed), rng.choice([64, 400, len(changed)])))] = rng.randrange(256)
        said = facts(tmp_path, bytes(changed), f"a.{kind.lower()}")
        assert said["source.bytes"] == len(data)
        try:
            loaded(tmp_path, bytes(changed), f"a.{kind.lower()}", max_pixels=1 << 20)
            outcomes.add("read")
        except (DataError, Reject) as error:
            outcomes.add(error.reason)
    assert outcomes <= {"read"} | REASONS


PROFILED = {kind: {"icc_profile": profile("swapped")} for kind in ("PNG", "JPEG", "WEBP")}
REASONS = {"not_an_image", "truncated", "damaged", "bad_icc", "unsupported_mode", "too_many_pixels"}
REASONS |= {"animated", "palette", "cmyk", "transparent"}


def test_facts_read_little_of_a_file() -> None:
    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            Counting.taken += len(data)
            return data

    class Opened:
        name, digest = "retina.jpg", ""

        def open(self) -> Counting:
            return Counting((Path(skimage.data.__file__).parent / "retina.jpg").read_bytes())

    said = reader().facts(Opened())  # type: ignore[arg-type]
    assert said["source.width"] == 1411
    assert Counting.taken < 1000


def test_a_profile_of_another_space_than_cmyk_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        to_srgb(noise(channels=4), profile("sRGB"), "relative")
    assert (caught.value.reason, caught.value.message) == ("bad_icc", "its ICC profile is for RGB, expected CMYK")


def test_a_faulty_chunk_that_says_nothing_of_pixels_is_passed_over_without_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # libpng would say on stderr, for every such file: "iCCP: known incorrect sRGB profile", "bKGD: invalid".
    image = noise()
    icc = b"sRGB\0\0" + zlib.compress(profile("srgb")[:100] + bytes(28) + profile("srgb")[128:])
    data = png_with(image, (b"iCCP", icc), (b"bKGD", b"\xff" * 3), (b"tIME", b"\xff" * 7), (b"sBIT", b"\0\0\0"))
    assert np.array_equal(loaded(tmp_path, data, icc="ignore"), image)
    assert capfd.readouterr() == ("", "")
