"""One run's parts, put together: graph, cache, workers, scheduler, exports, lock."""

from __future__ import annotations

import contextlib
import itertools
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from forge_pipeline.errors import CommandError, FrozenDiffers, RunFailed
from forge_pipeline.events import (
    Event,
    ExecutorChosen,
    ExportDone,
    ExportPublished,
    Failure,
    Note,
    PhaseBegan,
    RunResult,
    Status,
    StepFinished,
)
from forge_pipeline.options import Options, cache_root, partial_options
from forge_pipeline.recipe_graph import graph_of, identity

if TYPE_CHECKING:
    from forge_pipeline.cache.place import Cache
    from forge_pipeline.compiled import Graph, Node
    from forge_pipeline.executors.choose import Choice
    from forge_pipeline.executors.process import WorkerProcess
    from forge_pipeline.lock import Lock
    from forge_pipeline.run import Scheduler
    from forge_pipeline.run.exports import Exporter, Prepared

Announce = Callable[[Event], None]

_MERGED_ALIKE = ("--directory", "--store", "--profile")
"""Options of a run that a merge of its shards' caches needs too."""


@contextlib.contextmanager
def opened_cache(options: Options, announce: Announce) -> Iterator[Cache]:
    """Open the cache that a run stands on, and hold it."""
    from forge_pipeline.cache.place import open_cache
    from forge_pipeline.profile import load_profile

    root = cache_root(options)
    profile = load_profile(options.profile, root)
    store = options.store or profile.store
    with open_cache(root, lambda text: announce(Note(text)), store, profile.store_cache_bytes) as cache:
        yield cache


@dataclass
class Session:
    """One run's parts, put together."""

    graph: Graph
    scheduler: Scheduler
    exporter: Exporter
    recipe: Path
    options: Options
    announce: Announce
    choice: Choice

    @property
    def partial(self) -> bool:
        """Whether the run does less than the recipe: then it touches neither the published folders nor the lock."""
        return bool(partial_options(self.options))

    def run(self) -> tuple[ExportDone, ...]:
        """Do all of it."""
        locked = self._locked() if self.options.frozen else None
        self.open()
        self.announce(PhaseBegan("samples"))
        self.scheduler.pump()
        exports: tuple[ExportDone, ...] = ()
        if self.options.shard is None:  # a part of a dataset cannot say which share of the whole broke
            self._check_budgets()
            self.announce(PhaseBegan("exports"))
            exports = self._export(locked)
        if self.options.verify:
            from forge_pipeline.run.verify import verify_known

            self.announce(PhaseBegan("verification"))
            verify_known(self.scheduler, self.options.verify)
        self._tell_part()
        if not self.partial and not self.options.frozen:
            self.announce(PhaseBegan("lock"))
            self._write_lock()
        return exports

    def open(self) -> None:
        """List the sources, and refuse exports that would write into them."""
        budget = self.scheduler.jobs.budget.limit_bytes
        self.announce(ExecutorChosen(self.choice.name, self.choice.workers, self.choice.reason, budget))
        self.announce(PhaseBegan("sources"))
        self.scheduler.open()
        self._check_paths()

    def result(self, status: Status, started: float, exports: tuple[ExportDone, ...], error: str) -> RunResult:
        """Sum up the run."""
        return RunResult(
            recipe=self.graph.name,
            status=status,
            seconds=round(time.monotonic() - started, 3),
            steps={n.id: self.scheduler.ledgers[n.id].counts() for n in self.graph.nodes if self._takes_part(n)},
            exports=exports,
            failures=tuple(replace(f, reproduce=self._reproduce(f)) for f in self.scheduler.failures),
            error=error,
            executor=self.choice.name,
            workers=self.scheduler.jobs.slots,
        )

    def _takes_part(self, node: Node) -> bool:
        """Tell whether a step is told of: a shard has no exports."""
        return self.options.shard is None or node.shape != "export"

    def _reproduce(self, failure: Failure) -> str:
        """Say what is typed to see one sample break again, alone and in one thread."""
        from forge_pipeline.manifest import reproduce_command

        return reproduce_command(self.command, failure.step, failure.sample)

    @property
    def command(self) -> str:
        """What is typed to run this recipe."""
        return self.options.command or shlex.join(["forge-run", str(self.recipe)])

    def _tell_part(self) -> None:
        """Say which part of the sources a partial run took, and what a shard leaves to do."""
        from forge_pipeline.run.part import part_lines

        run = self.scheduler
        taken = {step: len(listing) for step, listing in run.datasets.listings.items()}
        words = shlex.split(self.command)
        if "--cache" in words:  # the whole run is done on what the caches of all shards are merged into
            del words[(at := words.index("--cache")) : at + 2]
        # Where their images lie in a store, a merge that does not look there knows of none.
        same = [f"{name} {shlex.quote(value)}" for name, value in itertools.pairwise(words) if name in _MERGED_ALIKE]
        merge = " ".join(["forge cache merge CACHE...", *same])
        for line in part_lines(run.settings.part, self.graph, taken, run.opening.entries, merge, shlex.join(words)):
            self.announce(Note(line))
        self._tell_left()

    def _tell_left(self) -> None:
        """Say what a run with a time limit did not come to."""
        from forge_pipeline.run.recorder import BUDGET_SPENT

        ledgers = self.scheduler.ledgers
        left = [
            f"'{step}' left {ledger.dropped[BUDGET_SPENT]:,} of {ledger.entered:,}"
            for step, ledger in ledgers.items()
            if ledger.dropped[BUDGET_SPENT]
        ]
        if left:
            self.announce(Note(f"--budget: the time is spent; {', '.join(left)}; to go on: {self.command}"))

    def stop(self) -> None:
        """Wait for what is in flight and record it."""
        self.scheduler.finish_in_flight()

    def end(self, status: str) -> None:
        """Close the run in the index. Only whole runs become what later ones are compared with."""
        steps = {step: ledger.dataset for step, ledger in self.scheduler.ledgers.items() if ledger.dataset}
        if self.scheduler.run_id:
            status = "partial" if status == "done" and self.partial else status
            self.scheduler.index.end_run(self.scheduler.run_id, status, steps)

    def _check_budgets(self) -> None:
        over = self.scheduler.over_budget()
        if over:
            told = [f"step '{step}': {why}" for step, why in over.items()]
            ledgers = {step.partition("[")[0]: self.scheduler.ledgers[step] for step in over}
            allow = " ".join(f"--set steps.{step}.max_errors={ledger.failed}" for step, ledger in ledgers.items())
            # Without any sample there is nothing to go on with: they have one cause.
            hopeless = any(ledger.failed == ledger.entered for ledger in ledgers.values())
            raise RunFailed(
                "\n".join([*told, "nothing was exported"]), "" if hopeless else f"to go on without them: {allow}"
            )

    def _export(self, locked: Lock | None) -> tuple[ExportDone, ...]:
        done: list[ExportDone] = []
        prepared: list[Prepared] = []
        for node in self.graph.nodes:
            if node.shape != "export":
                continue
            unchanged = self.exporter.unchanged(node)
            if unchanged is not None:
                counts = self.scheduler.ledgers[node.id].counts()
                self.announce(StepFinished(node.id, counts, reused_whole=True))
                done.append(self.exporter.done(node, unchanged))
                self.announce(ExportPublished(done[-1]))
            else:
                prepared.append(self.exporter.prepare(node))
        self._check_budgets()
        if locked is not None:
            self._compare(locked)
        done += [self._publish(one) for one in prepared]
        order = [node.id for node in self.graph.nodes]
        return tuple(sorted(done, key=lambda one: order.index(one.step)))

    def _publish(self, prepared: Prepared) -> ExportDone:
        started = time.monotonic()
        done = self.exporter.publish(prepared)
        self.announce(ExportPublished(done, round(time.monotonic() - started, 3)))
        return done

    def _check_paths(self) -> None:
        from forge_pipeline.publish import check_export_paths

        exports = {n.id: self.exporter.folder(n) for n in self.graph.nodes if n.shape == "export"}
        sources = {step: self._read_from(step) for step in self.scheduler.datasets.listings}
        check_export_paths(exports, sources)

    def _read_from(self, step: str) -> Iterable[Path]:
        """Name all that a source reads: the folders that it searches, and the files that it found."""
        from forge_pipeline.run.sources import finder

        found = map(Path, self.scheduler.datasets.listings[step].entries.paths())
        roots = finder(self.graph[step], self.scheduler.bench).roots(self.options.directory)
        return itertools.chain(roots, found)

    # --- the lock -------------------------------------------------------------------------------

    def _locked(self) -> Lock:
        from forge_pipeline.lock import lock_path, read_lock

        path = lock_path(self.recipe)
        locked = read_lock(path)
        if locked is None:
            raise CommandError(f"--frozen: there is no lock {path}", f"forge-run {self.recipe}")
        return locked

    def _compare(self, locked: Lock) -> None:
        from forge_pipeline.lock import differences, lock_path
        from forge_pipeline.run.scheduler import explain_config

        index = self.scheduler.index
        found = differences(locked, self._now(), lambda _, before, now: explain_config(index, before, now))
        if found:
            path = lock_path(self.recipe)
            raise FrozenDiffers(
                "\n".join([f"--frozen: the result would differ from {path}:", *(f"  {line}" for line in found)]),
                f"forge-run {self.recipe}  (and commit the new lock)",
            )

    def _now(self) -> Lock:
        from forge_pipeline.lock import Lock, LockedSource, LockedStep
        from forge_pipeline.run.sources import digest_of

        ledgers = self.scheduler.ledgers
        return Lock(
            recipe=self.graph.digest,
            sources={
                step: LockedSource(len(listing), ledgers[step].inputs_digest or digest_of(self.graph[step], listing))
                for step, listing in self.scheduler.datasets.listings.items()
            },
            steps={
                step: LockedStep(
                    use=ledger.node.use,
                    config=ledger.node.doing.digest,
                    entered=ledger.entered,
                    out=ledger.out,
                    failed=ledger.failed,
                    rows=ledger.rows_digest,
                    dropped=dict(sorted(ledger.dropped.items())),
                )
                for step, ledger in ledgers.items()
            },
        )

    def _write_lock(self) -> None:
        from forge_pipeline.lock import lock_path, write_lock

        path = lock_path(self.recipe)
        try:
            write_lock(path, self._now())
        except OSError as error:
            self.announce(Note(f"{path}: the lock could not be written: {(error.strerror or str(error)).lower()}"))


@contextlib.contextmanager
def open_session(
    recipe: Path, options: Options, announce: Announce, cache: Cache, dry: bool = False
) -> Iterator[Session]:
    """Put a run's parts together; its workers end with it.

    Args:
        dry: look, decide, count; run nothing.

    Raises:
        CommandError: what the options ask for cannot be.
        RecipeError: everything that is wrong with the recipe, at once.
    """
    from forge_pipeline.bench import Bench
    from forge_pipeline.executors.choose import choose
    from forge_pipeline.executors.open import begin_workers, open_executor
    from forge_pipeline.machine import look_at_machine
    from forge_pipeline.profile import load_profile
    from forge_pipeline.reuse import WithoutFailures
    from forge_pipeline.run import RunSettings, Scheduler
    from forge_pipeline.run.exports import Exporter
    from forge_pipeline.run.part import Part

    # Who runs one sample wants to see it break: a failure that is known is tried again, by workers elsewhere too.
    retried = options.only is not None
    index = None if retried else str(cache.index.path)
    bench = Bench(cache.store, WithoutFailures(cache.index) if retried else cache.index)
    profile = load_profile(options.profile, cache.root)
    machine = look_at_machine()
    begun: list[WorkerProcess] = []

    def compiling() -> None:
        if (options.executor or profile.executor) == "processes" and not dry:
            count = options.workers or profile.workers or machine.cores
            begun.extend(begin_workers(cache.store.spec, index, count))
            for process in begun:
                ending.callback(process.close)

    with contextlib.ExitStack() as ending:
        graph = _narrowed(graph_of(recipe, options, cache, compiling), options)
        asked = options.executor or ("ray" if options.ray_address else graph.executor or profile.executor)
        workers = options.workers or graph.workers or profile.workers
        choice = choose(graph.nodes, machine, asked, workers)
        ray_address = options.ray_address or profile.ray_address
        executor = open_executor(choice, bench, index, graph.nodes, ray_address, workers, begun)
        settings = RunSettings(
            options.directory,
            part=Part(options.sample, options.shard, options.only or ""),
            decides=options.shard is None,
            dry=dry,
            memory_bytes=_memory_bytes(options.memory or profile.memory, machine.memory_available_bytes),
            memory_available_bytes=machine.memory_available_bytes,
            recipe=identity(recipe),
            deadline_s=time.monotonic() + options.budget_s if options.budget_s is not None else None,
        )
        scheduler = Scheduler(graph, bench, cache.index, executor, announce, settings)
        ending.callback(lambda: executor.close(wait=not scheduler.jobs.abandoned))
        yield Session(graph, scheduler, Exporter(scheduler, _suffix(options)), recipe, options, announce, choice)


def _narrowed(graph: Graph, options: Options) -> Graph:
    """Leave out the steps that a partial run does not come to.

    Raises:
        CommandError: the last step to run is none.
    """
    if options.until is not None:
        if options.until not in graph:
            from forge_pipeline.recipe.suggest import suggest

            steps = [node.id for node in graph.nodes]
            near = suggest(options.until, steps)
            hint = f"--until {near}" if near else f"the recipe has: {', '.join(steps)}"
            raise CommandError(f"--until: the recipe has no step '{options.until}'", hint)
        graph = graph.until(options.until)
    if options.shard is not None:
        from forge_pipeline.run.part import before_barriers

        graph = before_barriers(graph)
    return graph


def _suffix(options: Options) -> str:
    """Return what a partial run's exports have after their names, so that no whole dataset is written over."""
    if options.sample is not None:
        return f".sample-{options.sample}"
    if options.only is not None:
        from forge_pipeline.manifest import file_stem

        return f".only-{file_stem(options.only)}"
    if options.until is not None:
        return f".until-{options.until}"
    return ".budget" if options.budget_s is not None else ""


def _memory_bytes(asked: str, available_bytes: int) -> int:
    """Return the budget that somebody asks for in bytes; 0 where nobody does.

    Raises:
        CommandError: it is no size.
    """
    from forge_pipeline.machine import read_memory_size

    try:
        return read_memory_size(asked).of(available_bytes) if asked else 0
    except ValueError as error:
        raise CommandError(f"--memory: {error}", "--memory 40%") from None
