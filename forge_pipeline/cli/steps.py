"""`forge steps`: list the operators and metrics, or describe one."""

from __future__ import annotations

import argparse
import sys
import textwrap
from typing import TYPE_CHECKING

from forge_pipeline.cli.arguments import did_you_mean
from forge_pipeline.errors import EXIT_DONE, CommandError

if TYPE_CHECKING:
    from forge_pipeline.cli.describe import OperatorText, ParamText

_WIDTH = 100
_ROLES = {
    "keyed": "",
    "locator": "a path: what it names enters the keys, the path does not",
    "machine": "a matter of this machine: never enters a key",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="an operator or a metric, such as tile.best")


def execute(arguments: argparse.Namespace) -> int:
    """Print the list, or one description."""
    from forge_pipeline import api
    from forge_pipeline.cli.describe import describe

    operators, metrics = api.operators(), api.metrics()
    known = {**operators, **metrics}
    if arguments.name is None:
        listed = {
            "operators": [describe(cls) for _, cls in sorted(operators.items())],
            "metrics": [describe(cls) for _, cls in sorted(metrics.items())],
        }
        lines = [line for title, texts in listed.items() if texts for line in [*_list_lines(title, texts), ""]]
        lines.append("forge steps NAME describes one of them")
    else:
        cls = known.get(arguments.name)
        if cls is None:
            raise CommandError(
                f"there is no operator or metric '{arguments.name}'",
                hint=did_you_mean(arguments.name, known) or "forge steps",
            )
        lines = description_lines(describe(cls))
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return EXIT_DONE


def description_lines(text: OperatorText) -> list[str]:
    """Lay out one description for a terminal."""
    kind = "metric" if text.shape == "metric" else f"{text.shape} operator"
    lines = [f"{text.name}: {kind}, version {text.version}", "", *text.story.splitlines(), ""]
    label_width = max((len(label) for label, _ in text.facts), default=0)
    lines += [line for label, fact in text.facts for line in _wrapped(f"{label:<{label_width}}  ", fact)]
    lines += ["", "parameters:" if text.params else "no parameters"]
    return lines + [line for param in text.params for line in _param_lines(param)]


def _param_lines(param: ParamText) -> list[str]:
    default = "required" if param.default == "required" else f"default {param.default}"
    lines = _wrapped("  ", f"{param.name}: {param.type}, {default}")
    lines += _wrapped("      ", param.description) if param.description else []
    return lines + (_wrapped("      ", _ROLES[param.role]) if _ROLES[param.role] else [])


def _list_lines(title: str, texts: list[OperatorText]) -> list[str]:
    width = max(len(text.name) for text in texts)
    return [f"{title}:", *(line for text in texts for line in _wrapped(f"  {text.name:<{width}}  ", text.summary))]


def _wrapped(start: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False
    ) or [start.rstrip()]
