"""What a video's header says, and its first frame where the header is silent."""

from __future__ import annotations

from pathlib import Path

import av
import av.container
from av.video.stream import VideoStream

from forge_pipeline.errors import DataError
from forge_pipeline.sample import Fields
from forge_steps.video._colour import MATRICES, PRIMARIES, RANGES, TRANSFERS
from forge_steps.video._complete import missing_bytes
from forge_steps.video._open import DATA_FAULTS, open_video, rate_of, turn_of

_PROGRESSIVE_ORDERS = (0, 1)  # AVFieldOrder: unknown, progressive; all others are fields


def video_facts(path: Path) -> Fields:
    """Read the header, and decode one frame: rotation and field order stand nowhere else for some codecs."""
    told: dict[str, object] = {"bytes": path.stat().st_size, "missing_bytes": missing_bytes(path) or None}
    try:
        with open_video(path) as (container, stream):
            told |= _stream_facts(container, stream) | _first_frame_facts(container, stream)
    except DataError:
        pass  # load says what is wrong
    return {f"source.{name}": value for name, value in told.items() if value is not None}


def _stream_facts(container: av.container.InputContainer, stream: VideoStream) -> dict[str, object]:
    codec = stream.codec_context
    rate = rate_of(stream)
    return {
        "container": container.format.name,
        "codec": codec.codec.canonical_name,
        "width": codec.width or None,
        "height": codec.height or None,
        "fps": float(rate) if rate else None,
        "fps_text": str(rate) if rate else None,
        "time_base": str(stream.time_base) if stream.time_base else None,
        "duration_s": _duration_s(container, stream),
        "frames": stream.frames or None,
        "pix_fmt": codec.pix_fmt,
        "matrix": MATRICES.get(codec.colorspace),
        "range": RANGES.get(codec.color_range),
        "primaries": PRIMARIES.get(codec.color_primaries),
        "transfer": TRANSFERS.get(codec.color_trc),
        "interlaced": codec.field_order not in _PROGRESSIVE_ORDERS,
    }


def _duration_s(container: av.container.InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _first_frame_facts(container: av.container.InputContainer, stream: VideoStream) -> dict[str, object]:
    stream.codec_context.thread_count = 1  # many threads decode many frames before they give the first
    try:
        frame = next(container.decode(stream), None)
    except DATA_FAULTS:
        return {}
    if not isinstance(frame, av.VideoFrame):
        return {}
    found: dict[str, object] = {"interlaced": True} if frame.interlaced_frame else {}
    try:
        degrees, mirrored = turn_of(frame)
    except DataError:
        return found
    return found | {"rotation": degrees} | ({"mirrored": True} if mirrored else {})
