"""`forge explain`: the whole line of one sample."""

from __future__ import annotations

import argparse
import sys

from forge_pipeline.cli.arguments import add_recipe, options, recipe_path, tell_notes
from forge_pipeline.errors import EXIT_DONE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed."""
    add_recipe(parser)
    parser.add_argument(
        "sample",
        metavar="SAMPLE",
        help="a sample key, or the name or path of an exported file or of a source file",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Print the line of a sample."""
    recipe = recipe_path(arguments)
    from forge_pipeline import api

    sys.stdout.write(api.explain(recipe, options(arguments), arguments.sample, tell_notes).rstrip("\n") + "\n")
    return EXIT_DONE
