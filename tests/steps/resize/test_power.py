"""The power of the DPID kernel against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from forge_steps.metrics._kernel import kernel
from forge_steps.resize._power import power

Array = npt.NDArray[Any]


@kernel
def _all(values: Array, exponent: np.float32, out: Array) -> None:
    for n in range(values.size):
        out[n] = power(values[n], exponent)


@pytest.mark.parametrize("exponent", [0.05, 0.125, 0.35, 0.375, 0.75, 1.0, 1.5, 4.0])
def test_it_is_within_a_millionth_of_float64(exponent: float) -> None:
    values = np.exp(np.random.default_rng(0).uniform(np.log(1e-8), np.log(10.0), 20_000)).astype(np.float32)
    found = np.empty_like(values)
    _all(values, np.float32(exponent), found)
    expected = values.astype(np.float64) ** np.float64(np.float32(exponent))
    # Weights under 2**-100 count as nothing: four times that, so that no rounding decides on which side one lies.
    counted = expected > 2.0**-98
    assert counted.mean() > 0.5
    assert np.abs(found[counted] / expected[counted] - 1).max() <= 1e-6
    assert (found[expected < 2.0**-102] == 0).all()


def test_zero_gives_zero_and_one_gives_one() -> None:
    found = np.empty(3, np.float32)
    _all(np.array([0.0, 1e-40, 1.0], np.float32), np.float32(0.35), found)
    assert found[:2].tolist() == [0, 0]
    assert abs(found[2] - 1) <= 1e-7
