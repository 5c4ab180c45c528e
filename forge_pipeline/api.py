"""The verbs that a command, a notebook or a test calls: run, check, plan, explain, and what they stand on."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forge_pipeline.errors import CommandError, ForgeError, FrozenDiffers, RecipeError, RunFailed
from forge_pipeline.events import (
    Event,
    ExecutorChosen,
    ExportDone,
    ExportPublished,
    Failure,
    Note,
    PhaseBegan,
    RunEnded,
    RunResult,
    Status,
    StepFinished,
)

if TYPE_CHECKING:
    from forge_pipeline.cache.merge import Merged
    from forge_pipeline.cache.place import Cache
    from forge_pipeline.cache.sweep import CacheSize, Collected, Damage
    from forge_pipeline.compiled import Graph, Node
    from forge_pipeline.doctor import Diagnosis
    from forge_pipeline.executors.choose import Choice
    from forge_pipeline.lock import Lock
    from forge_pipeline.plan import PlanReport
    from forge_pipeline.recipe import Recipe
    from forge_pipeline.report.bottleneck import Bottleneck
    from forge_pipeline.report.meter import Meter
    from forge_pipeline.report.story import RunLine, Story
    from forge_pipeline.run import Scheduler
    from forge_pipeline.run.exports import Exporter, Prepared
    from forge_pipeline.step import Metric, Operator

Announce = Callable[[Event], None]


def _silent(event: Event) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a command line says about one run. Nothing but `sets` can change a byte of a result.

    Attributes:
        directory: where relative paths start.
        sets: assignments over the recipe, `vars.scale=2`.
        cache: the cache's folder (default: `.forge/cache` under `directory`).
        executor: `auto`, `inline`, `threads`, `processes` or `ray` (default: what the recipe says, else auto).
        workers: how many tasks at once (default: one a core).
        memory: what the tasks that run at once may take together: `512MB`, `8GiB` or `40%` of what is available
            (default: what the profile says, else 60 %).
        until: the last step to run; nothing is published, but for this step's own export beside its place.
        sample: only the first so many files of every source; exports go to `PATH.sample-N`.
        frozen: fail when the result would differ from the lock's.
        verify: how many known actions to run again and compare.
        shard: (number, count): only this part, counted from 1, of every source's entries, up to where a whole
            dataset is needed to go on; nothing is decided or exported.
        only: a sample key: only the entries of sources that this sample stands on; exports go to `PATH.only-STEM`.
        budget_s: begin no task after so many seconds; exports go to `PATH.budget`.
        store: URL of the store that payloads are shared by (default: what the profile says, else the cache's folder).
        profile: the file that says what is so on this machine (default: none).
        ray_address: `auto`, `local`, HOST or HOST:PORT: asks for `ray` (default: what the profile says, else `auto`).
        command: what is typed to run this recipe again, where a run says so (default: `forge-run RECIPE`).
    """

    directory: Path = Path()
    sets: tuple[str, ...] = ()
    cache: Path | None = None
    executor: str | None = None
    workers: int | None = None
    memory: str | None = None
    until: str | None = None
    sample: int | None = None
    frozen: bool = False
    verify: int = 0
    shard: tuple[int, int] | None = None
    only: str | None = None
    budget_s: float | None = None
    store: str = ""
    profile: Path | None = None
    ray_address: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class Sharing:
    """Where a cache's payloads lie: what the command says, else the profile, else its folder."""

    store: str = ""
    profile: Path | None = None


@dataclass(frozen=True, slots=True)
class CheckSummary:
    """A recipe that is right."""

    name: str
    steps: int


# --- recipes --------------------------------------------------------------------------------------


def check(recipe: Path, options: Options) -> CheckSummary:
    """Check a recipe against its operators.

    Raises:
        RecipeError: everything that is wrong, at once.
    """
    graph, _ = _compile(recipe, options)
    return CheckSummary(graph.name, len(graph.nodes))


def graph_text(recipe: Path, options: Options, kind: str) -> str:
    """Draw a recipe's graph.

    Args:
        kind: `mermaid` or `dot`.
    """
    from forge_pipeline.drawing import draw_graph

    return draw_graph(_compile(recipe, options)[0], kind)


def operators() -> dict[str, type[Operator]]:
    """Return all installed operators by name."""
    from forge_pipeline.registry import Registry

    return Registry.installed().operators()


def metrics() -> dict[str, type[Metric]]:
    """Return all installed metrics by name."""
    from forge_pipeline.registry import Registry

    return Registry.installed().metrics()


def schema() -> dict[str, Any]:
    """Return the JSON Schema of recipes, with every installed operator's parameters."""
    from forge_pipeline.schema import recipe_schema

    return recipe_schema(operators())


# --- runs -----------------------------------------------------------------------------------------


def run(recipe: Path, options: Options, announce: Announce) -> RunResult:
    """Run a recipe: do what is not known, publish its exports, write its lock.

    Returns:
        What was done, also when the run failed within the recipe's own terms (status `failed`) or was interrupted.

    Raises:
        RecipeError, CommandError: nothing was run.
        EnvironmentFault: the machine did not let us; what was done is kept.
        FrozenDiffers: `frozen`, and the result would differ.
    """
    _check_partial(options)
    with _journalled(options, announce) as (told, meter):
        return _run(recipe, options, told, meter)


def _run(recipe: Path, options: Options, announce: Announce, meter: Meter) -> RunResult:
    started = time.monotonic()
    with (
        _warnings_told(announce),
        _opened(options, announce) as cache,
        _session(recipe, options, announce, cache) as session,
    ):
        status: Status = "done"
        exports: tuple[ExportDone, ...] = ()
        error = ""
        try:
            exports = session.run()
        except KeyboardInterrupt:
            if session.scheduler.jobs.abandoned:
                raise
            status = "interrupted"
            session.scheduler.jobs.interrupted = True
            session.stop()
        except RunFailed as failed:
            status, error = "failed", str(failed)
            session.stop()
        except BaseException as fault:
            # What was done is kept as far as the machine lets us; the fault itself is what the user must hear of.
            with contextlib.suppress(Exception):
                session.stop()
                session.end("failed")
            if isinstance(fault, ForgeError):
                result = session.result("failed", started, (), str(fault))
                announce(RunEnded(replace(result, peak_rss_bytes=meter.peak_rss_bytes)))
            raise
        announce(PhaseBegan("closing"))
        session.end(status)
        result = session.result(status, started, exports, error)
        result = replace(result, peak_rss_bytes=meter.peak_rss_bytes)
    announce(RunEnded(result))
    return result


def plan(recipe: Path, options: Options, announce: Announce = _silent) -> PlanReport:
    """Say what a run would do, and why, without doing it."""
    from forge_pipeline.plan import report

    _check_partial(options)
    with _opened(options, announce) as cache, _session(recipe, options, _silent, cache, dry=True) as session:
        session.open()
        session.scheduler.pump()
        found = report(session.scheduler, session.exporter, session.choice)
        session.end("planned")
        return found


def explain(recipe: Path, options: Options, sample: str, announce: Announce = _silent) -> str:
    """Tell a sample's whole line, from its source to its file or to the reason why it was dropped."""
    from forge_pipeline.explain import explain_sample

    with _opened(options, announce) as cache:
        return explain_sample(cache.index, _graph(recipe, options, cache), _identity(recipe), sample, options.directory)


# --- caches ---------------------------------------------------------------------------------------


def cache_size(cache: Path, sharing: Sharing | None = None) -> CacheSize:
    """Measure a cache."""
    from forge_pipeline.cache.sweep import cache_size

    with _existing(cache, sharing) as opened:
        return cache_size(opened)


def cache_verify(cache: Path, sharing: Sharing | None = None) -> list[Damage]:
    """Find damaged payloads."""
    from forge_pipeline.cache.sweep import verify_cache

    with _existing(cache, sharing) as opened:
        return verify_cache(opened)


def cache_collect(
    cache: Path, keep_last: int, sharing: Sharing | None = None, delete_shared: bool = False
) -> Collected:
    """Let go what the last runs do not stand on.

    Args:
        delete_shared: payloads of a shared store too, which other machines may still use.

    Raises:
        CommandError: `delete_shared`, and nothing is shared.
    """
    from forge_pipeline.cache.sweep import collect_cache

    with _existing(cache, sharing) as opened:
        if delete_shared and not opened.store.shared:
            raise CommandError("--shared: the payloads lie in the cache's own folder", "leave --shared out")
        return collect_cache(opened, keep_last, delete_shared)


def cache_merge(
    into: Path, others: Sequence[Path], sharing: Sharing | None = None, announce: Announce = _silent
) -> Merged:
    """Let one cache know all that others know.

    Args:
        sharing: where the payloads of the cache that is merged into lie; what the others keep there is not copied.

    Returns:
        What came from each, and what they know differently (then ours was kept).

    Raises:
        CommandError: one of the folders is no cache, or the one that is merged into.
        EnvironmentFault: one was made by another version of forge, or lies where an index cannot be used.
    """
    from importlib.metadata import version

    from forge_pipeline.cache.merge import check_mergeable, merge_caches
    from forge_pipeline.cache.place import open_cache
    from forge_pipeline.compiled import ENGINE_FORMAT
    from forge_pipeline.profile import load_profile

    forge, sharing = version("forge-pipeline"), sharing or Sharing()
    into, others = into.resolve(), list(dict.fromkeys(path.resolve() for path in others))
    check_mergeable(into, others, forge)
    profile = load_profile(sharing.profile, into)
    opened: dict[Path, Cache] = {}
    with contextlib.ExitStack() as stack:
        for root in sorted([into, *others]):  # in one order: two merges that cross must not wait for each other
            store = (sharing.store or profile.store) if root == into else ""
            place = open_cache(root, lambda text: announce(Note(text)), store, profile.store_cache_bytes)
            opened[root] = stack.enter_context(place)
        return merge_caches(opened[into], [opened[root] for root in others], ENGINE_FORMAT, forge)


# --- this machine ---------------------------------------------------------------------------------


def diagnose(cache: Path, directory: Path, deep: bool = False) -> Diagnosis:
    """Look at what this machine is for a run, what is broken, and what could be better.

    Args:
        deep: import every library that is installed, each in a process of its own.
    """
    from forge_pipeline.doctor import diagnose

    return diagnose(cache, directory, deep)


# --- what runs have told --------------------------------------------------------------------------


def runs(cache: Path) -> list[RunLine]:
    """List the runs of a cache whose journals are kept, the newest first; also while one goes on."""
    from forge_pipeline.report.story import list_runs

    _refuse_no_cache(cache)
    return list_runs(cache)


def run_story(cache: Path, run: str) -> tuple[Story, Bottleneck]:
    """Tell of one run, and what held it up.

    Args:
        run: its ID, its number in the index, or `last`.
    """
    from forge_pipeline.report.bottleneck import name_bottleneck
    from forge_pipeline.report.story import find_run, read_story

    _refuse_no_cache(cache)
    folder = find_run(cache, run)
    if folder is None:
        raise CommandError(f"{cache}: there is no journal of run '{run}'", f"forge runs --cache {cache}")
    story = read_story(folder)
    return story, name_bottleneck(story)


def _refuse_no_cache(cache: Path) -> None:
    if not cache.is_dir():
        raise CommandError(f"{cache}: there is no cache", "--cache DIR, or run a recipe first")


@contextlib.contextmanager
def _existing(cache: Path, sharing: Sharing | None = None) -> Iterator[Cache]:
    from forge_pipeline.cache.place import open_cache
    from forge_pipeline.profile import load_profile

    if not (cache / "index.sqlite").is_file():
        raise CommandError(f"{cache}: there is no cache", "--cache DIR, or run a recipe first")
    sharing = sharing or Sharing()
    profile = load_profile(sharing.profile, cache)
    store = sharing.store or profile.store
    with open_cache(cache, store_url=store, keep_bytes=profile.store_cache_bytes) as opened:
        yield opened


# --- the parts of a run ---------------------------------------------------------------------------


@contextlib.contextmanager
def _journalled(options: Options, announce: Announce) -> Iterator[tuple[Announce, Meter]]:
    """Let the journal hear what a run announces, before anybody else does, and each note once."""
    from forge_pipeline.report.journal import Journal

    noted: set[str] = set()
    with Journal(_cache_root(options), announce) as journal:

        def both(event: Event) -> None:
            if isinstance(event, Note):
                if event.text in noted:  # every worker has its own copy of what warns
                    return
                noted.add(event.text)
            journal.announce(event)
            announce(event)

        yield both, journal.meter


@contextlib.contextmanager
def _opened(options: Options, announce: Announce) -> Iterator[Cache]:
    from forge_pipeline.cache.place import open_cache
    from forge_pipeline.profile import load_profile

    root = _cache_root(options)
    profile = load_profile(options.profile, root)
    store = options.store or profile.store
    with open_cache(root, lambda text: announce(Note(text)), store, profile.store_cache_bytes) as cache:
        yield cache


def _cache_root(options: Options) -> Path:
    return (options.cache or options.directory / ".forge" / "cache").absolute()


def _compile(recipe: Path, options: Options) -> tuple[Graph, Recipe]:
    from forge_pipeline.graph import compile_graph, operator_problems
    from forge_pipeline.recipe.load import load_recipe
    from forge_pipeline.registry import Registry

    registry = Registry.installed()
    try:
        loaded = load_recipe(recipe, options.sets)
    except RecipeError as error:
        if error.partial is None:
            raise
        raise RecipeError([*error.problems, *operator_problems(error.partial, registry)]) from None
    return compile_graph(loaded, registry, options.directory), loaded


def _graph(recipe: Path, options: Options, cache: Cache) -> Graph:
    from forge_pipeline.kept_plan import kept_graph
    from forge_pipeline.kernel_cache import place_kernel_cache
    from forge_pipeline.registry import Codecs

    place_kernel_cache()

    def compile_now() -> tuple[Graph, tuple[Path, ...]]:
        graph, loaded = _compile(recipe, options)
        cache.index.settle_codecs(Codecs().versions())
        return graph, (*loaded.files, *loaded.imports)

    if not recipe.is_file():
        raise CommandError(f"{recipe}: there is no such recipe", "give the path of a .yaml, .hcl or .json file")
    return kept_graph(cache.index, recipe, options.sets, options.directory, compile_now)


@dataclass
class _Session:
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
        return bool(_partial_options(self.options))

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
        for line in part_lines(run.settings.part, self.graph, taken, run.opening.entries, shlex.join(words)):
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

    def _read_from(self, step: str) -> list[Path]:
        """Name all that a source reads: the folders that it searches, and the files that it found."""
        from forge_pipeline.step import Source

        operator = self.scheduler.bench.operator(self.graph[step].doing)
        assert isinstance(operator, Source)
        found = {found.entry.location.path for found in self.scheduler.datasets.listings[step]}
        return [*operator.roots(self.options.directory), *map(Path, sorted(found))]

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
                step: LockedSource(len(listing), digest_of(self.graph[step], listing))
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
def _session(recipe: Path, options: Options, announce: Announce, cache: Cache, dry: bool = False) -> Iterator[_Session]:
    graph = _graph(recipe, options, cache)
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
    from forge_pipeline.bench import Bench
    from forge_pipeline.executors.choose import choose
    from forge_pipeline.executors.open import open_executor
    from forge_pipeline.machine import look_at_machine
    from forge_pipeline.manifest import file_stem
    from forge_pipeline.profile import load_profile
    from forge_pipeline.reuse import WithoutFailures
    from forge_pipeline.run import RunSettings, Scheduler
    from forge_pipeline.run.exports import Exporter
    from forge_pipeline.run.part import Part

    # Who runs one sample wants to see it break: a failure that is known is tried again.
    bench = Bench(cache.store, cache.index if options.only is None else WithoutFailures(cache.index))
    profile = load_profile(options.profile, cache.root)
    asked = options.executor or ("ray" if options.ray_address else graph.executor or profile.executor)
    workers = options.workers or graph.workers or profile.workers
    machine = look_at_machine()
    choice = choose(graph.nodes, machine, asked, workers)
    ray_address = options.ray_address or profile.ray_address
    executor = open_executor(choice, bench, str(cache.index.path), graph.nodes, ray_address, workers)
    settings = RunSettings(
        options.directory,
        part=Part(options.sample, options.shard, options.only or ""),
        decides=options.shard is None,
        dry=dry,
        memory_bytes=_memory_bytes(options.memory or profile.memory, machine.memory_available_bytes),
        memory_available_bytes=machine.memory_available_bytes,
        recipe=_identity(recipe),
        deadline_s=time.monotonic() + options.budget_s if options.budget_s is not None else None,
    )
    scheduler = Scheduler(graph, bench, cache.index, executor, announce, settings)
    suffix = ""
    if options.sample is not None:
        suffix = f".sample-{options.sample}"
    elif options.only is not None:
        suffix = f".only-{file_stem(options.only)}"
    elif options.until is not None:
        suffix = f".until-{options.until}"
    elif options.budget_s is not None:
        suffix = ".budget"
    try:
        yield _Session(graph, scheduler, Exporter(scheduler, suffix), recipe, options, announce, choice)
    finally:
        executor.close(wait=not scheduler.jobs.abandoned)


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


def _partial_options(options: Options) -> list[str]:
    """Name the options by which a run does less than its recipe."""
    given = {
        "--sample": options.sample is not None,
        "--until": options.until is not None,
        "--shard": options.shard is not None,
        "--only": options.only is not None,
        "--budget": options.budget_s is not None,
    }
    return [name for name, is_given in given.items() if is_given]


def _check_partial(options: Options) -> None:
    """Refuse options that contradict each other.

    Raises:
        CommandError: they do.
    """
    if options.ray_address and options.executor not in (None, "ray"):
        raise CommandError(
            f"--ray-address asks for Ray, and --executor for {options.executor}", "leave one of them out"
        )
    partial = _partial_options(options)
    if options.frozen and partial:
        raise CommandError(
            f"--frozen holds a whole run against the lock, and {partial[0]} does less", "leave one of them out"
        )
    if options.only is not None and (options.shard is not None or options.sample is not None):
        other = "--shard" if options.shard is not None else "--sample"
        raise CommandError(f"--only takes what one sample stands on, and {other} takes others", "leave one of them out")
    if options.shard is not None and not 1 <= options.shard[0] <= options.shard[1]:
        number, count = options.shard
        raise CommandError(
            f"--shard: found {number}/{count}, expected a number from 1 to {count}", f"--shard 1/{count}"
        )


@contextlib.contextmanager
def _warnings_told(announce: Announce) -> Iterator[None]:
    """Tell what operators and libraries warn of (kernels are being compiled) among the lines of a run."""
    import logging

    class Teller(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            announce(Note(record.getMessage()))

    logger, teller = logging.getLogger(), Teller(logging.WARNING)
    logger.addHandler(teller)
    try:
        yield
    finally:
        logger.removeHandler(teller)


def _identity(recipe: Path) -> str:
    """Name a recipe among those that share a cache: one name for its three spellings, as they share a lock."""
    from forge_pipeline.lock import lock_path

    return str(lock_path(recipe).absolute())
