"""What a decoded image becomes by the policies of `read.images`: refused, converted or left alone."""

from __future__ import annotations

import numpy as np

from forge_pipeline.errors import DataError
from forge_pipeline.step import File, Reject
from forge_steps._colour import cmyk_to_rgb, is_srgb, to_srgb
from forge_steps._image import Image
from forge_steps._modes import disoriented, has_alpha, in_8_bits, is_opaque, oriented, over, repeated_gray
from forge_steps.read._decode import Stored, decode, decode_in_place, full_header
from forge_steps.read._header import Header, profile_name
from forge_steps.read._image_params import ImagesParams
from forge_steps.read._large import is_decoded_in_place

# cICP (ITU-T H.273) that looks as sRGB does: its own code points, and those of BT.709 video as most tools write them.
_SRGB_PRIMARIES, _SRGB_TRANSFERS = (1, 2), (1, 2, 6, 13)


class Policies:
    """The policies of one step."""

    def __init__(self, params: ImagesParams) -> None:
        self.params = params

    def image(self, file: File) -> Image:
        """Decode a file strictly and apply the policies; raises as `ReadImages.load`."""
        data, name = file.read(), file.name
        header = full_header(data, name)
        self._judge(header, name)
        if _is_large_jpeg(header):
            del data
            with file.on_disk() as path:
                stored = decode_in_place(path, header, name)
        else:
            stored = decode(data, header, name)
        return np.ascontiguousarray(self._developed(stored, name))

    def _judge(self, header: Header, name: str) -> None:
        """Refuse what the header alone shows, before a pixel is decoded."""
        policies, pixels = self.params, header.width * header.height
        if pixels > policies.max_pixels:
            raise Reject("too_many_pixels", {"pixels": pixels, "max_pixels": policies.max_pixels})
        for refused, reason in (
            (header.animated and policies.animated == "reject", "animated"),
            (header.colour == "palette" and policies.palette == "reject", "palette"),
            (header.colour == "cmyk" and policies.cmyk == "reject", "cmyk"),
            ((header.bits > 8 or header.floating) and policies.depth == "reject", "depth"),
            (header.colour == "gray" and policies.gray == "reject", "gray"),
            (header.alpha and policies.alpha == "reject", "alpha"),
        ):
            if refused:
                raise Reject(reason)
        if header.damage and policies.icc != "ignore":
            raise DataError("bad_icc", f"{name}: {header.damage}")
        if header.cicp and policies.icc != "ignore" and not _looks_like_srgb(header.cicp):
            spelled = "-".join(map(str, header.cicp))
            raise DataError(
                "unsupported_mode",
                f"{name}: its colours are coded as cICP {spelled} (HDR or wide gamut), expected sRGB",
                "icc: ignore",
            )

    def _developed(self, stored: Stored, name: str) -> Image:
        image, header = stored.pixels, stored.header
        if self.params.depth == "to8":
            image = in_8_bits(image)
        try:
            image = self._in_srgb(image, header)
        except DataError as error:
            raise DataError(error.reason, f"{name}: {error.message}", error.hint) from error
        image = self._without_alpha(image)
        if self.params.gray == "rgb" and image.shape[2] < 3:
            image = repeated_gray(image)
        if stored.turned:
            return disoriented(image, header.orientation) if self.params.orientation == "ignore" else image
        return oriented(image, header.orientation) if self.params.orientation == "apply" else image

    def _in_srgb(self, image: Image, header: Header) -> Image:
        """Return the image with its colours in sRGB; the same array where there is nothing to convert."""
        if header.colour == "cmyk":
            use_profile = header.icc and self.params.icc == "srgb"
            return to_srgb(image, header.icc, self.params.intent) if use_profile else cmyk_to_rgb(image)
        if not header.icc or self.params.icc == "ignore":
            return image
        colours = image[:, :, :-1] if has_alpha(image) else image
        if is_srgb(header.icc, colours.shape[2], self.params.intent):
            return image
        if self.params.icc == "reject":
            raise Reject("icc", {"icc": profile_name(header.icc)})
        if image.dtype != np.uint8:
            found = f"{image.dtype} with the ICC profile '{profile_name(header.icc)}'"
            raise DataError("unsupported_mode", f"is {found}, only 8 bits are converted to sRGB", "depth: to8")
        converted = to_srgb(colours, header.icc, self.params.intent)
        return np.concatenate([converted, image[:, :, -1:]], axis=2) if has_alpha(image) else converted

    def _without_alpha(self, image: Image) -> Image:
        if not has_alpha(image) or self.params.alpha == "keep":
            return image
        if self.params.alpha in ("white", "black"):
            return over(image, self.params.alpha)
        if self.params.alpha == "opaque" and not is_opaque(image):
            raise Reject("transparent")
        return image[:, :, :-1]


def _is_large_jpeg(header: Header) -> bool:
    plain = (header.format, header.colour, header.unsupported) == ("jpeg", "rgb", "")
    return plain and is_decoded_in_place(header.width, header.height)


def _looks_like_srgb(cicp: tuple[int, int, int, int]) -> bool:
    return cicp[0] in _SRGB_PRIMARIES and cicp[1] in _SRGB_TRANSFERS
