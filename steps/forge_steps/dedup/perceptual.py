"""Keep one of all images that look alike: of copies that were resized, recompressed or slightly retouched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from forge_pipeline.step import Drop, Keep, Metric, Params, Port, Select, Table, operator
from forge_steps._libraries import KERNELS
from forge_steps.dedup._hash import DctHash
from forge_steps.dedup._neighbours import nearest, star
from forge_steps.metrics.header import Megapixels
from forge_steps.metrics.laplacian import Laplacian


class PerceptualParams(Params):
    """Parameters of `dedup.perceptual`."""

    max_distance_bits: int = Field(
        default=8,
        ge=0,
        le=64,
        description=(
            "How many of the 64 bits of two hashes may differ for the images to count as alike. Two unrelated "
            "photographs differ in about 32; a resized or recompressed copy in 0 to 8."
        ),
    )
    keep: Literal["sharpest", "largest", "first"] = Field(
        default="sharpest",
        description=(
            "Which of several alike stays. `sharpest`: the highest `laplacian`, then the most pixels, then the first "
            "sample key. `largest`: the most pixels, then the first sample key. `first`: the first sample key."
        ),
    )


@operator("dedup.perceptual", version=1)
class Perceptual(Select):
    """Drops images within some bits of a better one, by a 64-bit hash of their lowest frequencies.

    A star, not a chain: in the order of `keep`, each image that is not covered yet stays and covers all within the
    radius. So every dropped image is near the one that stays for it, and the listing's order never matters.
    An image of a single colour has no hash, and is neither dropped nor a reason to drop another.
    """

    Params = PerceptualParams
    params: PerceptualParams
    takes: ClassVar[Mapping[str, Port]] = {
        "in": Port("image", description="The images to choose from."),
        "against": Port(
            "image", optional=True, description="Images that must stay apart: what looks like one of them is dropped."
        ),
    }
    libraries = KERNELS

    def metrics(self, port: str) -> Mapping[str, Metric]:
        """Name the hash, and for `in` what the order of keepers needs."""
        named: dict[str, Metric] = {"dct_hash": DctHash(DctHash.Params())}
        if port == "in" and self.params.keep != "first":
            named["megapixels"] = Megapixels(Megapixels.Params())
        if port == "in" and self.params.keep == "sharpest":
            named["laplacian"] = Laplacian(Laplacian.Params())
        return named

    def decide(self, tables: Mapping[str, Table]) -> Sequence[Keep | Drop]:
        """Drop what looks like a held-out image, then what looks like a better image."""
        table = tables["in"]
        texts = table.column("dct_hash")
        judged: list[Keep | Drop] = [Keep({"dct_hash": text}) for text in texts]
        rows = [row for row, text in enumerate(texts) if text]
        if "against" in tables:
            self._drop_held_out(tables["against"], texts, rows, judged)
            rows = [row for row in rows if isinstance(judged[row], Keep)]
        rows.sort(key=_keeper_order(self.params.keep, table))
        keepers, distances = star(_numbers(texts, rows), self.params.max_distance_bits)
        for place, row in enumerate(rows):
            if keepers[place] != place:
                keeper = table.keys[rows[keepers[place]]]
                judged[row] = Drop("duplicate", {"keeper": keeper, "distance_bits": int(distances[place])})
        return judged

    def _drop_held_out(
        self, against: Table, texts: Sequence[str], rows: Sequence[int], judged: list[Keep | Drop]
    ) -> None:
        held_texts = against.column("dct_hash")
        held = [row for row, text in enumerate(held_texts) if text]
        found, distances = nearest(_numbers(texts, rows), _numbers(held_texts, held), self.params.max_distance_bits)
        for place, row in enumerate(rows):
            if found[place] >= 0:
                key = against.keys[held[found[place]]]
                judged[row] = Drop("held_out", {"against": key, "distance_bits": int(distances[place])})


def _keeper_order(keep: str, table: Table) -> Callable[[int], tuple[float, float, str]]:
    """Rank rows, the best first: a total order, for sample keys differ."""
    keys = table.keys
    level = [0.0] * len(keys)
    sharpness = table.column("laplacian") if keep == "sharpest" else level
    megapixels = table.column("megapixels") if keep != "first" else level
    return lambda row: (-sharpness[row], -megapixels[row], keys[row])


def _numbers(texts: Sequence[str], rows: Sequence[int]) -> npt.NDArray[np.uint64]:
    return np.array([int(texts[row], 16) for row in rows], np.uint64)
