"""The seed chain and parameters of the DPA library, to the bit and without touching any global generator.

Imports the standard library alone, but for long ranges: `forge augment-params` starts in the time that Python does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from random import Random
from typing import Any, NamedTuple

DEFAULT_DEPTH = 10
# fib(10000) has 2,090 digits; CPython refuses to print integers of more than 4,300.
MAX_DEPTH = 10_000
_ALONE = 1 << 16
_BATCH = 1 << 14


class Preset(NamedTuple):
    """Ranges (low, high) of the five values. Draws lie in [low, high)."""

    rotation: tuple[float, float]
    brightness: tuple[float, float]
    noise: tuple[float, float]
    scale: tuple[float, float]
    contrast: tuple[float, float]


PRESETS: Mapping[str, Preset] = {
    "mild": Preset((-15.0, 15.0), (0.9, 1.1), (0.0, 0.05), (0.9, 1.1), (0.85, 1.15)),
    "moderate": Preset((-30.0, 30.0), (0.8, 1.2), (0.0, 0.1), (0.8, 1.2), (0.7, 1.3)),
    "aggressive": Preset((-45.0, 45.0), (0.7, 1.3), (0.0, 0.15), (0.7, 1.3), (0.6, 1.4)),
}


def stream_parameters(
    preset: str,
    depth: int,
    start: int,
    stop: int,
    rank: int | None = None,
    world_size: int | None = None,
    base_seed: int = 0,
    split: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield the parameters of the ids start .. stop - 1, one dict each.

    Args:
        preset: `mild`, `moderate` or `aggressive`.
        depth: links of the seed chain, 1 .. MAX_DEPTH.
        start: first id, at least 0.
        stop: end of the range, not included, at least `start`.
        rank: seeds by base seed and rank too, and adds `rank` to each dict; 0 .. world_size - 1.
        world_size: number of ranks, at least 1. Is not part of the seed (as in the library).
        base_seed: seed of the whole run; only in rank mode.
        split: the rank gets its contiguous share of the range instead of all of it.

    Returns:
        Dicts with `id, rotation, brightness, noise, scale, contrast, hash`, and `rank` in rank mode.

    Raises:
        ValueError: an argument is out of its range, found and expected named.
    """
    _check_range(preset, depth, start, stop)
    _check_rank(rank, world_size, base_seed, split)
    if split and rank is not None and world_size is not None:
        first, end = split_range(stop - start, world_size)[rank]
        start, stop = start + first, start + end
    return _stream(PRESETS[preset], _chain_salts(depth), start, stop, rank, base_seed)


def parameters(preset: str, depth: int, sample_id: int, rank: int | None = None, base_seed: int = 0) -> dict[str, Any]:
    """Return the parameters of one id, as `stream_parameters` gives them.

    Raises:
        ValueError: an argument is out of its range.
    """
    _check_range(preset, depth, sample_id, sample_id + 1)
    return next(_one_by_one(PRESETS[preset], _chain_salts(depth), sample_id, sample_id + 1, rank, base_seed))


def split_range(count: int, world_size: int) -> list[tuple[int, int]]:
    """Cut 0 .. count - 1 into one contiguous (start, stop) a rank; the first ranks get one more, empty ones (0, 0)."""
    share, longer = divmod(count, world_size)
    bounds = []
    start = 0
    for rank in range(world_size):
        stop = start + share + (rank < longer)
        bounds.append((start, stop) if stop > start else (0, 0))
        start = stop
    return bounds


def parameter_arrays(preset: str, depth: int, start: int, stop: int) -> dict[str, Any]:
    """Return the parameters of the ids start .. stop - 1 as numpy arrays by name, to the bit the streamed ones.

    Args:
        preset: `mild`, `moderate` or `aggressive`.
        depth: links of the seed chain, 1 .. MAX_DEPTH.
        start: first id, at least 0.
        stop: end of the range, not included, at least `start`, at most 2**63 - 1.

    Returns:
        `id` (n,) int64; `rotation, brightness, noise, scale, contrast` (n,) float64; `hash` (n,) text of 64 hex digits.

    Raises:
        ValueError: an argument is out of its range, found and expected named.
    """
    _check_range(preset, depth, start, stop)
    import numpy as np

    from forge_steps.augment import _dpa_batch
    from forge_steps.metrics._kernel import COMPILED

    if not _dpa_batch.is_in_reach("", stop):
        raise ValueError(f"stop is {stop}, expected {2**63 - 1} or less")
    ids = np.arange(start, stop, dtype=np.int64)
    salts = _chain_salts(depth)
    if COMPILED:
        values, hashes = _dpa_batch.batch("", salts, PRESETS[preset], start, stop)
        return {"id": ids, **dict(zip(Preset._fields, values, strict=True)), "hash": hashes}
    rows = list(_one_by_one(PRESETS[preset], salts, start, stop, None, 0))
    drawn = {name: np.array([row[name] for row in rows], np.float64) for name in Preset._fields}
    return {"id": ids, **drawn, "hash": np.array([row["hash"] for row in rows], "<U64")}


def _stream(
    preset: Preset, salts: tuple[bytes, ...], start: int, stop: int, rank: int | None, base_seed: int
) -> Iterator[dict[str, Any]]:
    # The first ones come at once. To import the compiled kernel takes as long as 40,000 ids one by one.
    alone = stop if stop - start < 2 * _ALONE else start + _ALONE
    yield from _one_by_one(preset, salts, start, alone, rank, base_seed)
    if alone < stop:
        yield from _in_batches(preset, salts, alone, stop, rank, base_seed)


def _in_batches(
    preset: Preset, salts: tuple[bytes, ...], start: int, stop: int, rank: int | None, base_seed: int
) -> Iterator[dict[str, Any]]:
    from forge_steps.augment import _dpa_batch
    from forge_steps.metrics._kernel import COMPILED

    prefix = _prefix(rank, base_seed)
    if not COMPILED or not _dpa_batch.is_in_reach(prefix, stop):
        yield from _one_by_one(preset, salts, start, stop, rank, base_seed)
        return
    ranked = {} if rank is None else {"rank": rank}
    for first in range(start, stop, _BATCH):
        end = min(first + _BATCH, stop)
        values, hashes = _dpa_batch.batch(prefix, salts, preset, first, end)
        for sample_id, drawn, chain in zip(range(first, end), values.T.tolist(), hashes.tolist(), strict=True):
            yield {"id": sample_id, **dict(zip(Preset._fields, drawn, strict=True)), "hash": chain, **ranked}


def _prefix(rank: int | None, base_seed: int) -> str:
    return "" if rank is None else f"{base_seed}:{rank}:"


def _one_by_one(
    preset: Preset, salts: tuple[bytes, ...], start: int, stop: int, rank: int | None, base_seed: int
) -> Iterator[dict[str, Any]]:
    prefix = _prefix(rank, base_seed)
    generator = Random(0)
    # The C method under Random.seed: the Python one only adds the hashing of strings, at 0.9 of our time per id.
    reseed = super(Random, generator).seed
    draw = generator.random
    rotation, rotation_span = _low_and_span(preset.rotation)
    brightness, brightness_span = _low_and_span(preset.brightness)
    noise, noise_span = _low_and_span(preset.noise)
    scale, scale_span = _low_and_span(preset.scale)
    contrast, contrast_span = _low_and_span(preset.contrast)
    for sample_id in range(start, stop):
        chain = sha256(f"{prefix}{sample_id}".encode()).hexdigest()
        for salt in salts:
            chain = sha256(chain.encode() + salt).hexdigest()
        reseed(int(chain[-8:], 16))  # the last 8 hex digits are the integer modulo 2**32
        # Each line is random.uniform; the order of the draws is the library's and must stay.
        values: dict[str, Any] = {
            "id": sample_id,
            "rotation": rotation + rotation_span * draw(),
            "brightness": brightness + brightness_span * draw(),
            "noise": noise + noise_span * draw(),
            "scale": scale + scale_span * draw(),
            "contrast": contrast + contrast_span * draw(),
            "hash": chain,
        }
        if rank is not None:
            values["rank"] = rank
        yield values


def _low_and_span(bounds: tuple[float, float]) -> tuple[float, float]:
    return bounds[0], bounds[1] - bounds[0]


def _chain_salts(depth: int) -> tuple[bytes, ...]:
    """Spell the Fibonacci numbers fib(0) .. fib(depth - 1), which the chain appends."""
    salts = []
    this, following = 0, 1
    for _ in range(depth):
        salts.append(str(this).encode())
        this, following = following, this + following
    return tuple(salts)


def _check_range(preset: str, depth: int, start: int, stop: int) -> None:
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}, expected one of {', '.join(PRESETS)}")
    if not 1 <= depth <= MAX_DEPTH:
        raise ValueError(f"depth is {depth}, expected 1 to {MAX_DEPTH}")
    if start < 0:
        raise ValueError(f"start is {start}, expected 0 or more")
    if stop < start:
        raise ValueError(f"stop is {stop}, expected start ({start}) or more")


def _check_rank(rank: int | None, world_size: int | None, base_seed: int, split: bool) -> None:
    if world_size is not None and world_size < 1:
        raise ValueError(f"world size is {world_size}, expected 1 or more")
    if rank is None:
        for name, given in (
            ("a world size", world_size is not None),
            ("a base seed", base_seed != 0),
            ("split", split),
        ):
            if given:
                raise ValueError(f"{name} is given without a rank")
    elif world_size is None:
        raise ValueError(f"rank {rank} is given without a world size")
    elif not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank}, expected 0 to {world_size - 1} (world size {world_size})")
