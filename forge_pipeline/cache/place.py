"""A cache as a place: its folder opened, locked against a second run, refused where locks cannot be trusted."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from forge_pipeline.cache.folder import FolderStore
from forge_pipeline.cache.index import Index
from forge_pipeline.cache.index_file import index_fault
from forge_pipeline.cache.store import Store, StoreSpec
from forge_pipeline.cache.stores import open_store
from forge_pipeline.disk import disk_fault, held
from forge_pipeline.errors import EnvironmentFault

# SQLite's own advice: its locks are not to be trusted over a network.
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "glusterfs", "9p", "ncpfs"}
MOUNTS = "/proc/mounts"
_ESCAPED = re.compile(r"\\([0-7]{3})")
_NETWORK_FUSE = ("fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.cephfs")


@dataclass(frozen=True, slots=True)
class Cache:
    """An open cache."""

    root: Path
    index: Index
    store: Store


@contextlib.contextmanager
def open_cache(
    root: Path, announce: Callable[[str], None] | None = None, store_url: str = "", keep_bytes: int = 0
) -> Iterator[Cache]:
    """Open a cache for one run; a second run waits until the first is done.

    Args:
        store_url: where payloads lie that are shared with other machines; empty for the cache's own folder.
        keep_bytes: how much of a shared store is kept in the cache's folder; 0 stands for the default.

    Raises:
        CommandError: the URL is none, or holds a secret.
        EnvironmentFault: the folder cannot be written, or lies on a network file system; later, from within the block:
            the index turns out to be damaged.
    """
    _refuse_network(root)
    if root.exists() and not root.is_dir():
        raise EnvironmentFault(f"cache: {root} is a file, expected a folder or nothing", f"mv {root} {root}.mine")
    try:
        root.mkdir(parents=True, exist_ok=True)
        (root / ".gitignore").write_text("*\n")
    except OSError as error:
        raise disk_fault(error, root) from error

    def waiting() -> None:
        if announce is not None:
            announce(f"cache {root}: another run is using it; waiting until it is done")

    try:
        lock = contextlib.ExitStack()
        lock.enter_context(held(root / "lock", waiting=waiting))
    except OSError as error:
        raise disk_fault(error, root) from error
    with lock:
        FolderStore(root).sweep_incoming()
        store = open_store(StoreSpec(str(root), store_url, keep_bytes))
        index = Index(root / "index.sqlite")
        try:
            yield Cache(root, index, store)
        except sqlite3.Error as error:
            raise index_fault(index.path, error) from error
        finally:
            index.close()


def _refuse_network(root: Path) -> None:
    kind = file_system(root)
    if is_network(kind):
        raise EnvironmentFault(
            f"cache: {root} lies on a network file system ({kind}), where an index can be damaged",
            "--cache DIR with a folder on a local disk, or: export FORGE_CACHE=DIR",
        )


def is_network(kind: str) -> bool:
    """Tell whether a type of file system is one where the locks of an index cannot be trusted."""
    return kind in _NETWORK or kind.startswith(_NETWORK_FUSE)


def file_system(path: Path, mounts: str = "") -> str:
    """Return the type of the file system that a path is, or would be, on; empty where the system does not tell.

    Args:
        mounts: the table of mounts, if not the system's own.
    """
    try:
        lines = Path(mounts or MOUNTS).read_text().splitlines()
    except OSError:
        return ""
    real = path.resolve()
    best, kind = -1, ""
    for line in lines:
        _, point, found, *_ = line.split(" ")
        place = Path(_ESCAPED.sub(lambda escape: chr(int(escape[1], 8)), point))
        if (real == place or place in real.parents) and len(place.parts) >= best:
            best, kind = len(place.parts), found
    return kind
