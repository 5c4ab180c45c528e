"""Files behind a store's URL: read, published whole, listed; retried where that can help, and errors that tell."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from forge_pipeline.cache.url import StoreUrl
from forge_pipeline.errors import EnvironmentFault

T = TypeVar("T")

WAITS_S = (0.2, 1.0, 5.0)
"""Before a second, third and fourth attempt; what is behind a URL has patience of its own besides."""

_INCOMING = "incoming"
_CONNECT_S = 20.0
# Every system has errors of its own, most of which are no OSError: known by where they come from.
_SYSTEMS = frozenset(
    [
        "aiobotocore",
        "aiohttp",
        "azure",
        "botocore",
        "fsspec",
        "gcsfs",
        "google",
        "oauthlib",
        "paramiko",
        "requests",
        "s3fs",
        "smbprotocol",
        "socket",
        "ssl",
        "urllib3",
    ]
)
# Of these, another attempt gives the same.
_DENIED = frozenset(
    [
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
        "SSOTokenLoadError",
        "ProfileNotFound",
        "AuthenticationException",
        "PasswordRequiredException",
        "BadHostKeyException",
        "DefaultCredentialsError",
        "RefreshError",
        "ClientAuthenticationError",
        "UnknownHostKey",
    ]
)
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Far:
    """A folder or prefix behind a URL; paths are relative to it. Safe for many threads.

    Args:
        waits_s: seconds to wait before each further attempt, if not the usual ones.
    """

    def __init__(self, url: StoreUrl, waits_s: Sequence[float] | None = None) -> None:
        self.url = url
        self._waits_s = tuple(WAITS_S if waits_s is None else waits_s)
        self._lock = threading.Lock()
        self._shared: Any = None
        self._of_thread = threading.local()
        self._folders_made: set[str] = set()
        self._checked = False

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, None where there is no such file."""
        try:
            return self._tried(lambda fs, root: bytes(fs.cat_file(f"{root}/{path}")))
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes) -> None:
        """Publish a file: it appears whole or not at all, over what was there.

        Where an upload appears only when it is complete, it goes to its name at once; elsewhere to a name of its own,
        and is renamed.
        """
        if self.url.back_end.buckets:
            # Never conditional: what stands there under the same name are the same bytes, or damaged ones.
            self._must_be_there(lambda fs, root: fs.pipe_file(f"{root}/{path}", data))
            return
        self._check_root()
        aside = f"{_INCOMING}/{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
        for folder in (_INCOMING, path.rpartition("/")[0]):
            self._make_folder(folder)

        def publish(fs: Any, root: str) -> None:
            try:
                fs.pipe_file(f"{root}/{aside}", data)
                fs.mv(f"{root}/{aside}", f"{root}/{path}")
            except BaseException:
                with contextlib.suppress(Exception):
                    fs.rm_file(f"{root}/{aside}")
                raise

        try:
            self._tried(publish)
        except FileNotFoundError:  # someone deleted the folders meanwhile
            self._folders_made.clear()
            for folder in (_INCOMING, path.rpartition("/")[0]):
                self._make_folder(folder)
            self._must_be_there(publish)

    def sizes(self, folder: str) -> dict[str, int]:
        """List the files of a folder, name to size in bytes; a folder that is not there is empty."""
        self._check_root()

        def listed(fs: Any, root: str) -> dict[str, int]:
            fs.invalidate_cache()
            entries = fs.ls(f"{root}/{folder}", detail=True)
            return {e["name"].rstrip("/").rpartition("/")[2]: int(e["size"]) for e in entries if e["type"] == "file"}

        try:
            return self._tried(listed)
        except FileNotFoundError as error:
            if _names_bucket(error):
                raise self._not_there() from error
            return {}

    def size(self, path: str) -> int | None:
        """Return a file's size in bytes, None where there is no such file."""

        def asked(fs: Any, root: str) -> int:
            fs.invalidate_cache()
            return int(fs.info(f"{root}/{path}")["size"])

        try:
            return self._tried(asked)
        except FileNotFoundError as error:
            if _names_bucket(error):
                raise self._not_there() from error
            return None

    def all_sizes(self, folder: str) -> Iterator[int]:
        """List the sizes of all files below a folder."""
        self._check_root()

        def listed(fs: Any, root: str) -> list[int]:
            fs.invalidate_cache()
            return [int(entry["size"]) for entry in fs.find(f"{root}/{folder}", detail=True).values()]

        try:
            yield from self._tried(listed)
        except FileNotFoundError as error:
            if _names_bucket(error):
                raise self._not_there() from error

    def move(self, path: str, target: str) -> None:
        """Move a file; one that is not there is fine, somebody else moved it."""
        if not self.url.back_end.buckets:
            self._make_folder(target.rpartition("/")[0])
        with contextlib.suppress(FileNotFoundError):
            self._tried(lambda fs, root: fs.mv(f"{root}/{path}", f"{root}/{target}"))

    def delete(self, path: str) -> None:
        """Delete a file; one that is not there is fine."""
        with contextlib.suppress(FileNotFoundError):
            self._tried(lambda fs, root: fs.rm_file(f"{root}/{path}"))

    def where(self, path: str) -> str:
        """Say for a person where a file lies."""
        return f"{self.url.text}/{path}"

    # --- what can go wrong ----------------------------------------------------------------------

    def _check_root(self) -> None:
        """See once that the folder is there: a share that is not mounted must not be taken for an empty one."""
        if self._checked or self.url.back_end.buckets:
            return
        self._must_be_there(lambda fs, root: fs.info(root))
        self._checked = True

    def _make_folder(self, folder: str) -> None:
        if folder not in self._folders_made:
            self._must_be_there(lambda fs, root: _make_folders(fs, f"{root}/{folder}", folder.count("/") + 1))
            self._folders_made.add(folder)

    def _must_be_there(self, call: Callable[[Any, str], T]) -> T:
        try:
            return self._tried(call)
        except FileNotFoundError as error:
            raise self._not_there() from error

    def _not_there(self) -> EnvironmentFault:
        what = "bucket" if self.url.back_end.buckets else "folder"
        path = self.url.path
        hint = {
            "file": f"mkdir -p {path}  (or mount the share that should be there)",
            "local": f"mkdir -p {path}  (or mount the share that should be there)",
        }.get(self.url.scheme, self.url.look)
        return EnvironmentFault(f"store {self.url.text}: there is no such {what}", hint)

    def _tried(self, call: Callable[[Any, str], T]) -> T:
        """Ask what is behind the URL, again where it is only busy or out of reach.

        Raises:
            FileNotFoundError: no such file, or no such bucket.
            EnvironmentFault: nothing more can be done.
        """
        for wait_s in (*self._waits_s, None):
            try:
                fs, root = self._system()
                return call(fs, root)
            except FileNotFoundError:
                raise
            except Exception as error:  # each system raises what it likes; what is no error of one is raised below
                if not _of_a_system(error):
                    raise
                if wait_s is None or _is_lasting(error):
                    raise self._fault(error) from error
            self._drop_system()
            time.sleep(wait_s)
        raise AssertionError  # the last attempt returns or raises

    def _fault(self, error: Exception) -> EnvironmentFault:
        said = " ".join(str(error).split()) or type(error).__name__
        start = f"store {self.url.text}"
        if isinstance(error, OSError) and error.errno in _FULL:
            return EnvironmentFault(f"{start}: no space is left there", self.url.look)
        if _is_denied(error):
            return EnvironmentFault(f"{start}: access denied ({said})", _allow(self.url, error))
        attempts = len(self._waits_s) + 1
        return EnvironmentFault(f"{start}: cannot be reached, {attempts} attempts failed ({said})", self.url.look)

    # --- the system behind the URL --------------------------------------------------------------

    def _system(self) -> tuple[Any, str]:
        """Return fsspec's file system and the path of our root in it.

        One whose requests run in an event loop serves all threads; any other, such as an SSH connection, one.
        """
        found = self._shared or getattr(self._of_thread, "found", None)
        if found is None:
            with self._lock:
                found = self._shared or _open(self.url)
                if found[0].async_impl:
                    self._shared = found
            self._of_thread.found = found
        return found

    def _drop_system(self) -> None:
        """Forget a connection that may be broken."""
        self._of_thread.found = None


def _open(url: StoreUrl) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise EnvironmentFault(
            f"store {url.text}: the Python package fsspec is not installed", "pip install 'forge-pipeline[store]'"
        ) from None
    try:
        kind = fsspec.get_filesystem_class(url.scheme)
    except ValueError:
        raise EnvironmentFault(
            f"store {url.text}: fsspec knows no scheme '{url.scheme}', expected one such as s3, gs, az, sftp or file",
            'python -c "import fsspec; print(*fsspec.available_protocols())"',
        ) from None
    except ImportError:
        package = url.back_end.package
        what = f"the Python package {package}" if package else f"what fsspec needs for {url.scheme}://"
        raise EnvironmentFault(
            f"store {url.text}: {what} is not installed",
            f"pip install {package}" if package else f"python -c \"import fsspec; fsspec.filesystem('{url.scheme}')\"",
        ) from None
    options = kind._get_kwargs_from_urls(url.text)
    if url.back_end.package == "paramiko":
        options |= {"timeout": _CONNECT_S, "auth_timeout": _CONNECT_S, "host_key_policy": _known_hosts_only()}
    fs = kind(**options, skip_instance_cache=True)
    return fs, str(kind._strip_protocol(url.text)).rstrip("/")


def _known_hosts_only() -> Any:
    """Refuse a server that ~/.ssh/known_hosts does not name: fsspec by itself would trust anybody who answers."""
    import paramiko

    class UnknownHostKey(paramiko.SSHException):  # type: ignore[misc]
        """The server is not in known_hosts, or shows another key."""

    class KnownHostsOnly(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            path = Path.home() / ".ssh" / "known_hosts"
            known = paramiko.HostKeys(str(path)) if path.is_file() else paramiko.HostKeys()
            if not known.check(hostname, key):
                raise UnknownHostKey(f"{path} does not hold the key that {hostname} shows")

    return KnownHostsOnly()


def _of_a_system(error: Exception) -> bool:
    """Tell an error of the machine, of a network or of a service from a mistake in a program."""
    if isinstance(error, EnvironmentFault):
        return False
    if isinstance(error, OSError | EOFError | TimeoutError):
        return True
    return any(kind.__module__.partition(".")[0] in _SYSTEMS for kind in type(error).__mro__)


def _is_lasting(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (*_FULL, errno.EROFS):
        return True
    return _is_denied(error)


def _is_denied(error: Exception) -> bool:
    # Without any key paramiko raises its most general class.
    keyless = "No authentication methods available" in str(error)
    return keyless or isinstance(error, PermissionError) or type(error).__name__ in _DENIED


def _names_bucket(error: BaseException | None) -> bool:
    """Tell "no such bucket" from "nothing under that prefix", which some systems raise as one class."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict) and response.get("Error", {}).get("Code") == "NoSuchBucket":
            return True
        if "bucket does not exist" in str(error):
            return True
        error = error.__cause__
    return False


def _allow(url: StoreUrl, error: Exception) -> str:
    """Say what gives the right to be there."""
    if type(error).__name__ == "UnknownHostKey":
        return f"{url.look}  (once, and accept its key if it is the right one)"
    return {
        "s3fs": "aws configure  (or: export AWS_PROFILE=NAME)",
        "gcsfs": "gcloud auth application-default login",
        "adlfs": "az login",
        "paramiko": f"ssh-add, then: {url.look}",
    }.get(url.back_end.package, url.look)


def _make_folders(fs: Any, path: str, levels: int) -> None:
    """Make a folder and so many levels at the most, though others make the same ones at the same time.

    Over SSH a folder that has just appeared is a failure without a code, for `exist_ok` too.
    """
    for left in reversed(range(levels)):
        try:
            fs.makedirs(path, exist_ok=True)
        except OSError:
            if not fs.isdir(path):
                if not left:
                    raise
                continue
        return
