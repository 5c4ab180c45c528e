"""Errors become text and an exit code; help is light."""

import errno
import os
import subprocess
import sys

import pytest

from forge_pipeline.cli.main import COMMANDS, forge, forge_run
from forge_pipeline.errors import (
    BrokenPromise,
    CacheLocked,
    CommandError,
    DataError,
    EnvironmentFault,
    ForgeError,
    FrozenDiffers,
    NondeterministicOperator,
    Problem,
    ProfileError,
    PublicationError,
    RecipeError,
    RunFailed,
    TooLarge,
    Where,
)

BUG = "[this is a bug]\n  hint: add --debug to see where it happened\n"
UNKNOWN_KEY = Problem(Where("r.yaml", 2, 1, "x: 1"), "unknown key 'x'")
EXCEUTOR = "forge run: unknown option '--exceutor'\n  hint: did you mean '--executor'?\n"
ASK_FOR_HELP = "\n  hint: forge run --help\n"
HEAVY = (
    "pydantic",
    "numpy",
    "cv2",
    "numba",
    "networkx",
    "rich",
    "yaml",
    "hcl2",
    "torch",
    "ray",
    "PIL",
    "av",
    "skimage",
)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (CommandError("no step 'hr2'", hint="did you mean 'hr'?"), 2, "no step 'hr2'\n  hint: did you mean 'hr'?\n"),
        (RecipeError([UNKNOWN_KEY]), 2, "r.yaml:2:1: unknown key 'x'\n    x: 1\n    ^\n"),
        (ProfileError([UNKNOWN_KEY]), 2, "r.yaml:2:1: unknown key 'x'\n    x: 1\n    ^\n"),
        (RunFailed("step 'a': 3 of 10 samples failed"), 1, "step 'a': 3 of 10 samples failed\n"),
        (FrozenDiffers("step 'a' differs"), 1, "step 'a' differs\n"),
        (PublicationError("a foreign file"), 1, "a foreign file\n"),
        (DataError("truncated", "cut short"), 1, "cut short\n"),
        (TooLarge("needs 9 GiB, 8 GiB may be had"), 1, "needs 9 GiB, 8 GiB may be had\n"),
        (EnvironmentFault("torch is not installed"), 3, "torch is not installed\n"),
        (CacheLocked("the cache is held"), 3, "the cache is held\n"),
        (BrokenPromise("two results"), 1, "two results\n  [this is a bug]\n"),
        (NondeterministicOperator("tile.best gave two results"), 1, "tile.best gave two results\n  [this is a bug]\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (MemoryError(), 3, "out of memory\n  hint: try fewer --workers\n"),
        (OSError(errno.EDQUOT, "x"), 3, "the disk quota is used up\n"),
        (PermissionError(errno.EACCES, "x", "/cache"), 3, "/cache: permission denied\n"),
        (
            OSError(errno.ENOSPC, "x", "a/b.png"),
            3,
            "a/b.png: the disk is full\n  hint: free some space and type the same command again\n",
        ),
        (KeyError("x"), 1, "KeyError: 'x' " + BUG),
        (ValueError("two\nlines"), 1, "ValueError: two lines " + BUG),
        (FileNotFoundError(2, "No", "x"), 1, "FileNotFoundError: [Errno 2] No: 'x' " + BUG),
    ],
)
def test_every_error_has_its_text_and_exit_code(engine, capsys, error, code, text) -> None:
    engine.answers["check"] = error
    assert forge(["check", "recipe.yaml"]) == code
    assert capsys.readouterr() == ("", text)


def test_debug_shows_the_traceback_before_the_text(engine, capsys) -> None:
    engine.answers["check"] = RunFailed("broke")
    assert forge(["check", "recipe.yaml", "--debug"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last):\n")
    assert told.endswith("\nbroke\n")


def test_every_class_of_error_is_in_the_test_above() -> None:
    def below(cls: type[ForgeError]) -> set[str]:
        return {cls.__name__}.union(*(below(sub) for sub in cls.__subclasses__() if sub.__module__ == cls.__module__))

    tested = {"CommandError", "RecipeError", "ProfileError", "RunFailed", "FrozenDiffers", "DataError"}
    tested |= {"PublicationError", "TooLarge"}
    tested |= {"EnvironmentFault", "CacheLocked", "BrokenPromise", "NondeterministicOperator"}
    assert below(ForgeError) - {"ForgeError", "Reject"} == tested


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["rnu"], "forge: unknown command 'rnu'\n  hint: did you mean 'run'?\n"),
        (["qqqq"], "forge: unknown command 'qqqq'\n  hint: forge --help\n"),
        (["--vresion"], "forge: unknown option '--vresion'\n  hint: forge --help\n"),
        (["run"], "forge run: the following arguments are required: RECIPE\n  hint: forge run --help\n"),
        (["run", "a.yaml", "--exceutor", "inline"], EXCEUTOR),
        (["run", "a.yaml", "--exceutor=inline"], EXCEUTOR),
        (["run", "a.yaml", "--work", "2"], "forge run: unknown option '--work'\n  hint: did you mean '--workers'?\n"),
        (["check", "a.yaml", "b.yaml"], "forge check: unexpected argument 'b.yaml'\n  hint: forge check --help\n"),
        (
            ["run", "a.yaml", "--workers", "0"],
            "forge run: argument --workers: found '0', expected a whole number of at least 1" + ASK_FOR_HELP,
        ),
        (
            ["run", "a.yaml", "--executor", "rya"],
            "forge run: argument --executor: found 'rya', expected auto, inline, threads, processes or ray"
            + ASK_FOR_HELP,
        ),
        (
            ["run", "a.yaml", "--set", "vars.scale"],
            "forge run: argument --set: found 'vars.scale', expected KEY=VALUE" + ASK_FOR_HELP,
        ),
        (
            ["cache", "collect", "--keep", "5"],
            "forge cache: argument --keep: found '5', expected last:N such as last:10\n  hint: forge cache --help\n",
        ),
        (["check", "a.yaml", "--directory", "nowhere"], "--directory: there is no folder 'nowhere'\n"),
    ],
)
def test_a_wrong_command_line_exits_2_and_says_how_to_type_it(engine, capsys, words, text) -> None:
    assert forge(words) == 2
    assert capsys.readouterr() == ("", text)
    assert engine.asked == []


def test_no_command_shows_the_help_on_stderr_and_exits_2(capsys) -> None:
    assert forge([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(f"\n  {name} " in err for name in COMMANDS)


def test_version_names_the_package(capsys) -> None:
    assert forge(["--version"]) == 0
    assert capsys.readouterr().out.startswith("forge-pipeline ")


def test_forge_run_is_forge_run(capsys) -> None:
    assert forge_run(["--help"]) == 0
    short = capsys.readouterr().out
    assert forge(["run", "--help"]) == 0
    assert short.startswith("usage: forge-run ")
    assert _words(capsys.readouterr().out.replace("forge run", "forge-run")) == _words(short)


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_nothing_heavy(words) -> None:
    code = (
        "import sys; from forge_pipeline.cli.main import forge; code = forge(sys.argv[1:]);"
        f"print(code, sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_help_takes_under_a_quarter_second() -> None:
    # Processor time, the best of three: a busy machine must not fail it.
    def seconds() -> float:
        before = os.times()
        subprocess.run([sys.executable, "-c", "from forge_pipeline.cli.main import forge_run; forge_run(['--help'])"], check=True, capture_output=True)  # noqa: E501  # fmt: skip
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(seconds() for _ in range(3)) < 0.25


def test_a_closed_pipe_ends_a_command_in_silence() -> None:
    code = "import sys; from forge_pipeline.cli.main import forge; sys.exit(forge(['--help']))"
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([sys.executable, "-c", code], stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-"])
def test_a_stream_that_the_shell_closed_is_no_error(closed, tmp_path) -> None:
    (tmp_path / "r.py").write_text(
        "import sys; from forge_pipeline.cli.main import forge; sys.exit(forge(sys.argv[1:]))"
    )
    command = f'"{sys.executable}" {tmp_path / "r.py"} check nowhere.yaml {closed}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    assert done.returncode == 2


def _words(text: str) -> list[str]:
    return text.split()
