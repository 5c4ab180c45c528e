"""Compiled graphs kept between runs: an unchanged recipe is neither parsed nor checked again."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from forge_pipeline.cache.index import Index
from forge_pipeline.compiled import Graph, graph_text, read_graph
from forge_pipeline.digest import digest_json
from forge_pipeline.files import is_settled, stat_identity

_HERE = Path(__file__).parent


def kept_graph(
    index: Index,
    recipe: Path,
    sets: Sequence[str],
    directory: Path,
    compile_now: Callable[[], tuple[Graph, Sequence[Path]]],
) -> Graph:
    """Return the graph of a recipe: the kept one where nothing that it was made from has changed, else a new one.

    Args:
        sets: the command line's assignments.
        directory: where relative paths start.
        compile_now: makes the graph, and names the recipe files that it was made from.
    """
    key = digest_json([str(recipe.resolve()), list(sets), str(directory.resolve()), str(Path.cwd()), sys.version])
    text = index.plan(key)
    if text is not None:
        kept = json.loads(text)
        if _unchanged(kept):
            return read_graph(kept["graph"])
    seen_ns = time.time_ns()
    graph, files = compile_now()
    index.record_plan(key, _spell(graph, files, sets, seen_ns))
    return graph


def _spell(graph: Graph, files: Sequence[Path], sets: Sequence[str], seen_ns: int) -> str:
    doings = [doing for node in graph.nodes for doing in node.doings]
    libraries = sorted({name for doing in doings for name in doing.config["libraries"]})
    side_files = [Path(path) for doing in doings for path in doing.side_files]
    # Not resolved: a link that is turned to another file must show.
    watched = {str(path.absolute()) for path in (*files, *_code_files(graph), *side_files)}
    return json.dumps(
        {
            "files": {path: stat_identity(path) for path in sorted(watched)},
            "seen_ns": seen_ns,
            "libraries": {name: version(name) for name in libraries},
            "environment": _environment(files, sets),
            "graph": graph_text(graph),
        }
    )


def _code_files(graph: Graph) -> Iterable[Path]:
    """Name every file whose edit could change a key: the operators' packages whole, and the engine's own."""
    from forge_pipeline.fingerprint import import_closure
    from forge_pipeline.registry import Codecs

    yield from _HERE.rglob("*.py")
    for module in Codecs().modules():
        yield from import_closure(module).files.values()
    for node in graph.nodes:
        for doing in node.doings:
            yield from import_closure(doing.operator.module, doing.operator.file).files.values()


def _environment(files: Sequence[Path], sets: Sequence[str]) -> dict[str, str | None]:
    """Remember the environment variables that the recipe names: another value is another recipe."""
    import re

    texts = [*sets, *(path.read_text(encoding="utf-8", errors="replace") for path in files)]
    names = {name for text in texts for name in re.findall(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}", text)}
    return {name: os.environ.get(name) for name in sorted(names)}


def _unchanged(kept: dict[str, Any]) -> bool:
    try:
        return (
            all(_stands(path, identity, kept["seen_ns"]) for path, identity in kept["files"].items())
            and all(os.environ.get(name) == value for name, value in kept["environment"].items())
            and all(version(name) == found for name, found in kept["libraries"].items())
        )
    except (OSError, PackageNotFoundError):
        return False


def _stands(path: str, identity: list[int], seen_ns: int) -> bool:
    """Tell whether a file is what it was when it was read, and was not being written then."""
    return list(stat_identity(path)) == identity and is_settled(identity[1], identity[2], seen_ns)
