"""Directories of tags as TIFF and EXIF have them, and what a TIFF's says of its pixels."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from forge_steps.read._header import Header

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _PLANAR = 256, 257, 258, 262, 274, 277, 284
_EXTRA, _FORMAT, _ICC = 338, 339, 34675
_WANTED = (_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _PLANAR, _EXTRA, _FORMAT, _ICC)
# TIFF 6.0, section 2, and BigTIFF's LONG8: bytes, unsigned shorts, longs; other types have nothing that we want.
_LETTERS = {1: "B", 3: "H", 4: "L", 7: "B", 16: "Q"}
_MAX_VALUES = 1 << 24
_PHOTOMETRICS = {0: "gray", 1: "gray", 2: "rgb", 3: "palette", 5: "cmyk", 6: "rgb"}
_CHANNELS = {"gray": 1, "palette": 1, "rgb": 3, "cmyk": 4}
_UNSIGNED, _FLOAT = 1, 3
_UNASSOCIATED = 2
_SEPARATE = 2

Tags = dict[int, tuple[int, ...]]


def read(stream: BinaryIO) -> Header:
    """Read a TIFF's first directory."""
    tags, more = read_directory(stream)
    orientation = tags.get(_ORIENTATION, (1,))[0]
    return Header(
        format="tiff",
        width=tags[_WIDTH][0],
        height=tags[_HEIGHT][0],
        colour=_colour(tags),
        alpha=_EXTRA in tags,
        bits=tags.get(_BITS, (1,))[0],
        floating=tags.get(_FORMAT, (_UNSIGNED,))[0] == _FLOAT,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        icc=bytes(tags.get(_ICC, ())),
        animated=more,
        unsupported=_problem(tags),
    )


def exif_orientation(exif: bytes) -> int:
    """Return the orientation (1 to 8) that an EXIF block holds; 1 where it holds none or is damaged."""
    try:
        tags, _ = read_directory(io.BytesIO(exif.removeprefix(b"Exif\0\0")))
    except (EOFError, ValueError, struct.error):
        return 1
    orientation = tags.get(_ORIENTATION, (1,))[0]
    return orientation if 1 <= orientation <= 8 else 1


def read_directory(stream: BinaryIO) -> tuple[Tags, bool]:
    """Return the tags of the first directory that say something of pixels, and whether another directory follows."""
    head = _exactly(stream, 8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    version = struct.unpack(f"{order}H", head[2:4])[0] if order else 0
    if version not in (42, 43):
        raise ValueError(f"starts with {head[:4]!r}, which is no TIFF header")
    big = version == 43
    offset = struct.unpack(f"{order}Q", _exactly(stream, 8)) if big else struct.unpack(f"{order}L", head[4:])
    stream.seek(offset[0])
    count = struct.unpack(f"{order}{'Q' if big else 'H'}", _exactly(stream, 8 if big else 2))[0]
    entry = struct.Struct(f"{order}HHQ8s" if big else f"{order}HHL4s")
    if count > 4096:
        raise ValueError(f"a directory of {count} tags")
    entries = _exactly(stream, entry.size * count)
    following = stream.read(8 if big else 4)
    tags: Tags = {}
    for tag, kind, length, inside in entry.iter_unpack(entries):
        if tag not in _WANTED or kind not in _LETTERS or not 0 < length < _MAX_VALUES:
            continue
        values = struct.Struct(f"{order}{length}{_LETTERS[kind]}")
        if values.size > len(inside):
            stream.seek(struct.unpack(f"{order}{'Q' if big else 'L'}", inside)[0])
            inside = _exactly(stream, values.size)
        tags[tag] = values.unpack(inside[: values.size])
    return tags, any(following)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError(f"{size - len(data)} bytes are missing")
    return data


def _colour(tags: Tags) -> str:
    photometric = tags.get(_PHOTOMETRIC, (-1,))[0]
    return _PHOTOMETRICS.get(photometric, f"photometric {photometric}")


def _problem(tags: Tags) -> str:
    """Say why we do not read such a TIFF, by name, or nothing."""
    samples = tags.get(_SAMPLES, (1,))[0]
    bits, kinds = set(tags.get(_BITS, (1,))), set(tags.get(_FORMAT, (_UNSIGNED,)))
    extra, colour = tags.get(_EXTRA, ()), _colour(tags)
    if len(bits) != 1 or len(kinds) != 1:
        return f"a TIFF whose channels have {sorted(bits)} bits and sample formats {sorted(kinds)}"
    if colour not in _CHANNELS:
        return f"a TIFF of {colour}"
    if samples != _CHANNELS[colour] + len(extra) or len(extra) > 1:
        return f"a TIFF of {colour} with {samples} channels, {len(extra)} of them extra"
    if extra and extra[0] != _UNASSOCIATED:
        return f"a TIFF whose extra channel is of kind {extra[0]}, where plain alpha is {_UNASSOCIATED}"
    return _depth_problem(tags, bits.pop(), kinds.pop(), samples)


def _depth_problem(tags: Tags, bits: int, kind: int, samples: int) -> str:
    if kind == _UNSIGNED and (bits == 8 or (bits in (1, 2, 4) and samples == 1)):
        return ""
    if (bits, kind) not in ((16, _UNSIGNED), (32, _FLOAT)):
        return f"a TIFF of {bits} bits per channel with sample format {kind}"
    # OpenCV reads these bit for bit; of the rest it makes 8 bits or nothing.
    if tags[_PHOTOMETRIC][0] not in (1, 2):
        return f"a TIFF of {bits} bits per channel with photometric {tags[_PHOTOMETRIC][0]}"
    if samples == 2:
        return f"a TIFF of {bits} bits per channel with gray and alpha"
    separate = samples > 1 and tags.get(_PLANAR, (1,))[0] == _SEPARATE
    return f"a TIFF of {bits} bits per channel in separate planes" if separate else ""
