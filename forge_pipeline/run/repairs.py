"""Bytes that are needed and nowhere kept are made again, by the task that made them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from forge_pipeline.bench import Bench
from forge_pipeline.compiled import Graph
from forge_pipeline.errors import BrokenPromise, EnvironmentFault, NondeterministicOperator
from forge_pipeline.run.branches import root_branch, waiting_branch
from forge_pipeline.run.datasets import Datasets
from forge_pipeline.run.jobs import Jobs
from forge_pipeline.run.recorder import Recorder
from forge_pipeline.sample import Sample
from forge_pipeline.task import Branch, Outcome, Result, Visit, bare, cuts, source_branch, waits_for_all

# So often bytes are made again that never come out: no chance brings that about, an operator does.
_ATTEMPTS = 5
# Bytes that were made again can be lost again while the run goes on; not this often.
_LOSSES = 100
_FILE = "#file"


class _Maker(NamedTuple):
    """A task that made bytes: the step and key of its own sample, and where its branch began.

    `entrance` is `#file` (the load of a source's file), a transform that waited for all rows, or empty.
    """

    step: str
    key: str
    entrance: str


@dataclass
class _Repair:
    """A task that is out: the steps whose outputs it makes, which digests are wanted, and who waits for them."""

    targets: frozenset[str]
    wanted: set[str]
    thens: list[Callable[[], None]] = field(default_factory=list)


class Repairs:
    """What is being made again, and who waits for it."""

    def __init__(self, graph: Graph, bench: Bench, datasets: Datasets, jobs: Jobs, recorder: Recorder) -> None:
        self._graph = graph
        self._bench = bench
        self._datasets = datasets
        self._jobs = jobs
        self._recorder = recorder
        self._out: dict[_Maker, list[_Repair]] = {}
        self._attempts: Counter[tuple[_Maker, str]] = Counter()
        """How often a maker has tried to make a digest again. What is out does not count: of images with one content
        many may be missed at once, and each has a maker of its own."""
        self._made: set[str] = set()
        """Digests of what came out when something was made again."""
        self._unlike: dict[_Maker, tuple[str, Result]] = {}
        """Makers that could not make what they made: in which step, and what came instead."""

    def repair(self, sample: Sample, then: Callable[[], None] | None = None) -> None:
        """Make the missing bytes of a sample again; then go on.

        Raises:
            EnvironmentFault: this machine cannot make them again, or somebody deletes them as often as they are made.
            NondeterministicOperator: they were made again, and others came out.
        """
        maker, target = self._made_by(sample)
        self._ask(maker, frozenset([target]), {sample.digest}, [then] if then is not None else [])

    def repair_all(self, samples: Iterable[Sample]) -> None:
        """Make the missing bytes of many samples again: what came of one task by one task."""
        asked: dict[_Maker, tuple[set[str], set[str]]] = {}
        for sample in samples:
            maker, target = self._made_by(sample)
            targets, wanted = asked.setdefault(maker, (set(), set()))
            targets.add(target)
            wanted.add(sample.digest)
        for maker, (targets, wanted) in asked.items():
            self._ask(maker, frozenset(targets), wanted, [])

    def _made_by(self, sample: Sample) -> tuple[_Maker, str]:
        """Find the task that made a sample's bytes, and the step of it that did."""
        if sample.origin is None:
            raise BrokenPromise(f"the bytes of '{sample.key}' are missing, and nothing says what made them")
        maker, target = self._maker_of(sample, *sample.origin)
        attempts = self._attempts[maker, sample.digest]
        if attempts and maker in self._unlike:
            raise _not_made_again(sample, *self._unlike[maker])
        if attempts >= _LOSSES:
            raise EnvironmentFault(
                f"sample '{sample.key}': its bytes were made again {_LOSSES} times, and are missing again",
                "end what deletes payloads, then run again",
            )
        if attempts >= _ATTEMPTS and sample.digest not in self._made:
            made_in = sample.trail[-1].step or sample.trail[-2].step
            raise NondeterministicOperator(
                f"step '{made_in}', sample '{sample.key}': its bytes are missing, and making them again gives others",
                f"set `cache: keep` on '{made_in}' until its operator is mended",
            )
        return maker, target

    def _maker_of(self, sample: Sample, step: str, key: str) -> tuple[_Maker, str]:
        row = self._row(step, key)
        # Nothing a select lets through is made by it; a rank (a link without a step) belongs to no step.
        below = [link.step for link in sample.trail[len(row.trail) :] if link.step]
        below = [name for name in below if self._graph[name].shape != "select"]
        if below and waits_for_all(self._graph[below[0]]):
            return _Maker(step, key, below[0]), below[-1]
        node = self._graph[step]
        loaded = node.shape == "source" and node.makes == "image" and not (below and cuts(self._graph, node))
        return _Maker(step, key, _FILE if loaded else ""), below[-1] if below else step

    def _ask(self, maker: _Maker, targets: frozenset[str], wanted: set[str], thens: list[Callable[[], None]]) -> None:
        out = self._out.setdefault(maker, [])
        same = next((repair for repair in out if targets <= repair.targets), None)
        if same is not None:
            same.wanted |= wanted
            same.thens.extend(thens)
            return
        repair = _Repair(targets, wanted, thens)
        out.append(repair)
        self._begin(maker, repair)

    def _begin(self, maker: _Maker, repair: _Repair) -> None:
        root, branch = self._task(maker, repair.targets)
        if root.kind == "image" and self._bench.doubting().stored(root.digest) is None:
            self.repair(root, lambda: self._rebuild(maker, repair, root, branch))
        else:
            self._rebuild(maker, repair, root, branch)

    def _rebuild(self, maker: _Maker, repair: _Repair, root: Sample, branch: Branch) -> None:
        def done(outcome: Outcome) -> None:
            if outcome.missing:
                self.repair(root, lambda: self._rebuild(maker, repair, root, branch))
                return
            assert outcome.visit is not None
            self._made.update(_digests(outcome.visit))
            self._attempts.update((maker, digest) for digest in repair.wanted)
            unlike = _not_as_known(outcome.visit)
            if unlike is not None:
                self._unlike[maker] = unlike
            self._recorder.absorb(root, branch, outcome.visit, rows=False)
            self._out[maker].remove(repair)
            for then in repair.thens:
                then()

        self._jobs.submit(root, branch, done, doubts=True)

    def _task(self, maker: _Maker, targets: frozenset[str]) -> tuple[Sample, Branch]:
        """Return a task's own sample, and as much of its branch as leads to some steps."""
        step, key, entrance = maker
        graph = self._graph
        needed = frozenset[str]().union(*(graph.ancestors(target) for target in targets))
        row = self._row(step, key)
        if entrance == _FILE:
            return self._datasets.file_of(row), bare(source_branch(graph, graph[step], needed))
        if entrance:
            taker = graph[entrance]
            variant = next(ref.variant for ref in taker.inputs["in"] if ref.step == step)
            ranked = next(r for r in self._datasets.ranked(taker, step, variant) if r.key == key)
            return ranked, bare(waiting_branch(graph, taker, step, variant, needed))
        return row, bare(root_branch(graph, step, needed))

    def _row(self, step: str, key: str) -> Sample:
        row = self._datasets.row(step, key)
        if row is None:
            raise BrokenPromise(f"the sample '{key}' of step '{step}', from which others were made, is not known")
        return row


def _digests(visit: Visit) -> Iterator[str]:
    yield visit.sample.digest
    for _, _, visits in visit.chains:
        for below in visits:
            yield from _digests(below)


def _not_as_known(visit: Visit) -> tuple[str, Result] | None:
    """Find a step that this machine could not do as it was done: it broke there, or the processor did it."""
    if visit.broke is not None:
        return visit.broke
    for chain, done, visits in visit.chains:
        if not done.result.lasting:
            return chain.node.id, done.result
        for below in visits:
            found = _not_as_known(below)
            if found is not None:
                return found
    return None


def _not_made_again(sample: Sample, step: str, result: Result) -> EnvironmentFault:
    what = f"step '{step}', sample '{sample.key}': its bytes are missing, and "
    if result.kind == "failure":
        return EnvironmentFault(f"{what}making them again failed: {result.message or result.reason}")
    return EnvironmentFault(
        f"{what}the processor, which did what the device has no memory for, makes others",
        f"run it on a device with more memory, or with `--set steps.{step.partition('[')[0]}.cache=off`",
    )
