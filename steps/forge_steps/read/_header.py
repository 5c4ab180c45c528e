"""What an image file says of itself before its pixels: one record for every format."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import Any

from PIL import ImageCms

from forge_pipeline.digest import digest_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the header of an image file says.

    Attributes:
        format: `png`, `jpeg`, `webp`, `tiff`, `gif`, `bmp`, `pnm`, `tga`, `jpeg2000`, `avif`, `qoi`.
        width: in pixels as stored, before any orientation.
        height: in pixels as stored.
        colour: `gray`, `rgb`, `palette`, `cmyk`, or the name of a space that we do not read.
        alpha: has an alpha channel, or a colour or palette entry that is transparent.
        keyed: that alpha is a PNG's tRNS chunk.
        bits: per channel (of a palette's index where there is one).
        floating: its values are floats.
        orientation: EXIF's, 1 to 8.
        icc: the embedded profile, or nothing.
        animated: more than one frame or page.
        gamma: of a PNG's gAMA chunk; never applied.
        cicp: primaries, transfer, matrix, full range of a PNG's cICP chunk or an AVIF's nclx box.
        progressive: of a JPEG: its pixels come in several scans.
        jpeg_quality: on the IJG scale, 1 to 100.
        unsupported: why its pixels cannot be read as they are, or nothing.
        damage: what is wrong in the header beside the pixels (a damaged profile), or nothing.
    """

    format: str
    width: int
    height: int
    colour: str
    alpha: bool = False
    keyed: bool = False
    bits: int = 8
    floating: bool = False
    orientation: int = 1
    icc: bytes = b""
    animated: bool = False
    gamma: float | None = None
    cicp: tuple[int, int, int, int] | None = None
    progressive: bool | None = None
    jpeg_quality: int | None = None
    unsupported: str = ""
    damage: str = ""

    @property
    def channels(self) -> int:
        """Count the channels that decoding gives, before any policy (CMYK: 4)."""
        return {"gray": 1, "cmyk": 4}.get(self.colour, 3) + self.alpha


def header_facts(header: Header) -> dict[str, Any]:
    """Spell a header as `source.*` fields."""
    return {
        "source.format": header.format,
        "source.width": header.width,
        "source.height": header.height,
        "source.channels": header.channels,
        "source.bit_depth": header.bits,
        "source.orientation": header.orientation,
        "source.icc": profile_name(header.icc) if header.icc else None,
        "source.animated": header.animated,
        "source.gamma": header.gamma,
        "source.cicp": list(header.cicp) if header.cicp else None,
        "source.progressive": header.progressive,
        "source.jpeg_quality": header.jpeg_quality,
    }


@functools.lru_cache(maxsize=64)
def profile_name(icc: bytes) -> str:
    """Return the description of a profile, or the first digits of its digest where it has none."""
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc))).strip()
    except (ImageCms.PyCMSError, OSError, ValueError):
        name = ""
    return name or digest_bytes(icc)[:12]
