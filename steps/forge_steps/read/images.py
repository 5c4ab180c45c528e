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
    *("icc", "animated", "gamma", "cicp", "jpeg_quality"),
)
# Measured at 12 and 48 megapixels; what is copied twice is copied after the first copy is gone.
_PLAIN, _COPIED = 1.1, 2.2


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
        """Say what decoding takes: an upright RGB JPEG goes straight to where it stays, others pass through copies."""
        if (facts.get("source.format"), facts.get("source.channels")) != ("jpeg", 3):
            return self.memory_expansion
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
