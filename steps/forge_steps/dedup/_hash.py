"""A 64-bit hash of what an image looks like: signs of its lowest frequencies, computed in integers alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from forge_pipeline.step import Metric, metric
from forge_steps._libraries import KERNELS
from forge_steps._modes import by_bands
from forge_steps.metrics._kernel import kernel, kernel_or
from forge_steps.metrics._luma import BLUE, GREEN, LUMA_BITS, RED, Image, readable

Array = npt.NDArray[Any]

_SIDE = 32  # the image is averaged to 32 x 32 cells
_KEPT = 8  # of whose frequencies the lowest 8 x 8 are kept
_CELL_WHITE = 1048576.0  # 20 bits: 16 times finer than a 16-bit file
# cos((2n + 1) k pi / 64) in 15 bits. No value lies near a tie, so any C library gives these. Each row but the first
# sums to 0 exactly: a flat image has no frequency at all. 20 + 15 + 5 + 15 + 5 bits fit in an int64.
_COSINES = np.array(
    [[round(math.cos((2 * n + 1) * k * math.pi / 64) * (1 << 15)) for n in range(_SIDE)] for k in range(_KEPT)]
)
_COSINES.flags.writeable = False


@metric("dct_hash", version=1)
class DctHash(Metric):
    """16 hex digits, in the layout of imagehash.phash: two images that look alike differ in few of the 64 bits.

    It finds copies that were resized, recompressed or slightly retouched; not crops, flips or rotations. An image of
    one single colour has no structure to compare: its hash is empty, and nothing counts as its duplicate.
    """

    direction = "neither"
    source = "DCT hash of pHash (Zauner 2010), bits as in imagehash.phash: 32 x 32 luma, 8 x 8 lowest DCT-II > median"
    libraries = KERNELS
    memory_expansion = 1.6

    def measure(self, value: Image) -> str:
        """Return the hash. Raises DataError for an unsupported mode or NaN."""
        bits, flat = _hash(value, self.name)
        return "" if flat else f"{bits:016x}"


def dct_hash(image: Image) -> int:
    """Return the 64-bit DCT hash of an image, the lowest frequency in the highest bit.

    Luma (BT.601, 14-bit weights) is averaged over 32 x 32 equal cells, exactly; a bit is 1 where a coefficient of the
    8 x 8 lowest ones of its DCT-II is above their median (mean of the middle two). Equal coefficients give 0.

    Args:
        image: gray (H, W) or (H, W, 1), gray+alpha, RGB or RGBA; uint8, uint16 or float32 in 0..1 (clipped, 16 bits).
            With alpha the image is laid over middle gray, so that neither black nor white drawings vanish.

    Raises:
        DataError: `unsupported_mode`, or `not_finite` for NaN or infinity.
    """
    return _hash(image, "dct_hash")[0]


def _hash(image: Image, who: str) -> tuple[int, bool]:
    """Return the hash, and whether the image is flat."""
    lent = readable(image, who)
    if lent.dtype == np.float32:
        lent = by_bands(_in_16_bits, lent)
        lent.flags.writeable = False
    height, width, channels = lent.shape
    top = int(np.iinfo(lent.dtype).max)
    sums = np.zeros((_SIDE, _SIDE), np.int64)
    if channels % 2:
        _sum_opaque(lent.reshape(height, -1), channels, np.empty(width * channels, _sum_dtype(lent)), sums)
    else:
        _sum_over_gray(lent, top, sums)
    bits, flat = _bits(sums, float(height * width) * float(top << LUMA_BITS), _COSINES)
    return int(bits), bool(flat)


def _in_16_bits(image: Image) -> Image:
    return np.rint(np.clip(image, 0, 1) * np.float32(65535)).astype(np.uint16)


def _sum_dtype(image: Image) -> type[np.signedinteger[Any]]:
    return np.int32 if image.shape[0] * int(np.iinfo(image.dtype).max) < 1 << 31 else np.int64


def _parts(pixels: int) -> list[tuple[int, int, Array]]:
    """Return for each of 32 cells the first pixel, the end, and the parts of each pixel that lie in it."""
    found = []
    for cell in range(_SIDE):
        begin, end = cell * pixels, (cell + 1) * pixels
        first, last = begin // _SIDE, (end - 1) // _SIDE + 1
        edges = np.clip(np.arange(first, last + 1) * _SIDE, begin, end)
        found.append((first, last, np.diff(edges)))
    return found


def _add_cells_in_numpy(luma: Array, parts: Array, across: list[tuple[int, int, Array]], out: Array) -> None:
    """Add up the rows of one line of cells."""
    total = (luma * parts[:, None]).sum(axis=0)
    for j, (first, last, shares) in enumerate(across):
        out[j] += (total[first:last] * shares).sum()


def _sum_opaque_in_numpy(pixels: Array, channels: int, column: Array, sums: Array) -> None:
    height, width = pixels.shape[0], pixels.shape[1] // channels
    across = _parts(width)
    weights = np.array([RED, GREEN, BLUE] if channels == 3 else [1 << LUMA_BITS])
    for i, (first, last, parts) in enumerate(_parts(height)):
        rows = pixels[first:last].reshape(last - first, width, channels)
        _add_cells_in_numpy((rows * weights).sum(axis=2), parts, across, sums[i])


@kernel_or(_sum_opaque_in_numpy)
def _sum_opaque(pixels: Array, channels: int, column: Array, sums: Array) -> None:
    """Add up the luma of opaque pixels over 32 x 32 cells, each pixel counting 32 x 32 parts.

    A cell is height x width such parts: so the part of a pixel that lies in it is a whole number too.
    """
    height, width = pixels.shape[0], pixels.shape[1] // channels
    luma = np.empty(width, np.int64)
    for i in range(_SIDE):
        top, bottom = i * height, (i + 1) * height
        first, last = top // _SIDE, (bottom - 1) // _SIDE
        for x in range(column.size):
            column[x] = 0
        # Raw channels are added first, luma is taken of the sums: a 32nd of the products.
        for y in range(first + 1, last):
            _add(pixels[y], column)
        head = min(_SIDE * (first + 1), bottom) - max(_SIDE * first, top)
        tail = bottom - _SIDE * last if last > first else 0
        _weigh_ends(column, pixels[first], head, pixels[last], tail)
        if channels == 1:
            for x in range(width):
                luma[x] = np.int64(column[x]) << LUMA_BITS
        else:
            for x in range(width):
                red, green, blue = np.int64(column[3 * x]), np.int64(column[3 * x + 1]), np.int64(column[3 * x + 2])
                luma[x] = RED * red + GREEN * green + BLUE * blue
        _sum_across(luma, sums[i])


@kernel
def _add(row: Array, out: Array) -> None:
    for x in range(out.size):
        out[x] += row[x]


@kernel
def _weigh_ends(column: Array, head: Array, head_parts: int, tail: Array, tail_parts: int) -> None:
    """Count the rows added so far in whole, and those at the ends of the cell in part."""
    for x in range(column.size):
        column[x] = column[x] * _SIDE + head_parts * head[x] + tail_parts * tail[x]


@kernel
def _sum_across(luma: Array, out: Array) -> None:
    """Add up a row of luma over 32 cells, each pixel counting 32 parts."""
    width = luma.size
    for j in range(_SIDE):
        left, right = j * width, (j + 1) * width
        first, last = left // _SIDE, (right - 1) // _SIDE
        total = np.int64(0)
        for x in range(first + 1, last):
            total += luma[x]
        total *= _SIDE
        total += luma[first] * (min(_SIDE * (first + 1), right) - max(_SIDE * first, left))
        if last > first:
            total += luma[last] * (right - _SIDE * last)
        out[j] += total


def _sum_over_gray_in_numpy(image: Array, top: int, sums: Array) -> None:
    height, width, channels = image.shape
    across = _parts(width)
    weights = np.array([RED, GREEN, BLUE] if channels == 4 else [1 << LUMA_BITS])
    for i, (first, last, parts) in enumerate(_parts(height)):
        rows = image[first:last].astype(np.int64)
        value, alpha = (rows[:, :, :-1] * weights).sum(axis=2), rows[:, :, -1]
        # As in `_luma_over_gray`.
        luma = (2 * alpha * value + (top - alpha) * (top << LUMA_BITS) + top) // (2 * top)
        _add_cells_in_numpy(luma, parts, across, sums[i])


@kernel_or(_sum_over_gray_in_numpy)
def _sum_over_gray(image: Array, top: int, sums: Array) -> None:
    """Do what `_sum_opaque` does for images with alpha, pixel by pixel."""
    height, width, _ = image.shape
    luma, total = np.empty(width, np.int64), np.empty(width, np.int64)
    for i in range(_SIDE):
        upper, lower = i * height, (i + 1) * height
        for x in range(width):
            total[x] = 0
        for y in range(upper // _SIDE, (lower - 1) // _SIDE + 1):
            parts = min(_SIDE * (y + 1), lower) - max(_SIDE * y, upper)
            _luma_over_gray(image, y, top, luma)
            for x in range(width):
                total[x] += luma[x] * parts
        _sum_across(total, sums[i])


@kernel
def _luma_over_gray(image: Array, y: int, top: int, luma: Array) -> None:
    channels = image.shape[2]
    for x in range(luma.size):
        value = np.int64(image[y, x, 0]) << LUMA_BITS
        if channels == 4:
            red, green, blue = np.int64(image[y, x, 0]), np.int64(image[y, x, 1]), np.int64(image[y, x, 2])
            value = RED * red + GREEN * green + BLUE * blue
        alpha = np.int64(image[y, x, channels - 1])
        # alpha x luma + (1 - alpha) x middle gray, rounded to nearest; opaque pixels keep their luma exactly.
        luma[x] = (2 * alpha * value + (top - alpha) * (top << LUMA_BITS) + top) // (2 * top)


def _bits_in_numpy(sums: Array, white: float, cosines: Array) -> tuple[np.uint64, bool]:
    cells = np.rint(sums.astype(np.float64) / white * _CELL_WHITE).astype(np.int64)
    found = ((cosines @ cells) @ cosines.T).ravel()
    ordered = np.sort(found)
    middle = ordered[found.size // 2 - 1] + ordered[found.size // 2]
    bits = np.packbits(2 * found > middle).view(">u8")[0]
    return np.uint64(bits), not found[1:].any()


@kernel_or(_bits_in_numpy)
def _bits(sums: Array, white: float, cosines: Array) -> tuple[np.uint64, bool]:
    """Return the bits of 32 x 32 sums, `white` being the largest; and whether all frequencies but the mean are 0."""
    cells = np.empty((_SIDE, _SIDE), np.int64)
    for i in range(_SIDE):
        for j in range(_SIDE):
            cells[i, j] = np.int64(np.rint(np.float64(sums[i, j]) / white * _CELL_WHITE))
    half = np.zeros((_KEPT, _SIDE), np.int64)
    for k in range(_KEPT):
        for i in range(_SIDE):
            for j in range(_SIDE):
                half[k, j] += cosines[k, i] * cells[i, j]
    found = np.zeros(_KEPT * _KEPT, np.int64)
    for k in range(_KEPT):
        for m in range(_KEPT):
            for j in range(_SIDE):
                found[k * _KEPT + m] += cosines[m, j] * half[k, j]
    ordered = _ascending(found)
    middle = ordered[found.size // 2 - 1] + ordered[found.size // 2]
    bits = np.uint64(0)
    flat = True
    for n in range(found.size):
        bits = (bits << np.uint64(1)) | np.uint64(2 * found[n] > middle)
        flat = flat and (n == 0 or found[n] == 0)
    return bits, flat


@kernel
def _ascending(values: Array) -> Array:
    """Sort by insertion: 64 values take 2 microseconds, numba's own sort a second to compile."""
    ordered = values.copy()
    for n in range(1, ordered.size):
        value = ordered[n]
        at = n
        while at > 0 and ordered[at - 1] > value:
            ordered[at] = ordered[at - 1]
            at -= 1
        ordered[at] = value
    return ordered
