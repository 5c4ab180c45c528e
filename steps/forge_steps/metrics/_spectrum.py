"""The average power of luma's differences by frequency, along the lines of a plane; the same bits on every machine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from forge_steps.metrics._kernel import kernel, kernel_or
from forge_steps.metrics._luma import Plane

Array = npt.NDArray[Any]

WINDOW_PX = 128
# Windows a spectrum is averaged over: as many as a 512 x 512 tile has. More only take time.
_ENOUGH = 4096


def _circle() -> tuple[Array, Array]:
    """Return cos and sin of 2 pi k / WINDOW_PX by half angles and rotation.

    IEEE sums, products and square roots are exact to the last bit everywhere; the C library's cosine is not.
    """
    cosine, sine, angle = 0.0, 1.0, 4
    while angle < WINDOW_PX:
        cosine, sine, angle = math.sqrt((1 + cosine) / 2), math.sqrt((1 - cosine) / 2), 2 * angle
    points = [complex(1.0, 0.0)]
    for _ in range(WINDOW_PX - 1):
        x, y = points[-1].real, points[-1].imag
        points.append(complex(x * cosine - y * sine, x * sine + y * cosine))
    return np.array([p.real for p in points]), np.array([p.imag for p in points])


COSINE, _SIN = _circle()
_HANN = 0.5 - 0.5 * COSINE


def power_of_differences(lines: Plane) -> Array:
    """Average |DFT(hann * (p[x] - p[x - 1]))|^2 over windows of 128 pixels, half overlapping.

    Differences, because they flatten the spectrum of a photograph (amplitude about 1 / frequency), so that what leaks
    from low frequencies cannot hide the high ones.

    Args:
        lines: (n, length) luma, length at least 128; of many lines an evenly spread part is used.

    Returns:
        65 powers at 0, 1/128, .. 1/2 cycles a pixel; white noise of variance v in the differences gives v.
    """
    last = lines.shape[1] - WINDOW_PX
    starts = [*range(0, last, WINDOW_PX // 2), last]
    step = max(1, lines.shape[0] * len(starts) // _ENOUGH)
    powers = np.zeros(WINDOW_PX // 2 + 1)
    used = np.ascontiguousarray(lines[::step])
    _accumulate(used, np.array(starts), _HANN, COSINE, _SIN, powers)
    windows = used.shape[0] * len(starts)
    # The Hann window's energy is 3/8 of its length.
    powers /= windows * WINDOW_PX * 0.375
    return powers


def _accumulate_in_numpy(lines: Plane, starts: Array, hann: Array, cosines: Array, sines: Array, powers: Array) -> None:
    size = hann.size
    windows = np.lib.stride_tricks.sliding_window_view(lines, size, axis=1)[:, starts]
    mirror = -np.arange(powers.size) % size
    places = _bit_reversed(size)
    # Some lines at a time, and an even number of windows.
    step = max(2, _ENOUGH // starts.size // 2 * 2)
    for first in range(0, lines.shape[0], step):
        levels = windows[first : first + step].reshape(-1, size)
        loaded = np.zeros((levels.shape[0] + levels.shape[0] % 2, size))
        loaded[: levels.shape[0], places[1:]] = hann[1:] * (levels[:, 1:] - levels[:, :-1])
        real, imaginary = loaded[0::2].copy(), loaded[1::2].copy()
        _transform_in_numpy(real, imaginary, cosines, sines)
        squares = real * real + imaginary * imaginary
        for added in 0.5 * (squares[:, : powers.size] + squares[:, mirror]):
            powers += added


def _bit_reversed(size: int) -> Array:
    bits = size.bit_length() - 1
    return np.array([int(f"{place:0{bits}b}"[::-1], 2) for place in range(size)])


def _transform_in_numpy(real: Array, imaginary: Array, cosines: Array, sines: Array) -> None:
    """Do what `_transform` does in every row."""
    size = real.shape[1]
    half = 1
    while half < size:
        c, s = cosines[:: size // (2 * half)][:half], sines[:: size // (2 * half)][:half]
        pairs_real, pairs_imaginary = real.reshape(-1, 2, half), imaginary.reshape(-1, 2, half)
        real_a, real_b = pairs_real[:, 0].copy(), pairs_real[:, 1].copy()
        imaginary_a, imaginary_b = pairs_imaginary[:, 0].copy(), pairs_imaginary[:, 1].copy()
        x, y = real_b * c + imaginary_b * s, imaginary_b * c - real_b * s
        pairs_real[:, 1], pairs_imaginary[:, 1] = real_a - x, imaginary_a - y
        pairs_real[:, 0], pairs_imaginary[:, 0] = real_a + x, imaginary_a + y
        half *= 2


@kernel_or(_accumulate_in_numpy)
def _accumulate(lines: Plane, starts: Array, hann: Array, cosines: Array, sines: Array, powers: Array) -> None:
    """Transform two windows at a time, one as the real and one as the imaginary part."""
    size = hann.size
    count = lines.shape[0] * starts.size
    real, imaginary = np.empty(size), np.empty(size)
    for pair in range((count + 1) // 2):
        _load(lines, starts, 2 * pair, hann, real)
        if 2 * pair + 1 < count:
            _load(lines, starts, 2 * pair + 1, hann, imaginary)
        else:
            imaginary[:] = 0.0
        _transform(real, imaginary, cosines, sines)
        for k in range(powers.size):
            mirror = (size - k) % size
            here = real[k] * real[k] + imaginary[k] * imaginary[k]
            there = real[mirror] * real[mirror] + imaginary[mirror] * imaginary[mirror]
            powers[k] += 0.5 * (here + there)


@kernel
def _load(lines: Plane, starts: Array, window: int, hann: Array, out: Array) -> None:
    """Write the windowed differences in bit-reversed order, as the transform wants them."""
    line, start = lines[window // starts.size], starts[window % starts.size]
    out[0] = 0.0
    target = 0
    for i in range(1, hann.size):
        bit = hann.size >> 1
        while target & bit:
            target ^= bit
            bit >>= 1
        target |= bit
        out[target] = hann[i] * (line[start + i] - line[start + i - 1])


@kernel
def _transform(real: Array, imaginary: Array, cosines: Array, sines: Array) -> None:
    """Transform in place: radix 2, decimation in time (Cooley & Tukey 1965)."""
    size = real.size
    half = 1
    while half < size:
        stride = size // (2 * half)
        for k in range(half):
            c, s = cosines[k * stride], sines[k * stride]
            for a in range(k, size, 2 * half):
                b = a + half
                x = real[b] * c + imaginary[b] * s
                y = imaginary[b] * c - real[b] * s
                real[b], imaginary[b] = real[a] - x, imaginary[a] - y
                real[a], imaginary[a] = real[a] + x, imaginary[a] + y
        half *= 2
