"""What several caches know becomes one: actions, configurations and payloads travel, what names a machine does not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from forge_pipeline.cache.index import MERGED_RUN, Index, nondeterministic
from forge_pipeline.cache.index_file import INDEX_FORMAT, index_format
from forge_pipeline.cache.index_rows import KnownAction
from forge_pipeline.cache.place import Cache, file_system, is_network
from forge_pipeline.cache.store import Payload, PayloadMissing
from forge_pipeline.errors import CommandError, EnvironmentFault

_FLUSH_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Taken:
    """What came from one cache.

    Attributes:
        cache: its folder.
        actions: results that are new.
        actions_known: results that were known, and are the same.
        payloads: images that were copied.
        payload_bytes: of those.
        payloads_known: images that were there, or lie in a store that both share.
        payloads_missing: images that are not there, or damaged: they are made again when they are needed.
    """

    cache: Path
    actions: int = 0
    actions_known: int = 0
    payloads: int = 0
    payload_bytes: int = 0
    payloads_known: int = 0
    payloads_missing: int = 0


@dataclass(frozen=True, slots=True)
class Conflict:
    """One thing that two caches know differently: an action by its key, or the bytes of an image by its digest.

    Attributes:
        cache: where the other is; ours was kept.
        name: the action key, or the digest.
        message: the whole sentence.
    """

    cache: Path
    name: str
    message: str


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did.

    Attributes:
        shared: images lie in a store that several machines share.
    """

    into: Path
    taken: tuple[Taken, ...]
    conflicts: tuple[Conflict, ...]
    shared: bool = False


@dataclass
class _Account:
    """A growing `Taken`, and what was found to differ."""

    taken: Taken
    conflicts: list[Conflict] = field(default_factory=list)

    def count(self, **more: int) -> None:
        self.taken = replace(self.taken, **{name: getattr(self.taken, name) + by for name, by in more.items()})

    def differ(self, name: str, message: str) -> None:
        self.conflicts.append(Conflict(self.taken.cache, name, message))


def check_mergeable(into: Path, others: Sequence[Path], version: str) -> None:
    """Look at the folders of a merge before any of them is opened.

    Raises:
        CommandError: one is no cache, or is the one that is merged into.
        EnvironmentFault: one has an index of another format, or lies where an index cannot be used.
    """
    for other in others:
        if other == into:
            raise CommandError(
                f"forge cache merge: {other} is the cache that is merged into",
                "leave it out, or name another one with --cache DIR",
            )
        if not (other / "index.sqlite").is_file():
            inside = other / ".forge" / "cache"
            near = f"did you mean '{inside}'?" if (inside / "index.sqlite").is_file() else ""
            raise CommandError(f"forge cache merge: {other}: there is no cache", near)
        if is_network(network := file_system(other)):
            raise EnvironmentFault(
                f"cache: {other} lies on a network file system ({network}), where an index can be damaged",
                f"rsync -a {other}/ FOLDER/ to a folder on a local disk, and merge that",
            )
        if (found := index_format(other / "index.sqlite")) != INDEX_FORMAT:
            raise EnvironmentFault(
                f"cache: {other / 'index.sqlite'} has index format {found}, this version of forge has {INDEX_FORMAT}",
                _same_version(version),
            )


def merge_caches(into: Cache, others: Sequence[Cache], engine: int, version: str) -> Merged:
    """Let one cache know all that others know.

    Files, runs, datasets and compiled plans stay where they are: they name paths of a machine, or parts that no whole
    run had. A merge that was cut off is done again by the same call; one that is through changes nothing.

    Args:
        engine: today's engine format. Actions of another one are left: they are never looked up.
        version: of forge, to be named where caches are of different ones.

    Raises:
        EnvironmentFault: a cache is of another engine, or its images were encoded by another one; nothing is merged.
    """
    configs = {other.root: _configs(other, engine, version) for other in others}
    _settle_codecs(into, others, version)
    accounts = []
    for other in others:
        account = _Account(Taken(other.root))
        for digest, text in configs[other.root].items():
            into.index.record_config(digest, text)
        _take_actions(into.index, other.index, configs[other.root], account)
        _take_payloads(into, other, account)
        into.index.flush()
        accounts.append(account)
    conflicts = tuple(conflict for account in accounts for conflict in account.conflicts)
    return Merged(into.root, tuple(account.taken for account in accounts), conflicts, into.store.shared)


def _configs(cache: Cache, engine: int, version: str) -> dict[str, str]:
    """Return the configurations that today's engine made, as JSON text by digest."""
    every = dict(cache.index.configs())
    ours = {digest: text for digest, text in every.items() if json.loads(text).get("engine") == engine}
    if every and not ours:
        formats = sorted({str(json.loads(text).get("engine")) for text in every.values()})
        raise EnvironmentFault(
            f"cache: all that {cache.root} knows has engine format {', '.join(formats)}, this version of forge has "
            f"{engine}: nothing of it would be used",
            _same_version(version),
        )
    return ours


def _settle_codecs(into: Cache, others: Sequence[Cache], version: str) -> None:
    """Refuse images of different encoders: exports would hold bytes that no single run writes."""
    for other in others:
        theirs, ours = other.index.codecs(), into.index.codecs()
        if theirs is None:
            continue
        if ours is None:
            into.index.settle_codecs(theirs)
        elif ours != theirs:
            raise EnvironmentFault(
                f"cache: the images in {other.root} were encoded by {_spell(theirs)}, those in {into.root} by "
                f"{_spell(ours)}",
                _same_version(version),
            )


def _take_actions(into: Index, other: Index, configs: Mapping[str, str], account: _Account) -> None:
    for number, action in enumerate(other.actions()):
        if action.config in configs:
            _take_action(into, action, configs, account)
        if number % _FLUSH_ROWS == 0:
            into.flush()


def _take_action(into: Index, action: KnownAction, configs: Mapping[str, str], account: _Account) -> None:
    known = into.known(action.key)
    if known is not None and known != action.result:
        use = str(json.loads(configs[action.config])["operator"])
        account.differ(action.key, nondeterministic(use, action.key, known, action.result).message)
    elif known is not None:
        account.count(actions_known=1)
    else:
        into.record_action(
            action.key, action.config, action.inputs, action.result, MERGED_RUN, action.seconds, operator=""
        )
        account.count(actions=1)


def _take_payloads(into: Cache, other: Cache, account: _Account) -> None:
    for number, payload in enumerate(other.index.payloads()):
        known = into.index.payload(payload.digest)
        if known is not None and known.bytes_digest != payload.bytes_digest:
            account.differ(
                payload.digest,
                f"image {payload.digest[:12]} has other bytes there: it was encoded as {known.bytes_digest[:12]} here "
                f"and as {payload.bytes_digest[:12]} in {other.root}, by a codec that is not deterministic",
            )
        elif into.store.has(payload):  # also where both put it into one store
            account.count(payloads_known=1)
            if known is None:
                into.index.record_payload(payload)
        else:
            _copy(into, other, payload, account)
        if number % _FLUSH_ROWS == 0:
            into.index.flush()


def _copy(into: Cache, other: Cache, payload: Payload, account: _Account) -> None:
    """Copy one image, verified as it is read; its row comes after its bytes."""
    try:
        data = other.store.read(payload)
    except PayloadMissing:
        account.count(payloads_missing=1)
        return
    into.index.record_payload(into.store.put(payload.digest, data, payload.suffix))
    account.count(payloads=1, payload_bytes=payload.size)


def _spell(codecs: Mapping[str, int]) -> str:
    return ", ".join(f"'{kind}' version {version}" for kind, version in sorted(codecs.items()))


def _same_version(version: str) -> str:
    return f"have forge {version} on every machine, and run that shard again"
