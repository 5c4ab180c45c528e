"""The scheduler of one run: feeds samples down the graph, and decides at the barriers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from forge_pipeline.bench import Bench
from forge_pipeline.cache.index import Index
from forge_pipeline.cache.store import PayloadMissing
from forge_pipeline.compiled import Graph, Node
from forge_pipeline.digest import canonical_json
from forge_pipeline.errors import BrokenPromise
from forge_pipeline.events import Decided, Event, Failure, RunStarted, StepDecided, StepFinished
from forge_pipeline.executors.base import Executor
from forge_pipeline.reuse import config_differences, decide_action
from forge_pipeline.run.branches import (
    Start,
    feeders,
    files_start,
    in_priority,
    ranked_start,
    root_branch,
    waiting_branch,
)
from forge_pipeline.run.budget import Budget
from forge_pipeline.run.datasets import Datasets, content_digest
from forge_pipeline.run.jobs import Jobs
from forge_pipeline.run.ledger import Ledger
from forge_pipeline.run.opening import Opening
from forge_pipeline.run.part import Part, is_barrier
from forge_pipeline.run.recorder import Recorder
from forge_pipeline.run.repairs import Repairs
from forge_pipeline.run.sources import digest_of, file_sample, identified
from forge_pipeline.sample import Fields, Link, Sample
from forge_pipeline.task import (
    Branch,
    Done,
    Outcome,
    Result,
    Visit,
    action_key,
    compose_child,
    cuts,
    read_result,
    source_branch,
    through,
    waits_for_all,
)
from forge_pipeline.walk import NotAtHand, Walk
from forge_pipeline.worker import Columns, run_decide


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a run goes about it; nothing here can change a byte of a result.

    Attributes:
        directory: where relative source paths start.
        part: which entries of each source are taken.
        decides: False where what enters selects is measured and stored, and nothing is decided (a shard).
        dry: look, decide, count; run nothing.
        memory_bytes: what the tasks that run at once may take together; 0 for a share of what is available.
        memory_available_bytes: what may be had at all; None to look.
        deadline_s: when (monotonic seconds) no task is begun any more; what is known still goes on.
        recipe: which recipe this is, among those that share a cache: runs are compared with runs of the same.
    """

    directory: Path
    part: Part = field(default_factory=Part)
    decides: bool = True
    dry: bool = False
    memory_bytes: int = 0
    memory_available_bytes: int | None = None
    recipe: str = ""
    deadline_s: float | None = None


class Scheduler:
    """One run of one graph."""

    def __init__(
        self,
        graph: Graph,
        bench: Bench,
        index: Index,
        executor: Executor,
        announce: Callable[[Event], None],
        settings: RunSettings,
    ) -> None:
        self.graph = graph
        self.bench = bench
        self.index = index
        self.settings = settings
        self.ledgers: dict[str, Ledger] = {node.id: Ledger(node) for node in graph.nodes}
        self.datasets = Datasets(graph, index, self.ledgers)
        self.recorder = Recorder(graph, index, self.ledgers, self.datasets, announce)
        budget = Budget(settings.memory_bytes, settings.memory_available_bytes)
        self.jobs = Jobs(executor, bench, graph, budget, announce)
        self.repairs = Repairs(graph, bench, self.datasets, self.jobs, self.recorder)
        self.opening = Opening(graph, index, self.ledgers, self.datasets, settings.recipe)
        self.run_id = 0
        self._walked: frozenset[str] = frozenset()
        self._starts: dict[str, Start] = {}

    @property
    def failures(self) -> list[Failure]:
        """The samples that broke."""
        return self.recorder.failures

    # --- the story of a run ---------------------------------------------------------------------

    def open(self) -> None:
        """Look at the sources, and decide which steps are walked."""
        self.run_id = self.recorder.run_id = self.index.begin_run(self.settings.recipe)
        uses = {node.id: node.use for node in self.graph.nodes}
        self.recorder.announce(RunStarted(self.graph.name, uses, self.run_id))
        self._walked = self.opening.decide(self.bench, self.settings.directory, self.settings.part)
        for node in self.graph.nodes:
            if node.shape != "export":
                self.recorder.announce(StepDecided(node.id, node.id in self._walked, self.ledgers[node.id].reasons))
            if node.id in self._walked:
                self._open_step(node)
        for node in self.graph.nodes:
            if node.shape != "export" and node.id not in self._walked:
                self.recorder.tell_failures_of(node.id)
                self.recorder.announce(StepFinished(node.id, self.ledgers[node.id].counts(), reused_whole=True))
                self._feed_roots(node)
                self._feed_waiters(node)

    def pump(self) -> None:
        """Run everything up to the exports."""
        with self.jobs.interruptible():
            self._advance()
            while not all(ledger.complete for ledger in self.ledgers.values() if ledger.node.shape != "export"):
                self.jobs.raise_if_interrupted()
                self._step_forward()
                self.index.raise_fault()
            self.jobs.raise_if_interrupted()

    def finish_in_flight(self) -> None:
        """Wait for the tasks that are out and record what they did; for a run that ends early."""
        self.jobs.finish()
        self.index.flush()

    def over_budget(self) -> dict[str, str]:
        """Name every step whose error budget is exceeded, and say how."""
        told = {step: ledger.over_budget() for step, ledger in self.ledgers.items()}
        return {step: why for step, why in told.items() if why}

    # --- feeding --------------------------------------------------------------------------------

    def _open_step(self, node: Node) -> None:
        ledger = self.ledgers[node.id]
        ledger.dataset = self.index.begin_dataset(self.run_id, node.id, node.doing.digest)
        for doing in node.doings:
            self.index.record_config(doing.digest, canonical_json(doing.config))
        if node.shape == "source":
            branch = source_branch(self.graph, node, self._walked)
            self._starts[files_start(node.id)] = Start(branch, in_priority(node, self._files(node), self.recorder.note))
        if node.shape in ("source", "transform") and cuts(self.graph, node):
            self._starts[node.id] = Start(root_branch(self.graph, node.id, self._walked), deque(), open=True)

    def _files(self, node: Node) -> Iterator[Sample]:
        """Name each file by its bytes and hand it on; what cannot be read is a failure, and the run goes on."""
        for found, data in identified(self.datasets.listings[node.id], self.index):
            if found.fault:
                self.recorder.enter(node.id)
                reason = "unsafe_name" if found.entry.problem else "unreadable"
                lasting = bool(found.entry.problem)
                trail = (Link(node.id, {"source.path": found.entry.name}),)
                self.recorder.fail(node.id, f"{node.id}/{found.entry.name}", reason, found.fault, trail, lasting)
                continue
            if data is not None and found.digest is not None and node.makes == "image" and not self.jobs.apart:
                self.bench.read_ahead.keep(found.digest, data)
            yield file_sample(node, found, self.bench, self.index, self.run_id, data)

    def _feed_roots(self, node: Node) -> None:
        """Let the rows of a complete dataset enter the workers."""
        branch = root_branch(self.graph, node.id, self._walked)
        if not branch.idle:
            rows = in_priority(node, self.datasets.rows(node.id), self.recorder.note)
            self._starts[node.id] = Start(branch, rows)

    def _feed_waiters(self, node: Node) -> None:
        """Let the rows of complete datasets go to the steps that wait for all of them, to know each one's rank."""
        for taker, _, _ in self.graph.consumers[node.id]:
            if taker.id not in self._walked or not waits_for_all(taker) or not self._inputs_complete(taker):
                continue
            if self._ends_at(taker):
                continue
            for ref in taker.inputs["in"]:
                branch = waiting_branch(self.graph, taker, ref.step, ref.variant, self._walked)
                rows = self.datasets.ranked(taker, ref.step, ref.variant)
                self._starts[ranked_start(ref.step, taker.id)] = Start(branch, rows)

    def _push_cut(self, node: Node, child: Sample) -> None:
        start = self._starts[node.id]
        if not start.branch.idle:
            start.push(child)

    def _step_forward(self) -> None:
        """Do one thing: hand out a sample, or take an outcome."""
        if self.jobs.room:
            for start in reversed(list(self._starts.values())):  # deepest first: finish samples before beginning others
                sample = start.next_sample()
                if sample is not None:
                    self._handle(start, sample)
                    return
                if start.complete and self._advance():
                    return
        if len(self.jobs):
            self.jobs.take()
        elif not self._advance():
            waiting = [step for step, ledger in self.ledgers.items() if not ledger.complete]
            raise BrokenPromise(f"the scheduler has nothing to do, but {waiting} are not complete")

    def _handle(self, start: Start, sample: Sample) -> None:
        """Pass a sample whose whole branch is known; else give it to a worker, or wait for one that has its like."""
        walk = Walk(self.bench, self.graph.seed)
        look = walk.look(sample, start.branch)
        visit = _known_visit(walk, sample, start.branch) if look.all_known else None
        if visit is not None:
            self.bench.read_ahead.take(sample.digest)
            self.recorder.absorb(sample, start.branch, visit, on_cut=self._push_cut)
            return
        if self.settings.dry:
            self._tally(sample, start.branch)
            return
        if self.settings.deadline_s is not None and time.monotonic() > self.settings.deadline_s:
            self.recorder.leave(sample, start.branch)
            return
        start.outstanding += 1

        def again() -> None:
            start.outstanding -= 1
            self._handle(start, sample)

        def done(outcome: Outcome) -> None:
            if outcome.missing:
                self.repairs.repair(sample, again)
                return
            assert outcome.visit is not None
            start.outstanding -= 1
            self.bench.read_ahead.take(sample.digest)  # where nobody needed to read it
            self.recorder.absorb(sample, start.branch, outcome.visit, on_cut=self._push_cut)

        # What no other task should do at the same time.
        keys = (f"{start.branch.step} {sample.digest}", *dict.fromkeys(look.unknown))
        if self.jobs.wait_for_like(keys, again):
            return
        if look.needs_value and sample.kind == "image" and self.bench.stored(sample.digest) is None:
            self.repairs.repair(sample, again)
            return
        self.jobs.submit(sample, start.branch, done, keys)

    # --- barriers -------------------------------------------------------------------------------

    def _advance(self) -> bool:
        """Complete every step whose samples are all through. Returns whether there was one."""
        moved = False
        for node in self.graph.nodes:
            if self.ledgers[node.id].complete or node.shape == "export" or not self._through(node):
                continue
            if self._ends_at(node):
                self._stop_at(node)
            elif node.shape == "select":
                self._decide(node)
            self._complete(node)
            moved = True
        return moved

    def _ends_at(self, node: Node) -> bool:
        """Tell whether this run measures and keeps what enters a step, and goes no further."""
        return not self.settings.decides and is_barrier(node)

    def _stop_at(self, node: Node) -> None:
        """Count what came to a barrier; its dataset stays empty, and stands for nothing later."""
        ledger = self.ledgers[node.id]
        ledger.entered = sum(1 for _ in self.datasets.merged(node, "in"))
        ledger.lasting = False

    def _through(self, node: Node) -> bool:
        if node.shape == "source":
            return self._starts[files_start(node.id)].complete
        names = feeders(self.graph, node, self._walked)
        return self._inputs_complete(node) and all(self._starts[n].complete for n in names if n in self._starts)

    def _inputs_complete(self, node: Node) -> bool:
        return all(self.ledgers[ref.step].complete for refs in node.inputs.values() for ref in refs)

    def _complete(self, node: Node) -> None:
        ledger = self.ledgers[node.id]
        ledger.complete = True
        if node.id in self._starts:
            self._starts[node.id].open = False
        if self.settings.dry and not self._known_in_a_dry_run(node):
            return
        self.index.flush()
        self.datasets.refuse_two_of_one_key(node)
        if self.index.row_count(ledger.dataset) != ledger.out:
            raise BrokenPromise(f"step '{node.id}' made two samples of one key")
        ledger.rows_digest = self.datasets.rows_digest(node.id)
        ledger.rejects_digest = self.datasets.rejects_digest(node.id)
        if node.shape == "source":
            inputs = ledger.inputs_digest = digest_of(node, self.datasets.listings[node.id])
        else:
            inputs = self.datasets.inputs_digest(node) or ""
        if not (ledger.lasting and node.cached) or self.settings.dry:
            # With a failure of the machine in it, of a step that is never cached, or of a dry run that did not
            # walk all of it, a dataset stands for nothing later.
            inputs = f"run {self.run_id}"
        self.index.complete_dataset(ledger.dataset, inputs, ledger.rows_digest, ledger.kept())
        self.index.drop_measures(ledger.dataset)
        self.index.flush()
        self.recorder.announce(StepFinished(node.id, ledger.counts()))
        if node.shape == "select":  # what it let through goes on now; other steps' children went on as they came
            self._feed_roots(node)
        self._feed_waiters(node)

    def _decide(self, node: Node) -> None:
        """Let a select decide over the columns of what was measured, or reuse what it decided on the same content."""
        ledger = self.ledgers[node.id]
        if self.settings.dry and not self._known_in_a_dry_run(node):
            return
        self.index.flush()
        tables = {port: self.datasets.columns(node, port, self.recorder.failed[node.id]) for port in node.inputs}
        inputs = canonical_json([content_digest(node.doing, tables)])
        key = action_key(node.doing, inputs)
        known = self.index.known(key) if node.cached else None
        if known is None and self.settings.dry:
            ledger.planned += 1
            return
        ledger.actions += 1
        # What was measured elsewhere than it should be does not last; where all does, nobody need look.
        devices = {} if ledger.lasting else self.datasets.devices(node)
        if known is not None:
            ledger.reused += 1
            self.recorder.announce(Decided(node.id, len(tables["in"].keys), 0.0, reused=True))
            self._apply_verdicts(node, read_result(known), devices)
        else:
            self._apply_verdicts(node, self._decide_now(node, key, inputs, tables, lasting=not devices), devices)

    def _decide_now(self, node: Node, key: str, inputs: str, tables: dict[str, Columns], lasting: bool) -> Result:
        started = time.perf_counter()
        result = run_decide(node.doing, tables, self.bench)
        seconds = time.perf_counter() - started
        ledger = self.ledgers[node.id]
        ledger.seconds += seconds
        ledger.ran += 1
        self.recorder.announce(Decided(node.id, len(tables["in"].keys), round(seconds, 6)))
        if node.cached and lasting:
            self.recorder.record_action(Done(key, node.doing, inputs, result, "ran", seconds), node.use)
        return result

    def _apply_verdicts(self, node: Node, result: Result, devices: Mapping[tuple[str, str], Fields]) -> None:
        failed = self.recorder.failed[node.id]
        verdicts = iter(result.value)
        for key, sample in self.datasets.merged(node, "in"):
            self.ledgers[node.id].entered += 1
            if ("in", key) in failed:
                continue
            reason, fields = next(verdicts)
            fields = {**fields, **devices.get(("in", key), {})}
            if reason:
                self.recorder.drop(node.id, replace(sample, key=key), reason, fields)
            else:
                trail = (*sample.trail, Link(node.id, fields))
                self.recorder.add_row(node, replace(sample, key=key, trail=trail))

    # --- a dry run ------------------------------------------------------------------------------

    def _tally(self, sample: Sample, branch: Branch) -> None:
        """Count what would run below a sample; what hangs below that cannot be known."""
        for measure in branch.measures:
            known = decide_action(self.bench.memory, measure.doing, through(sample, measure.variant)).known
            if known is None:
                self.ledgers[measure.select].planned += 1
            else:
                self.recorder.note_measure(measure, sample, known)
        for chain in branch.chains:
            ledger, parent = self.ledgers[chain.node.id], through(sample, chain.variant)
            known = decide_action(self.bench.memory, chain.node.doing, parent).known
            ledger.entered += 1
            if known is None or not chain.node.cached:
                ledger.planned += 1
                continue
            self.recorder.note_result(chain.node.id, parent, known)
            for child_result in known.children:
                child = compose_child(chain.node, parent, child_result, (branch.step, sample.key))
                self.recorder.add_row(chain.node, child)
                self._tally(child, chain.branch)
                if cuts(self.graph, chain.node):
                    self._push_cut(chain.node, child)

    def _known_in_a_dry_run(self, node: Node) -> bool:
        """Tell whether a step's output is known without a run; if not, say what has to run first."""
        if self.ledgers[node.id].planned:
            return False
        for refs in node.inputs.values():
            for ref in refs:
                above = self.ledgers[ref.step]
                if above.planned or above.unknown_until:
                    self.ledgers[node.id].unknown_until = above.unknown_until or ref.step
                    return False
        return True


def _known_visit(walk: Walk, sample: Sample, branch: Branch) -> Visit | None:
    """Walk a branch in which everything is known; None where bytes are deleted under our feet."""
    try:
        return walk.visit(sample, branch, NotAtHand())
    except PayloadMissing:
        return None


def explain_config(index: Index, before: str, now: str) -> str:
    """Say how two recorded configurations differ, for the lock."""
    old, new = index.config(before), index.config(now)
    return ", ".join(config_differences(old, new)) if old and new else ""
