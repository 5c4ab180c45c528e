"""Run known actions again and compare: an operator that is not deterministic is named."""

from __future__ import annotations

from collections.abc import Iterator

from forge_pipeline.cache.index import nondeterministic
from forge_pipeline.digest import digest_bytes
from forge_pipeline.run.branches import files_start, task_branches
from forge_pipeline.run.scheduler import Scheduler
from forge_pipeline.sample import Sample
from forge_pipeline.task import Branch, Done, Outcome, Visit, bare


def verify_known(scheduler: Scheduler, count: int) -> int:
    """Run at least so many known actions again, of samples chosen by digest; return how many were compared.

    Raises:
        NondeterministicOperator: an action gave another result than the one recorded.
    """
    compared = 0
    for sample, branch in _candidates(scheduler):
        if compared >= count:
            break
        done: list[Done] = []

        def taken(outcome: Outcome, into: list[Done] = done) -> None:
            if outcome.visit is not None:
                into.extend(_actions(outcome.visit))

        scheduler.jobs.submit(sample, branch, taken, ignore_known=True)
        scheduler.jobs.drain()
        for action in done[: count - compared]:
            known = scheduler.index.known(action.key)
            if known is None or not action.result.lasting:
                continue
            compared += 1
            found = action.result.text
            if known != found:
                raise nondeterministic(action.doing.name, action.key, known, found)
    scheduler.recorder.note(f"verified {compared} actions: each gave the recorded result again")
    return compared


def _candidates(scheduler: Scheduler) -> list[tuple[Sample, Branch]]:
    """Choose roots evenly over the whole graph: by the digest of their keys, a few of every start in turn."""
    groups = []
    for start, branch in task_branches(scheduler.graph):
        rows = sorted(_roots(scheduler, start, branch.step), key=_by_digest)
        groups.append([(sample, bare(branch, stores=False)) for sample in rows])
    found: list[tuple[Sample, Branch]] = []
    while any(groups):
        found += [group.pop(0) for group in groups if group]
    return found


def _roots(scheduler: Scheduler, start: str, step: str) -> Iterator[Sample]:
    """Read the samples with which the tasks of a start begin."""
    datasets = scheduler.datasets
    if start == files_start(step):
        return (datasets.file_of(row) for row in datasets.rows(step))
    kept = scheduler.bench.stored
    return (row for row in datasets.rows(step) if row.kind != "image" or kept(row.digest) is not None)


def _actions(visit: Visit) -> list[Done]:
    found = [done for _, done in visit.measures]
    for _, done, visits in visit.chains:
        found.append(done)
        for child in visits:
            found += _actions(child)
    return found


def _by_digest(sample: Sample) -> str:
    return digest_bytes(sample.key.encode("utf-8", "surrogatepass"))
