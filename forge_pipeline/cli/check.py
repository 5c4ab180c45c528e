"""`forge check`: check a recipe without running it."""

from __future__ import annotations

import argparse
import sys

from forge_pipeline.cli.arguments import add_recipe, options, recipe_path
from forge_pipeline.errors import EXIT_DONE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed."""
    add_recipe(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Check, and say one line when all is well; what is wrong is raised as RecipeError."""
    recipe = recipe_path(arguments)
    from forge_pipeline import api
    from forge_pipeline.report.numbers import count_text

    summary = api.check(recipe, options(arguments))
    sys.stdout.write(f"{recipe}: '{summary.name}' is in order, {count_text(summary.steps, 'step')}\n")
    return EXIT_DONE
