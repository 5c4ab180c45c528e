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


def cache_size(cache: Cache) -> CacheSize:
    """Measure a cache."""
    size = cache.store.size()
    index_bytes = sum(p.stat().st_size for p in cache.root.glob("index.sqlite*"))
    return CacheSize(size.payloads, size.payload_bytes, index_bytes, cache.index.count("actions"))


def verify_cache(cache: Cache) -> list[Damage]:
    """Read every payload and compare it with its digest; damaged ones are moved to quarantine.

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


def collect_cache(cache: Cache, keep_last: int) -> Collected:
    """Keep what the last so many finished runs of each recipe stand on, and let the rest go.

    Actions stay (they are small, and explain everything); payloads and datasets that no kept run names go.
    """
    index = cache.index
    kept_datasets = {dataset for run in index.last_runs(keep_last) for dataset in run.values()}
    rows = index.drop_datasets_but(kept_datasets)
    wanted = index.digests_in(kept_datasets)
    payloads = freed = 0
    for payload in list(index.payloads()):
        if payload.digest in wanted:
            continue
        size = cache.store.remove(payload)
        payloads += bool(size)
        freed += size
        index.forget_payload(payload.digest)
    index.flush()
    index.shrink()
    return Collected(payloads, freed, rows)
