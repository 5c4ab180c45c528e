"""Downscale by DPID: small details that a mean would wash out keep more weight."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from forge_pipeline.step import operator
from forge_steps.resize._dpid import MAX_LAMBDA, reduce_by_dpid
from forge_steps.resize._reduce import Image, Reduce, ReduceParams, Size


class DpidParams(ReduceParams):
    """Parameters of `resize.dpid`."""

    scale: float = Field(gt=1, le=256, description="How many input pixels become one, on each axis.")
    lam: Annotated[float, Field(ge=0, le=MAX_LAMBDA)] | Literal["auto"] = Field(
        default=0.5,
        alias="lambda",
        description=(
            "How much a difference from the surroundings weighs: 0 is the box mean, 1 the paper's default, "
            "`auto` is (scale - 1) / scale."
        ),
    )
    boundary: Literal["replicate", "renormalize"] = Field(
        default="replicate",
        description=(
            "What the guidance takes for its neighbours beyond the border: `replicate` repeats the outermost row "
            "(pepedpid), `renormalize` leaves them out (the authors' code). Only the border of the result differs."
        ),
    )


@operator("resize.dpid", version=1)
class Dpid(Reduce):
    """Downscales by the detail-preserving method of Weber et al., SIGGRAPH Asia 2016."""

    Params = DpidParams
    params: DpidParams

    def reduce(self, image: Image, size: Size) -> Image:
        """Return the downscaled image."""
        scale, lam = self.params.scale, self.params.lam
        power = (scale - 1) / scale if lam == "auto" else lam
        return reduce_by_dpid(image, size, power, self.params.boundary, self.name)
