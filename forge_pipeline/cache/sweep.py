"""Care of a cache: how big it is, whether its payloads are whole, and what can go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from forge_pipeline.cache.place import Cache
from forge_pipeline.digest import digest_file


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
    path: Path
    problem: str


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection let go."""

    payloads: int
    bytes: int
    rows: int


def cache_size(cache: Cache) -> CacheSize:
    """Measure a cache."""
    sizes = [path.stat().st_size for path in cache.store.files()]
    index_bytes = sum(p.stat().st_size for p in cache.root.glob("index.sqlite*"))
    return CacheSize(len(sizes), sum(sizes), index_bytes, cache.index.count("actions"))


def verify_cache(cache: Cache) -> list[Damage]:
    """Read every payload and compare it with its digest; damaged ones are moved to quarantine.

    A payload that the index knows and that is not there is no damage: it is made again when it is needed.
    """
    known = {cache.store.path(payload): payload for payload in cache.index.payloads()}
    damages = []
    for path in list(cache.store.files()):
        payload = known.get(path)
        if payload is None:
            damages.append(Damage(path.stem, path, "not in the index: left by a run that was killed; removed"))
            cache.store.remove(path)
            continue
        found = digest_file(path)
        if found != payload.bytes_digest:
            problem = f"its bytes have digest {found[:12]}, not {payload.bytes_digest[:12]}; moved to quarantine"
            damages.append(Damage(payload.digest, path, problem))
            cache.store.quarantine(path)
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
        path = cache.store.path(payload)
        if path.exists():
            payloads += 1
            freed += path.stat().st_size
            cache.store.remove(path)
        index.forget_payload(payload.digest)
    index.flush()
    index.shrink()
    return Collected(payloads, freed, rows)
