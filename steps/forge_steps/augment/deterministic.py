"""`augment.deterministic`: variants of an image whose geometry, tones and noise are drawn without any global state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy.typing as npt
from pydantic import Field, model_validator

from forge_pipeline.errors import Reject
from forge_pipeline.sample import Fields, Json
from forge_pipeline.step import Child, Context, Params, Partial, Transform, operator
from forge_steps._libraries import KERNELS
from forge_steps.augment._render import DIHEDRAL, Tone, Warp, lay, render, valid_size
from forge_steps.augment._seeding import ContextSeeding, DpaSeeding, Seeding, integer_id
from forge_steps.augment.dpa import DEFAULT_DEPTH, MAX_DEPTH

Image = npt.NDArray[Any]

_DPA_ONLY: dict[str, Json] = {"id_from": "index", "depth": DEFAULT_DEPTH, "rank": None, "base_seed": 0}


class DeterministicParams(Params):
    """Parameters of `augment.deterministic`."""

    variants: int = Field(default=1, ge=1, le=10_000, description="Images made of each sample: children v0, v1, ...")
    geometry: Literal["none", "dihedral", "free"] = Field(
        default="dihedral",
        description="`dihedral`: one of the eight turns and mirrorings, without loss. `free`: the preset's rotation "
        "and scale, resampled by a bicubic kernel and cropped to the area that needs no invented pixel.",
    )
    preset: Literal["none", "mild", "moderate", "aggressive"] = Field(
        default="none",
        description="Ranges of rotation, brightness, noise, scale and contrast; `none` leaves tones as they are.",
    )
    seeding: Literal["content", "key", "dpa"] = Field(
        default="content",
        description="What draws hang on: the pixels, the pixels and the sample key, or the DPA library's integer id.",
    )
    keep_original: bool = Field(
        default=False, description="Variant 0 is the sample as it is; else every variant is drawn."
    )
    align_px: int = Field(
        default=1,
        ge=1,
        description="Round the size of a `free` crop down to multiples of this; set it to the scale of the pairs.",
    )
    id_from: str = Field(
        default="index",
        min_length=1,
        description="DPA id of a sample: `index` (rank in the sorted input, so a file put in re-runs those after it) "
        "or the name of an integer field.",
    )
    depth: int = Field(default=DEFAULT_DEPTH, ge=1, le=MAX_DEPTH, description="Links of the DPA seed chain.")
    rank: int | None = Field(default=None, ge=0, description="DPA rank mode: seed by base seed and this rank too.")
    base_seed: int = Field(default=0, description="Base seed of the DPA rank mode.")

    @model_validator(mode="after")
    def _agree(self) -> DeterministicParams:
        if self.geometry == "free" and self.preset == "none":
            raise ValueError(
                "geometry 'free' takes its ranges from a preset: preset is 'none', expected mild or stronger"
            )
        drawn = self.variants - self.keep_original
        different = (8 if self.geometry == "dihedral" else 1) - self.keep_original
        if self.preset == "none" and drawn > max(different, 0):
            raise ValueError(
                f"variants is {self.variants}, but geometry '{self.geometry}' with preset 'none' gives only "
                f"{different + self.keep_original} different images"
            )
        if self.seeding != "dpa":
            for name, default in _DPA_ONLY.items():
                if getattr(self, name) != default:
                    raise ValueError(
                        f"{name} is {getattr(self, name)!r}, but seeding is '{self.seeding}', expected 'dpa'"
                    )
        elif self.base_seed and self.rank is None:
            raise ValueError(f"base_seed is {self.base_seed}, but rank is not set, expected a rank")
        return self


@operator("augment.deterministic", version=1)
class Deterministic(Transform):
    """Make n variants of each image; the same ones whatever else is drawn, on any machine, in any order.

    Every variant depends on its own number only: adding variants shifts no other. With `geometry: dihedral` the
    variants of a sample differ (the eight elements are drawn without repetition, in blocks of eight).

    With x a colour in 0..1, in float64, with one rounding at the end (integers: nearest, halves up) and values
    clipped to 0..1; alpha follows the geometry and keeps its tones:

    1. geometry, about the image's centre. `dihedral`: exact. `free`: turned counter-clockwise by `rotation_deg` and
       magnified by `scale`, through Keys' cubic kernel (a = -0.5, widened by 1 / scale where it shrinks); the crop
       is the largest centred one of the same aspect ratio, at most the input's size, that needs no pixel from
       outside, rounded down to multiples of `align_px`.
    2. brightness: x = x * brightness
    3. contrast: x = (x - 0.5) * contrast + 0.5
    4. noise: x = x + noise * z, z of mean 0 and variance 1 (sum of twelve uniforms), a fresh one per colour

    Ranges of a preset include their low end and exclude their high one. A sample whose every variant leaves less
    than `align_px` pixels is rejected as `small`; where only some do, those are missing and the sample is partial.

    With `seeding: dpa` the five values are the DPA library's to the bit (variant v takes id + v * 2**32); the choice
    of a dihedral element and the noise's pixels, which that library does not know, hang on its hash.
    """

    Params: ClassVar[type[Params]] = DeterministicParams
    params: DeterministicParams
    libraries = KERNELS
    many = True
    draws = True
    # 64 rows of float64, and the noise drawn for them.
    memory_expansion = 1.8

    def fields_read(self) -> frozenset[str]:
        """Name the sample key, its index or the id field, where the seeding takes them."""
        if self.params.seeding == "key":
            return frozenset({"sample.key"})
        return frozenset({self._id_field()}) if self.params.seeding == "dpa" else frozenset()

    def apply(self, value: Image, context: Context) -> Iterator[Child | Partial]:
        """Yield the variants v0, v1, ... with every drawn value as a field.

        Raises:
            DataError: `no_integer_id` with `seeding: dpa`.
            Reject: `small`, when no variant leaves a pixel.
        """
        seeding = self._seeding(context)
        small: list[int] = []
        for variant in range(self.params.variants):
            fields = self._drawn(seeding, variant, value.shape[1], value.shape[0])
            if "cropped_px" in fields and min(fields["cropped_px"]) == 0:
                small.append(variant)
                continue
            yield Child(replay(value, fields), suffix=f"v{variant}", fields=fields)
        if small:
            values = {"width": value.shape[1], "height": value.shape[0], "variants": small}
            if len(small) == self.params.variants:
                raise Reject("small", values)
            yield Partial("small", values)

    def _seeding(self, context: Context) -> Seeding:
        params = self.params
        if params.seeding == "dpa":
            sample_id = integer_id(context.fields, self._id_field(), params.variants)
            return DpaSeeding(sample_id, params.depth, params.rank, params.base_seed)
        return ContextSeeding(context, context.fields["sample.key"] if params.seeding == "key" else "")

    def _id_field(self) -> str:
        return "sample.index" if self.params.id_from == "index" else self.params.id_from

    def _drawn(self, seeding: Seeding, variant: int, width: int, height: int) -> dict[str, Json]:
        params = self.params
        fields: dict[str, Json] = {"variant": variant, "geometry": DIHEDRAL[0]}
        if params.keep_original and variant == 0:
            return fields
        if params.geometry == "dihedral":
            fields["geometry"] = _element(seeding, variant, params.keep_original)
        if params.preset != "none":
            values = seeding.values(params.preset, variant)
            if params.geometry == "free":
                fields["geometry"] = "free"
                fields["rotation_deg"] = values["rotation"]
                fields["scale"] = values["scale"]
                cropped = valid_size(width, height, values["rotation"], values["scale"], params.align_px)
                fields["cropped_px"] = list(cropped)
            fields["brightness"] = values["brightness"]
            fields["contrast"] = values["contrast"]
            fields["noise"] = values["noise"]
            fields["noise_seed"] = f"{seeding.draw('noise_pixels', variant).key:032x}"
        return {**fields, **seeding.facts(variant)}


def replay(image: Image, fields: Fields) -> Image:
    """Render the variant that a row's fields describe: they alone, with the parent's pixels, give the same bytes.

    Args:
        image: (H, W, C) pixels of the parent sample.
        fields: what `augment.deterministic` put into the manifest.

    Returns:
        The variant, of the same dtype and channels; `image` itself where nothing was to be done.
    """
    if "brightness" not in fields:
        return lay(image, fields["geometry"])
    tone = Tone(fields["brightness"], fields["contrast"], fields["noise"], int(fields["noise_seed"], 16))
    if fields["geometry"] == "free":
        return render(image, Warp(fields["rotation_deg"], fields["scale"], *fields["cropped_px"]), tone)
    return render(lay(image, fields["geometry"]), None, tone)


def _element(seeding: Seeding, variant: int, keep_original: bool) -> str:
    """Draw a dihedral element: a shuffled deck for each block of variants, so that none repeats in a block."""
    deck = list(DIHEDRAL[1:] if keep_original else DIHEDRAL)
    block, place = divmod(variant - keep_original, len(deck))
    for index in range(place + 1):  # Fisher-Yates from the front, as far as this variant needs
        chosen = index + seeding.draw("dihedral", block * len(DIHEDRAL) + index).integer(len(deck) - index)
        deck[index], deck[chosen] = deck[chosen], deck[index]
    return deck[place]
