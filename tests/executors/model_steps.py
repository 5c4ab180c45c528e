"""Operators that leave marks: one holds a model, one takes its time and warns; copied beside a test's recipe."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from forge_pipeline.step import MACHINE, Child, Context, Params, Transform, operator


class ModelParams(Params):
    marks: Annotated[str, MACHINE] = Field(description="a folder that gets a file for every load of the model")


@operator("toy.model", version=1)
class Model(Transform):
    """Pass images on, through a model that takes its time to load."""

    Params = ModelParams
    libraries = ("numpy",)
    work = "gpu"

    def __init__(self, params: ModelParams) -> None:
        super().__init__(params)
        device = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
        Path(params.marks, f"device-{device}-{uuid.uuid4().hex}").touch()

    def apply(self, value: Any, context: Context) -> Iterator[Child]:
        yield Child(value)


class SlowParams(ModelParams):
    slow_s: Annotated[float, MACHINE] = Field(default=0.0, description="takes so long for every image")
    warning: Annotated[str, MACHINE] = Field(default="", description="is logged for every image")


@operator("toy.slow", version=1)
class Slow(Transform):
    """Pass images on, each after a while; a mark tells which process began when."""

    Params = SlowParams
    libraries = ("numpy",)

    def apply(self, value: Any, context: Context) -> Iterator[Child]:
        Path(self.params.marks, f"process-{os.getpid()}-{uuid.uuid4().hex}").touch()
        if self.params.warning:
            logging.getLogger("model_steps").warning(self.params.warning)
        time.sleep(self.params.slow_s)
        yield Child(value)
