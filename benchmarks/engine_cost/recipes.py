"""The recipes of engine cost, and the command lines that run them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.end_to_end.processes import Word, forge_run
from benchmarks.engine_cost.shards import MEMBERS

_HEAD = """\
forge: 1
name: engine_cost
seed: 1
import: ["{operators}"]
steps:
  samples: {{use: bench.shards, with: {{path: "{shards}", count: {count}, members: {members}}}}}
"""
_TRIVIAL = """\
  one: {use: bench.add, from: samples, with: {levels: 1}}
  two: {use: bench.add, from: one, with: {levels: 2}}
  three: {use: bench.add, from: two, with: {levels: 3}}
"""


def write_trivial(folder: Path, shards: Path, count: int) -> Path:
    """Write the recipe of three trivial operators in a chain."""
    return _write(folder, shards, count, _TRIVIAL)


def write_waiting(folder: Path, shards: Path, count: int, waits_ms: tuple[int, ...]) -> Path:
    """Write a recipe of operators that wait; between two of them images are kept, so that each is a task of its own."""
    steps, above = "", "samples"
    for number, wait_ms in enumerate(waits_ms):
        kept = ", cache: keep" if number < len(waits_ms) - 1 else ""
        given = f'wait_ms: {wait_ms}, log: "{folder / "waits.log"}"'
        steps += f"  wait_{number}: {{use: bench.wait, from: {above}, with: {{{given}}}{kept}}}\n"
        above = f"wait_{number}"
    return _write(folder, shards, count, steps)


def command(recipe: Path, *arguments: Word) -> list[str]:
    """Spell a run whose cache lies beside the recipe."""
    return forge_run(recipe, "--cache", recipe.parent / "cache", "--quiet", *arguments)


def _write(folder: Path, shards: Path, count: int, steps: str) -> Path:
    folder.mkdir(parents=True)
    path = folder / "recipe.yaml"
    operators = Path(__file__).parent / "operators.py"
    path.write_text(_HEAD.format(operators=operators, shards=shards, count=count, members=MEMBERS) + steps)
    return path
