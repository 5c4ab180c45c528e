"""The frames of a video in the order they are shown: only whole ones, and the same ones for any number of threads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import av
import av.codec.context
import av.container
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from forge_steps.video._complete import missing_bytes
from forge_steps.video._open import DATA_FAULTS, open_video, rate_of

VideoPacket: TypeAlias = "Packet[VideoStream]"

_MOST_THREADS = 8
# Damage without a sign, then bits that depend on the threads: HEVC with a byte flipped (2 files of 25), and streams
# that lose packets on the way (1 MPEG-TS file of 85). H.264 in Matroska, VP9, AV1, MPEG-2 and 4: none of 85 each.
_ONE_THREAD_CODECS = ("hevc",)
_ONE_THREAD_CONTAINERS = ("mpegts", "mpeg")
_FALLBACK_RATE = Fraction(25)  # a raw stream without a rate in it: FFmpeg's assumption too


@dataclass(frozen=True, slots=True)
class Shown:
    """One frame: its place among all frames of the stream, its pts, and seconds since the stream's start."""

    index: int
    pts: int | None
    time_s: Fraction
    frame: av.VideoFrame


@dataclass(slots=True)
class Decoding:
    """Decodes a file from its start; what it met on the way is known after the last frame.

    Damage (a packet that is cut, that the decoder refuses, or a frame that it had to conceal) drops everything up to
    the next key frame: a concealed frame is a blend of others, and no picture.

    H.264, HEVC, VP8, VP9, AV1, FFV1, Theora and raw video decode to the same bits everywhere, by their
    specifications. MPEG-1, 2 and 4 part 2, JPEG, ProRes and WMV leave the inverse transform some freedom: there the
    bits are those of this FFmpeg's reference transform (`idct=simple`, bitexact), keyed by the version of `av`.

    Attributes:
        path: the file.
        threads: decoder threads; 0 takes one for each core, 8 at most.
        keyframes_only: decode nothing but key frames.
        frames: whole frames decoded.
        gaps: how often damage made it skip to the next key frame.
        missing_bytes: what the container promises beyond the end of the file; set when the end was reached.
        damaged_to_end: no key frame came after the last damage.
    """

    path: Path
    threads: int = 1
    keyframes_only: bool = False
    frames: int = 0
    gaps: int = 0
    missing_bytes: int = 0
    damaged_to_end: bool = False
    _indices: dict[int, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Shown]:
        if self.keyframes_only:
            self._indices = _key_frame_ranks(self.path)
        threads = self.threads or min(_MOST_THREADS, os.cpu_count() or 1)
        if threads > 1:
            try:
                yield from self._pass(threads, 0)
            except _DamageMet:
                pass  # Which frames suffer from damage depends on the number of threads: one thread decides.
            else:
                return
        yield from self._pass(1, self.frames)

    @property
    def whole(self) -> bool:
        """Whether every frame of the stream was decoded and the file is complete."""
        return not (self.gaps or self.missing_bytes)

    def _pass(self, threads: int, skip: int) -> Iterator[Shown]:
        """Decode once; frames before number `skip` were given out already."""
        self.frames = self.gaps = 0
        with open_video(self.path) as (container, stream):
            if stream.codec_context.name in _ONE_THREAD_CODECS or container.format.name in _ONE_THREAD_CONTAINERS:
                threads = 1
            rate = rate_of(stream) or _FALLBACK_RATE
            start = stream.start_time
            for frame in self._whole_frames(container, stream, threads):
                if self.keyframes_only and not frame.key_frame:
                    continue  # some decoders (FFV1) know no such thing as skipping
                number = self.frames
                self.frames += 1
                if frame.pts is None:
                    time_s = number / rate
                else:
                    start = frame.pts if start is None else start
                    time_s = (frame.pts - start) * (frame.time_base or stream.time_base or 1 / rate)
                if number >= skip:
                    index = number if frame.pts is None else self._indices.get(frame.pts, number)
                    yield Shown(index, frame.pts, Fraction(time_s), frame)
        self.missing_bytes = missing_bytes(self.path)

    def _whole_frames(
        self, container: av.container.InputContainer, stream: VideoStream, threads: int
    ) -> Iterator[av.VideoFrame]:
        codec = stream.codec_context
        self._prepare(codec, threads)
        skipping = False
        sent = 0
        for packet in _packets(container, stream):
            if skipping and not (packet and packet.is_keyframe):
                continue
            skipping = False
            sent += bool(packet and not packet.is_discard and (packet.is_keyframe or not self.keyframes_only))
            try:
                yield from _decoded(codec, packet)
            except _DamageMet as damage:
                if threads > 1:
                    raise
                self.gaps += 1
                skipping = True
                if damage.pending_whole:
                    with contextlib.suppress(_DamageMet):
                        yield from _pending(codec)
                codec.flush_buffers()
        if not skipping:
            try:
                yield from _pending(codec)
            except _DamageMet:
                if threads > 1:
                    raise
                self.gaps += 1
                skipping = True
        self.damaged_to_end = skipping
        # PyAV keeps silent about an error that comes behind other frames of one call. (Codecs with packets that show
        # nothing, VP8's alternate references, end here too: decoded twice, and right.)
        if threads > 1 and sent != self.frames:
            raise _DamageMet

    def _prepare(self, codec: VideoCodecContext, threads: int) -> None:
        codec.thread_type = "FRAME"
        codec.thread_count = threads
        codec.flags |= av.codec.context.Flags.bitexact
        # With many threads concealment leaves no mark on a frame, so the decoder is told to refuse; HEVC never marks
        # one. Elsewhere refusing finds less than concealing does (25 cuts of an MPEG-2 file: 4 bad frames against 0).
        refuse = threads > 1 or codec.name == "hevc"
        codec.options = {"idct": "simple"} | ({"err_detect": "explode"} if refuse else {})
        if self.keyframes_only:
            codec.skip_frame = "NONKEY"


class _DamageMet(Exception):
    """Something that cannot be decoded whole. `pending_whole`: frames still in the decoder came before it."""

    def __init__(self, pending_whole: bool = False) -> None:
        super().__init__(pending_whole)
        self.pending_whole = pending_whole


def _packets(container: av.container.InputContainer, stream: VideoStream) -> Iterator[VideoPacket | None]:
    """Yield the stream's packets; None, last, where the container itself cannot be read on."""
    try:
        for packet in container.demux(stream):
            # AVI repeats a picture by an empty packet, and PyAV ends by one: to the decoder it would mean the end.
            if packet.size:
                yield packet
    except DATA_FAULTS:
        yield None


def _decoded(codec: VideoCodecContext, packet: VideoPacket | None) -> Iterator[av.VideoFrame]:
    """Yield the frames that a packet makes ready."""
    if packet is None or packet.is_corrupt:
        raise _DamageMet(pending_whole=True)
    try:
        frames = codec.decode(packet)
    except DATA_FAULTS as error:
        raise _DamageMet(pending_whole=True) from error
    yield from _up_to_damage(frames)


def _pending(codec: VideoCodecContext) -> Iterator[av.VideoFrame]:
    """Yield the frames that the decoder holds back to put them in order."""
    try:
        frames = codec.decode(None)
    except DATA_FAULTS as error:
        raise _DamageMet from error
    yield from _up_to_damage(frames)


def _up_to_damage(frames: list[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    for frame in frames:
        if frame.is_corrupt:
            raise _DamageMet
        yield frame


def _key_frame_ranks(path: Path) -> dict[int, int]:
    """Map the pts of each key frame to its place among all frames, without decoding."""
    with open_video(path) as (container, stream):
        packets = [packet for packet in _packets(container, stream) if packet and not packet.is_discard]
        shown = sorted(packet.pts for packet in packets if packet.pts is not None)
        ranks = {pts: rank for rank, pts in enumerate(shown)}
        return {packet.pts: ranks[packet.pts] for packet in packets if packet.is_keyframe and packet.pts is not None}
