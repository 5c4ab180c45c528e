"""The reference pages of the command line and of the operators, made from the parsers and the classes.

`python -m forge_pipeline.cli.reference --write` writes them to docs/reference/ under the working folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from forge_pipeline.cli.arguments import Parser
from forge_pipeline.cli.main import COMMANDS, command_module, command_parser

if TYPE_CHECKING:
    from forge_pipeline.cli.describe import OperatorText

PAGES = Path("docs/reference")
WRITE_COMMAND = "python -m forge_pipeline.cli.reference --write"
_GENERATED = f"<!-- Made by `{WRITE_COMMAND}`; edits are lost. -->"


def pages() -> dict[Path, str]:
    """Return the text of every generated page by its path."""
    return {PAGES / "command-line.md": command_line_page(), PAGES / "operators.md": operators_page()}


def command_line_page() -> str:
    """Describe every command from its parser."""
    parts = [
        "# The command line",
        _GENERATED,
        "`forge-run` is `forge run`. Results go to stdout, everything else to stderr. "
        "Options are never abbreviated, and come after the command.",
        "| exit code | meaning |\n|---|---|\n"
        "| 0 | done, within the error budget |\n"
        "| 1 | the run failed, or `--frozen` or `forge cache verify` found a difference |\n"
        "| 2 | the recipe or the command is wrong, or a source path is not there |\n"
        "| 3 | the machine is at fault: disk full, cache not writable or locked, something not installed |\n"
        "| 130 | interrupted: what was finished is kept, the same command goes on from there |",
    ]
    return "\n\n".join([*parts, *(_command(name, summary) for name, summary in COMMANDS.items())]) + "\n"


def operators_page() -> str:
    """Describe every registered operator and metric from its class."""
    from forge_pipeline import api
    from forge_pipeline.cli.describe import describe

    parts = [
        "# Operators and metrics",
        _GENERATED,
        "`keyed` parameters enter the action keys: changing one runs the step again. Of a `locator` only what it "
        "names does, not the path. A `machine` parameter never changes bytes and never enters a key.",
    ]
    for title, classes in (("Operators", api.operators()), ("Metrics", api.metrics())):
        texts = [describe(cls) for _, cls in sorted(classes.items())]
        parts += [f"## {title}", *(_operator(text) for text in texts)]
    return "\n\n".join(parts) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Write the pages, or say which of them are stale (exit 1)."""
    parser = Parser("python -m forge_pipeline.cli.reference", "make the reference pages")
    parser.add_argument("--write", action="store_true", help="write the pages that changed")
    arguments = parser.parse(sys.argv[1:] if argv is None else argv)
    stale = stale_pages()
    for path, text in stale.items():
        if arguments.write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}: {'written' if arguments.write else f'stale, mend it with {WRITE_COMMAND}'}\n")
    return 0 if arguments.write or not stale else 1


def stale_pages(folder: Path = Path()) -> dict[Path, str]:
    """Return the pages whose file under `folder` is missing or differs, with their right text."""
    return {
        path: text
        for path, text in pages().items()
        if not (folder / path).is_file() or (folder / path).read_text(encoding="utf-8") != text
    }


def _command(name: str, summary: str) -> str:
    module = command_module(name)
    parser = module._parser() if name == "augment-params" else command_parser(name)
    # Written from the actions and not from format_help(), whose layout differs between Python versions.
    named = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    named.sort(key=lambda action: (bool(action.option_strings), action.dest == "debug"))
    usage = " ".join(["forge", name, *(_usage(action) for action in named if not action.option_strings), "[options]"])
    rows = [f"| `{_cell(_spelling(action))}` | {_cell((action.help or '').replace('%%', '%'))} |" for action in named]
    parts = [f"## forge {name}", _sentence(summary), f"```text\n{usage}\n```", "| | |\n|---|---|\n" + "\n".join(rows)]
    return "\n\n".join(parts + ([f"```text\n{parser.epilog}\n```"] if parser.epilog else []))


def _usage(action: argparse.Action) -> str:
    if action.nargs == "*":
        return f"[{action.metavar}...]"
    return f"[{action.metavar}]" if action.nargs == "?" else str(action.metavar or action.dest.upper())


def _spelling(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar or action.dest.upper())
    choices = "|".join(str(choice) for choice in action.choices or ())
    value = "" if action.nargs == 0 else f" {action.metavar or choices or action.dest.upper()}"
    return ", ".join(option + value for option in action.option_strings)


def _operator(text: OperatorText) -> str:
    kind = "metric" if text.shape == "metric" else f"{text.shape} operator"
    facts = "\n".join(
        f"- {label}: {fact}" for label, fact in (("kind", f"{kind}, version {text.version}"), *text.facts)
    )
    parts = [f"### {text.name}", text.story, facts]
    if text.params:
        head = "| parameter | type | default | role | meaning |\n|---|---|---|---|---|"
        parts.append("\n".join([head, *(f"| {_cells(param_cells)} |" for param_cells in _param_rows(text))]))
    return "\n\n".join(parts)


def _param_rows(text: OperatorText) -> Iterable[tuple[str, ...]]:
    for param in text.params:
        default = param.default if param.default == "required" else f"`{param.default}`"
        yield f"`{param.name}`", param.type, default, param.role, param.description


def _cells(cells: Iterable[str]) -> str:
    return " | ".join(_cell(cell) for cell in cells)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    from forge_pipeline.cli.main import guarded

    raise SystemExit(guarded(main, debug="--debug" in sys.argv, owns_process=True))
