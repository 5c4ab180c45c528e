"""What `_png_kernel` does, byte for byte, where numba cannot be imported: the same integers by whole arrays."""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps._png_code import (
    END_OF_BLOCK,
    FILTERS,
    LONGEST_CODE,
    LONGEST_MATCH,
    MATCH_EXTRA,
    MATCH_FIRST,
    MATCH_SYMBOL,
    SAMPLED,
    SHORTEST_MATCH,
    SYMBOLS,
    block_header,
    code_lengths,
    codes_of,
    log2,
)

Array = npt.NDArray[Any]


def deflate_rows(rows: Array, pixel_bytes: int, band_rows: int) -> Array:
    """Filter rows and write them as a zlib stream.

    Args:
        rows: (H, stride) uint8, C-contiguous.
        pixel_bytes: from a byte to the same one of the pixel before it.
        band_rows: how many rows share a filter and a code.

    Returns:
        (n,) uint8.
    """
    height, stride = rows.shape
    padded = np.zeros((height + 1, pixel_bytes + stride), np.uint8)
    padded[1:, pixel_bytes:] = rows
    adler = 1
    parts = [np.array([0x78, 0x01], np.uint8)]
    held, held_bits = np.zeros(1, np.uint8), 0
    for first in range(0, height, band_rows):
        last = min(first + band_rows, height)
        kind = _best_filter(padded, first, last, pixel_bytes)
        band = np.empty((last - first, stride + 1), np.uint8)
        band[:, 0] = kind
        band[:, 1:] = _filtered(kind, padded, np.arange(first, last), pixel_bytes)
        adler = zlib.adler32(band.data, adler)
        values, widths = _block_fields(band.ravel(), last == height)
        packed, bits = _pack(np.append(int(held[0]), values), np.append(held_bits, widths))
        parts.append(packed[: bits // 8])
        held, held_bits = packed[bits // 8 :], bits % 8
    parts.append(held[: (held_bits + 7) // 8])
    parts.append(np.array([adler], ">u4").view(np.uint8))
    return np.concatenate(parts)


def _best_filter(padded: Array, first: int, last: int, pixel_bytes: int) -> int:
    sample = np.arange(min(first + SAMPLED // 2, last - 1), last, SAMPLED)
    gains = []
    for kind in FILTERS:
        counts = np.bincount(_filtered(kind, padded, sample, pixel_bytes).ravel(), minlength=256).tolist()
        gains.append(sum(count * int(log2(count)) for count in counts))
    return FILTERS[gains.index(max(gains))]


def _filtered(kind: int, padded: Array, ys: Array, pixel_bytes: int) -> Array:
    """Filter some rows. The padded rows begin with one blank row, and each with one blank pixel."""
    here, left = padded[ys + 1, pixel_bytes:], padded[ys + 1, :-pixel_bytes]
    up, corner = padded[ys, pixel_bytes:], padded[ys, :-pixel_bytes]
    return here - predicted(kind, left, up, corner)


def predicted(kind: int, left: Array, up: Array, corner: Array) -> Array:
    """Return what a filter predicts of its three neighbours (PNG specification, 9.2), uint8."""
    if kind < 3:
        return (np.zeros_like(left), left, up)[kind]
    wide_left, wide_up, wide_corner = (value.astype(np.int16) for value in (left, up, corner))
    if kind == 3:
        return ((wide_left + wide_up) >> 1).astype(np.uint8)
    to_left, to_up = abs(wide_up - wide_corner), abs(wide_left - wide_corner)
    to_corner = abs(wide_left + wide_up - 2 * wide_corner)
    nearer = np.where(to_left <= to_up, left, up)
    return np.where(to_corner < np.minimum(to_left, to_up), corner, nearer)


def _block_fields(band: Array, last: bool) -> tuple[Array, Array]:
    """Return values and widths of all fields of a deflate block."""
    symbols, repeats = _symbols_of(band)
    counts = np.bincount(symbols, minlength=SYMBOLS)
    counts[END_OF_BLOCK] = 1
    lengths = code_lengths(counts, LONGEST_CODE)
    codes = codes_of(lengths)
    values, widths = codes[symbols], lengths[symbols]
    # Behind the extra bits of a match stands a 0, the code of distance 1.
    matches = np.flatnonzero(repeats)
    values[matches] |= (repeats[matches] - MATCH_FIRST[repeats[matches]]) << widths[matches]
    widths[matches] += MATCH_EXTRA[repeats[matches]] + 1
    head_values, head_widths = block_header(lengths, last)
    end = [END_OF_BLOCK]
    return np.concatenate([head_values, values, codes[end]]), np.concatenate([head_widths, widths, lengths[end]])


def _symbols_of(band: Array) -> tuple[Array, Array]:
    """Return the symbols of a band, and for each the length of its match, 0 for literals."""
    symbols = band.astype(np.int64)
    repeats = np.zeros(band.size, np.int64)
    for start, end in _runs(band):
        whole, rest = divmod(end - start, LONGEST_MATCH)
        tail = start + whole * LONGEST_MATCH
        repeats[start:tail:LONGEST_MATCH] = LONGEST_MATCH
        if rest >= SHORTEST_MATCH:
            repeats[tail] = rest
            tail = end
        symbols[start:tail] = -1
    matches = repeats > 0
    symbols[matches] = MATCH_SYMBOL[repeats[matches]]
    kept = symbols >= 0
    return symbols[kept], repeats[kept]


def _runs(band: Array) -> Iterator[tuple[int, int]]:
    """Find the repetitions that the kernel finds: it takes 8 bytes at a time, unless the last 4 are repeated ones."""
    places = np.arange(band.size)
    changed = np.append(True, band[1:] != band[:-1])
    last_change = np.maximum.accumulate(np.where(changed, places, -1)).tolist()
    next_change = np.minimum.accumulate(np.where(changed, places, band.size)[::-1])[::-1].tolist()
    repeated = ~(changed[:-3] | changed[1:-2] | changed[2:-1] | changed[3:])
    # By where in a word they begin: the places of 4 repeated bytes.
    halves = [(np.flatnonzero(repeated[offset::8]) * 8 + offset).tolist() for offset in range(8)]
    at = 0
    while True:
        candidates = halves[(at + 4) % 8]
        n = bisect_left(candidates, at + 4)
        if n == len(candidates):
            return
        at = candidates[n] - 4
        if last_change[at + 3] >= at:
            at = last_change[at + 3] + 1
        else:
            yield at, next_change[at]
            at = next_change[at]


def _pack(values: Array, widths: Array) -> tuple[Array, int]:
    """Write fields one after the other, the lowest bit first; returns the bytes, the last not full, and the bits."""
    ends = np.cumsum(widths)
    starts = ends - widths
    bits = int(ends[-1])
    shifted = values << (starts & 7)  # 20 + 7 bits at most
    out = np.zeros(bits // 8 + 5, np.int64)
    for n in range(4):
        # Bits of two fields never meet, so their sum is their union; sums under 256 are exact in floats.
        out += np.bincount((starts >> 3) + n, (shifted >> 8 * n) & 255, out.size).astype(np.int64)
    return out[: bits // 8 + 1].astype(np.uint8), bits


def restore_rows(filtered: Array, pixel_bytes: int) -> Array:
    """Undo the filters of rows, diagonal by diagonal: on one, no pixel waits for another.

    Args:
        filtered: (H, 1 + stride) uint8: each row after the number of its filter.
        pixel_bytes: from a byte to the same one of the pixel before it.

    Returns:
        (H, stride) uint8.
    """
    height, width = filtered.shape[0], (filtered.shape[1] - 1) // pixel_bytes
    # One blank row above and one blank pixel before each row; a step of `width` goes one down and one to the left.
    pixels = np.zeros(((height + 1) * (width + 1), pixel_bytes), np.uint8)
    rest = filtered[:, 1:].reshape(height, width, pixel_bytes)
    for diagonal in range(height + width - 1):
        top, bottom = max(0, diagonal - width + 1), min(height, diagonal + 1)
        ys = np.arange(top, bottom)
        place = (top + 1) * (width + 1) + diagonal - top + 1
        end = place + (bottom - top - 1) * width + 1
        left, up, corner = (pixels[place - back : end - back : width] for back in (1, width + 1, width + 2))
        guess = np.zeros_like(left)
        for kind in set(filtered[top:bottom, 0].tolist()):
            chosen = filtered[top:bottom, 0] == kind
            guess[chosen] = predicted(kind, left[chosen], up[chosen], corner[chosen])
        pixels[place:end:width] = rest[ys, diagonal - ys] + guess
    return np.ascontiguousarray(pixels.reshape(height + 1, width + 1, pixel_bytes)[1:, 1:]).reshape(height, -1)
