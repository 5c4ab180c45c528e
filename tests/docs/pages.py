"""Pages of the documentation as things that can be run: their fenced blocks, and the session that a page shows.

A block after `<!-- file: NAME -->` is a file that the reader writes. A `console` block is typed: `$ ` starts a command,
`> ` continues it, all other lines are what it prints. In there a line `...` stands for any lines, `...` within a line
for any text; durations, sizes, dates, and the folder's own path may differ, and a line about compiling may come or not.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_MARK = re.compile(r"<!-- file: (?P<name>\S+) -->")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\s*$")
_CUT = "8<-----"
_END_OF_FILE = "END_OF_THE_FILE_ON_THIS_PAGE"
_COMES_AND_GOES = re.compile(r"compiling kernels, .*")
_VARIES = (
    (re.compile(r"\b\d+h \d\dm\b|\b\d+m \d\ds\b|\b\d+(\.\d+)? (ms|s)\b"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)? (B|kB|MB|GB)\b"), "SIZE"),
    (re.compile(r"\b\d+ workers? for \d+ cores?\b"), "WORKERS"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b"), "DATE"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, the file that it is (or an empty name), and its first line's number."""

    language: str
    text: str
    file: str
    line: int


@dataclass
class Command:
    """One command of a console block, and the lines that the page says it prints."""

    text: str
    line: int
    prints: list[str] = field(default_factory=list)


def page_paths() -> list[Path]:
    """List every page, README first."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    found: list[Block] = []
    open_fence: re.Match[str] | None = None
    lines: list[str] = []
    name = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.match(line)
        if open_fence is None:
            mark = _MARK.fullmatch(line.strip())
            if mark:
                name = mark["name"]
            elif fence:
                open_fence, lines = fence, []
            elif line.strip():
                name = ""
        elif fence and not fence["language"]:
            text = "".join(f"{one.removeprefix(open_fence['indent'])}\n" for one in lines)
            found.append(Block(open_fence["language"], text, name, number - len(lines)))
            open_fence, name = None, ""
        else:
            lines.append(line)
    assert open_fence is None, f"{page}: a fence is not closed"
    return found


def is_session(page: Path) -> bool:
    """Tell whether a page shows commands with a prompt."""
    return any(block.language == "console" and block.text.startswith("$ ") for block in blocks(page))


def commands(block: Block) -> Iterator[Command]:
    """Split a console block."""
    command: Command | None = None
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        if line.startswith("$ "):
            if command:
                yield command
            command = Command(line[2:], number)
        elif line.startswith("> ") and command and not command.prints:
            command.text += f"\n{line[2:]}"
        else:
            assert command is not None, f"line {number}: output without a command"
            command.prints.append(line)
    if command:
        yield command


def environment() -> dict[str, str]:
    """Return what a reader's shell has: the commands of this environment first, no colours, no cache of elsewhere.

    Kernels lie where all tests have them: none is compiled for pages alone.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FORGE_", "PYTEST_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, "PATH": path, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def play(page: Path, folder: Path, env: dict[str, str]) -> list[str]:
    """Do all that a page tells its reader, in one shell; return what went otherwise than the page says."""
    typed: list[Command] = []
    script = ["exec 2>&1 </dev/null"]
    for block in blocks(page):
        if block.file:
            script.append(f"mkdir -p -- \"$(dirname '{block.file}')\"")
            script.append(f"cat > '{block.file}' <<'{_END_OF_FILE}'\n{block.text}{_END_OF_FILE}")
        elif block.language == "console" and block.text.startswith("$ "):
            for command in commands(block):
                typed.append(command)
                script.append(f"{command.text}\nprintf '\\n{_CUT}%d\\n' $?")
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    return _differences(page, typed, done.stdout, folder)


def _differences(page: Path, typed: list[Command], output: str, folder: Path) -> list[str]:
    parts = re.split(rf"\n{_CUT}(\d+)\n", output)
    printed = list(zip(parts[0::2], parts[1::2], strict=False))
    told = [] if len(printed) == len(typed) else [f"{page.name}: {len(printed)} of {len(typed)} commands ran"]
    for command, (text, code) in zip(typed, printed, strict=False):
        found = text.replace(str(folder), f"/home/me/{folder.name}").rstrip("\n").splitlines()
        if code != "0" or not matches(command.prints, found):
            expected = "\n".join(command.prints)
            got = "\n".join(found)
            told.append(
                f"{page.name}:{command.line}: $ {command.text}\n--- the page says\n{expected}\n"
                f"--- it printed (exit code {code})\n{got}\n"
            )
    return told


def matches(expected: list[str], found: list[str]) -> bool:
    """Tell whether lines are what a page says, but for what may differ."""
    expected, found = ([line for line in lines if not _COMES_AND_GOES.fullmatch(line)] for lines in (expected, found))
    pattern = "".join(r"(?:.*\n)*?" if line.strip() == "..." else f"{_pattern(line)}\n" for line in expected)
    return re.fullmatch(pattern, "".join(f"{_settled(line)}\n" for line in found)) is not None


def _pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in _settled(line).split("..."))


def _settled(line: str) -> str:
    for varies, name in _VARIES:
        line = varies.sub(name, line)
    return line.rstrip()
