"""Reads image files strictly, by a stated policy for everything that is not plain 8-bit RGB."""

from __future__ import annotations

import os
from collections.abc import Iterator

from forge_pipeline.errors import DataError
from forge_pipeline.sample import Fields
from forge_pipeline.step import Child, Context, File, Partial, Source, operator
from forge_steps.read._find_images import ImageFinder
from forge_steps.read._image_params import ImagesParams
from forge_steps.read._large import is_decoded_in_place

HEADER_FACTS = (
    *("format", "width", "height", "channels", "bit_depth", "orientation"),
    *("icc", "animated", "gamma", "cicp", "progressive", "jpeg_quality"),
)
# Measured at 12 and 48 megapixels; what is copied twice is copied after the first copy is gone.
_PLAIN, _COPIED = 1.1, 2.2
# libjpeg holds all coefficients, of 16 bits, until the last scan has come (jdcoefct.c, `coef->whole_image`): beside the
# pixels twice their bytes at 4:4:4, once at 4:2:0. Measured with OpenCV 5.0.0 at 1.5 to 48 megapixels, as peak RSS of a
# process of its own: 3.00 to 3.12 and 2.00 to 2.40 times the pixels (2.07 from 6 megapixels on). One that is copied or
# turned takes no more, since the coefficients are gone by then. 4:4:4 is assumed.
_IN_SCANS = 3.15


@operator("read.images", version=1)
class ReadImages(Source):
    """Read image files from folders, globs, archives and installed packages.

    Source: PNG 3rd edition; ITU T.81; TIFF 6.0; EXIF 2.32; ICC.1:2022.
    """

    Params = ImagesParams
    params: ImagesParams
    libraries = ("numpy", "opencv-python", "pillow")
    tells = ("bytes", *HEADER_FACTS)
    memory_expansion = 4.0
    finder = ImageFinder

    def facts(self, file: File) -> Fields:
        """Read the header into `source.*` fields; width and height are as stored, before any orientation."""
        # Late, as in `load`.
        from forge_steps.read._header import header_facts
        from forge_steps.read._read_header import read_header

        with file.open() as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            try:
                return {"source.bytes": size, **header_facts(read_header(stream, file.name))}
            except DataError:
                return {"source.bytes": size}

    def load_expansion(self, facts: Fields) -> float:
        """Say what decoding takes: an upright RGB JPEG goes straight to where it stays, others pass through copies.

        A progressive one is held as coefficients first.
        """
        if (facts.get("source.format"), facts.get("source.channels")) != ("jpeg", 3):
            return self.memory_expansion
        if facts.get("source.progressive"):
            return _IN_SCANS
        converted = bool(facts.get("source.icc")) and self.params.icc == "srgb"
        turned = facts.get("source.orientation") != 1 and self.params.orientation == "apply"
        in_place = is_decoded_in_place(facts["source.width"], facts["source.height"])
        return _PLAIN if in_place and not (converted or turned) else _COPIED

    def load(self, file: File, context: Context) -> Iterator[Child | Partial]:
        """Decode strictly and apply the policies.

        Raises:
            DataError: `empty_file`, `not_an_image`, `truncated`, `damaged`, `bad_icc`, `unsupported_mode`,
                `empty_image`, `not_finite`.
            Reject: `too_many_pixels`, `animated`, `palette`, `cmyk`, `depth`, `gray`, `icc`, `alpha`, `transparent`.
        """
        # Late, so that a run in which no file has to be decoded imports no decoder.
        from forge_steps.read._policies import Policies

        yield Child(Policies(self.params).image(file))
