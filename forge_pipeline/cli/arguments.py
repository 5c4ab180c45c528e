"""The arguments that commands share, and a parser whose errors read like all others."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from forge_pipeline.errors import CommandError

if TYPE_CHECKING:
    from forge_pipeline.api import Options
    from forge_pipeline.events import Event

RECIPE_SUFFIXES = (".yaml", ".yml", ".hcl", ".json")
DEFAULT_CACHE = ".forge/cache"
CACHE_VARIABLE = "FORGE_CACHE"


class Parser(argparse.ArgumentParser):
    """A parser of one command: no abbreviations, errors raised as CommandError with one hint.

    Args:
        command: what is typed, such as `forge run`.
        summary: one sentence about the command.
    """

    def __init__(self, command: str, summary: str) -> None:
        super().__init__(
            prog=command,
            description=summary,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found."""
        raise CommandError(f"{self.prog}: {message}", hint=f"{self.prog} --help")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse, and suggest the nearest option for one that does not exist."""
        arguments, unknown = self.parse_known_args(argv)
        if unknown:
            # A value after an unknown option is no mistake of its own: name the option.
            word = next((word for word in unknown if word.startswith("-")), unknown[0])
            self._refuse(word)
        return arguments

    def _refuse(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            self.error(f"unexpected argument '{word}'")
        option = word.partition("=")[0]
        options = [spelling for action in self._actions for spelling in action.option_strings]
        raise CommandError(
            f"{self.prog}: unknown option '{option}'", hint=did_you_mean(option, options) or f"{self.prog} --help"
        )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the nearest known word, or an empty string."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else ""


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add the recipe, its overrides, and the folder and cache that it works with."""
    parser.add_argument("recipe", metavar="RECIPE", help="the recipe: a .yaml, .hcl or .json file")
    parser.add_argument(
        "--set",
        dest="sets",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        type=_assignment,
        help="override one value, such as vars.scale=2 or steps.lr.with.lambda=0.7; may be repeated",
    )
    add_directory(parser)
    add_cache(parser)


def add_directory(parser: argparse.ArgumentParser) -> None:
    """Add the working folder."""
    parser.add_argument(
        "--directory",
        metavar="DIR",
        help="work in DIR, as if the command had been typed there: the recipe's own path, the cache and every "
        "relative path in the recipe start at DIR (as with make -C)",
    )


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add the cache folder."""
    parser.add_argument(
        "--cache",
        metavar="DIR",
        help=f"the cache folder (default: ${CACHE_VARIABLE}, else {DEFAULT_CACHE} under the working folder)",
    )


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Add what is so on this machine: its profile, and the store that it shares with others."""
    parser.add_argument(
        "--store",
        metavar="URL",
        help="keep payloads where other machines find them: s3://BUCKET/PREFIX, sftp://HOST/FOLDER, "
        "file:///SHARED/FOLDER or any URL that fsspec knows (default: what the profile says, else the cache folder)",
    )
    parser.add_argument(
        "--profile",
        metavar="FILE",
        help="what is so on this machine, a YAML file (default: $FORGE_PROFILE, else "
        "~/.config/forge-pipeline/machine.yaml where it is there)",
    )


def add_memory(parser: argparse.ArgumentParser) -> None:
    """Add the memory that a run may take."""
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        type=_memory_size,
        help="how much memory the tasks that run at once may take together, beyond what the process held at the start: "
        "512MB, 8GiB or 40%% of what is available (default: what the profile says, else 60%%)",
    )


def profile_path(arguments: argparse.Namespace) -> Path | None:
    """Return the machine's profile that the command line, the environment or the user's settings name, if any."""
    from forge_pipeline.profile import find_profile

    return find_profile(arguments.profile)


def cache_folder(arguments: argparse.Namespace) -> Path:
    """Return the cache folder that the command line, the environment or the default names."""
    return Path.cwd() / (arguments.cache or os.environ.get(CACHE_VARIABLE) or DEFAULT_CACHE)


def recipe_path(arguments: argparse.Namespace) -> Path:
    """Return the recipe's path; raises CommandError when there is no such file."""
    path = Path(arguments.recipe)
    if path.is_file():
        return path
    if path.is_dir():
        raise CommandError(f"{path}: this is a folder, expected a recipe file", hint=_recipes_in(path))
    raise CommandError(f"{path}: there is no such recipe", hint=_hint_for_missing(path, arguments))


def options(arguments: argparse.Namespace) -> Options:
    """Gather what the command line says about a run; a command without an option gets its default."""
    from forge_pipeline.api import Options

    given = vars(arguments)
    named = (
        "executor",
        "workers",
        "memory",
        "until",
        "sample",
        "frozen",
        "verify",
        "shard",
        "only",
        "budget_s",
        "ray_address",
    )
    return Options(
        directory=Path.cwd(),
        sets=tuple(arguments.sets),
        cache=cache_folder(arguments),
        store=given.get("store") or "",
        profile=profile_path(arguments) if "profile" in given else None,
        command=_command(arguments),
        **{name: given[name] for name in named if name in given},
    )


def _command(arguments: argparse.Namespace) -> str:
    """Spell what is typed to run the same recipe on the same cache and store; how it is run is left out."""
    words = ["forge-run", arguments.recipe]
    for assignment in arguments.sets:
        words += ["--set", assignment]
    for option in ("directory", "cache", "store", "profile"):
        value = getattr(arguments, option, None)
        words += [f"--{option}", value] if value else []
    return shlex.join(words)


def tell_notes(event: Event) -> None:
    """Print what a user should know while a command waits (another run holds the cache)."""
    from forge_pipeline.events import Note

    if isinstance(event, Note):
        sys.stderr.write(f"{event.text}\n")


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found '{text}', expected a whole number of at least 1")
    return int(text)


def duration(text: str) -> float:
    """Read a time such as `90s`, `30min` or `1h30min`, in seconds."""
    import re

    found = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)min)?(?:(\d+(?:\.\d+)?)s)?", text.replace(" ", ""))
    seconds = sum(float(n or 0) * unit for n, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0.0
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"found '{text}', expected a time such as 90s, 30min or 1h30min")
    return seconds


def one_of(*words: str) -> Callable[[str], str]:
    """Return a reader that accepts only these words and names them all when it does not."""

    def read(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(f"found '{text}', expected {', '.join(words[:-1])} or {words[-1]}")
        return text

    return read


def _memory_size(text: str) -> str:
    from forge_pipeline.machine import read_memory_size

    try:
        read_memory_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _assignment(text: str) -> str:
    key, equals, _ = text.partition("=")
    if not equals or not key.strip():
        raise argparse.ArgumentTypeError(f"found '{text}', expected KEY=VALUE")
    return text


def _hint_for_missing(path: Path, arguments: argparse.Namespace) -> str:
    if arguments.directory and (arguments.caller / path).is_file():
        return f"--directory moves the recipe's path too; type {arguments.caller / path}"
    if path.parent.is_dir():
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in RECIPE_SUFFIXES]
        nearest = did_you_mean(path.name, names)
        if nearest:
            return nearest
    return ""


def _recipes_in(folder: Path) -> str:
    found = sorted(entry for entry in folder.iterdir() if entry.suffix in RECIPE_SUFFIXES)
    return f"did you mean '{found[0]}'?" if found else ""
