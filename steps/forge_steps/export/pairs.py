"""`export.pairs`: publish HR and LR images as pairs that every trainer loads, each pair checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from forge_pipeline.errors import DataError
from forge_pipeline.sample import Json
from forge_pipeline.step import LOCATOR, Export, ExportFile, Inspection, Joined, Params, Port, operator
from forge_steps._libraries import KERNELS
from forge_steps.export._trainers import meta_info, snippets

if TYPE_CHECKING:
    from forge_steps.export._pair_check import Verdict

Image = npt.NDArray[Any]

_CHANNELS = {1: "gray", 2: "gray+alpha", 3: "RGB", 4: "RGBA"}
_DEPTHS = {"uint8": "8-bit", "uint16": "16-bit", "float32": "float"}


class PairsParams(Params):
    """Parameters of `export.pairs`."""

    path: Annotated[str, LOCATOR] = Field(min_length=1, description="Folder to publish to.")
    scale: int = Field(ge=1, description="HR pixels per LR pixel: HR must be exactly this many times LR.")
    on_mismatch: Literal["error", "crop"] = Field(
        default="error",
        description="An HR larger by less than `scale` pixels: quarantined, or cropped at its right and bottom.",
    )
    trainers: tuple[Literal["basicsr", "redux", "neosr"], ...] = Field(
        default=("basicsr", "redux", "neosr"),
        description="Trainers for which option snippets are written (traiNNer-redux is `redux`).",
    )
    min_correlation: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="Pair check: the least correlation of LR and downscaled HR, of their detail, at zero shift.",
    )


@operator("export.pairs", version=1)
class Pairs(Export):
    """Publish pairs in the layout that BasicSR, traiNNer-redux and neosr all load, and check that they are pairs.

    Flat `hr/` and `lr/` with equal names, PNG, 8-bit RGB, HR exactly `scale` times LR; beside them `meta_info.txt`,
    `train_snippet.yaml` (BasicSR, traiNNer-redux) and `train_snippet.toml` (neosr).

    Pair check: the LR's luma and the box mean of the HR's, each less its 3 x 3 mean, must correlate by at least
    `min_correlation`, and no better (by more than 0.01) at any other shift of up to 2 LR pixels. Images without
    detail (variance below half a squared level) are judged by luma at zero shift; those without any, or with an LR
    under 16 pixels a side, are exempt. Brightness and contrast may differ.
    Source: docs/explanation/pair-check.md has the bounds and what they were measured on.
    """

    Params: ClassVar[type[Params]] = PairsParams
    params: PairsParams
    takes: ClassVar[Mapping[str, Port]] = {
        "hr": Port("image", description="high-resolution images"),
        "lr": Port("image", description="their downscales, of the same sample keys"),
    }
    libraries = KERNELS
    inspects = True
    memory_expansion = 2.0

    def folder(self) -> str:
        """Return the folder to publish to."""
        return self.params.path

    def inspect(self, values: Mapping[str, Image]) -> Inspection:
        """Check modes, sizes and correspondence of one pair.

        Returns:
            `pair_check` (what it was judged by) and `pair_correlation`; the cropped HR where it had to be cropped.

        Raises:
            DataError: `unsupported_mode`, `size_mismatch`, `not_a_pair`.
        """
        # Late, so that a run in which nothing is exported anew does not import numba.
        from forge_steps.export._pair_check import check_pair

        hr, lr = values["hr"], values["lr"]
        _check_mode("hr", hr)
        _check_mode("lr", lr)
        fitted = self._fitted(hr, lr)
        verdict = check_pair(fitted, lr, self.params.scale)
        self._judge(verdict)
        facts: dict[str, Json] = {"pair_check": verdict.judged_by, "pair_correlation": _rounded(verdict.correlation)}
        return Inspection(facts, {} if fitted is hr else {"hr": fitted})

    def files(self, rows: Sequence[Joined]) -> Iterator[ExportFile]:
        """Name two files a row."""
        for row in rows:
            yield ExportFile(f"hr/{row.stem}.png", row.key, "hr")
            yield ExportFile(f"lr/{row.stem}.png", row.key, "lr")

    def side_files(self, rows: Sequence[Joined]) -> Mapping[str, bytes]:
        """Return BasicSR's list of pairs and the option snippets."""
        scale = self.params.scale
        # From the LR: the HR may have been cropped since its header was read.
        sizes = [(row.stem, int(row.headers["lr"]["width"]), int(row.headers["lr"]["height"])) for row in rows]
        listed = meta_info((f"{stem}.png", width * scale, height * scale) for stem, width, height in sizes)
        smallest = min((min(width, height) for _, width, height in sizes), default=None)
        return {"meta_info.txt": listed, **snippets(self.params.trainers, scale, smallest)}

    def _fitted(self, hr: Image, lr: Image) -> Image:
        """Return the HR as it is or cropped to scale times the LR."""
        scale = self.params.scale
        height, width = lr.shape[0] * scale, lr.shape[1] * scale
        over_y, over_x = hr.shape[0] - height, hr.shape[1] - width
        if over_y == over_x == 0:
            return hr
        mendable = 0 <= over_y < scale and 0 <= over_x < scale
        if mendable and self.params.on_mismatch == "crop":
            return np.ascontiguousarray(hr[:height, :width])
        found = f"hr is {hr.shape[1]} x {hr.shape[0]}, not {scale} times lr at {lr.shape[1]} x {lr.shape[0]}"
        hint = f"cut tiles of a size that {scale} divides, or set `on_mismatch: crop`"
        raise DataError("size_mismatch", found, hint if mendable else _scale_hint(hr, lr))

    def _judge(self, verdict: Verdict) -> None:
        if verdict.correlation is None:
            return
        least = self.params.min_correlation
        hint = "take `lr` from a step that resizes the very step that `hr` is"
        if verdict.best_shift != (0, 0):
            x, y = verdict.best_shift
            raise DataError(
                "not_a_pair",
                f"lr fits hr best when moved by ({x}, {y}) pixels: correlation {verdict.best_correlation:.3f} there, "
                f"{verdict.correlation:.3f} at zero shift",
                hint,
            )
        if verdict.correlation < least:
            raise DataError(
                "not_a_pair",
                f"lr is not hr's downscale: their {verdict.judged_by} correlates {verdict.correlation:.3f}, "
                f"expected at least {least}",
                hint,
            )


def _check_mode(port: str, image: Image) -> None:
    if image.shape[2] == 3 and image.dtype == np.uint8:
        return
    found = f"{_CHANNELS[image.shape[2]]} {_DEPTHS[image.dtype.name]}"
    raise DataError("unsupported_mode", f"{port} is {found}, expected RGB 8-bit", _mode_hint(image))


def _scale_hint(hr: Image, lr: Image) -> str:
    """Name the scale that the two images do have, if they have one."""
    ratio = max(hr.shape[0] // lr.shape[0], 1)
    # A resize step leaves out the rows and columns that do not fill a last pixel.
    alike = all(0 <= large - small * ratio < ratio for large, small in zip(hr.shape[:2], lr.shape[:2], strict=True))
    return f"set `scale: {ratio}`" if alike else "give both ports the same tiles"


def _mode_hint(image: Image) -> str:
    """Name the reader's policy that gives RGB 8-bit."""
    if image.shape[2] in (2, 4):
        return "set `alpha: white` in read.images"
    if image.shape[2] == 1:
        return "set `gray: rgb` in read.images"
    return "set `depth: to8` in read.images"


def _rounded(correlation: float | None) -> float | None:
    return None if correlation is None else round(correlation, 6)
