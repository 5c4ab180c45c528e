"""Which libraries an operator declares that runs kernels, told without importing any of them."""

from __future__ import annotations

from importlib.util import find_spec

KERNELS = ("numba", "numpy") if find_spec("numba") else ("numpy",)
"""The version of a library that is not installed cannot be part of a key; numpy gives the same pixels then."""
