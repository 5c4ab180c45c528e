"""The rendering intents of colour management, by the names that recipes use (ICC.1:2022, 0.11)."""

from __future__ import annotations

from typing import Literal

Intent = Literal["perceptual", "relative", "saturation", "absolute"]
