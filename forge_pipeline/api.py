"""The verbs that a command, a notebook or a test calls: run, check, plan, explain, and what they stand on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forge_pipeline.errors import CommandError, ForgeError, RunFailed
from forge_pipeline.events import Event, ExportDone, Note, PhaseBegan, RunEnded, RunResult, Status
from forge_pipeline.options import Options, Sharing, cache_root, refuse_contradictions
from forge_pipeline.recipe_graph import compile_recipe, graph_of, identity
from forge_pipeline.session import Announce, open_session, opened_cache

if TYPE_CHECKING:
    from forge_pipeline.cache.merge import Merged
    from forge_pipeline.cache.place import Cache
    from forge_pipeline.cache.sweep import CacheSize, Collected, Damage
    from forge_pipeline.doctor import Diagnosis
    from forge_pipeline.plan import PlanReport
    from forge_pipeline.report.bottleneck import Bottleneck
    from forge_pipeline.report.meter import Meter
    from forge_pipeline.report.story import RunLine, Story
    from forge_pipeline.shapes import Metric, Operator

__all__ = [
    "Announce",
    "CheckSummary",
    "Options",
    "Sharing",
    "cache_collect",
    "cache_merge",
    "cache_size",
    "cache_verify",
    "check",
    "diagnose",
    "explain",
    "graph_text",
    "metrics",
    "operators",
    "plan",
    "run",
    "run_story",
    "runs",
    "schema",
]


def _silent(event: Event) -> None:
    """Tell nobody."""


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
    graph, _ = compile_recipe(recipe, options)
    return CheckSummary(graph.name, len(graph.nodes))


def graph_text(recipe: Path, options: Options, kind: str) -> str:
    """Draw a recipe's graph.

    Args:
        kind: `mermaid` or `dot`.
    """
    from forge_pipeline.drawing import draw_graph

    return draw_graph(compile_recipe(recipe, options)[0], kind)


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
    refuse_contradictions(options)
    with _journalled(options, announce) as (told, meter):
        return _run(recipe, options, told, meter)


def _run(recipe: Path, options: Options, announce: Announce, meter: Meter) -> RunResult:
    started = time.monotonic()
    with (
        _warnings_told(announce),
        opened_cache(options, announce) as cache,
        open_session(recipe, options, announce, cache) as session,
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

    refuse_contradictions(options)
    with opened_cache(options, announce) as cache, open_session(recipe, options, _silent, cache, dry=True) as session:
        session.open()
        session.scheduler.pump()
        found = report(session.scheduler, session.exporter, session.choice)
        session.end("planned")
        return found


def explain(recipe: Path, options: Options, sample: str, announce: Announce = _silent) -> str:
    """Tell a sample's whole line, from its source to its file or to the reason why it was dropped."""
    from forge_pipeline.explain import explain_sample

    with opened_cache(options, announce) as cache:
        graph = graph_of(recipe, options, cache)
        return explain_sample(cache.index, graph, identity(recipe), sample, options.directory)


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


# --- what is told of a run --------------------------------------------------------------------------


@contextlib.contextmanager
def _journalled(options: Options, announce: Announce) -> Iterator[tuple[Announce, Meter]]:
    """Let the journal hear what a run announces, before anybody else does, and each note once."""
    from forge_pipeline.report.journal import Journal

    noted: set[str] = set()
    with Journal(cache_root(options), announce) as journal:

        def both(event: Event) -> None:
            if isinstance(event, Note):
                if event.text in noted:  # every worker has its own copy of what warns
                    return
                noted.add(event.text)
            journal.announce(event)
            announce(event)

        yield both, journal.meter


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
