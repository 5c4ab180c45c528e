"""What a store's URL may say; a secret in it is refused, and never repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge_pipeline.cache.url import read_store_url
from forge_pipeline.errors import CommandError


@pytest.mark.parametrize(
    ("text", "shown", "look"),
    [
        ("s3://bucket", "s3://bucket", "aws s3 ls s3://bucket/"),
        ("s3://bucket/a/prefix/", "s3://bucket/a/prefix", "aws s3 ls s3://bucket/a/prefix/"),
        ("gs://bucket/p", "gs://bucket/p", "gcloud storage ls gs://bucket/p/"),
        ("sftp://host/folder", "sftp://host/folder", "sftp host:/folder"),
        ("sftp://me@host:2222/folder", "sftp://me@host:2222/folder", "sftp -P 2222 me@host:/folder"),
        ("file:///shared/mount", "file:///shared/mount", "ls -ld /shared/mount"),
        ("abfs://container@account.dfs.core.windows.net/p", "abfs://container@account.dfs.core.windows.net/p", None),
        ("ours:///folder", "ours:///folder", ""),
    ],
)
def test_a_url_is_shown_as_it_is_with_a_command_that_looks_there(text: str, shown: str, look: str | None) -> None:
    url = read_store_url(text)
    assert url.text == shown
    assert look is None or url.look == look


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "/shared/mount",
            "store: '/shared/mount' has no scheme, expected a URL such as s3://bucket/prefix\n"
            "  hint: for a folder that other machines see too: file:///shared/mount",
        ),
        (
            "bucket/prefix",
            "store: 'bucket/prefix' has no scheme, expected a URL such as s3://bucket/prefix\n"
            f"  hint: for a folder that other machines see too: file://{Path.cwd() / 'bucket/prefix'}",
        ),
        (
            "file://shared/mount",
            "store: 'file://shared/mount' names a host 'shared', expected three slashes before a folder\n"
            "  hint: file:///shared/mount",
        ),
        ("s3:///prefix", "store: 's3:///prefix' names no bucket\n  hint: s3://BUCKET/prefix"),
        ("s3://", "store: 's3://' names no bucket\n  hint: s3://BUCKET/PREFIX"),
        ("sftp:///folder", "store: 'sftp:///folder' names no host\n  hint: sftp://HOST/folder"),
        ("file://", "store: 'file://' names no folder\n  hint: file://FOLDER/PREFIX"),
        (
            "memory://x",
            "store: 'memory://x': memory:// lives in one process, expected s3, gs, az, sftp, smb or file\n"
            "  hint: file:///FOLDER on a disk that all machines see",
        ),
        (
            "https://example.org/x",
            "store: 'https://example.org/x': https:// cannot be written to, expected s3, gs, az, sftp, smb or file\n"
            "  hint: file:///FOLDER on a disk that all machines see",
        ),
        (
            "simplecache::s3://bucket",
            "store: 'simplecache::s3://bucket' has no scheme, expected a URL such as s3://bucket/prefix\n"
            f"  hint: for a folder that other machines see too: file://{Path.cwd() / 'simplecache::s3:/bucket'}",
        ),
        (
            "s3://bucket::file:///x",
            "store: 's3://bucket::file:///x' is a chain of URLs, expected one such as s3://bucket/prefix",
        ),
    ],
)
def test_what_is_no_url_of_a_store_is_refused(text: str, told: str) -> None:
    with pytest.raises(CommandError) as caught:
        read_store_url(text)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "s3://AKID:SECRET@bucket/prefix",
            "store: s3://bucket...: a URL may hold no credentials, since it is shown and kept; leave what stands "
            "before the '@' out\n  hint: export AWS_PROFILE=NAME, with the key in ~/.aws/credentials",
        ),
        (
            "s3://AKID:SEC/RET@bucket/prefix",
            "store: s3://BUCKET...: a URL may hold no credentials, since it is shown and kept; leave what stands "
            "before the '@' out\n  hint: export AWS_PROFILE=NAME, with the key in ~/.aws/credentials",
        ),
        (
            "sftp://me:SECRET@host/folder",
            "store: sftp://host...: a URL may hold no credentials, since it is shown and kept; leave what stands "
            "before the '@' out\n  hint: ssh-add  (and name only the user: sftp://USER@HOST/FOLDER)",
        ),
        (
            "https://me:SECRET@host/folder",
            "store: https://host...: a URL may hold no credentials, since it is shown and kept; leave what stands "
            "before the '@' out",
        ),
        (
            "s3://bucket/prefix?X-Amz-Signature=SECRET",
            "store: s3://bucket...: a URL may hold no '?' or '#', behind which signatures stand\n"
            "  hint: name the bucket and a prefix alone; secrets come from the environment",
        ),
    ],
)
def test_a_secret_is_refused_and_not_repeated(text: str, told: str) -> None:
    with pytest.raises(CommandError) as caught:
        read_store_url(text)
    assert str(caught.value) == told
    assert "SEC" not in told
