"""The entry points `forge` and `forge-run`: find the command, run it, turn every error into text and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TextIO

from forge_pipeline.cli.arguments import Parser, did_you_mean
from forge_pipeline.errors import (
    EXIT_DONE,
    EXIT_ENVIRONMENT,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    CommandError,
    ForgeError,
)
from forge_pipeline.own_process import settle_process

# What a shell counts for a process that a closed pipe ended (128 + SIGPIPE).
EXIT_PIPE_CLOSED = 141

COMMANDS = {
    "run": "run a recipe: do what is not known yet, publish its exports",
    "check": "check a recipe and say everything that is wrong with it",
    "plan": "say what a run would do and why, with an estimate of time and disk",
    "explain": "tell the whole line of one sample, from its source to a file or to the reason it was dropped",
    "steps": "list the operators and metrics, or describe one",
    "schema": "print the JSON Schema of recipes, for editors",
    "graph": "print a recipe's graph as Mermaid or DOT",
    "runs": "list the last runs, or tell where the time of one went and what held it up",
    "cache": "measure, verify or shrink the cache, or join several",
    "doctor": "say what this machine is for a run, what is broken, and what could be better",
    "augment-params": "stream augmentation parameters as JSON lines, without touching pixels",
}

USAGE = "usage: forge COMMAND ...\n       forge COMMAND --help\n       forge --version\n"

# Faults of the machine rather than of the recipe or of ours: exit 3.
_MACHINE_ERRNOS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.EIO: "input or output error",
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files",
    errno.ENOMEM: "out of memory",
}


def forge(argv: Sequence[str] | None = None) -> int:
    """Run `forge COMMAND ...` and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None and words[:1] == ["run"]:
        settle_process()
    return guarded(lambda: _forge(words), debug="--debug" in words, owns_process=argv is None)


def forge_run(argv: Sequence[str] | None = None) -> int:
    """Run `forge-run RECIPE ...`, the same as `forge run RECIPE ...`, and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        settle_process()
    return guarded(lambda: _execute("run", words, "forge-run"), debug="--debug" in words, owns_process=argv is None)


def command_module(name: str) -> ModuleType:
    """Import the module of one command: only what is typed is loaded."""
    return import_module(f"forge_pipeline.cli.{name.replace('-', '_')}")


def command_parser(name: str, typed: str = "") -> Parser:
    """Build the parser of one command of this package."""
    parser = Parser(typed or f"forge {name}", COMMANDS[name])
    command_module(name).add_arguments(parser)
    return parser


def _forge(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        (sys.stdout if words else sys.stderr).write(_help_text())
        return EXIT_DONE if words else CommandError.exit_code
    if words[0] == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"forge-pipeline {version('forge-pipeline')}\n")
        return EXIT_DONE
    name = words[0]
    if name not in COMMANDS:
        what = "unknown option" if name.startswith("-") else "unknown command"
        raise CommandError(f"forge: {what} '{name}'", hint=did_you_mean(name, COMMANDS) or "forge --help")
    if name == "augment-params":
        # A contract of its own, with a parser of its own.
        return int(command_module(name).main(words[1:]))
    return _execute(name, words[1:], f"forge {name}")


def _execute(name: str, words: list[str], typed: str) -> int:
    arguments = command_parser(name, typed).parse(words)
    arguments.caller = Path.cwd()
    with _working_folder(getattr(arguments, "directory", None)):
        return int(command_module(name).execute(arguments))


def _working_folder(directory: str | None) -> contextlib.AbstractContextManager[None]:
    if directory is None:
        return contextlib.nullcontext()
    if not Path(directory).is_dir():
        raise CommandError(f"--directory: there is no folder '{directory}'")
    return contextlib.chdir(directory)


def _help_text() -> str:
    width = max(len(name) for name in COMMANDS)
    listed = "".join(f"  {name:<{width}}  {summary}\n" for name, summary in COMMANDS.items())
    return f"{USAGE}\nBuild image datasets from recipes; do only what changed.\n\ncommands:\n{listed}"


def guarded(command: Callable[[], int], debug: bool, owns_process: bool) -> int:
    """Run a command; whatever it raises becomes text on stderr and an exit code.

    Args:
        owns_process: nobody goes on in this process after the command: after Ctrl-C it may end while tasks work.
    """
    _prepare_streams()
    try:
        code = _exit_code(command)
        sys.stdout.flush()
    except BrokenPipeError:
        _forget(sys.stdout)
        return EXIT_PIPE_CLOSED
    except KeyboardInterrupt:
        code = _tell("interrupted", EXIT_INTERRUPTED, debug)
        if owns_process:
            _leave_workers()
        return code
    except ForgeError as error:
        return _tell(str(error), error.exit_code, debug)
    except MemoryError:
        return _tell("out of memory\n  hint: try fewer --workers", EXIT_ENVIRONMENT, debug)
    except OSError as error:
        if error.errno in _MACHINE_ERRNOS:
            return _tell(_machine_text(error), EXIT_ENVIRONMENT, debug)
        return _tell(_bug_text(error), EXIT_FAILED, debug)
    except Exception as error:  # noqa: BLE001  # the one place where nothing may pass
        return _tell(_bug_text(error), EXIT_FAILED, debug)
    return code


def _prepare_streams() -> None:
    # Python has None for a stream that the shell closed (`2>&-`).
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # File names may hold bytes that the terminal's encoding lacks: show them escaped, never fail on them.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _exit_code(command: Callable[[], int]) -> int:
    try:
        return command()
    except SystemExit as error:  # argparse's --help
        return error.code if isinstance(error.code, int) else EXIT_FAILED


def _tell(text: str, code: int, debug: bool) -> int:
    with contextlib.suppress(OSError, ValueError):
        if debug:
            import traceback

            traceback.print_exc(file=sys.stderr)
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    return code


def _leave_workers() -> None:
    """End now where tasks of a run still work that was told to end at once: Python itself would wait for them.

    Nothing is lost by it: what they were doing was not recorded, and what they write appears whole or not at all.
    """
    import threading

    if any(thread.name.startswith("forge-worker") for thread in threading.enumerate()):
        os._exit(EXIT_INTERRUPTED)


def _machine_text(error: OSError) -> str:
    what = _MACHINE_ERRNOS[error.errno or 0]
    text = f"{error.filename}: {what}" if error.filename else what
    return text + ("\n  hint: free some space and type the same command again" if error.errno == errno.ENOSPC else "")


def _bug_text(error: Exception) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said} [this is a bug]\n  hint: add --debug to see where it happened"


def _forget(stream: TextIO) -> None:
    """Point a stream whose reader is gone at nothing, so that Python's own flush at exit stays silent."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
