"""All metrics by the name that a recipe uses; one place, so that a name never means two things."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from forge_pipeline.step import Metric
from forge_steps.metrics.blockiness import Blockiness
from forge_steps.metrics.clipping import Clipping
from forge_steps.metrics.edge_density import EdgeDensity
from forge_steps.metrics.entropy import Entropy
from forge_steps.metrics.header import Aspect, Height, Megapixels, Width
from forge_steps.metrics.laplacian import Laplacian
from forge_steps.metrics.native_scale import NativeScale
from forge_steps.metrics.noise_sigma import NoiseSigma

METRICS: Mapping[str, type[Metric]] = MappingProxyType(
    {
        "aspect": Aspect,
        "blockiness": Blockiness,
        "clipping": Clipping,
        "edge_density": EdgeDensity,
        "entropy": Entropy,
        "height": Height,
        "laplacian": Laplacian,
        "megapixels": Megapixels,
        "native_scale": NativeScale,
        "noise_sigma": NoiseSigma,
        "width": Width,
    }
)
