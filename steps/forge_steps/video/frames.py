"""`video.frames`: chosen frames of a video as images, with their place, time and colours recorded."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from forge_pipeline.errors import DataError, Reject
from forge_pipeline.sample import Fields
from forge_pipeline.step import MACHINE, Child, Context, File, Params, Partial, Port, Transform, operator
from forge_steps._libraries import KERNELS
from forge_steps.video._choose import Chooser, Look, even_spread, rule_of
from forge_steps.video._decode import Decoding, Shown
from forge_steps.video._luma import Thumbnail, thumbnail_of
from forge_steps.video._rgb import frame_colour, to_image

# Which selectors a parameter belongs to; given with another one it would do nothing, so it is an error.
_OWNERS = {
    "every_n": ("every_n",),
    "fps": ("fps",),
    "min_difference": ("diff",),
    "scene_threshold": ("scene",),
    "min_gap_s": ("diff", "scene", "iframes"),
    "max_gap_s": ("diff", "scene"),
}
_DEFAULTS = {"min_difference": 0.04, "scene_threshold": 0.1}
_BLACK_DEFAULTS = {"black_luma": 0.1, "black_share": 0.98}


class FramesParams(Params):
    """Parameters of `video.frames`."""

    select: Literal["every_n", "fps", "scene", "diff", "iframes"] = Field(
        "diff",
        description="How frames are chosen: every n-th; so many a second; the first of each shot; those that differ "
        "from the last kept; the key frames of the codec (fast: nothing else is decoded).",
    )
    every_n: int | None = Field(None, ge=1, description="Keep every n-th frame (required with select: every_n).")
    fps: float | None = Field(
        None, gt=0, le=1000, description="Frames to keep for each second of the video (required with select: fps)."
    )
    min_difference: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Keep a frame when the mean absolute difference of its luma to the last kept frame, on a thumbnail "
        "of at most 64 px, is at least this; 0 to 1 (select: diff; default 0.04).",
    )
    scene_threshold: float | None = Field(
        None,
        gt=0,
        le=1,
        description="A cut is where the luma difference between two frames jumps by this; 0 to 1 (select: scene; "
        "default 0.1).",
    )
    min_gap_s: float | None = Field(
        None, ge=0, description="Least seconds between two kept frames (select: diff, scene, iframes)."
    )
    max_gap_s: float | None = Field(
        None, gt=0, description="After so many seconds a frame is kept in any case (select: diff, scene)."
    )
    max_frames: int | None = Field(
        None, ge=1, description="Most frames from one video: an even spread over the chosen ones (decodes twice)."
    )
    start_s: float = Field(0.0, ge=0, description="Consider frames from this second on, 0 being the video's start.")
    end_s: float | None = Field(None, gt=0, description="Consider frames before this second; none: to the end.")
    black: Literal["drop", "keep"] = Field("drop", description="What happens to black frames.")
    black_luma: float | None = Field(
        None, ge=0, lt=1, description="How light black may be, 0 black to 1 white (black: drop; default 0.1)."
    )
    black_share: float | None = Field(
        None, gt=0, le=1, description="A frame is black when this share of it is (black: drop; default 0.98)."
    )
    gray: Literal["rgb", "keep"] = Field(
        "rgb", description="A gray video: made RGB by repeating it, or kept with one channel."
    )
    depth: Literal["keep", "to8"] = Field(
        "keep", description="A video of more than 8 bits: 16-bit images, or rounded to 8 bits (once, to nearest)."
    )
    threads: Annotated[int, MACHINE] = Field(
        1,
        ge=0,
        description="Decoder threads for one video: more are faster where videos are fewer than workers; 0: one for "
        "each core, 8 at most. The frames are the same: where damage shows, one thread decodes again.",
    )

    @field_validator(*_OWNERS)
    @classmethod
    def _belongs_to_select(cls, value: float | None, info: ValidationInfo) -> float | None:
        name, select = str(info.field_name), info.data.get("select")
        if select is None:  # wrong itself, and told so
            return value
        if select not in _OWNERS[name]:
            if value is not None:
                raise ValueError(f"belongs to select: {' | '.join(_OWNERS[name])}, found select: {select}")
            return None
        if value is None and name == select:
            raise ValueError(f"is required with select: {select}")
        return _DEFAULTS.get(name) if value is None else value

    @field_validator(*_BLACK_DEFAULTS)
    @classmethod
    def _belongs_to_black(cls, value: float | None, info: ValidationInfo) -> float | None:
        if info.data.get("black") == "keep":
            if value is not None:
                raise ValueError("belongs to black: drop, found black: keep")
            return None
        return _BLACK_DEFAULTS[str(info.field_name)] if value is None else value

    @field_validator("max_gap_s")
    @classmethod
    def _gaps_in_order(cls, value: float | None, info: ValidationInfo) -> float | None:
        least = info.data.get("min_gap_s")
        if value is not None and least is not None and value < least:
            raise ValueError(f"found {value:g}, expected at least min_gap_s, {least:g}")
        return value

    @field_validator("end_s")
    @classmethod
    def _end_after_start(cls, value: float | None, info: ValidationInfo) -> float | None:
        start = info.data.get("start_s")
        if value is not None and start is not None and value <= start:
            raise ValueError(f"found {value:g}, expected more than start_s, {start:g}")
        return value


@operator("video.frames", version=1)
class Frames(Transform):
    """Take chosen frames of a video.

    Frame 0 is always considered: it is kept unless it is black or before `start_s`. Times are those of the file (its
    pts, also where the frame rate varies), in seconds since the stream's start. Colours follow the matrix and range
    of the file; where it states none, see `assumed` among the fields. Display rotation by quarter turns is applied.
    Interlaced frames are recorded as such, not deinterlaced.

    Fields: frame (its place among all frames, from 0), pts, time_s, keyframe, matrix, range, rotation, interlaced;
    assumed, mirrored where they apply; difference (diff) or scene_score (scene).

    Rejects: `nothing_selected`. Partial: `truncated` (the file ends too early), `damaged` (parts were skipped up to
    the next key frame). DataError: `nothing_decodes`, and the refusals of `to_image`.
    """

    Params = FramesParams
    params: FramesParams
    takes = {"in": Port("video", description="videos, from read.videos")}  # noqa: RUF012
    reads = "bytes"
    makes = "image"
    many = True
    stored = True
    libraries = ("av", *KERNELS)
    work = "cpu"
    memory_expansion = 4.0

    def apply(self, value: File, context: Context) -> Iterator[Child | Partial]:
        """Yield the kept frames in order, then a Partial where the video is not whole."""
        with value.on_disk() as path:
            reading = self._reading(path)
            count = 0
            for child in self._capped(path, reading) if self.params.max_frames else self._kept(reading):
                count += 1
                yield child
        if not reading.frames:
            raise DataError("nothing_decodes", f"found no frame that decodes{_lacking(reading)}")
        if not reading.whole:
            yield Partial("truncated" if _cut_off(reading) else "damaged", _damage(reading))
        elif not count:
            raise Reject("nothing_selected", {"frames": reading.frames})

    def _reading(self, path: Path) -> Decoding:
        return Decoding(path, self.params.threads, self.params.select == "iframes")

    def _kept(self, reading: Decoding) -> Iterator[Child]:
        for shown, found in self._choices(reading):
            yield self._child(shown, found)

    def _capped(self, path: Path, reading: Decoding) -> Iterator[Child]:
        """Choose in a first pass, which converts nothing; convert in a second."""
        assert self.params.max_frames
        chosen = dict(
            even_spread([(shown.index, found) for shown, found in self._choices(reading)], self.params.max_frames)
        )
        for shown in self._reading(path) if chosen else ():
            if shown.index in chosen:
                yield self._child(shown, chosen.pop(shown.index))
                if not chosen:
                    return

    def _choices(self, reading: Decoding) -> Iterator[tuple[Shown, Fields]]:
        chooser = self._chooser()
        start_s = Fraction(str(self.params.start_s))
        end_s = None if self.params.end_s is None else Fraction(str(self.params.end_s))
        for shown in reading:
            if end_s is not None and shown.time_s >= end_s:
                return
            if shown.time_s < start_s:
                continue
            thumbnail = thumbnail_of(shown.frame, frame_colour(shown.frame).full_range)
            found = chooser.judge(Look(shown.index, shown.time_s, thumbnail))
            if found is not None:
                yield shown, found

    def _chooser(self) -> Chooser:
        params = self.params
        own = {name: getattr(params, name) for name in _OWNERS if getattr(params, name) is not None}
        luma, share = params.black_luma, params.black_share

        def black(thumbnail: Thumbnail) -> bool:
            return luma is not None and share is not None and thumbnail.dark(luma, share)

        return Chooser(
            rule_of(params.select, own),
            black if params.black == "drop" else None,
            None if params.min_gap_s is None else Fraction(str(params.min_gap_s)),
            None if params.max_gap_s is None else Fraction(str(params.max_gap_s)),
        )

    def _child(self, shown: Shown, found: Fields) -> Child:
        image, colours = to_image(shown.frame, self.params.depth == "keep")
        if image.shape[2] == 1 and self.params.gray == "rgb":
            image = np.repeat(image, 3, axis=2)
        place = {
            "frame": shown.index,
            "pts": shown.pts,
            "time_s": float(shown.time_s),
            "keyframe": shown.frame.key_frame,
        }
        return Child(image, f"{shown.index:08d}", {**place, **colours, **found})


def _cut_off(reading: Decoding) -> bool:
    return reading.missing_bytes > 0 or (reading.damaged_to_end and reading.gaps == 1)


def _damage(reading: Decoding) -> Fields:
    return {"frames": reading.frames, "gaps": reading.gaps, "missing_bytes": reading.missing_bytes}


def _lacking(reading: Decoding) -> str:
    return f", the file lacks {reading.missing_bytes} bytes" if reading.missing_bytes else ""
