"""What a command line says about a run, and which of it contradicts itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from forge_pipeline.errors import CommandError


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


def cache_root(options: Options) -> Path:
    """Return the cache's folder."""
    return (options.cache or options.directory / ".forge" / "cache").absolute()


def partial_options(options: Options) -> list[str]:
    """Name the options by which a run does less than its recipe."""
    given = {
        "--sample": options.sample is not None,
        "--until": options.until is not None,
        "--shard": options.shard is not None,
        "--only": options.only is not None,
        "--budget": options.budget_s is not None,
    }
    return [name for name, is_given in given.items() if is_given]


def refuse_contradictions(options: Options) -> None:
    """Refuse options that contradict each other.

    Raises:
        CommandError: they do.
    """
    if options.ray_address and options.executor not in (None, "ray"):
        raise CommandError(
            f"--ray-address asks for Ray, and --executor for {options.executor}", "leave one of them out"
        )
    partial = partial_options(options)
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
