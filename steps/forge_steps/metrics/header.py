"""What an image's header says of its size, as metrics: no pixel is decoded for them."""

from __future__ import annotations

from typing import ClassVar

from forge_pipeline.sample import Fields
from forge_pipeline.step import Metric, metric


class HeaderMetric(Metric):
    """A metric of the header: `measure` is given its facts (`width`, `height`, `channels`, `dtype`)."""

    reads = "header"
    range: ClassVar[tuple[float | None, float | None]] = (0.0, None)
    source = "the image's header"


@metric("width", version=1)
class Width(HeaderMetric):
    """The width in pixels."""

    direction = "higher is better"
    unit = "px"

    def measure(self, value: Fields) -> int:
        """Return the width."""
        return int(value["width"])


@metric("height", version=1)
class Height(HeaderMetric):
    """The height in pixels."""

    direction = "higher is better"
    unit = "px"

    def measure(self, value: Fields) -> int:
        """Return the height."""
        return int(value["height"])


@metric("megapixels", version=1)
class Megapixels(HeaderMetric):
    """Width x height in millions."""

    direction = "higher is better"
    unit = "Mpx"

    def measure(self, value: Fields) -> float:
        """Return the number of pixels / 1,000,000."""
        return int(value["width"]) * int(value["height"]) / 1_000_000


@metric("aspect", version=1)
class Aspect(HeaderMetric):
    """Width / height: above 1 is landscape, below 1 portrait."""

    direction = "neither"
    unit = "width / height"

    def measure(self, value: Fields) -> float:
        """Return width / height."""
        return int(value["width"]) / int(value["height"])
