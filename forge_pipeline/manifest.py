"""What each exported file was made from, and why each other sample was not exported: JSON, one line a sample."""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from forge_pipeline.digest import digest_bytes
from forge_pipeline.errors import PublicationError
from forge_pipeline.sample import Fields, Json, Link, Sample

Row = dict[str, Json]
RejectKind = Literal["rejected", "failed", "partial"]

SLUG_LETTERS = 80
_STEM_HASH_DIGITS = 8


def file_stem(sample_key: str) -> str:
    """Name a sample's files: a readable ASCII slug of its key, `_`, and 8 hex digits of the key's digest.

    Never from a position, so that adding a sample renames nothing. The digits keep apart what the slug folds together
    (case, accents, the middle of a long key) and keep a name from being one that Windows reserves (`con`, `nul`).

    >>> file_stem("photos/Été 1.jpg/t0")
    'photos_Ete-1-jpg_t0_954781db'
    """
    slug = _slug(sample_key) or "sample"
    if len(slug) > SLUG_LETTERS:
        # Both ends tell: the source stands in front, frame and tile at the end.
        head = SLUG_LETTERS // 2 - 1
        slug = f"{slug[:head]}--{slug[head + 2 - SLUG_LETTERS :]}"
    return f"{slug}_{digest_bytes(sample_key.encode('utf-8', 'surrogatepass'))[:_STEM_HASH_DIGITS]}"


def manifest_row(
    key: str,
    stem: str,
    files: Mapping[str, Mapping[str, Json]],
    samples: Mapping[str, Sample],
    facts: Fields | None = None,
) -> Row:
    """Tell one exported sample's whole story.

    Args:
        key: sample key, shared by all ports.
        stem: its file stem.
        files: by port: `path` (relative to the export), `digest` (pixels), `bytes_digest`, and anything else worth
            telling of the file. The sample's header is added where the file holds the sample's own pixels.
        samples: by port, with their trails.
        facts: what the export's inspection found.

    Returns:
        key, stem, files, source (path and digest), frame (index and pts, or None), crop (or None), facts,
        trail (the links that all ports share, source first), trails (by port: the links after those).
    """
    ports = sorted(samples)
    trails = [samples[port].trail for port in ports]
    shared = _shared_length(trails)
    fields = samples[ports[0]].fields
    return {
        "key": key,
        "stem": stem,
        "files": {port: _file(files[port], samples.get(port)) for port in sorted(files)},
        "source": _source(fields),
        "frame": _frame(fields),
        "crop": _sorted(fields.get("crop")),
        "facts": _sorted(facts or {}),
        "trail": _links(trails[0][:shared]),
        "trails": {
            port: _links(trail[shared:]) for port, trail in zip(ports, trails, strict=True) if len(trail) > shared
        },
    }


def reject_row(
    step: str,
    key: str,
    kind: RejectKind,
    reason: str,
    message: str,
    values: Fields,
    trail: Sequence[Link],
) -> Row:
    """Tell why one sample left the recipe: dropped on purpose, broke, or gave only a part of what it should.

    Args:
        step: where it happened.
        key: sample key.
        kind: `rejected`, `failed` or `partial`.
        reason: the slug that reports count by.
        message: the whole sentence, or an empty string.
        values: the measured values that led to it.
        trail: the steps that it had passed, source first.

    Returns:
        the arguments, its source, and of a failure what is typed to see it again: a recipe has many names and places,
        and one list of rejects, so its name is left to whoever types it.
    """
    fields = {name: value for link in trail for name, value in link.fields.items()}
    row = {
        "step": step,
        "key": key,
        "kind": kind,
        "reason": reason,
        "message": message,
        "values": _sorted(values),
        "source": _source(fields),
        "trail": _links(trail),
    }
    if kind == "failed":
        row["reproduce"] = reproduce_command("forge-run RECIPE", step, key)
    return row


def reproduce_command(command: str, step: str, key: str) -> str:
    """Say what is typed to see one sample break again, alone and in one thread.

    Args:
        command: what is typed to run the recipe.

    >>> reproduce_command("forge-run sr.yaml", "lr[x2]", "photos/a b.png")
    "forge-run sr.yaml --only 'photos/a b.png' --until 'lr[x2]' --executor inline"
    """
    return f"{command} {shlex.join(['--only', key, '--until', step, '--executor', 'inline'])}"


def write_manifest(rows: Iterable[Row]) -> bytes:
    """Spell manifest rows as bytes: by sample key, whatever order they come in."""
    return _lines(sorted(rows, key=lambda row: str(row["key"])))


def write_rejects(rows: Iterable[Row]) -> bytes:
    """Spell reject rows as bytes: by sample key, then step, whatever order they come in."""
    return _lines(sorted(rows, key=lambda row: tuple(str(row[name]) for name in ("key", "step", "kind", "reason"))))


def read_manifest(path: Path) -> list[Row]:
    """Read a manifest back.

    Raises PublicationError, naming the line, for a file that `write_manifest` did not write.
    """
    return [_row(line, f"{path}:{number}") for number, line in enumerate(path.read_bytes().splitlines(), start=1)]


def _row(line: bytes, where: str) -> Row:
    hint = "move the damaged manifest away and run again"
    try:
        row = json.loads(line)
    except ValueError as error:
        raise PublicationError(f"{where}: not a line of JSON: {str(error).lower()}", hint) from None
    if not isinstance(row, dict):
        raise PublicationError(f"{where}: expected a JSON object, found {type(row).__name__}", hint)
    files = row.get("files")
    if not isinstance(row.get("key"), str) or not isinstance(files, dict) or not all(map(_is_file, files.values())):
        expected = "expected 'key', and 'files' with 'path' and 'bytes_digest' each"
        raise PublicationError(f"{where}: not a row of a manifest: {expected}", hint)
    return row


def _is_file(file: Json) -> bool:
    return isinstance(file, dict) and all(isinstance(file.get(name), str) for name in ("path", "bytes_digest"))


def _slug(text: str) -> str:
    """Fold to ASCII letters, digits, `-` and `_`. A letter with no ASCII cousin is spelled by its code point."""
    letters = []
    for letter in unicodedata.normalize("NFKD", text):
        if letter.isascii():
            letters.append(letter)
        elif not unicodedata.combining(letter):
            letters.append(f"{ord(letter):x}" if letter.isalnum() else "-")
    folded = re.sub(r"[^A-Za-z0-9_/-]+", "-", "".join(letters)).replace("/", "_")
    # A leading dash reads as an option on a command line.
    return re.sub(r"-*_[-_]*", "_", folded).strip("-_")


def _shared_length(trails: Sequence[Sequence[Link]]) -> int:
    shared = min(map(len, trails))
    for index in range(shared):
        if any(trail[index] != trails[0][index] for trail in trails[1:]):
            return index
    return shared


def _file(file: Mapping[str, Json], sample: Sample | None) -> dict[str, Json]:
    own = sample is not None and sample.digest == file.get("digest")
    described = {**(sample.header if own and sample is not None else {}), **file}
    first = {name: described.pop(name) for name in ("path", "digest", "bytes_digest") if name in described}
    return {**first, **_sorted(described)}


def _source(fields: Fields) -> dict[str, Json]:
    return {"path": fields.get("source.path"), "digest": fields.get("source.digest")}


def _frame(fields: Fields) -> dict[str, Json] | None:
    if "pts" not in fields:
        return None
    return {"index": fields.get("frame"), "pts": fields["pts"]}


def _links(trail: Iterable[Link]) -> list[Json]:
    return [{"step": link.step, "fields": _sorted(link.fields)} for link in trail]


def _sorted(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {name: _sorted(value[name]) for name in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value


def _lines(rows: Iterable[Row]) -> bytes:
    return b"".join(map(_line, rows))


def _line(row: Row) -> bytes:
    try:
        return (_ENCODE(row) + "\n").encode()
    except UnicodeEncodeError:  # a file name whose bytes are no UTF-8: JSON's own escapes can carry it
        return (_ENCODE_ASCII(row) + "\n").encode()


# Built once: `json.dumps` with arguments builds an encoder for every row.
_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_ENCODE_ASCII = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode
