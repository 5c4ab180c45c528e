"""Operators whose model runs on a device with so many bytes of memory; copied beside a test's recipe."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from forge_pipeline.sample import Json
from forge_pipeline.step import (
    MACHINE,
    Child,
    Context,
    Drop,
    Keep,
    Metric,
    Params,
    Select,
    Table,
    Transform,
    in_batches,
    metric,
    operator,
)

VALUE_BYTES = 100
"""What one value takes on the device."""


class DeviceParams(Params):
    """Parameters of what runs on a device."""

    device_bytes: Annotated[int, MACHINE] = Field(default=10**9, description="memory of the device")
    marks: Annotated[str, MACHINE] = Field(default="", description="a folder that gets a file for every batch")


def on_device(params: DeviceParams, step: str, values: Sequence[int], more: int) -> list[int]:
    """Add to values, eight at once if they fit; the processor adds 100 more, so that one sees who did it."""

    def run(batch: Sequence[int]) -> list[int]:
        if len(batch) * VALUE_BYTES > params.device_bytes:
            raise RuntimeError(f"CUDA out of memory. Tried to allocate {len(batch) * VALUE_BYTES} bytes.\nAnd more.")
        _mark(params, f"{step} {len(batch)}")
        return [value + more for value in batch]

    return in_batches(values, run, 8, on_cpu=lambda batch: [value + more + 100 for value in batch])


def _mark(params: DeviceParams, text: str) -> None:
    if params.marks:
        with Path(params.marks, f"{os.getpid()}").open("a") as file:
            file.write(f"{text}\n")


@operator("device.add", version=1)
class Add(Transform):
    """Add 1 to every number, on the device."""

    Params = DeviceParams
    libraries = ("numpy",)
    work = "gpu"

    def apply(self, value: Any, context: Context) -> Iterator[Child]:
        """Yield the sums."""
        numbers = [int(number) for number in value[0, :, 0]]
        added = on_device(self.params, "add", numbers, 1)
        yield Child(np.array(added, np.uint8).reshape(1, -1, 1))


@metric("device.first", version=1)
class First(Metric):
    """The first number, from the device."""

    Params = DeviceParams
    libraries = ("numpy",)
    work = "gpu"

    def measure(self, value: Any) -> Json:
        """Return it."""
        return on_device(self.params, "first", [int(value[0, 0, 0])], 0)[0]


class OverParams(DeviceParams):
    """Parameters of `device.over`."""

    least: int = Field(default=0, description="smallest first number that stays")


@operator("device.over", version=1)
class Over(Select):
    """Keep what begins with a number that is large enough."""

    Params = OverParams

    def metrics(self, port: str) -> Mapping[str, Metric]:
        """Name the first number."""
        params = {name: getattr(self.params, name) for name in ("device_bytes", "marks")}
        return {"first": First(DeviceParams(**params))}

    def decide(self, tables: Mapping[str, Table]) -> Sequence[Keep | Drop]:
        """Judge by it."""
        firsts = tables["in"].column("first")
        return [Keep({"first": n}) if n >= self.params.least else Drop("small", {"first": n}) for n in firsts]
