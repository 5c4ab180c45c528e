"""Where the values of a variant come from: the sample's content, its key, or the DPA library's chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from forge_pipeline.digest import digest_bytes
from forge_pipeline.errors import DataError
from forge_pipeline.sample import Json
from forge_pipeline.step import Context, Draw
from forge_steps.augment.dpa import PRESETS, parameters

VALUES = ("rotation", "brightness", "noise", "scale", "contrast")
"""The five drawn values, in the DPA library's order."""

DPA_VARIANT_STRIDE = 1 << 32
"""Variant v of id i takes the DPA parameters of id i + v * 2**32: variant 0 is the library's own."""


class Seeding(Protocol):
    """Gives a sample's draws; every one depends on its own name and variant only."""

    def draw(self, name: str, variant: int) -> Draw:
        """Return the random source of that name and variant."""

    def values(self, preset: str, variant: int) -> Mapping[str, float]:
        """Return the five VALUES of a variant, within the preset's ranges (low included, high not)."""

    def facts(self, variant: int) -> Mapping[str, Json]:
        """Return fields that tell which seed a variant had."""


class ContextSeeding:
    """Draws from recipe seed, step salt and content, and from the sample key where one is given."""

    def __init__(self, context: Context, sample_key: str = "") -> None:
        self._context = context
        self._suffix = f" of {sample_key}" if sample_key else ""

    def draw(self, name: str, variant: int) -> Draw:
        """Return the random source of that name and variant."""
        return self._context.draw(name + self._suffix, variant)

    def values(self, preset: str, variant: int) -> Mapping[str, float]:
        """Return the five values, each by a draw of its own name."""
        ranges = PRESETS[preset]._asdict()
        return {name: self.draw(name, variant).uniform(*ranges[name]) for name in VALUES}

    def facts(self, variant: int) -> Mapping[str, Json]:
        """Return nothing: the drawn values say all."""
        return {}


class DpaSeeding:
    """Takes the DPA library's parameters of an integer id; its own draws hang on the chain's hash."""

    def __init__(self, sample_id: int, depth: int, rank: int | None, base_seed: int) -> None:
        self._id = sample_id
        self._depth = depth
        self._rank = rank
        self._base_seed = base_seed

    def draw(self, name: str, variant: int) -> Draw:
        """Return a random source seeded by the hash of the id itself: the library knows no further draws."""
        chain = self._parameters("moderate", 0)["hash"]
        return Draw(int(digest_bytes(f"{chain}:{name}:{variant}".encode())[:32], 16))

    def values(self, preset: str, variant: int) -> Mapping[str, float]:
        """Return the library's five values."""
        found = self._parameters(preset, variant)
        return {name: found[name] for name in VALUES}

    def facts(self, variant: int) -> Mapping[str, Json]:
        """Return the id that was asked for and its hash."""
        found = self._parameters("moderate", variant)
        return {"dpa_id": found["id"], "dpa_hash": found["hash"]}

    def _parameters(self, preset: str, variant: int) -> Mapping[str, Json]:
        sample_id = self._id + variant * DPA_VARIANT_STRIDE
        return parameters(preset, self._depth, sample_id, self._rank, self._base_seed)


def integer_id(fields: Mapping[str, Json], name: str, variants: int) -> int:
    """Return the field that serves as a DPA id.

    Raises:
        DataError: `no_integer_id`: it is missing, no integer, negative, or so large that variants would meet.
    """
    found = fields.get(name)
    if not isinstance(found, int) or isinstance(found, bool):
        what = "missing" if found is None else f"{found!r}"
        raise DataError(
            "no_integer_id", f"field '{name}' is {what}, expected an integer as DPA id", "set `id_from: index`"
        )
    if found < 0 or (variants > 1 and found >= DPA_VARIANT_STRIDE):
        limit = "below 2**32 where there are variants" if variants > 1 else "0 or more"
        raise DataError(
            "no_integer_id", f"field '{name}' is {found}, expected {limit} as DPA id", "set `id_from: index`"
        )
    return found
