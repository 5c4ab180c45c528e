"""One walk down a branch with one sample: look what is known, do what is not, child by child."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from forge_pipeline.batches import Batching, Halved, batching
from forge_pipeline.beacon import Beacon
from forge_pipeline.bench import Bench
from forge_pipeline.cache.index import nondeterministic
from forge_pipeline.cache.store import Payload, PayloadMissing
from forge_pipeline.compiled import Doing
from forge_pipeline.digest import canonical_json, digest_bytes
from forge_pipeline.errors import BrokenPromise, Reject
from forge_pipeline.guard import guarded, json_of
from forge_pipeline.inspection import inspect, inspection_inputs
from forge_pipeline.reuse import Decision, decide_action
from forge_pipeline.sample import Sample
from forge_pipeline.shapes import Child, Context, Metric, Operator, Partial
from forge_pipeline.task import (
    Branch,
    Chain,
    ChildResult,
    Done,
    EarlyInspection,
    Inspected,
    Measure,
    Result,
    Tried,
    Visit,
    action_key,
    compose_child,
    declared_fields,
    through,
)

DEVICE = "device"
"""The field that says what did a sample's work, where that was not the device that its operator wants."""

_NO_CONTEXT = Context(MappingProxyType({}))
# Before a second, third ... attempt: what is busy or unreachable now may not be in a moment.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0


class Value(Protocol):
    """The value of a sample, at hand or to be fetched."""

    @property
    def at_hand(self) -> bool:
        """Whether nothing has to be fetched."""

    def get(self) -> Any:
        """Return it. Raises PayloadMissing."""


class Now(NamedTuple):
    """A value that was just made."""

    value: Any

    @property
    def at_hand(self) -> bool:
        """It is."""
        return True

    def get(self) -> Any:
        """Return it."""
        return self.value


class Later:
    """A value that is read from where it is kept when it is first asked for."""

    def __init__(self, bench: Bench, sample: Sample) -> None:
        self._bench = bench
        self._sample = sample
        self._value: Any = None

    @property
    def at_hand(self) -> bool:
        """Whether it was fetched already."""
        return self._value is not None

    def get(self) -> Any:
        """Return it. Raises PayloadMissing."""
        if self._value is None:
            self._value = self._bench.value(self._sample)
        return self._value


class NotAtHand:
    """The value of a sample of which nothing should be unknown."""

    at_hand = False

    def get(self) -> Any:
        """Refuse: bytes went missing between the look and the walk."""
        raise PayloadMissing("")


class Look(NamedTuple):
    """What is to be done with a sample: whether its value is needed for it, or nothing at all is to be done.

    Both may be false: where a child's bytes are kept, what is unknown below it needs no value of the sample.

    Attributes:
        unknown: keys of what is to be done with the sample itself. Not of what reads its header alone: thousands of
            tiles share those.
    """

    needs_value: bool
    all_known: bool
    unknown: tuple[str, ...] = ()


class _Row(NamedTuple):
    """A row of an export while its samples come by, by their steps."""

    early: EarlyInspection
    key: str
    found: dict[str, tuple[Sample, Value]]


class Walk:
    """One walk down a branch: `look` only looks, `visit` does."""

    def __init__(self, bench: Bench, seed: int, ignore_known: bool = False, beacon: Beacon | None = None) -> None:
        self._bench = bench
        self._beacon = beacon or Beacon()
        self._seed = seed
        self._ignore_known = ignore_known
        self.halved: list[Halved] = []
        """Batches of models that did not fit their device, in what was visited."""
        self.tried: list[Tried] = []
        """What broke in what was visited, and was tried again."""
        self._done: dict[str, Done] = {}
        self._rows: list[_Row] = []
        """Rows of exports that the samples which are visited now belong to, outermost first."""
        self._inspected: dict[str, Inspected] = {}

    # --- looking ------------------------------------------------------------------------------

    def look(self, sample: Sample, branch: Branch) -> Look:
        """Look at a branch without doing anything."""
        needs_value = branch.store and self._bench.stored(sample.digest) is None
        unknown = []
        for measure in branch.measures:
            decision = self._decide(measure.doing, through(sample, measure.variant))
            if decision.known is None:
                needs_value = True
                if measure.doing.reads != "header":
                    unknown.append(decision.key)
        all_known = True
        for chain in branch.chains:
            parent = through(sample, chain.variant)
            decision = self._decide_chain(chain, parent)
            if decision.known is None:  # the others are looked at all the same: what is known of them goes to workers
                needs_value, all_known = True, False
                if chain.node.doing.reads != "header":
                    unknown.append(decision.key)
                continue
            children = self._look_at_children(chain, parent, decision.known)
            needs_value |= children.needs_value
            all_known &= children.all_known
        return Look(needs_value, all_known and not needs_value, tuple(unknown))

    def _look_at_children(self, chain: Chain, parent: Sample, known: Result) -> Look:
        """Look below a known action: it must run again where bytes of a child are needed and nowhere kept."""
        needs_value, all_known = False, True
        for child_result in known.children:
            child = compose_child(chain.node, parent, child_result, ("", ""))
            below = self.look(child, chain.branch)
            all_known &= below.all_known
            if below.needs_value and child.kind != "video" and self._bench.stored(child.digest) is None:
                needs_value = True
        return Look(needs_value, all_known)

    def _decide(self, doing: Doing, sample: Sample, cached: bool = True) -> Decision:
        return decide_action(self._bench.memory, doing, sample, self._done, cached and not self._ignore_known)

    def _decide_chain(self, chain: Chain, parent: Sample) -> Decision:
        return self._decide(chain.node.doing, parent, chain.node.cached)

    # --- doing --------------------------------------------------------------------------------

    def visit(self, sample: Sample, branch: Branch, value: Value, origin: tuple[str, str] | None = None) -> Visit:
        """Do all of a branch with one sample."""
        # What a task's own sample can be made again from is itself; its children can be made from it.
        origin = origin or (branch.step, sample.key)
        if not (branch.inspections or self._rows):
            return self._visit(sample, branch, value, origin)
        begun = len(self._rows)
        self._rows += [_Row(early, sample.key, {}) for early in branch.inspections]
        inspected = self._come_by(sample, branch.step, value)
        try:
            return self._visit(sample, branch, value, origin)._replace(inspected=inspected)
        finally:
            del self._rows[begun:]

    def _visit(self, sample: Sample, branch: Branch, value: Value, origin: tuple[str, str]) -> Visit:
        payload = self._keep(sample, value) if branch.store else None
        measures = tuple([(m, self._measure(m, through(sample, m.variant), value)) for m in branch.measures])
        chains = tuple([self._apply(c, through(sample, c.variant), value, origin) for c in branch.chains])
        return Visit(sample, measures, chains, payload=payload)

    def _come_by(self, sample: Sample, step: str, value: Value) -> tuple[Inspected, ...]:
        """Put a sample into the rows that it belongs to, and inspect those that are complete with it."""
        inspected = []
        for row in self._rows:
            if row.key == sample.key and step in row.early.ports.values():
                row.found[step] = (sample, value)
                if all(port_step in row.found for port_step in row.early.ports.values()):
                    inspected.append(self._inspect(row))
                    row.found.clear()
        return tuple([one for one in inspected if one is not None])

    def _inspect(self, row: _Row) -> Inspected | None:
        """Inspect a row whose images are all at hand; any other is left until its export is come to."""
        node = row.early.node
        samples = {port: row.found[step][0] for port, step in row.early.ports.items()}
        values = {port: row.found[step][1] for port, step in row.early.ports.items()}
        if not all(value.at_hand for value in values.values()):
            return None
        action = action_key(node.doing, inspection_inputs(samples))
        if action in self._inspected:  # by this walk, before it had to begin anew or an operator was tried again
            return self._inspected[action]
        if self._bench.memory.known(action) is not None:
            return None
        self._beacon.enter(node.id, None)
        try:
            done, put = inspect(node, samples, lambda: {port: v.get() for port, v in values.items()}, self._bench)
        finally:
            self._beacon.leave()
        if not done.result.lasting:
            return None  # the export tries again, and tells
        header = max((sample.header for sample in samples.values()), key=lambda one: one.get("height") or 0)
        self._inspected[action] = Inspected(node, done, put, header)
        return self._inspected[action]

    def _keep(self, sample: Sample, value: Value) -> Payload | None:
        if self._bench.stored(sample.digest) is not None:
            return None
        codec = self._bench.codecs[sample.kind]
        content = value.get()
        return self._bench.store.put(sample.digest, codec.encode(content), codec.suffix(content))

    def _measure(self, measure: Measure, sample: Sample, value: Value) -> Done:
        decision = self._decide(measure.doing, sample)
        if decision.known is not None:
            return self._reuse(decision, measure.doing)
        operator = self._bench.operator(measure.doing)
        assert isinstance(operator, Metric)
        seen = dict(sample.header) if measure.doing.reads == "header" else value.get()
        started = time.perf_counter()
        batches = self._batching(measure.select, measure.cpu_fallback)

        def run() -> Result:
            return Result("value", value=json_of(operator, operator.measure(seen)))

        result = self._tried(batches, measure.timeout_s, measure.retries, run)
        if batches.fell_back:
            marks = {DEVICE: "cpu"} if result.kind == "value" else result.values
            result = replace(result, values=marks, lasting=False)
        return self._ran(decision, measure.doing, result, "ran", time.perf_counter() - started)

    def _apply(
        self, chain: Chain, parent: Sample, value: Value, origin: tuple[str, str]
    ) -> tuple[Chain, Done, tuple[Visit, ...]]:
        doing = chain.node.doing
        decision = self._decide_chain(chain, parent)
        if decision.known is None:
            return self._run(chain, parent, value, origin, decision, "ran")
        if self._look_at_children(chain, parent, decision.known).needs_value:
            # A walk that begins anew, because bytes went missing on the way, has not recorded what it did before.
            state = "ran" if decision.key in self._done else "rebuilt"
            return self._run(chain, parent, value, origin, decision, state)
        visits = []
        for child_result in decision.known.children:
            child = compose_child(chain.node, parent, child_result, origin)
            visits.append(self.visit(child, chain.branch, Later(self._bench, child), origin))
        return chain, self._reuse(decision, doing), tuple(visits)

    def _run(
        self, chain: Chain, parent: Sample, value: Value, origin: tuple[str, str], decision: Decision, state: str
    ) -> tuple[Chain, Done, tuple[Visit, ...]]:
        """Run a load or an apply; each child goes all the way down before the next one is asked for."""
        node = chain.node
        operator = self._bench.operator(node.doing)
        made: list[ChildResult] = []
        visits: list[Visit] = []
        partial: list[Partial] = []
        batches = self._batching(node.id, chain.cpu_fallback)
        limited = chain.timeout_s is not None
        below_s = 0.0  # what its children cost further down is not its own time

        def run() -> Result:
            nonlocal below_s
            made.clear()
            visits.clear()
            partial.clear()
            context = self._context(node.doing, parent)
            given = value.get()
            produce = operator.load if node.shape == "source" else operator.apply  # type: ignore[attr-defined]
            for item in produce(given, context):
                if isinstance(item, Partial):
                    partial.append(item)
                    continue
                if batches.fell_back:
                    item = replace(item, fields={**item.fields, DEVICE: "cpu"})
                # What becomes of a child is not the operator's time: the first encoding may import and compile.
                if limited:
                    self._beacon.enter(node.id, None)
                try:
                    result, content = self._child(node.makes, node.many, operator, item, made)
                    made.append(result)
                    child = compose_child(node, parent, result, origin)
                    left = time.perf_counter()
                    try:
                        visits.append(self.visit(child, chain.branch, Now(content), origin))
                    finally:
                        below_s += time.perf_counter() - left
                finally:
                    if limited:
                        self._beacon.leave()
                # While the operator makes the next child, this one must not be held beside it.
                del item, content
            if made and not partial:
                return Result("children", tuple(made))
            told = partial[-1] if partial else Partial("")
            if not made:
                raise Reject(told.reason or "nothing", told.values)
            return Result("children", tuple(made), reason=told.reason, values=dict(told.values))

        started = time.perf_counter()
        result = self._tried(batches, chain.timeout_s, chain.retries, run)
        seconds = time.perf_counter() - started - below_s
        if batches.fell_back:
            result = replace(result, lasting=False)
        if made and result.kind == "reject":
            raise BrokenPromise(f"operator '{node.use}' rejected a sample after it had yielded a child")
        before = self._done.get(decision.key)
        if not result.lasting or (before is not None and not before.result.lasting):
            # What this machine could not do, or its processor did, says nothing of what is known: it is new.
            state = "ran"
        elif decision.known is not None and result.text != decision.known.text:
            raise nondeterministic(node.use, decision.key, decision.known.text, result.text)
        kept = tuple(visits) if result.kind == "children" else ()
        return chain, self._ran(decision, node.doing, result, state, seconds), kept

    def _child(
        self, kind: str, many: bool, operator: Operator, item: Child, made: list[ChildResult]
    ) -> tuple[ChildResult, Any]:
        suffix = item.suffix
        if many != bool(suffix) or "/" in suffix:
            wanted = "a suffix without '/'" if many else "no suffix"
            raise BrokenPromise(f"operator '{operator.name}' gave a child suffix '{suffix}', expected {wanted}")
        if made and any(suffix == other.suffix for other in made):
            raise BrokenPromise(f"operator '{operator.name}' gave two children of one input the suffix '{suffix}'")
        fields = json_of(operator, dict(item.fields)) if item.fields else {}
        if kind == "video":
            return ChildResult(suffix, item.value.digest, fields, {}), item.value
        codec = self._bench.codecs[kind]
        content = codec.freeze(item.value)
        return ChildResult(suffix, codec.digest(content), fields, codec.header(content)), content

    def _context(self, doing: Doing, sample: Sample) -> Context:
        if not (doing.fields_read or doing.draws):
            return _NO_CONTEXT
        fields = declared_fields(doing, sample)
        if not doing.draws:
            return Context(fields)
        material = [str(self._seed), str(doing.config["salt"]), sample.digest]
        if "sample.key" in fields:
            material.append(sample.key)
        return Context(fields, digest_bytes(canonical_json(material).encode()).encode())

    def _tried(self, batches: Batching, timeout_s: float | None, retries: int, run: Callable[[], Result]) -> Result:
        """Do what an operator does, again where it broke for a reason that may pass.

        Each attempt may take as long as the step may; the waits between them are nobody's time.
        """
        attempt = 0
        while True:
            batches.fell_back = False
            self._beacon.enter(batches.step, timeout_s)
            try:
                with batching(batches):
                    result = guarded(run)
            finally:
                self._beacon.leave()
            if attempt == retries or result.kind != "failure" or result.lasting:
                return result
            self.tried.append(Tried(batches.step, attempt + 2, result.message or result.reason))
            with self._beacon.within(batches.step, None):
                time.sleep(min(_FIRST_WAIT_S * 2**attempt, _LONGEST_WAIT_S))
            attempt += 1

    def _batching(self, step: str, cpu_fallback: bool) -> Batching:
        return Batching(step, cpu_fallback, self._bench.batch_sizes, self.halved)

    def _reuse(self, decision: Decision, doing: Doing) -> Done:
        done = self._done.get(decision.key)
        if done is None:
            assert decision.known is not None
            done = Done(decision.key, doing, decision.inputs, decision.known, "reused")
        return done

    def _ran(self, decision: Decision, doing: Doing, result: Result, state: str, seconds: float) -> Done:
        done = Done(decision.key, doing, decision.inputs, result, state, seconds)
        self._done[decision.key] = done
        return done
