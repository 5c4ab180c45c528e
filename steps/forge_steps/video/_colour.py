"""What a video says about its colours: names for the codes of ITU-T H.273, and the weights of a conversion to RGB."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forge_pipeline.errors import DataError
from forge_pipeline.sample import Fields

# Names as FFmpeg spells them; 2 is "unspecified" and has none.
MATRICES = {
    0: "rgb",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
}
PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
TRANSFERS = {
    1: "bt709",
    4: "gamma22",
    5: "gamma28",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "srgb",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
RANGES = {1: "limited", 2: "full"}

_HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}
# Kr and Kb of ITU-T H.273 table 4, in ten thousandths: the weights of red and blue in luma.
_LUMA_WEIGHTS = {
    "bt709": (2126, 722),
    "fcc": (3000, 1100),
    "bt470bg": (2990, 1140),
    "smpte170m": (2990, 1140),
    "smpte240m": (2120, 870),
    "bt2020nc": (2627, 593),
}


@dataclass(frozen=True, slots=True)
class Colour:
    """How the numbers of a frame are to be read.

    Attributes:
        matrix: a name of MATRICES.
        full_range: luma runs over all values, not 16..235 (in 8 bits).
        assumed: the parts that the file does not say and a rule filled in: `matrix`, `range`.
    """

    matrix: str
    full_range: bool
    assumed: tuple[str, ...] = ()

    def fields(self) -> Fields:
        """Return what the manifest keeps."""
        said: dict[str, object] = {"matrix": self.matrix, "range": "full" if self.full_range else "limited"}
        return said | ({"assumed": list(self.assumed)} if self.assumed else {})


def colour_of(
    matrix_code: int, range_code: int, transfer_code: int, pixel_format: str, width: int, height: int
) -> Colour:
    """Read the codes of a frame; fill in what it does not say.

    No matrix: BT.709 where the picture is at least 1280 wide or more than 576 high, else BT.601 (mpv's rule: what
    broadcast and discs of that size use). No range: full for the `yuvj` formats and gray, else limited.

    Raises:
        DataError: `hdr_transfer` for PQ and HLG, which need tone mapping to become an ordinary picture;
            `unsupported_matrix` for a matrix that is no weighted sum of gamma-coded R, G, B.
    """
    transfer = TRANSFERS.get(transfer_code, "")
    if transfer in _HDR:
        raise DataError(
            "hdr_transfer",
            f"transfer {transfer} ({_HDR[transfer]}, high dynamic range) is not supported, expected a video in SDR",
        )
    if pixel_format.startswith(("gbr", "rgb", "bgr", "0rgb", "0bgr")):
        return Colour("rgb", True)
    assumed = []
    matrix = MATRICES.get(matrix_code, "")
    if not matrix:
        assumed.append("matrix")
        matrix = "bt709" if width >= 1280 or height > 576 else "smpte170m"
    elif matrix not in _LUMA_WEIGHTS:
        raise DataError("unsupported_matrix", f"colour matrix {matrix} is not supported, expected {_expected()}")
    full = range_code == 2
    if range_code not in RANGES:
        assumed.append("range")
        full = pixel_format.startswith(("yuvj", "gray"))
    return Colour(matrix, full, tuple(assumed))


def luma_range(full_range: bool, bits: int) -> tuple[int, int]:
    """Return the value of black and the distance from black to white."""
    return (0, (1 << bits) - 1) if full_range else (16 << (bits - 8), 219 << (bits - 8))


def rgb_weights(colour: Colour, bits: int, top: int, fraction_bits: int) -> npt.NDArray[np.int64]:
    """Return the weights that `yuv_to_rgb` takes, rounded to nearest from exact fractions.

    Args:
        colour: matrix and range of the planes.
        bits: depth of the planes, 8 to 16.
        top: highest value of the output, 255 or 65535.
        fraction_bits: bits after the point of the weights.

    Source: ITU-T H.273 equations 38 to 40 and 54 to 56, solved for R, G, B.
    """
    red, blue = _LUMA_WEIGHTS[colour.matrix]
    green = 10_000 - red - blue
    zero, luma_span = luma_range(colour.full_range, bits)
    chroma_span = luma_span if colour.full_range else 224 << (bits - 8)

    def fixed(numerator: int, denominator: int) -> int:
        scaled = 2 * numerator * (top << fraction_bits) + denominator
        return scaled // (2 * denominator)

    return np.array(
        [
            zero,
            1 << (bits - 1),
            fixed(1, luma_span),
            fixed(2 * (10_000 - red), 10_000 * chroma_span),
            fixed(-2 * blue * (10_000 - blue), 10_000 * green * chroma_span),
            fixed(-2 * red * (10_000 - red), 10_000 * green * chroma_span),
            fixed(2 * (10_000 - blue), 10_000 * chroma_span),
        ],
        np.int64,
    )


def _expected() -> str:
    return ", ".join(sorted(_LUMA_WEIGHTS))
