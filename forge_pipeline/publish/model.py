"""What a publication should be, and what came of it: the values that go in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from forge_pipeline.digest import digest_bytes, digest_chunks
from forge_pipeline.errors import PublicationError

HIDDEN = ".forge"
"""The folder inside an export that holds our own notes; nothing else may be published there."""
MANIFEST = "manifest.jsonl"

OpenPayload = Callable[[str], bytes | Path]
"""Given a relative path of `Publication.files`: its bytes, or a file to copy them from."""


class Content(NamedTuple):
    """The bytes that a file should hold."""

    bytes_digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Publication:
    """What an export's folder should hold.

    Attributes:
        folder: where it goes; absolute, or relative to the working folder.
        files: image files by relative POSIX path.
        side_files: small files by relative POSIX path: manifest, rejects, lists.
    """

    folder: Path
    files: Mapping[str, Content] = field(default_factory=dict)
    side_files: Mapping[str, bytes] = field(default_factory=dict)

    def wanted(self) -> dict[str, Content]:
        """Return every file, images and side files, sorted by path with the manifest last."""
        side = {path: Content(digest_bytes(data), len(data)) for path, data in self.side_files.items()}
        both = {**self.files, **side}
        return {path: both[path] for path in sorted(both, key=lambda path: (path == MANIFEST, path))}

    def digest(self) -> str:
        """Name the whole publication, side files too: what `still_published` asks for."""
        return _digest((path, content.bytes_digest) for path, content in self.wanted().items())

    def images_digest(self) -> str:
        """Name the image files: their names and bytes."""
        return _digest((path, self.files[path].bytes_digest) for path in sorted(self.files))


@dataclass(frozen=True, slots=True)
class Published:
    """What was published.

    Attributes:
        folder: as it was asked for.
        files: image files that are in it.
        written: files that were written now, side files too; 0 when all was there.
        deleted: files that were deleted now.
        bytes_written: their bytes.
        digest: names the image files: their names and bytes.
        notes: what a user should read, a sentence each.
    """

    folder: Path
    files: int
    written: int
    deleted: int
    digest: str
    bytes_written: int = 0
    notes: tuple[str, ...] = ()


class PayloadDamaged(PublicationError):
    """The bytes handed over for a file are not the ones that were promised. Nothing was published.

    Args:
        path: the file in the export that they were for.
        found: the digest found, or an empty string where there were no bytes at all.
        expected: the digest promised.
    """

    def __init__(self, path: str, found: str, expected: str) -> None:
        what = f"have digest {found[:8]}" if found else "are not there"
        super().__init__(f"{path}: its bytes {what}, expected {expected[:8]}", "forge cache verify")
        self.args = (path, found, expected)
        self.path = path


def _digest(names: Iterable[tuple[str, str]]) -> str:
    return digest_chunks(f"{path}\0{digest}\n".encode("utf-8", "surrogatepass") for path, digest in names)
