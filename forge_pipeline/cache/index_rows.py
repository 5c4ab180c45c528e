"""The rows of the index: what they hold, and how samples, trails and paths are spelled in them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from forge_pipeline.sample import Link, Location, Sample, spell_header


@dataclass(frozen=True, slots=True)
class KnownAction:
    """A recorded action."""

    key: str
    config: str
    inputs: str
    result: str
    run: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A recorded dataset: one step's output under one configuration and input."""

    id: int
    run: int
    step: str
    config: str
    inputs: str
    rows_digest: str
    counts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RejectRow:
    """A sample that did not go on: `kind` is `rejected`, `failed` or `partial`."""

    step: str
    key: str
    kind: str
    reason: str
    message: str
    values: Mapping[str, Any]
    trail: tuple[Link, ...]


class FileRow(NamedTuple):
    """What a file was when its bytes were read: its identity then, and their digest."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    seen_ns: int
    digest: str


def read_dataset(row: Sequence[Any]) -> DatasetRow:
    """Read a row of `datasets`."""
    number, run, step, config, inputs, rows_digest, counts = row
    return DatasetRow(number, run, step, config, inputs, rows_digest, json.loads(counts))


def spell_trail(trail: Iterable[Link]) -> str:
    """Spell a trail as canonical JSON."""
    return f"[{','.join([link.spelled or link.text for link in trail])}]"


def read_trail(text: str) -> tuple[Link, ...]:
    """Undo `spell_trail`."""
    return tuple(Link(step, fields) for step, fields in json.loads(text))


def spell_path(path: str) -> str | bytes:
    """Return a path as SQLite can hold it: one whose bytes are no UTF-8 as bytes."""
    if path.isascii():
        return path
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def read_path(stored: str | bytes) -> str:
    """Undo `spell_path`."""
    return os.fsdecode(stored)


def spell_sample(sample: Sample) -> tuple[Any, ...]:
    """Spell a sample as a row of `samples`, without the dataset."""
    path = member = None
    if sample.location is not None:
        path = spell_path(sample.location.path)
        member = spell_path(sample.location.member) if sample.location.member is not None else None
    origin = sample.origin or (None, None)
    return (
        sample.key,
        sample.kind,
        sample.digest,
        spell_header(sample.header),
        spell_trail(sample.trail),
        path,
        member,
        *origin,
    )


def read_sample(row: Sequence[Any]) -> Sample:
    """Undo `spell_sample`."""
    key, kind, digest, header, trail, path, member, origin_step, origin_key = row
    return Sample(
        key=key,
        kind=kind,
        digest=digest,
        header=json.loads(header),
        trail=read_trail(trail),
        location=Location(read_path(path), None if member is None else read_path(member)) if path else None,
        origin=(origin_step, origin_key) if origin_step is not None else None,
    )
