"""The parameters of `read.images`: one policy for each thing that is not plain."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from forge_pipeline.step import LOCATOR, Params
from forge_steps._intent import Intent


class ImagesParams(Params):
    """What to read, and what to do with each thing that is not plain."""

    path: Annotated[str | list[str], LOCATOR] = Field(
        description="Folder (read recursively), file, glob, .zip, .tar, .tar.gz or .tgz archive, or "
        "`package:NAME/FILE` in an installed Python package; or a list of these."
    )
    # Which files are read says nothing of how one is read: changing these must not load the others again.
    include: Annotated[list[str], LOCATOR] = Field(
        default=[], description="Globs on relative names; only files that match one are read. Empty means all."
    )
    exclude: Annotated[list[str], LOCATOR] = Field(
        default=[], description="Globs on relative names; files that match one are left out."
    )
    alpha: Literal["opaque", "reject", "drop", "keep", "white", "black"] = Field(
        default="opaque",
        description="An alpha channel: `opaque` drops one that is opaque everywhere and rejects the image otherwise; "
        "`reject` rejects any; `drop` shows the hidden colours; `keep`; `white` and `black` lay the image over it.",
    )
    gray: Literal["rgb", "keep", "reject"] = Field(
        default="rgb", description="A gray image: made RGB by repeating it, kept with one channel, or rejected."
    )
    depth: Literal["keep", "to8", "reject"] = Field(
        default="keep", description="16-bit and float images: kept, scaled to 8 bits (rounded to nearest), or rejected."
    )
    cmyk: Literal["reject", "convert"] = Field(
        default="reject", description="A CMYK image: rejected, or converted by its profile (without one: naively)."
    )
    palette: Literal["expand", "reject"] = Field(
        default="expand", description="An image with a palette: its colours are looked up, or it is rejected."
    )
    animated: Literal["reject", "first"] = Field(
        default="reject", description="A file of several frames or pages: rejected, or its first is read."
    )
    icc: Literal["srgb", "ignore", "reject"] = Field(
        default="srgb",
        description="An embedded colour profile: colours are converted to sRGB, taken as they are, or the image is "
        "rejected. A profile that is sRGB changes nothing under any of them.",
    )
    intent: Intent = Field(
        default="relative", description="Rendering intent of the conversion to sRGB (black point compensation is on)."
    )
    orientation: Literal["apply", "ignore"] = Field(
        default="apply",
        description="EXIF orientation: the image is turned as it is meant to be seen, or left as stored.",
    )
    max_pixels: int = Field(
        default=1 << 28,
        ge=1,
        description="Images of more pixels are rejected before decoding. The default, 268 million, is 1.7 times the "
        "largest camera sensor and 0.8 GB of RGB in memory.",
    )
