"""The parameters of many ids at once, as arrays, to the bit what `dpa` gives one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps.augment._dpa_lanes import (
    LANES,
    MT_WORDS,
    begin_hash,
    draw_words,
    hash_block,
    hash_shared_block,
    seed_twisters,
)
from forge_steps.metrics._kernel import kernel

Array = npt.NDArray[Any]

VALUES = 5
_HEX_CHARACTERS = 64
_BLOCK_BYTES = 64
# A block holds the text, a mark and the length: so many characters of the first text fit, and an id takes up to 19.
_MOST_TEXT_BYTES = _BLOCK_BYTES - 9
_MOST_PREFIX_BYTES = _MOST_TEXT_BYTES - 19
_MOST_ID = 2**63 - 1


def is_in_reach(prefix: str, stop: int) -> bool:
    """Tell whether ids up to `stop`, not included, can be done here: they fit in 63 bits and their text in a block."""
    return len(prefix.encode()) <= _MOST_PREFIX_BYTES and stop <= _MOST_ID


def batch(
    prefix: str, salts: tuple[bytes, ...], bounds: Sequence[tuple[float, float]], start: int, stop: int
) -> tuple[Array, Array]:
    """Compute the five values and the hash of the ids start .. stop - 1; `is_in_reach` says which can be.

    Args:
        prefix: what stands before the id in the text that is hashed first.
        salts: what each link of the chain appends.
        bounds: low and high of each value, in the order in which they are drawn.
        start: first id.
        stop: end of the range, not included.

    Returns:
        (5, n) float64, and (n,) strings of 64 hex digits.

    Source:
        FIPS 180-4 (SHA-256); mt19937ar.c; CPython's random.seed, random.random and random.uniform.
    """
    count = stop - start
    values = np.empty((VALUES, count))
    characters = np.empty((count, _HEX_CHARACTERS), np.uint32)
    lows = np.array([low for low, _ in bounds])
    spans = np.array([high - low for low, high in bounds])
    ends, blocks = _tails(salts)
    _fill(np.frombuffer(prefix.encode(), np.uint8), ends, blocks, lows, spans, start, values, characters)
    return values, characters.view(f"<U{_HEX_CHARACTERS}").reshape(count)


def _tails(salts: tuple[bytes, ...]) -> tuple[Array, Array]:
    """Return what follows on the 64 hex digits in each link: where its blocks end, and all blocks as words."""
    ends, data = [], b""
    for salt in salts:
        padding = b"\x80" + bytes(-(len(salt) + 9) % _BLOCK_BYTES)
        data += salt + padding + ((_HEX_CHARACTERS + len(salt)) * 8).to_bytes(8, "big")
        ends.append(len(data) // _BLOCK_BYTES)
    return np.array(ends), np.frombuffer(data, ">u4").astype(np.uint32).reshape(-1, 16)


@kernel
def _fill(
    prefix: Array,
    ends: Array,
    blocks: Array,
    lows: Array,
    spans: Array,
    start: int,
    values: Array,
    characters: Array,
) -> None:
    state, scratch = np.empty(8 * LANES, np.uint32), np.empty(8 * LANES, np.uint32)
    words, blank = np.empty(64 * LANES, np.uint32), np.zeros(64 * LANES, np.uint32)
    twisters = np.empty(MT_WORDS * LANES, np.uint32)
    text = np.empty(_BLOCK_BYTES, np.uint8)
    count = values.shape[1]
    for first in range(0, count, LANES):
        # The last lanes may count on beyond the range; they are not written.
        used = min(LANES, count - first)
        for lane in range(LANES):
            _spell_id(prefix, start + first + min(lane, used - 1), text)
            for n in range(16):
                words[n * LANES + lane] = _joined(text[4 * n], text[4 * n + 1], text[4 * n + 2], text[4 * n + 3])
        begin_hash(state)
        hash_block(state, words, scratch)
        begin = 0
        for link in range(ends.size):
            _spell_hashes(state, words)
            begin_hash(state)
            hash_block(state, words, scratch)
            for block in range(begin, ends[link]):
                hash_shared_block(state, blocks[block], blank, scratch)
            begin = ends[link]
        # The last 8 hex digits are the integer modulo 2**32.
        seed_twisters(state[7 * LANES :], twisters)
        _draw(twisters, lows, spans, first, used, scratch, values)
        _spell_hashes(state, words)
        for lane in range(used):
            for n in range(16):
                word = words[n * LANES + lane]
                for place in range(4):
                    characters[first + lane, 4 * n + place] = (word >> np.uint32(24 - 8 * place)) & np.uint32(255)


@kernel
def _spell_id(prefix: Array, number: int, text: Array) -> None:
    """Write prefix and decimal digits, padded to one block of SHA-256 (FIPS 180-4, 5.1.1)."""
    size = prefix.size + 1
    rest = number // 10
    while rest > 0:
        rest //= 10
        size += 1
    for n in range(_BLOCK_BYTES):
        text[n] = prefix[n] if n < prefix.size else 0
    text[size] = 0x80
    text[_BLOCK_BYTES - 2], text[_BLOCK_BYTES - 1] = size * 8 >> 8, size * 8 & 255
    for n in range(size - 1, prefix.size - 1, -1):
        text[n] = 48 + number % 10
        number //= 10


@kernel
def _joined(a: np.uint8, b: np.uint8, c: np.uint8, d: np.uint8) -> np.uint32:
    return np.uint32(np.uint32(a) << np.uint32(24) | np.uint32(b) << np.uint32(16) | np.uint32(c) << np.uint32(8) | d)


@kernel
def _spell_hashes(state: Array, words: Array) -> None:
    """Write the hash of each lane as 64 hex digits, the next block of the chain."""
    for n in range(8):
        whole = state[n * LANES : (n + 1) * LANES]
        spelled = words[2 * n * LANES : (2 * n + 2) * LANES]
        for lane in range(LANES):
            spelled[lane] = _hex_digits(whole[lane] >> np.uint32(16))
            spelled[LANES + lane] = _hex_digits(whole[lane] & np.uint32(0xFFFF))


@kernel
def _hex_digits(half: np.uint32) -> np.uint32:
    """Spell 16 bits as four characters, one a byte."""
    spread = (half & np.uint32(0xF000)) << np.uint32(12) | (half & np.uint32(0xF00)) << np.uint32(8)
    spread |= (half & np.uint32(0xF0)) << np.uint32(4) | (half & np.uint32(0xF))
    letters = ((spread + np.uint32(0x06060606)) >> np.uint32(4)) & np.uint32(0x01010101)
    # '0' is 48, and 'a' stands 39 places behind what would follow on '9'.
    return np.uint32(spread + np.uint32(0x30303030) + letters * np.uint32(39))


@kernel
def _draw(twisters: Array, lows: Array, spans: Array, first: int, used: int, scratch: Array, values: Array) -> None:
    """Draw each value: random.uniform over random.random, of two words with 27 and 26 bits."""
    high, low = scratch[:LANES], scratch[LANES : 2 * LANES]
    for n in range(lows.size):
        draw_words(twisters, 2 * n, high)
        draw_words(twisters, 2 * n + 1, low)
        for lane in range(used):
            upper, lower = np.float64(high[lane] >> np.uint32(5)), np.float64(low[lane] >> np.uint32(6))
            values[n, first + lane] = lows[n] + spans[n] * ((upper * 67108864.0 + lower) * (1.0 / 9007199254740992.0))
