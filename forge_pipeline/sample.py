"""A sample: one image, video or file on its way through a recipe, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from forge_pipeline.digest import canonical_json, spell_text

Json = Any  # None, bool, int, float, str, list or dict of these
Fields = Mapping[str, Json]


@dataclass(slots=True)
class Link:
    """One step that a sample went through, and the fields which that step added; never changed."""

    step: str
    fields: Fields
    spelled: str = field(default="", init=False, repr=False, compare=False)
    """What `text` is, once it was asked for: every sample below has this link in its trail, and a row of its own."""

    @property
    def text(self) -> str:
        """Its canonical JSON."""
        if not self.spelled:
            fields = canonical_json(dict(self.fields)) if self.fields else "{}"
            self.spelled = f"[{spell_text(self.step)},{fields}]"
        return self.spelled


class Location(NamedTuple):
    """Where the bytes of a source file lie: a path, and a member's name where the path is an archive."""

    path: str
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}!{self.member}" if self.member is not None else self.path


@dataclass(slots=True)
class Sample:
    """One row of a dataset; never changed (a frozen one takes three times as long to make, five times a sample).

    Attributes:
        key: its name: source step id + relative path, then `/suffix` for each 1 to N step.
        kind: `image` or `video`.
        digest: name of its content: the pixel digest of an image, the file digest of a video.
        header: facts of the content that need no pixels: `width`, `height`, `channels`, `dtype` of an image.
        trail: every step passed, source first, with the fields that it added.
        location: where its source file lies; set on the samples of a source only.
        origin: step id and sample key of the sample whose bytes it can be made from again; empty for a source's.
    """

    key: str
    kind: str
    digest: str
    header: Fields = field(default_factory=dict)
    trail: tuple[Link, ...] = ()
    location: Location | None = None
    origin: tuple[str, str] | None = None

    @property
    def fields(self) -> dict[str, Json]:
        """All fields, the later step's value winning."""
        if len(self.trail) == 1:
            return dict(self.trail[0].fields)
        merged: dict[str, Json] = {}
        for link in self.trail:
            merged.update(link.fields)
        return merged


_HEADERS_MAX = 1000
_headers: dict[int, tuple[Fields, str]] = {}


def spell_header(header: Fields) -> str:
    """Spell a header as canonical JSON. A codec gives one object for all images of one shape: it is spelled once."""
    known = _headers.get(id(header))
    if known is not None and known[0] is header:
        return known[1]
    if len(_headers) >= _HEADERS_MAX:
        _headers.clear()
    text = canonical_json(dict(header))
    _headers[id(header)] = header, text
    return text
