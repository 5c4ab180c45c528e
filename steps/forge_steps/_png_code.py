"""The Huffman codes of a deflate block: lengths, codes and the block's header, one piece of code for both encoders.

The functions are written for numba and give the same integers where they are interpreted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import kernel

Array = npt.NDArray[Any]

# Sized integers: numba compiles a function once more for each literal that it is called with.
int64: Any = np.int64

END_OF_BLOCK = 256
SYMBOLS = 286
# 4 literals of 14 bits and the 7 bits left of a byte fit in 64: so 4 are written at once. Deflate allows 15.
LONGEST_CODE = int64(14)
_LONGEST_META_CODE = int64(7)
# The order in which deflate lists the lengths of the code that the lengths are written in (RFC 1951, 3.2.7).
_META_ORDER = np.array([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15])
_REPEAT_BITS = np.array([0] * 16 + [2, 3, 7])

SHORTEST_MATCH, LONGEST_MATCH = 3, 258

NONE, SUB, UP, AVERAGE, PAETH = range(5)
# Which filter wins where two do equally well: the one that is undone fastest.
FILTERS = (UP, SUB, AVERAGE, PAETH, NONE)
# Every so many rows one is tried with all filters.
SAMPLED = 8


def _match_lengths() -> tuple[Array, Array, Array]:
    """Return, by length of a match, its symbol, the first length of that symbol, and the number of extra bits."""
    symbols, firsts, extras = (np.zeros(LONGEST_MATCH + 1, np.int64) for _ in range(3))
    symbol, first = 257, SHORTEST_MATCH
    while symbol < SYMBOLS - 1:
        extra = max(0, (symbol - 261) // 4)
        for length in range(first, min(first + (1 << extra), LONGEST_MATCH + 1)):
            symbols[length], firsts[length], extras[length] = symbol, first, extra
        symbol, first = symbol + 1, first + (1 << extra)
    symbols[LONGEST_MATCH], firsts[LONGEST_MATCH], extras[LONGEST_MATCH] = SYMBOLS - 1, LONGEST_MATCH, 0
    return symbols, firsts, extras


MATCH_SYMBOL, MATCH_FIRST, MATCH_EXTRA = _match_lengths()

# log2 in 1/65536 of a bit. No value lies near a tie, so any C library gives these.
LOG2 = np.array([0, *(round(math.log2(n) * 65536) for n in range(1, 512))])


@kernel
def log2(count: int) -> int:
    """Return log2(count) in 1/65536 of a bit, of the leading 9 bits of the count; 0 for 0."""
    shift = 0
    while count >> shift >= 512:
        shift += 1
    found: int = LOG2[count >> shift] + (shift << 16)
    return found


@kernel
def code_lengths(counts: Array, longest: int) -> Array:
    """Return the length in bits of each symbol's code, 0 for symbols that do not occur.

    Args:
        counts: how often each symbol occurs, int64; at least two do.
        longest: no code gets longer.

    Source:
        Moffat & Katajainen: In-place calculation of minimum-redundancy codes, 1995. Codes over the limit are cut
        to it, and others made longer until the code is whole again, as in miniz.
    """
    ranked = _ranked(counts)
    used = ranked.size
    of_length = _count_lengths(ranked >> 9, longest)
    kraft = 0
    for bits in range(1, longest + 1):
        kraft += of_length[bits] << (longest - bits)
    while kraft > 1 << longest:
        of_length[longest] -= 1
        bits = longest - 1
        while of_length[bits] == 0:
            bits -= 1
        of_length[bits] -= 1
        of_length[bits + 1] += 2
        kraft -= 1
    lengths = np.zeros(counts.size, np.int64)
    rank = used
    for bits in range(1, longest + 1):
        for _ in range(of_length[bits]):
            rank -= 1
            lengths[ranked[rank] & 511] = bits
    return lengths


@kernel
def _ranked(counts: Array) -> Array:
    """Return count << 9 | symbol of the symbols that occur, ascending."""
    ranked = np.empty(counts.size, np.int64)
    used = 0
    for symbol in range(counts.size):
        if counts[symbol] > 0:
            ranked[used] = counts[symbol] << 9 | symbol
            used += 1
    for gap in (57, 23, 10, 4, 1):
        for n in range(gap, used):
            value = ranked[n]
            at = n
            while at >= gap and ranked[at - gap] > value:
                ranked[at] = ranked[at - gap]
                at -= gap
            ranked[at] = value
    return ranked[:used]


@kernel
def _count_lengths(work: Array, longest: int) -> Array:
    """Return how many codes have each length; longer ones are counted as `longest`. `work` is used up."""
    used = work.size
    leaf, root = 2, 0
    work[0] += work[1]
    for node in range(1, used - 1):
        total = 0
        for _ in range(2):
            if leaf >= used or (root < node and work[root] < work[leaf]):
                total += work[root]
                work[root] = node
                root += 1
            else:
                total += work[leaf]
                leaf += 1
        work[node] = total
    # The parent of each inner node stands in its place; now its depth.
    work[used - 2] = 0
    for node in range(used - 3, -1, -1):
        work[node] = work[work[node]] + 1
    of_length = np.zeros(longest + 1, np.int64)
    free, depth, node = 1, 0, used - 2
    while free > 0:
        inside = 0
        while node >= 0 and work[node] == depth:
            inside += 1
            node -= 1
        of_length[min(depth, longest)] += free - inside
        free = 2 * inside
        depth += 1
    return of_length


@kernel
def codes_of(lengths: Array) -> Array:
    """Return the canonical code of each symbol, its first bit lowest, as deflate writes it."""
    following = np.zeros(17, np.int64)
    for symbol in range(lengths.size):
        if lengths[symbol] > 0:
            following[lengths[symbol] + 1] += 1
    for bits in range(1, 17):
        following[bits] = (following[bits - 1] + following[bits]) << 1
    codes = np.zeros(lengths.size, np.int64)
    for symbol in range(lengths.size):
        bits = lengths[symbol]
        if bits > 0:
            code = following[bits]
            following[bits] += 1
            for _ in range(bits):
                codes[symbol] = codes[symbol] << 1 | (code & 1)
                code >>= 1
    return codes


@kernel
def block_header(lengths: Array, last: bool) -> tuple[Array, Array]:
    """Return values and widths of the fields that open a block with these codes (RFC 1951, 3.2.7).

    Two distances of 1 bit follow, of which only the first, distance 1, is used: some readers refuse a lone one.
    """
    used = SYMBOLS
    while lengths[used - 1] == 0:
        used -= 1
    listed = np.ones(used + 2, np.int64)
    for symbol in range(used):  # numba compiles the assignment of a slice for a second and a half
        listed[symbol] = lengths[symbol]
    symbols, extras = _run_lengths(listed)
    counts = np.zeros(19, np.int64)
    for symbol in symbols:
        counts[symbol] += 1
    meta_lengths = code_lengths(counts, _LONGEST_META_CODE)
    meta_codes = codes_of(meta_lengths)
    shown = 19
    while meta_lengths[_META_ORDER[shown - 1]] == 0:
        shown -= 1
    values = np.empty(5 + shown + 2 * symbols.size, np.int64)
    widths = np.zeros(values.size, np.int64)
    # Last block, dynamic codes, symbols, distances, lengths of the code that the lengths are written in.
    values[0], widths[0] = int(last), 1
    values[1], widths[1] = 2, 2
    values[2], widths[2] = used - 257, 5
    values[3], widths[3] = 1, 5
    values[4], widths[4] = shown - 4, 4
    for n in range(shown):
        values[5 + n], widths[5 + n] = meta_lengths[_META_ORDER[n]], 3
    at = 5 + shown
    for n in range(symbols.size):
        symbol = symbols[n]
        values[at], widths[at] = meta_codes[symbol], meta_lengths[symbol]
        values[at + 1] = extras[n]
        widths[at + 1] = _REPEAT_BITS[symbol]
        at += 2
    return values, widths


@kernel
def _run_lengths(listed: Array) -> tuple[Array, Array]:
    """Spell code lengths with runs: 16 repeats the last one 3..6 times, 17 and 18 are 3..10 and 11..138 zeros."""
    symbols, extras = np.zeros(listed.size, np.int64), np.zeros(listed.size, np.int64)
    count = 0
    at = 0
    while at < listed.size:
        run = 1
        while at + run < listed.size and listed[at + run] == listed[at]:
            run += 1
        if listed[at] == 0 and run >= 3:
            run = min(run, 138)
            symbols[count], extras[count] = (17, run - 3) if run < 11 else (18, run - 11)
        elif at > 0 and listed[at] == listed[at - 1] and run >= 3:
            run = min(run, 6)
            symbols[count], extras[count] = 16, run - 3
        else:
            run = 1
            symbols[count] = listed[at]
        count += 1
        at += run
    return symbols[:count], extras[:count]
