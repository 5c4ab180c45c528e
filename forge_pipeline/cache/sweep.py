"""Care of a cache: how big it is, whether its payloads are whole, and what can go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from forge_pipeline.cache.place import Cache


@dataclass(frozen=True, slots=True)
class CacheSize:
    """What a cache holds."""

    payloads: int
    payload_bytes: int
    index_bytes: int
    actions: int
    shared_in: str = ""
    """URL of the store that the payloads are shared by; empty where they lie in the cache's folder."""
    kept_bytes: int = 0
    """Of a shared store, what is kept on this machine."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A payload that is not what it should be."""

    digest: str
    where: str
    problem: str


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection let go."""

    payloads: int
    bytes: int
    rows: int
    left_in: str = ""
    """URL of the shared store whose payloads were left alone."""


def cache_size(cache: Cache) -> CacheSize:
    """Measure a cache."""
    size = cache.store.size()
    index_bytes = sum(p.stat().st_size for p in cache.root.glob("index.sqlite*"))
    actions = cache.index.count("actions")
    url = cache.store.spec.url
    return CacheSize(size.payloads, size.payload_bytes, index_bytes, actions, url, size.kept_bytes)


def verify_cache(cache: Cache) -> list[Damage]:
    """Read every payload that the index knows and compare it with its digest; damaged ones are moved to quarantine.

    A payload that the index knows and that is not there is no damage: it is made again when it is needed.
    """
    known = list(cache.index.payloads())
    damages = [
        Damage(Path(stray).stem, stray, "not in the index: left by a run that was killed; removed")
        for stray in cache.store.remove_strays(known)
    ]
    for payload in known:
        problem = cache.store.damage(payload)
        if problem:
            damages.append(Damage(payload.digest, cache.store.where(payload), problem))
    return damages


def collect_cache(cache: Cache, keep_last: int, delete_shared: bool = False) -> Collected:
    """Keep what the last so many finished runs of each recipe stand on, and let the rest go.

    Actions stay (they are small, and explain everything); payloads and datasets that no kept run names go. Payloads
    that other machines share stay too, and stay known, unless `delete_shared`: nobody can tell who else uses them.
    """
    index = cache.index
    kept_datasets = {dataset for run in index.last_runs(keep_last) for dataset in run.values()}
    rows = index.drop_datasets_but(kept_datasets)
    if cache.store.shared and not delete_shared:
        index.flush()
        index.shrink()
        return Collected(0, 0, rows, cache.store.spec.url)
    wanted = index.digests_in(kept_datasets)
    payloads = freed = 0
    for payload in list(index.payloads()):
        if payload.digest in wanted:
            continue
        size = cache.store.remove(payload)
        payloads += bool(size)
        freed += size
        index.forget_payload(payload.digest)
    # Payloads that another version of a codec encoded, or a run that was killed: the index does not know them any more.
    strays = cache.store.remove_strays(index.payloads())
    index.flush()
    index.shrink()
    return Collected(payloads + len(strays), freed + sum(strays.values()), rows)
