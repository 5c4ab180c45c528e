"""The PNG encoder's loops: a filter for each band of rows, one deflate block for each, all in the cache of a core."""

from __future__ import annotations

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
    int64,
    log2,
)
from forge_steps._png_filters import filter_row, restore_row
from forge_steps._png_words import load_word, store_word
from forge_steps.metrics._kernel import kernel

Array = npt.NDArray[Any]
Stream = tuple[Any, Any, Any]  # place, held, bits: see `_put`

_ADLER = 65521
_ADLER_BYTES = 5552  # so many bytes cannot overflow 32 bits (zlib's NMAX)
_BYTE, _WIDTH = np.uint64(255), np.uint64(63)
_SIX, _EIGHT, _HALF = np.uint64(6), np.uint64(8), np.uint64(32)


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
    # No code is longer than 14 bits, no header than 600 bytes. Memory that is not written costs nothing.
    room = 2 * height * (stride + 1) + 1024 * (-(-height // band_rows) + 1)
    out = np.empty(room, np.uint8)
    return out[: _deflate(_lent(rows), pixel_bytes, band_rows, out)]


def restore_rows(filtered: Array, pixel_bytes: int) -> Array:
    """Undo the filters of rows.

    Args:
        filtered: (H, 1 + stride) uint8, C-contiguous: each row after the number of its filter.
        pixel_bytes: from a byte to the same one of the pixel before it.

    Returns:
        (H, stride) uint8.
    """
    rows = np.empty((filtered.shape[0], filtered.shape[1] - 1), np.uint8)
    _restore(_lent(filtered), pixel_bytes, rows)
    return rows


def _lent(rows: Array) -> Array:
    # One read-only type for all callers: numba compiles read-only and writable arrays apart.
    view = rows.view()
    view.flags.writeable = False
    return view


@kernel
def _deflate(rows: Array, pixel_bytes: int, band_rows: int, out: Array) -> Any:
    height, stride = rows.shape
    line = stride + 1
    # Before the band stands a byte that its first one, the number of a filter, cannot repeat.
    scratch = np.empty(band_rows * line + 1, np.uint8)
    scratch[0] = 255
    band = scratch[1:]
    blank = np.zeros(stride, np.uint8)
    out[0], out[1] = 0x78, 0x01
    place, held, bits = int64(2), np.uint64(0), int64(0)
    low, high = int64(1), int64(0)
    for first in range(0, height, band_rows):
        last = min(first + band_rows, height)
        kind = _best_filter(rows, first, last, pixel_bytes, blank, band)
        for y in range(first, last):
            at = (y - first) * line
            band[at] = kind
            filter_row(kind, rows[y], rows[y - 1] if y > 0 else blank, pixel_bytes, band[at + 1 : at + line])
        size = (last - first) * line
        low, high = _add_to_adler(band[:size], low, high)
        place, held, bits = _write_block(scratch[: size + 1], last == height, out, place, held, bits)
    store_word(out, place, held)
    place += (bits + 7) // 8
    for shift in (24, 16, 8, 0):
        out[place] = (high << 16 | low) >> shift & 255
        place += 1
    return place


@kernel
def _restore(filtered: Array, pixel_bytes: int, rows: Array) -> None:
    blank = np.zeros(rows.shape[1], np.uint8)
    for y in range(rows.shape[0]):
        restore_row(filtered[y, 0], filtered[y, 1:], rows[y - 1] if y > 0 else blank, pixel_bytes, rows[y])


@kernel
def _best_filter(rows: Array, first: int, last: int, pixel_bytes: int, blank: Array, scratch: Array) -> int:
    """Choose the filter that leaves the least entropy in a sample of the rows."""
    best, best_gain = 0, int64(-1)
    line = scratch[: rows.shape[1]]
    for kind in FILTERS:
        counts = np.zeros((4, 256), np.int64)
        for y in range(min(first + SAMPLED // 2, last - 1), last, SAMPLED):
            filter_row(kind, rows[y], rows[y - 1] if y > 0 else blank, pixel_bytes, line)
            for x in range(line.size):
                counts[x & 3, line[x]] += 1
        # Entropy is total * log2(total) - sum(count * log2(count)) bits; the total is the same for all.
        gain = int64(0)
        for value in range(256):
            count = counts[0, value] + counts[1, value] + counts[2, value] + counts[3, value]
            gain += count * log2(count)
        if gain > best_gain:
            best, best_gain = kind, gain
    return best


@kernel
def _add_to_adler(data: Array, low: int, high: int) -> tuple[int, int]:
    for first in range(0, data.size, _ADLER_BYTES):
        part = data[first : first + _ADLER_BYTES]
        count = part.size
        plain, weighted = np.uint32(0), np.uint32(0)
        for n in range(count):
            value = np.uint32(part[n])
            plain = np.uint32(plain + value)
            weighted = np.uint32(weighted + np.uint32(value * np.uint32(count - n)))
        high = (high + count * low + int64(weighted)) % _ADLER
        low = (low + int64(plain)) % _ADLER
    return low, high


@kernel
def _write_block(band: Array, last: bool, out: Array, place: int, held: np.uint64, bits: int) -> Stream:
    """Write one deflate block: literals, and repeated bytes as matches of distance 1.

    Args:
        band: one byte that is not written, and the bytes of the block.
        last: no block follows.
        out, place, held, bits: as in `_put`.
    """
    lengths = code_lengths(_count_symbols(band), LONGEST_CODE)
    codes = codes_of(lengths)
    values, widths = block_header(lengths, last)
    for n in range(values.size):
        place, held, bits = _put(out, place, held, bits, np.uint64(values[n] << 6 | widths[n]))
    # A code above its width in six bits: where fields are added up, so are the widths.
    table = np.empty(SYMBOLS, np.uint64)
    for symbol in range(SYMBOLS):
        table[symbol] = np.uint64(codes[symbol] << 6 | lengths[symbol])
    at = int64(1)
    while at + 8 <= band.size:
        word = load_word(band, at)
        # Bytes that repeat the one before them are zero.
        changes = word ^ load_word(band, at - 1)
        if changes >> _HALF != 0:
            place, held, bits = _put_four(out, place, held, bits, table, word)
            place, held, bits = _put_four(out, place, held, bits, table, word >> _HALF)
            at += 8
        elif changes != 0:
            while changes != 0:
                place, held, bits = _put(out, place, held, bits, table[word & _BYTE])
                word, changes = word >> _EIGHT, changes >> _EIGHT
                at += 1
        else:
            end = _end_of_run(band, at)
            place, held, bits = _put_run(out, place, held, bits, table, table[band[at]], end - at)
            at = end
    while at < band.size:
        place, held, bits = _put(out, place, held, bits, table[band[at]])
        at += 1
    return _put(out, place, held, bits, table[END_OF_BLOCK])


@kernel
def _count_symbols(band: Array) -> Array:
    """Count what `_write_block` will write."""
    counts = np.zeros((4, SYMBOLS), np.int64)
    at = int64(1)
    while at + 8 <= band.size:
        word = load_word(band, at)
        changes = word ^ load_word(band, at - 1)
        if changes >> _HALF != 0:
            # Four counters, as adding to one place twice in a row has to wait for the first sum.
            for n in range(8):
                counts[n & 3, (word >> np.uint64(8 * n)) & _BYTE] += 1
            at += 8
        elif changes != 0:
            while changes != 0:
                counts[0, word & _BYTE] += 1
                word, changes = word >> _EIGHT, changes >> _EIGHT
                at += 1
        else:
            end = _end_of_run(band, at)
            whole, rest = divmod(end - at, LONGEST_MATCH)
            counts[0, MATCH_SYMBOL[LONGEST_MATCH]] += whole
            if rest >= SHORTEST_MATCH:
                counts[0, MATCH_SYMBOL[rest]] += 1
            else:
                counts[0, band[at]] += rest
            at = end
    while at < band.size:
        counts[0, band[at]] += 1
        at += 1
    counts[0, END_OF_BLOCK] = 1
    total: Array = counts[0] + counts[1] + counts[2] + counts[3]
    return total


@kernel
def _end_of_run(band: Array, at: int) -> int:
    """Return where the repetitions that begin at `at`, 8 or more, end."""
    at += 8
    while at + 8 <= band.size and load_word(band, at) == load_word(band, at - 1):
        at += 8
    while at < band.size and band[at] == band[at - 1]:
        at += 1
    return at


@kernel
def _put_run(out: Array, place: int, held: np.uint64, bits: int, table: Array, literal: np.uint64, run: int) -> Stream:
    """Write how often a byte is repeated, or the repetitions themselves where a match would be too short."""
    while run > 0:
        length = min(run, LONGEST_MATCH)
        if length >= SHORTEST_MATCH:
            field = table[MATCH_SYMBOL[length]]
            extra = np.uint64(length - MATCH_FIRST[length])
            # Behind the extra bits stands a 0, the code of distance 1.
            widened = (extra << (field & _WIDTH)) << _SIX
            field = (field | widened) + np.uint64(MATCH_EXTRA[length] + 1)
            place, held, bits = _put(out, place, held, bits, field)
            run -= length
        else:
            place, held, bits = _put(out, place, held, bits, literal)
            run -= 1
    return place, held, bits


@kernel
def _put(out: Array, place: int, held: np.uint64, bits: int, field: np.uint64) -> Stream:
    """Append the bits of one field to the stream.

    Args:
        place: where in `out` the next whole byte goes.
        held: bits that are not out yet, fewer than 8.
        bits: how many.
        field: value << 6 | width, at most 56 bits wide.
    """
    held |= (field >> _SIX) << np.uint64(bits)
    bits += int64(field & _WIDTH)
    store_word(out, place, held)
    return place + (bits >> 3), held >> np.uint64(bits & 56), bits & 7


@kernel
def _put_four(out: Array, place: int, held: np.uint64, bits: int, table: Array, word: np.uint64) -> Stream:
    """Append the codes of the four lowest bytes of a word."""
    a, b = table[word & _BYTE], table[(word >> _EIGHT) & _BYTE]
    c, d = table[(word >> np.uint64(16)) & _BYTE], table[(word >> np.uint64(24)) & _BYTE]
    ab, cd = a + b, c + d
    front = (a >> _SIX) | ((b >> _SIX) << (a & _WIDTH))
    back = (c >> _SIX) | ((d >> _SIX) << (c & _WIDTH))
    held |= (front | (back << (ab & _WIDTH))) << np.uint64(bits)
    bits += int64((ab + cd) & _WIDTH)
    store_word(out, place, held)
    return place + (bits >> 3), held >> np.uint64(bits & 56), bits & 7
