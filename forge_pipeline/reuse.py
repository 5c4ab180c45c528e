"""Run or reuse, and why: the only place that decides it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from forge_pipeline.cache.store import Payload
from forge_pipeline.compiled import Doing
from forge_pipeline.sample import Sample
from forge_pipeline.task import Done, Known, Result, action_inputs, action_key, read_result


class Memory(Protocol):
    """What is known: of actions by key, of payloads by digest."""

    def known(self, key: str) -> str | None:
        """Return a recorded result as JSON text."""

    def payload(self, digest: str) -> Payload | None:
        """Return what is known of kept bytes."""


class Watched:
    """Remembers what was found in a memory, to send it along with a task."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._results: dict[str, str] = {}
        self._payloads: dict[str, Payload] = {}

    def known(self, key: str) -> str | None:
        """Look, and remember."""
        found = self._memory.known(key)
        if found is not None:
            self._results[key] = found
        return found

    def payload(self, digest: str) -> Payload | None:
        """Look, and remember."""
        found = self._memory.payload(digest)
        if found is not None:
            self._payloads[digest] = found
        return found

    def found(self) -> Known:
        """Return all that was found."""
        return Known(self._results, self._payloads)


class Sent:
    """What was sent along with a task, before what can be looked up from here."""

    def __init__(self, known: Known, beyond: Memory) -> None:
        self._known = known
        self._beyond = beyond

    def known(self, key: str) -> str | None:
        """Return a recorded result as JSON text."""
        return self._known.results.get(key) or self._beyond.known(key)

    def payload(self, digest: str) -> Payload | None:
        """Return what is known of kept bytes."""
        return self._known.payloads.get(digest) or self._beyond.payload(digest)


class Nothing:
    """Knows nothing: the memory of a worker that cannot reach the index."""

    def known(self, key: str) -> None:
        """Know no result."""

    def payload(self, digest: str) -> None:
        """Know no payload."""


class WithoutFailures:
    """A memory in which nothing ever broke: what did is tried again."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def known(self, key: str) -> str | None:
        """Return a recorded result as JSON text, but no failure."""
        found = self._memory.known(key)
        return None if found is not None and read_result(found).kind == "failure" else found

    def payload(self, digest: str) -> Payload | None:
        """Return what is known of kept bytes, present or not."""
        return self._memory.payload(digest)


class Decision(NamedTuple):
    """Whether an action runs, with the key that decided it."""

    key: str
    inputs: str
    known: Result | None

    @property
    def reused(self) -> bool:
        """Whether the result is known."""
        return self.known is not None


def decide_action(
    memory: Memory, doing: Doing, sample: Sample, done: Mapping[str, Done] | None = None, ask: bool = True
) -> Decision:
    """Decide for one action on one sample.

    Args:
        done: what was done just now and is recorded nowhere yet, by action key.
        ask: whether what is recorded counts.
    """
    inputs = action_inputs(doing, sample)
    key = action_key(doing, inputs)
    if done and key in done:
        return Decision(key, inputs, done[key].result)
    text = memory.known(key) if ask else None
    return Decision(key, inputs, read_result(text) if text is not None else None)


@dataclass(frozen=True, slots=True)
class StepDecision:
    """Whether a step is walked, and the reasons: what differs from the last run that is known."""

    walked: bool
    reasons: tuple[str, ...] = ()


def decide_step(
    known: bool, config: Mapping[str, Any], last_config: Mapping[str, Any] | None, input_reasons: Iterable[str]
) -> StepDecision:
    """Decide for a whole step.

    Args:
        known: whether a dataset of this configuration and these inputs is recorded.
        config: the step's configuration now.
        last_config: what it was in the last finished run of this recipe, if there was one.
        input_reasons: how its inputs differ from the last run's.
    """
    if known:
        return StepDecision(walked=False)
    if last_config is None:
        return StepDecision(walked=True, reasons=("first run",))
    return StepDecision(walked=True, reasons=(*config_differences(last_config, config), *input_reasons))


def config_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Explain a change of configuration, one short line a change."""
    if before.get("operator") != now.get("operator"):
        return [f"operator {before.get('operator')} -> {now.get('operator')}"]
    lines = []
    if before.get("version") != now.get("version"):
        lines.append(f"operator version {before.get('version')} -> {now.get('version')}")
    elif before.get("code") != now.get("code"):
        lines.append(f"code of {now.get('operator')} changed")
    lines += _entries("param", before.get("params", {}), now.get("params", {}))
    lines += _entries("library", before.get("libraries", {}), now.get("libraries", {}))
    lines += _entries("model", before.get("models", {}), now.get("models", {}))
    lines += [f"file '{label}' changed" for label, _, _ in _changed(before.get("files", {}), now.get("files", {}))]
    for name in ("seed", "salt", "engine"):
        if before.get(name) != now.get(name):
            lines.append(f"{name} {_spell(before.get(name))} -> {_spell(now.get(name))}")
    for label, old, new in _changed(before.get("metrics", {}), now.get("metrics", {})):
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += [f"metric {label}: {line}" for line in config_differences(old, new)]
        else:
            lines.append(f"metric {label} {'added' if old is None else 'removed'}")
    return lines


def _entries(word: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [f"{word} '{name}' {_spell(old)} -> {_spell(new)}" for name, old, new in _changed(before, now)]


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    names = sorted({*before, *now})
    return [(n, before.get(n), now.get(n)) for n in names if before.get(n) != now.get(n)]


def _spell(value: Any) -> str:
    import json

    return "absent" if value is None else json.dumps(value, ensure_ascii=False)
