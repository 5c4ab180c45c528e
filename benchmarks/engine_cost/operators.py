"""Operators that do next to nothing, imported by the recipes of the benchmark alone: what is left is the engine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from shards_finder import ShardsFinder  # beside this file, as a recipe imports it

from forge_pipeline.sample import Fields
from forge_pipeline.step import LOCATOR, MACHINE, Child, Context, File, Params, Source, Transform, operator


class ShardsParams(Params):
    """Parameters of `bench.shards`."""

    path: Annotated[str, LOCATOR] = Field(description="Folder of the tar files that `shards.py` wrote.")
    count: int = Field(ge=1, description="How many members are taken.")
    members: int = Field(ge=1, description="How many members a tar file has.")


@operator("bench.shards", version=1)
class Shards(Source):
    """Read raw square RGB images out of tar files, whose members it can name without a look at them."""

    Params = ShardsParams
    params: ShardsParams
    libraries = ("numpy",)
    tells = ("bytes",)
    finder = ShardsFinder

    def facts(self, file: File) -> Fields:
        """Tell nothing."""
        return {}

    def load(self, file: File, context: Context) -> Iterator[Child]:
        """Take the bytes as pixels."""
        pixels = np.frombuffer(file.read(), np.uint8)
        side = round((pixels.size / 3) ** 0.5)
        yield Child(pixels.reshape(side, side, 3))


class AddParams(Params):
    """Parameters of `bench.add`."""

    levels: int = Field(default=1, ge=1, le=255, description="What is added to every value.")


@operator("bench.add", version=1)
class Add(Transform):
    """Add a number to every value, modulo 256."""

    Params = AddParams
    params: AddParams
    libraries = ("numpy",)

    def apply(self, value: Any, context: Context) -> Iterator[Child]:
        """Return the sums."""
        yield Child(value + np.uint8(self.params.levels))


class WaitParams(Params):
    """Parameters of `bench.wait`."""

    wait_ms: int = Field(ge=0, description="How long it sleeps.")
    log: Annotated[str, MACHINE] = Field(description="File to which a line is added: when it began and ended, in s.")


@operator("bench.wait", version=1)
class Wait(Transform):
    """Sleep as long as a slow operator would work, and give the negative: a machine that is busy counts little."""

    Params = WaitParams
    params: WaitParams
    libraries = ("numpy",)
    work = "cpu_gil"

    def apply(self, value: Any, context: Context) -> Iterator[Child]:
        """Return the negative."""
        started = time.monotonic()
        time.sleep(self.params.wait_ms / 1000)
        line = f"{started} {time.monotonic()}\n"
        descriptor = os.open(self.params.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
        yield Child(~value)
