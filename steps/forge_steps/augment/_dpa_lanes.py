"""SHA-256 and the seeding of MT19937 for many messages at once, each in a lane of its own, 10 times one by one.

Every array holds its words lane by lane: word n of lane l stands at n * LANES + l. What the compiler needs to see that
lanes are independent, and to use vectors: flat arrays, constant distances, and eight rounds written out to a loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import kernel

Array = npt.NDArray[Any]
Word = Any  # uint32

LANES = 128
MT_WORDS = 624
_BLOCK_WORDS = 16

_PRIMES = [n for n in range(2, 312) if all(n % divisor for divisor in range(2, n))]


def _root_bits(prime: int, power: int) -> int:
    """Return the first 32 bits behind the point of a square (2) or cube (3) root."""
    root = 0
    for bit in range(36, -1, -1):
        if (root | 1 << bit) ** power <= prime << 32 * power:
            root |= 1 << bit
    return root & 0xFFFFFFFF


# FIPS 180-4, 4.2.2 and 5.3.3.
_ROUND_CONSTANTS = np.array([_root_bits(prime, 3) for prime in _PRIMES], np.uint32)
_FIRST_STATE = np.array([_root_bits(prime, 2) for prime in _PRIMES[:8]], np.uint32)


def _first_mt_words() -> Array:
    """Return what init_by_array begins with: init_genrand(19650218)."""
    words = [19650218]
    while len(words) < MT_WORDS:
        words.append((1812433253 * (words[-1] ^ words[-1] >> 30) + len(words)) & 0xFFFFFFFF)
    return np.array(words, np.uint32)


_FIRST_MT_WORDS = _first_mt_words()


@kernel
def begin_hash(state: Array) -> None:
    """Begin a SHA-256 in each lane; `state` is (8 * LANES,) uint32."""
    for n in range(8):
        for lane in range(LANES):
            state[n * LANES + lane] = _FIRST_STATE[n]


@kernel
def hash_block(state: Array, words: Array, scratch: Array) -> None:
    """Take a block of its own into the SHA-256 of each lane.

    Args:
        state: (8 * LANES,) uint32.
        words: (64 * LANES,) uint32: the block in the first 16 words; the others are written.
        scratch: (8 * LANES,) uint32, written.
    """
    for t in range(64 - _BLOCK_WORDS):
        window = words[t * LANES : (t + 17) * LANES]
        for lane in range(LANES):
            grown = _spread_0(window[LANES + lane]) + _spread_1(window[14 * LANES + lane])
            window[16 * LANES + lane] = np.uint32(window[lane] + grown + window[9 * LANES + lane])
    # A copy, which can be written like the other caller's: numba compiles for read-only arrays once more.
    _sixty_four_rounds(state, _ROUND_CONSTANTS.copy(), words, scratch)


@kernel
def hash_shared_block(state: Array, block: Array, blank: Array, scratch: Array) -> None:
    """Take the same block into the SHA-256 of each lane: its words are computed once.

    Args:
        state: (8 * LANES,) uint32.
        block: (16,) uint32.
        blank: (64 * LANES,) uint32, zeros.
        scratch: (8 * LANES,) uint32, written.
    """
    words = np.empty(64, np.uint32)
    for t in range(64):
        if t < _BLOCK_WORDS:
            words[t] = block[t]
        else:
            grown = _spread_0(words[t - 15]) + _spread_1(words[t - 2])
            words[t] = np.uint32(words[t - 16] + grown + words[t - 7])
    for t in range(64):
        words[t] += _ROUND_CONSTANTS[t]
    _sixty_four_rounds(state, words, blank, scratch)


@kernel
def _sixty_four_rounds(state: Array, constants: Array, words: Array, scratch: Array) -> None:
    for n in range(8 * LANES):
        scratch[n] = state[n]
    for t in range(0, 64, 8):
        part = words[t * LANES : (t + 8) * LANES]
        k0, k1, k2, k3 = constants[t], constants[t + 1], constants[t + 2], constants[t + 3]
        k4, k5, k6, k7 = constants[t + 4], constants[t + 5], constants[t + 6], constants[t + 7]
        for lane in range(LANES):
            a, b, c, d = scratch[lane], scratch[LANES + lane], scratch[2 * LANES + lane], scratch[3 * LANES + lane]
            e, f = scratch[4 * LANES + lane], scratch[5 * LANES + lane]
            g, h = scratch[6 * LANES + lane], scratch[7 * LANES + lane]
            # Instead of moving all eight to their next place, the two new ones take the places of those that are done.
            d, h = _round(a, b, c, d, e, f, g, h, np.uint32(k0 + part[lane]))
            c, g = _round(h, a, b, c, d, e, f, g, np.uint32(k1 + part[LANES + lane]))
            b, f = _round(g, h, a, b, c, d, e, f, np.uint32(k2 + part[2 * LANES + lane]))
            a, e = _round(f, g, h, a, b, c, d, e, np.uint32(k3 + part[3 * LANES + lane]))
            h, d = _round(e, f, g, h, a, b, c, d, np.uint32(k4 + part[4 * LANES + lane]))
            g, c = _round(d, e, f, g, h, a, b, c, np.uint32(k5 + part[5 * LANES + lane]))
            f, b = _round(c, d, e, f, g, h, a, b, np.uint32(k6 + part[6 * LANES + lane]))
            e, a = _round(b, c, d, e, f, g, h, a, np.uint32(k7 + part[7 * LANES + lane]))
            scratch[lane], scratch[LANES + lane], scratch[2 * LANES + lane], scratch[3 * LANES + lane] = a, b, c, d
            scratch[4 * LANES + lane], scratch[5 * LANES + lane] = e, f
            scratch[6 * LANES + lane], scratch[7 * LANES + lane] = g, h
    for n in range(8 * LANES):
        state[n] += scratch[n]


@kernel
def _round(
    a: Word, b: Word, c: Word, d: Word, e: Word, f: Word, g: Word, h: Word, addend: Word
) -> tuple[np.uint32, np.uint32]:
    """Return what follows on d and on h (FIPS 180-4, 6.2.2)."""
    mixed = _turned(e, 6) ^ _turned(e, 11) ^ _turned(e, 25)
    first = np.uint32(h + mixed + (g ^ (e & (f ^ g))) + addend)
    second = (_turned(a, 2) ^ _turned(a, 13) ^ _turned(a, 22)) + ((a & b) | (c & (a | b)))
    return np.uint32(d + first), np.uint32(first + second)


@kernel
def _spread_0(word: Word) -> np.uint32:
    return np.uint32(_turned(word, 7) ^ _turned(word, 18) ^ (word >> np.uint32(3)))


@kernel
def _spread_1(word: Word) -> np.uint32:
    return np.uint32(_turned(word, 17) ^ _turned(word, 19) ^ (word >> np.uint32(10)))


@kernel
def _turned(word: Word, bits: int) -> np.uint32:
    """Rotate right; compiled for each number of bits."""
    return np.uint32((word >> np.uint32(bits)) | (word << np.uint32(32 - bits)))


@kernel
def seed_twisters(keys: Array, states: Array) -> None:
    """Seed an MT19937 in each lane as random.seed does with a whole number under 2**32.

    Args:
        keys: (LANES,) uint32.
        states: (624 * LANES,) uint32, written.

    Source:
        Matsumoto & Nishimura: mt19937ar.c (2002), init_by_array with one key.
    """
    for lane in range(LANES):
        states[lane] = _FIRST_MT_WORDS[0]
    last, second = states[623 * LANES : 624 * LANES], states[LANES : 2 * LANES]
    for n in range(1, MT_WORDS):
        both = states[(n - 1) * LANES : (n + 1) * LANES]
        word = _FIRST_MT_WORDS[n]
        for lane in range(LANES):
            both[LANES + lane] = np.uint32((word ^ _stirred(both[lane], 1664525)) + keys[lane])
    for lane in range(LANES):
        second[lane] = np.uint32((second[lane] ^ _stirred(last[lane], 1664525)) + keys[lane])
    for n in range(2, MT_WORDS):
        both = states[(n - 1) * LANES : (n + 1) * LANES]
        number = np.uint32(n)
        for lane in range(LANES):
            both[LANES + lane] = np.uint32((both[LANES + lane] ^ _stirred(both[lane], 1566083941)) - number)
    for lane in range(LANES):
        second[lane] = np.uint32((second[lane] ^ _stirred(last[lane], 1566083941)) - np.uint32(1))
        states[lane] = np.uint32(1 << 31)


@kernel
def _stirred(word: Word, factor: int) -> np.uint32:
    return np.uint32((word ^ (word >> np.uint32(30))) * np.uint32(factor))


@kernel
def draw_words(states: Array, number: int, out: Array) -> None:
    """Write output `number` of each lane's generator, 0 to 226: those need no state but the seeded one.

    Args:
        states: (624 * LANES,) uint32, as seeded.
        number: which output.
        out: (LANES,) uint32, written.
    """
    this, following = states[number * LANES : (number + 1) * LANES], states[(number + 1) * LANES : (number + 2) * LANES]
    far = states[(number + 397) * LANES : (number + 398) * LANES]
    for lane in range(LANES):
        joined = np.uint32((this[lane] & np.uint32(0x80000000)) | (following[lane] & np.uint32(0x7FFFFFFF)))
        word = np.uint32(
            far[lane] ^ (joined >> np.uint32(1)) ^ (np.uint32(joined & np.uint32(1)) * np.uint32(0x9908B0DF))
        )
        word ^= word >> np.uint32(11)
        word ^= (word << np.uint32(7)) & np.uint32(0x9D2C5680)
        word ^= (word << np.uint32(15)) & np.uint32(0xEFC60000)
        out[lane] = np.uint32(word ^ (word >> np.uint32(18)))
