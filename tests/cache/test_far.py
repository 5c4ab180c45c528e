"""What can go wrong behind a URL: retried where that helps, then told with one thing to type; never a secret."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from forge_pipeline.cache import far
from forge_pipeline.cache.far import Far
from forge_pipeline.cache.url import read_store_url
from forge_pipeline.errors import EXIT_ENVIRONMENT, EnvironmentFault
from tests.cache.conftest import SshServer
from tests.cache.faulty import FaultySystem


def _told(url: str, write: bool = True) -> str:
    files = Far(read_store_url(url), waits_s=(0.0,))
    with pytest.raises(EnvironmentFault) as caught:
        files.write("payloads/aa/x", b"x") if write else list(files.all_sizes("payloads"))
    assert caught.value.exit_code == EXIT_ENVIRONMENT
    assert "verysecretvalue" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("write", [True, False])
def test_a_bucket_that_is_not_there(s3: str, write: bool) -> None:
    url = "s3://nobodys-bucket/prefix"
    assert _told(url, write) == f"store {url}: there is no such bucket\n  hint: aws s3 ls {url}/"


def test_an_empty_prefix_is_an_empty_store(s3: str, bucket: str) -> None:
    files = Far(read_store_url(f"s3://{bucket}/nothing/here"))
    assert list(files.all_sizes("payloads")) == []
    assert files.sizes("payloads/aa") == {}
    assert files.read("payloads/aa/x") is None


@pytest.mark.parametrize("write", [True, False])
def test_a_share_that_is_not_mounted_is_no_empty_store(tmp_path: Path, write: bool) -> None:
    url = f"file://{tmp_path}/mount"
    assert _told(url, write) == (
        f"store {url}: there is no such folder\n  hint: mkdir -p {tmp_path}/mount  (or mount the share that should be "
        "there)"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_over_ssh(ssh: SshServer, tmp_path: Path) -> None:
    url = ssh.url(tmp_path / "nowhere")
    assert _told(url) == (
        f"store {url}: there is no such folder\n  hint: sftp -P {ssh.port} photos@127.0.0.1:{tmp_path / 'nowhere'}"
    )


def test_a_server_that_known_hosts_does_not_name_is_refused(
    ssh: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    url = ssh.url(tmp_path)
    assert _told(url) == (
        f"store {url}: access denied ({tmp_path}/.ssh/known_hosts does not hold the key that "
        f"[127.0.0.1]:{ssh.port} shows)\n"
        f"  hint: sftp -P {ssh.port} photos@127.0.0.1:{tmp_path}  (once, and accept its key if it is the right one)"
    )


def test_a_key_that_the_server_does_not_take(ssh: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_bytes((ssh.home / ".ssh/known_hosts").read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    url = ssh.url(tmp_path)
    assert _told(url) == (
        f"store {url}: access denied (No authentication methods available)\n"
        f"  hint: ssh-add, then: sftp -P {ssh.port} photos@127.0.0.1:{tmp_path}"
    )


def test_no_credentials(s3: str, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _told(f"s3://{bucket}/p") == (
        f"store s3://{bucket}/p: access denied (Unable to locate credentials)\n"
        "  hint: aws configure  (or: export AWS_PROFILE=NAME)"
    )


def test_a_server_that_does_not_answer(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert _told("s3://bucket/p") == (
        "store s3://bucket/p: cannot be reached, 2 attempts failed (Could not connect to the endpoint URL: "
        '"http://127.0.0.1:9/bucket/p/payloads/aa/x")\n  hint: aws s3 ls s3://bucket/p/'
    )


@pytest.mark.parametrize(
    ("url", "module", "told"),
    [
        ("s3://b/p", "s3fs", "the Python package s3fs is not installed\n  hint: pip install s3fs"),
        ("gs://b/p", "gcsfs", "the Python package gcsfs is not installed\n  hint: pip install gcsfs"),
        ("sftp://h/p", "paramiko", "the Python package paramiko is not installed\n  hint: pip install paramiko"),
        (
            "s3://b/p",
            "fsspec",
            "the Python package fsspec is not installed\n  hint: pip install 'forge-pipeline[store]'",
        ),
        (
            "nosuch://b/p",
            "",
            "fsspec knows no scheme 'nosuch', expected one such as s3, gs, az, sftp or file\n"
            '  hint: python -c "import fsspec; print(*fsspec.available_protocols())"',
        ),
    ],
)
def test_what_is_not_installed_is_named_with_the_line_that_installs_it(url: str, module: str, told: str) -> None:
    code = (
        "import sys; sys.modules[sys.argv[2]] = None\n"
        "from forge_pipeline.cache.far import Far\n"
        "from forge_pipeline.cache.url import read_store_url\n"
        "from forge_pipeline.errors import EnvironmentFault\n"
        "try:\n    Far(read_store_url(sys.argv[1])).sizes('payloads')\n"
        "except EnvironmentFault as fault:\n    print(fault)"
    )
    words = [sys.executable, "-c", code, url, module or "none"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"store {url}: {told}\n"


@pytest.mark.parametrize(
    ("error", "requests", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1, "no space is left there"),
        (PermissionError(errno.EACCES, "not yours"), 1, "access denied ([Errno 13] not yours)"),
        (ConnectionResetError("reset"), 4, "cannot be reached, 4 attempts failed (reset)"),
        (TimeoutError(), 4, "cannot be reached, 4 attempts failed (TimeoutError)"),
    ],
)
def test_only_what_may_pass_is_tried_again(faulty: FaultySystem, error: Exception, requests: int, told: str) -> None:
    faulty.error, faulty.gone_after = error, 0
    files = Far(read_store_url(faulty.url))
    with pytest.raises(EnvironmentFault) as caught:
        files.sizes("payloads/aa")
    assert str(caught.value) == f"store {faulty.url}: {told}"
    assert faulty.requests == requests


def test_folders_may_be_made_by_others_at_the_same_time(faulty: FaultySystem) -> None:
    faulty.race_folders = True
    files = Far(read_store_url(faulty.url), waits_s=())
    files.write("payloads/aa/x", b"x")
    assert files.read("payloads/aa/x") == b"x"


def test_attempts_are_spread_over_some_seconds(faulty: FaultySystem, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(far.time, "sleep", waited.append)
    faulty.gone_after = 0
    with pytest.raises(EnvironmentFault):
        Far(read_store_url(faulty.url), (0.2, 1.0, 5.0)).sizes("payloads/aa")
    assert waited == [0.2, 1.0, 5.0]


def test_a_mistake_in_a_program_is_no_fault_of_the_network(faulty: FaultySystem) -> None:
    faulty.error, faulty.gone_after = TypeError("a bug"), 0
    with pytest.raises(TypeError):
        Far(read_store_url(faulty.url)).sizes("payloads/aa")
