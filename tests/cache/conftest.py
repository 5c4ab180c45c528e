"""Real systems behind a store's URL: an S3 server in a process of its own, an SSH server, a second folder."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from forge_pipeline.cache import far
from tests.cache.faulty import FaultyFileSystem, FaultySystem
from tests.cache.servers import USER
from tests.engine.conftest import fresh_toys, quick_disk

__all__ = ["fresh_toys", "quick_disk"]

_START_S = 30.0


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start moto's S3 server on loopback; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("moto") / "log"
    address = f"http://127.0.0.1:{port}"
    with _process(["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], log):
        _wait_until(lambda: _answers(address), f"moto's server does not answer: {log}")
        yield address


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Let the environment name that server, as a user's would; its address."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "verysecretvalue")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return s3_endpoint


@pytest.fixture(scope="session")
def bucket(s3_endpoint: str) -> str:
    """Make a bucket; its name."""
    request = urllib.request.Request(f"{s3_endpoint}/forge-bucket", method="PUT")
    request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/s3/aws4_request")
    with urllib.request.urlopen(request, timeout=10):
        return "forge-bucket"


class SshServer:
    """A server on loopback, and the home of the one user that it lets in."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = int((home / "port").read_text())

    def url(self, folder: Path) -> str:
        """Name a folder of this machine as the server shows it."""
        return f"sftp://{USER}@127.0.0.1:{self.port}{folder}"


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """Start an SSH server on loopback that serves files of this machine."""
    home = tmp_path_factory.mktemp("ssh")
    with _process(["-m", "tests.cache.servers", str(home)], home / "log"):
        _wait_until((home / "port").exists, f"the SSH server does not start: {home / 'log'}")
        yield SshServer(home)


@pytest.fixture
def ssh(ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch) -> SshServer:
    """Let the user's home hold a key that the server takes, and the server's in known_hosts."""
    monkeypatch.setenv("HOME", str(ssh_server.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return ssh_server


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FaultySystem:
    """Make a system that fails as it is told, and wait for nothing between attempts."""
    folder = tmp_path / "faulty"
    folder.mkdir()
    system = FaultySystem(folder)
    monkeypatch.setattr(FaultyFileSystem, "system", system, raising=False)
    monkeypatch.setattr(far, "WAITS_S", (0.0, 0.0, 0.0))
    fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)
    return system


@pytest.fixture(params=["file", "sftp", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name an empty shared store, on each sort of system."""
    if request.param == "s3":
        request.getfixturevalue("s3")
        return f"s3://{request.getfixturevalue('bucket')}/{tmp_path.name}/prefix"
    folder = tmp_path / "shared"
    folder.mkdir()
    if request.param == "file":
        return f"file://{folder}"
    return request.getfixturevalue("ssh").url(folder)


@contextlib.contextmanager
def _process(arguments: list[str], log: Path) -> Iterator[None]:
    with open(log, "wb") as stream:
        server = subprocess.Popen([sys.executable, "-W", "ignore", *arguments], stdout=stream, stderr=stream)
    try:
        yield
    finally:
        server.terminate()
        server.wait(_START_S)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/moto-api/", timeout=2):
            return True
    except OSError:
        return False


def _wait_until(true: Callable[[], bool], else_say: str) -> None:
    end = time.monotonic() + _START_S
    while not true():
        assert time.monotonic() < end, else_say
        time.sleep(0.05)
