"""What a run resolved to, small enough to commit beside its recipe, and what differs from it now."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from forge_pipeline.disk import DISK, Disk
from forge_pipeline.errors import CommandError
from forge_pipeline.sample import Json

FORMAT = 1
Explain = Callable[[str, str, str], str]


@dataclass(frozen=True, slots=True)
class LockedSource:
    """What a source step found: how many files, and the digest of all their relative names and contents."""

    files: int
    digest: str


@dataclass(frozen=True, slots=True)
class LockedStep:
    """What one step was and did. Counts of samples; `rows` names its dataset with all fields."""

    use: str
    config: str
    entered: int
    out: int
    failed: int
    rows: str
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lock:
    """A finished run in few words: no per-sample rows, no path of this machine, one for all spellings of a recipe."""

    recipe: str
    """Digest of the resolved recipe: variables filled in, defaults written out."""
    sources: Mapping[str, LockedSource] = field(default_factory=dict)
    steps: Mapping[str, LockedStep] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    """Digests of model weights, by name."""


def lock_path(recipe: Path) -> Path:
    """Name the lock of a recipe: `sr_dataset.yaml`, `.hcl` and `.json` share `sr_dataset.lock`."""
    return recipe.with_suffix(".lock")


def lock_bytes(lock: Lock) -> bytes:
    """Spell a lock in the one way that shows a change as few changed lines."""
    text = json.dumps({"forge": FORMAT, **asdict(lock)}, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def write_lock(path: Path, lock: Lock, disk: Disk = DISK) -> bool:
    """Write a lock beside its recipe, at once or not at all.

    Returns whether anything had to be written.
    """
    data = lock_bytes(lock)
    if path.is_file() and path.read_bytes() == data:
        return False
    disk.write_atomic(path, data)
    return True


def read_lock(path: Path) -> Lock | None:
    """Read a lock; None where there is none yet.

    Raises CommandError for a damaged one, and for one of another version.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    hint = f"restore it from version control, or delete it and run without --frozen: rm {path}"
    try:
        value = json.loads(data)
    except ValueError as error:
        raise CommandError(f"{path}: the lock is damaged: {str(error).lower()}", hint) from None
    if isinstance(value, dict) and value.get("forge") != FORMAT:
        raise CommandError(f"{path}: the lock has format {value.get('forge')!r}, expected {FORMAT}", hint)
    try:
        return _lock(value)
    except _Wrong as error:
        raise CommandError(f"{path}: the lock is damaged: {error}", hint) from None


def differences(locked: Lock, now: Lock, explain: Explain | None = None) -> list[str]:
    """Name what differs from the lock: causes (sources, configurations, models) before what came of them.

    Args:
        locked: what was committed.
        now: what this run came to.
        explain: given step id, locked config digest and present config digest, says what changed
            (`param 'keep': ...`), or an empty string when it does not know.

    Returns:
        One sentence each; empty when the results are the same.
    """
    found = [
        *_by_name("source", locked.sources, now.sources, _source_differs),
        *_by_name("model", locked.models, now.models, lambda name, a, b: [f"model '{name}': {b}, locked {a}"]),
        *_by_name("step", locked.steps, now.steps, lambda name, a, b: _step_differs(name, a, b, explain)),
    ]
    if not found and locked.recipe != now.recipe:
        found.append(f"recipe: {now.recipe}, locked {locked.recipe}")
    return found


def _by_name(
    word: str, locked: Mapping[str, Any], now: Mapping[str, Any], differs: Callable[[str, Any, Any], list[str]]
) -> list[str]:
    found = []
    # The order of `now` is the order of the graph: causes come first.
    for name in [*now, *(name for name in sorted(locked) if name not in now)]:
        if name not in now:
            found.append(f"{word} '{name}': gone, but locked")
        elif name not in locked:
            found.append(f"{word} '{name}': new, not locked")
        elif locked[name] != now[name]:
            found.extend(differs(name, locked[name], now[name]))
    return found


def _source_differs(name: str, locked: LockedSource, now: LockedSource) -> list[str]:
    if locked.files != now.files:
        return [f"source '{name}': {now.files} {'file' if now.files == 1 else 'files'}, locked {locked.files}"]
    its = f"its {now.files} files" if now.files > 1 else "its file"
    return [f"source '{name}': names or contents of {its} changed"]


def _step_differs(name: str, locked: LockedStep, now: LockedStep, explain: Explain | None) -> list[str]:
    found = []
    if locked.use != now.use:
        found.append(f"step '{name}': uses {now.use}, locked {locked.use}")
    elif locked.config != now.config:
        why = explain(name, locked.config, now.config) if explain else ""
        found.append(f"step '{name}': config changed" + (f": {why}" if why else ""))
    for word, before, after in (
        ("in", locked.entered, now.entered),
        ("out", locked.out, now.out),
        ("failed", locked.failed, now.failed),
    ):
        if before != after:
            found.append(f"step '{name}': {after} {word}, locked {before}")
    for reason in sorted({*locked.dropped, *now.dropped}):
        before, after = locked.dropped.get(reason, 0), now.dropped.get(reason, 0)
        if before != after:
            found.append(f"step '{name}': {after} dropped as {reason}, locked {before}")
    if not found and locked.rows != now.rows:
        found.append(f"step '{name}': same counts, other content")
    return found


# --- reading --------------------------------------------------------------------------------------


class _Wrong(Exception):
    """What a part of a lock should have been."""


def _lock(value: Json) -> Lock:
    record = _record(value, Lock, "the file", ("forge",))
    return Lock(
        recipe=_of(record["recipe"], str, "recipe"),
        sources={
            name: LockedSource(**_checked(source, LockedSource, f"sources.{name}"))
            for name, source in _mapping(record["sources"], "sources").items()
        },
        steps={
            name: LockedStep(**_checked(step, LockedStep, f"steps.{name}"))
            for name, step in _mapping(record["steps"], "steps").items()
        },
        models={
            name: _of(digest, str, f"models.{name}") for name, digest in _mapping(record["models"], "models").items()
        },
    )


def _checked(value: Json, shape: type[Any], where: str) -> dict[str, Any]:
    record = _record(value, shape, where)
    for one in fields(shape):
        if one.name == "dropped":
            counts = _mapping(record["dropped"], f"{where}.dropped")
            record["dropped"] = {
                reason: _of(count, int, f"{where}.dropped.{reason}") for reason, count in counts.items()
            }
        else:
            _of(record[one.name], int if one.type == "int" else str, f"{where}.{one.name}")
    return record


def _record(value: Json, shape: type[Any], where: str, also: tuple[str, ...] = ()) -> dict[str, Any]:
    mapping = _mapping(value, where)
    names = {one.name for one in fields(shape)} | set(also)
    if set(mapping) != names:
        wrong = ", ".join(f"'{name}'" for name in sorted(set(mapping) ^ names))
        raise _Wrong(f"{where} has unknown or missing keys: {wrong}")
    return dict(mapping)


def _mapping(value: Json, where: str) -> dict[str, Any]:
    return _of(value, dict, where)  # type: ignore[no-any-return]


def _of(value: Json, kind: type[Any], where: str) -> Any:
    if type(value) is not kind:
        raise _Wrong(f"{where} is {type(value).__name__}, expected {kind.__name__}")
    return value
