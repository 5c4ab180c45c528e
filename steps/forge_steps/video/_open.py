"""Opens the video stream of a file, as its bytes alone tell it: no playlist, no other file, no network."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error
import av.stream
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.stream import VideoStream

from forge_pipeline.errors import DataError
from forge_steps.video._complete import missing_bytes

# FFmpeg also reads playlists and scripts (HLS, concat) that name other files: the result would not depend on this
# file's bytes alone. Only formats that hold the video themselves are let through.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,ivf,yuv4mpegpipe,h264,hevc,nut"
)
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}

# What FFmpeg raises for bytes that it cannot use; anything else (no memory, no permission, I/O) is the machine's.
DATA_FAULTS = (
    av.error.InvalidDataError,
    av.error.BugError,
    av.error.DecoderNotFoundError,
    av.error.DemuxerNotFoundError,
    av.error.EOFError,
    av.error.ExternalError,
    av.error.PatchWelcomeError,
    av.error.UnknownError,
    av.error.ArgumentError,
)

# (a, b, c, d) of a display matrix in units of 1: degrees clockwise, after a mirroring left to right or not.
_TURNS: dict[tuple[float, float, float, float], tuple[int, bool]] = {
    (1, 0, 0, 1): (0, False),
    (0, 1, -1, 0): (90, False),
    (-1, 0, 0, -1): (180, False),
    (0, -1, 1, 0): (270, False),
    (-1, 0, 0, 1): (0, True),
    (0, -1, -1, 0): (90, True),
    (1, 0, 0, -1): (180, True),
    (0, 1, 1, 0): (270, True),
}


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[tuple[av.container.InputContainer, VideoStream]]:
    """Open a file and pick its main video stream; cover art is none.

    Raises:
        DataError: `not_a_video`.
    """
    try:
        # An absolute path holds no `protocol:` that FFmpeg would read out of a file name.
        container = av.open(str(path.absolute()), "r", container_options=_OPTIONS, metadata_errors="replace")
    except DATA_FAULTS as error:
        lacking = missing_bytes(path)
        cut = f" (the file lacks {lacking} bytes)" if lacking else ""
        raise DataError("not_a_video", f"cannot be opened as a video: {str(error.strerror).lower()}{cut}") from error
    with container:
        stream = container.streams.best("video")
        if not isinstance(stream, av.VideoStream) or stream.disposition & av.stream.Disposition.attached_pic:
            found = ", ".join(sorted({other.type for other in container.streams if other is not stream})) or "nothing"
            raise DataError("not_a_video", f"found no video stream, only {found}")
        if stream.codec_context is None:
            raise DataError("unsupported_codec", "found a video stream in a codec that no decoder here knows")
        yield container, stream


def turn_of(frame: av.VideoFrame) -> tuple[int, bool]:
    """Return how a frame is to be shown: degrees clockwise (0, 90, 180, 270), after mirroring left to right or not.

    Raises:
        DataError: `unsupported_rotation` for a display matrix that is no quarter turn.
    """
    # Not `frame.side_data`: the frame keeps it and it keeps the frame, a circle that only the garbage collector frees;
    # to that the 12 MB of a 4K frame are four small objects.
    for side_data in list(SideDataContainer(frame)):  # type: ignore[call-arg]  # PyAV's type knows no argument
        if side_data.type is Type.DISPLAYMATRIX:
            values = memoryview(side_data).cast("B").cast("i").tolist()
            turn = _TURNS.get((values[0] / 65536, values[1] / 65536, values[3] / 65536, values[4] / 65536))
            if turn is None:
                degrees = round(math.degrees(math.atan2(values[1], values[0])))
                raise DataError(
                    "unsupported_rotation", f"found a rotation by {degrees} degrees, expected 0, 90, 180 or 270"
                )
            return turn
    return 0, False


def rate_of(stream: VideoStream) -> Fraction | None:
    """Return frames per second as the header gives or implies it."""
    return stream.average_rate or stream.guessed_rate or None
