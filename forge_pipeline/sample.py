"""A sample: one image, video or file on its way through a recipe, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forge_pipeline.digest import canonical_json

Json = Any  # None, bool, int, float, str, list or dict of these
Fields = Mapping[str, Json]


@dataclass(slots=True)
class Link:
    """One step that a sample went through, and the fields which that step added; never changed."""

    step: str
    fields: Fields
    _text: str = field(default="", init=False, repr=False, compare=False)

    @property
    def text(self) -> str:
        """Its canonical JSON, spelled once: every sample below has this link in its trail, and a row of its own."""
        if not self._text:
            self._text = canonical_json([self.step, dict(self.fields)])
        return self._text


@dataclass(frozen=True, slots=True)
class Location:
    """Where the bytes of a source file lie: a path, and a member's name where the path is an archive."""

    path: str
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}!{self.member}" if self.member is not None else self.path


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a dataset.

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
        merged: dict[str, Json] = {}
        for link in self.trail:
            merged.update(link.fields)
        return merged
