"""Colours of an embedded ICC profile become sRGB by LittleCMS; an sRGB profile changes nothing."""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image as PilImage
from PIL import ImageCms

from forge_pipeline.errors import DataError
from forge_steps._image import Image
from forge_steps._intent import Intent
from forge_steps._modes import by_bands

_INTENTS = {
    "perceptual": ImageCms.Intent.PERCEPTUAL,
    "relative": ImageCms.Intent.RELATIVE_COLORIMETRIC,
    "saturation": ImageCms.Intent.SATURATION,
    "absolute": ImageCms.Intent.ABSOLUTE_COLORIMETRIC,
}
# The many sRGB profiles in use differ in the rounding of their curves. The nearest other thing, gamma 2.2 with the
# primaries of sRGB, moves dark values by more than 5 levels.
_SAME_LEVELS = 2
_PROBE_STEPS = 18


def is_srgb(icc: bytes, channels: int, intent: Intent) -> bool:
    """Tell whether a profile is sRGB for pixels of 1 (gray) or 3 channels: it moves no colour by more than 2 of 255.

    Raises:
        DataError: `bad_icc`: the profile is damaged, or for another colour space than the pixels.
    """
    return _transform(icc, _mode(icc, channels), intent)[1]


def to_srgb(image: Image, icc: bytes, intent: Intent) -> Image:
    """Convert uint8 colours from a profile to sRGB; gray stays gray.

    LittleCMS with black point compensation; its tables and integer arithmetic are the same on every CPU.

    Args:
        image: (H, W, C) without alpha: 1 is gray, 3 RGB, 4 CMYK (255 is full ink).
        icc: the profile's bytes.
        intent: rendering intent.

    Returns:
        A new array of 1 or 3 channels.

    Raises:
        DataError: as `is_srgb`.
    """
    mode = _mode(icc, image.shape[2])
    transform = _transform(icc, mode, intent)[0]

    def convert(part: Image) -> Image:
        colours = np.repeat(part, 3, axis=2) if part.shape[2] == 1 and mode == "RGB" else part
        converted = _through(transform, colours, mode)
        return converted[:, :, 1:2] if part.shape[2] == 1 else converted

    return by_bands(convert, image)


def cmyk_to_rgb(image: Image) -> Image:
    """Convert CMYK (255 is full ink) to RGB without a profile: (255 - C)(255 - K) / 255, rounded to nearest."""
    return by_bands(_cmyk_to_rgb, image)


def _cmyk_to_rgb(image: Image) -> Image:
    light = np.uint32(255) - image.astype(np.uint32)
    return ((light[:, :, :3] * light[:, :, 3:] + np.uint32(127)) // np.uint32(255)).astype(np.uint8)


@functools.lru_cache(maxsize=64)
def _mode(icc: bytes, channels: int) -> str:
    """Return the mode in which pixels of so many channels go through a profile."""
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile.xcolor_space.strip()
    except (OSError, ValueError, ImageCms.PyCMSError) as error:
        raise DataError("bad_icc", f"its ICC profile of {len(icc)} bytes cannot be read") from error
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[channels]
    # Seen in the wild: a gray JPEG that kept the profile of its RGB original.
    allowed = {"L": ("GRAY", "RGB"), "RGB": ("RGB",), "CMYK": ("CMYK",)}[mode]
    if space not in allowed:
        raise DataError("bad_icc", f"its ICC profile is for {space}, expected {' or '.join(allowed)}")
    return "RGB" if space == "RGB" else mode


def _through(transform: ImageCms.ImageCmsTransform, colours: Image, mode: str) -> Image:
    height, width, _ = colours.shape
    source = PilImage.frombuffer(mode, (width, height), np.ascontiguousarray(colours), "raw", mode, 0, 1)
    return np.asarray(transform.apply(source))


@functools.lru_cache(maxsize=32)
def _transform(icc: bytes, mode: str, intent: Intent) -> tuple[ImageCms.ImageCmsTransform, bool]:
    """Return the transform to sRGB, and whether it does nothing."""
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(icc)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            _INTENTS[intent],
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (OSError, ValueError, ImageCms.PyCMSError) as error:
        raise DataError("bad_icc", f"its ICC profile gives no transform to sRGB ({error})") from error
    return transform, mode != "CMYK" and _does_nothing(transform, mode)


def _does_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    if mode == "L":
        probe = np.arange(256, dtype=np.uint8)[None, :, None]
    else:
        levels = np.linspace(0, 255, _PROBE_STEPS).astype(np.uint8)
        grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(1, -1, 3)
        ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
        probe = np.ascontiguousarray(np.concatenate([grid, ramp], axis=1))
    moved = np.abs(_through(transform, probe, mode).astype(np.int16) - probe.astype(np.int16))
    return int(moved.max()) <= _SAME_LEVELS
