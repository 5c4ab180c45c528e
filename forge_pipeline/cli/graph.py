"""`forge graph`: a recipe's graph as text that draws itself."""

from __future__ import annotations

import argparse
import sys

from forge_pipeline.cli.arguments import add_recipe, one_of, options, recipe_path
from forge_pipeline.errors import EXIT_DONE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed."""
    add_recipe(parser)
    parser.add_argument(
        "--format",
        metavar="NAME",
        type=one_of("mermaid", "dot"),
        default="mermaid",
        help="mermaid (drawn by GitHub and many editors) or dot (Graphviz); default: mermaid",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Print the graph."""
    recipe = recipe_path(arguments)
    from forge_pipeline import api

    sys.stdout.write(api.graph_text(recipe, options(arguments), arguments.format).rstrip("\n") + "\n")
    return EXIT_DONE
