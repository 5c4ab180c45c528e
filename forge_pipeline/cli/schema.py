"""`forge schema`: the JSON Schema of recipes, so that editors complete and check them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from forge_pipeline.cli.arguments import add_directory
from forge_pipeline.errors import EXIT_DONE

SCHEMA_PATH = Path("schemas/recipe.schema.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed."""
    add_directory(parser)
    parser.add_argument("--write", action="store_true", help=f"write it to {SCHEMA_PATH} instead of printing it")


def execute(arguments: argparse.Namespace) -> int:
    """Print the schema, or write it to its file."""
    text = schema_text()
    if not arguments.write:
        sys.stdout.write(text)
        return EXIT_DONE
    SCHEMA_PATH.parent.mkdir(parents=True, exist_ok=True)
    SCHEMA_PATH.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{SCHEMA_PATH} written\n")
    return EXIT_DONE


def schema_text() -> str:
    """Spell the schema as it lies in its file."""
    from forge_pipeline import api

    return json.dumps(api.schema(), indent=2, ensure_ascii=False) + "\n"
