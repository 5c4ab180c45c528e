"""The URL of a shared store: what it may say, and what the program behind its scheme is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from forge_pipeline.errors import CommandError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class BackEnd:
    """What is particular about the systems of one scheme.

    Attributes:
        package: what pip installs for it; empty where fsspec itself is enough.
        look: a command that shows a person what is there.
        buckets: an upload appears whole or not at all under its own name, and folders need not be made.
        user: the URL may name a user (never a password).
    """

    package: str = ""
    look: str = ""
    buckets: bool = False
    user: bool = False


_S3 = BackEnd("s3fs", "aws s3 ls {url}/", buckets=True)
_GOOGLE = BackEnd("gcsfs", "gcloud storage ls {url}/", buckets=True)
_AZURE = BackEnd("adlfs", "az storage blob list --container-name {host} --num-results 5", buckets=True, user=True)
_SSH = BackEnd("paramiko", "sftp {address}", user=True)
_FILE = BackEnd("", "ls -ld {path}")
_OTHER = BackEnd(user=True)

_KNOWN = {
    "s3": _S3,
    "s3a": _S3,
    "gs": _GOOGLE,
    "gcs": _GOOGLE,
    "az": _AZURE,
    "abfs": _AZURE,
    "sftp": _SSH,
    "ssh": _SSH,
    "smb": BackEnd("smbprotocol", "smbclient //{host}{path}", user=True),
    "file": _FILE,
    "local": _FILE,
}
# Nothing can be kept there that another machine, or another process, would find.
_NOT_SHARED = {
    "memory": "lives in one process",
    "http": "cannot be written to",
    "https": "cannot be written to",
    "data": "cannot be written to",
}


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A URL that may be shown to anybody: it holds no secret."""

    text: str
    scheme: str
    path: str
    back_end: BackEnd

    @property
    def look(self) -> str:
        """Spell a command that shows what is there."""
        parts = urlsplit(self.text)
        user = f"{parts.username}@" if parts.username else ""
        port = f"-P {parts.port} " if parts.port else ""
        address = f"{port}{user}{parts.hostname}:{parts.path}"
        return self.back_end.look.format(url=self.text, host=parts.hostname or "", path=parts.path, address=address)


def read_store_url(text: str) -> StoreUrl:
    """Read a store's URL.

    Raises:
        CommandError: it is none, or holds a password or a key, which are never shown.
    """
    match = _SCHEME.match(text)
    if match is None:
        folder = Path(text).expanduser().absolute() if text else Path.cwd()
        raise CommandError(
            f"store: '{text}' has no scheme, expected a URL such as s3://bucket/prefix",
            f"for a folder that other machines see too: file://{folder}",
        )
    scheme = match[1].lower()
    _refuse_secrets(scheme, text)
    url = text.rstrip("/")
    if "::" in text:
        raise CommandError(f"store: '{url}' is a chain of URLs, expected one such as s3://bucket/prefix")
    if scheme in _NOT_SHARED:
        raise CommandError(
            f"store: '{url}': {scheme}:// {_NOT_SHARED[scheme]}, expected s3, gs, az, sftp, smb or file",
            "file:///FOLDER on a disk that all machines see",
        )
    parts = urlsplit(url)
    back_end = _KNOWN.get(scheme, _OTHER)
    if back_end is _FILE and parts.netloc:
        raise CommandError(
            f"store: '{url}' names a host '{parts.netloc}', expected three slashes before a folder",
            f"file:///{parts.netloc}{parts.path}",
        )
    if not (parts.netloc or parts.path):
        what = "bucket" if back_end.buckets else "folder" if back_end is _FILE else "host"
        raise CommandError(f"store: '{text}' names no {what}", f"{scheme}://{what.upper()}/PREFIX")
    if scheme in _KNOWN and back_end is not _FILE and not parts.netloc:
        what = "bucket" if back_end.buckets else "host"
        raise CommandError(f"store: '{url}' names no {what}", f"{scheme}://{what.upper()}{parts.path}")
    return StoreUrl(url, scheme, parts.path, back_end)


def _refuse_secrets(scheme: str, text: str) -> None:
    """Refuse what could be a secret, before any message repeats the text."""
    authority = text.partition("://")[2].partition("/")[0]
    user, at, host = authority.rpartition("@")
    # A key with a slash in it hides its @ behind what looks like the path.
    hidden = scheme in ("s3", "s3a", "gs", "gcs") and "@" in text
    allowed = _KNOWN.get(scheme, _OTHER).user and ":" not in user
    if hidden or (at and not allowed):
        shown = f"{scheme}://{host if at else 'BUCKET'}"
        hints = {
            "s3fs": "export AWS_PROFILE=NAME, with the key in ~/.aws/credentials",
            "gcsfs": "export GOOGLE_APPLICATION_CREDENTIALS=FILE",
            "paramiko": "ssh-add  (and name only the user: sftp://USER@HOST/FOLDER)",
        }
        raise CommandError(
            f"store: {shown}...: a URL may hold no credentials, since it is shown and kept; "
            "leave what stands before the '@' out",
            hints.get(_KNOWN.get(scheme, _OTHER).package, ""),
        )
    if "?" in text or "#" in text:
        raise CommandError(
            f"store: {scheme}://{host}...: a URL may hold no '?' or '#', behind which signatures stand",
            "name the bucket and a prefix alone; secrets come from the environment",
        )
