"""Parameters of an operator, and what they mean to action keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True)
class Role:
    """What a parameter means to action keys; written as `Annotated[str, LOCATOR]`."""

    name: Literal["locator", "machine"]


LOCATOR = Role("locator")
"""A path: what it names enters the key, the path itself does not."""
MACHINE = Role("machine")
"""A matter of this machine (threads, batch sizes): never enters a key, never changes bytes."""


class Params(BaseModel):
    """Parameters of an operator: frozen, strict about names; every field has a description and a unit in its name."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
