"""From what a store can be opened by, in any process, to the store."""

from __future__ import annotations

from pathlib import Path

from forge_pipeline.cache.folder import FolderStore
from forge_pipeline.cache.store import Store, StoreSpec


def open_store(spec: StoreSpec) -> Store:
    """Open a store: `open_store(store.spec)` in a worker is the store of the run.

    Nothing is asked of a network before the first payload is.

    Raises:
        CommandError: the URL is none, or holds a secret.
    """
    if not spec.url:
        return FolderStore(Path(spec.folder))
    from forge_pipeline.cache.remote import RemoteStore

    return RemoteStore(spec.url, Path(spec.folder), spec.keep_bytes)
