"""Parameters of augmentation beside the DPA library's own formulas, equal to the last bit."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

from benchmarks.case import Case, WrongAnswer
from benchmarks.ours import dpa_parameters

_COUNT = 20_000
_DEPTH = 10
_RANGES = {
    "rotation": (-30.0, 30.0),
    "brightness": (0.8, 1.2),
    "noise": (0.0, 0.1),
    "scale": (0.8, 1.2),
    "contrast": (0.7, 1.3),
}


def cases() -> Iterator[Case]:
    """Yield twenty thousand ids of the preset `moderate` at its usual depth."""
    yield Case(
        "dpa_parameters",
        f"{_COUNT:,} ids, moderate, depth {_DEPTH}",
        lambda: dpa_parameters(0, _COUNT, "moderate", _DEPTH),
        _check,
        {"DPA's formulas": lambda: [by_formulas(number) for number in range(_COUNT)]},
        floors={"DPA's formulas": 4},
    )


def by_formulas(number: int) -> dict[str, Any]:
    """Return the parameters of one id as the DPA library computes them (AdrianParedez/dpa 0.2.1)."""
    chain = hashlib.sha256(str(number).encode()).hexdigest()
    for index in range(_DEPTH):
        chain = hashlib.sha256((chain + str(_fibonacci(index))).encode()).hexdigest()
    random.seed(int(chain, 16) % 2**32)
    return {"id": number, **{name: random.uniform(*bounds) for name, bounds in _RANGES.items()}, "hash": chain}


def _fibonacci(index: int) -> int:
    this, following = 0, 1
    for _ in range(index):
        this, following = following, this + following
    return this


def _check() -> None:
    start = 2**31 - 700
    found = dpa_parameters(start, start + 1000, "moderate", _DEPTH)
    for at in range(1000):
        expected = by_formulas(start + at)
        for name in (*_RANGES, "hash"):
            value = found[name][at]
            if (value if isinstance(value, str) else float(value)) != expected[name]:
                raise WrongAnswer(f"{name} of id {start + at} is {expected[name]!r}, found {value!r}")
