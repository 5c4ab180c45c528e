"""From a recipe's file to its graph: compiled, or kept from an earlier run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from forge_pipeline.errors import CommandError, RecipeError
from forge_pipeline.options import Options

if TYPE_CHECKING:
    from forge_pipeline.cache.place import Cache
    from forge_pipeline.compiled import Graph
    from forge_pipeline.recipe import Recipe


def compile_recipe(recipe: Path, options: Options) -> tuple[Graph, Recipe]:
    """Read a recipe and check it against its operators.

    Raises:
        RecipeError: everything that is wrong, at once.
    """
    from forge_pipeline.graph import compile_graph, operator_problems
    from forge_pipeline.recipe.load import load_recipe
    from forge_pipeline.registry import Registry

    registry = Registry.installed()
    try:
        loaded = load_recipe(recipe, options.sets)
    except RecipeError as error:
        if error.partial is None:
            raise
        raise RecipeError([*error.problems, *operator_problems(error.partial, registry)]) from None
    return compile_graph(loaded, registry, options.directory), loaded


def graph_of(recipe: Path, options: Options, cache: Cache, compiling: Callable[[], None] = lambda: None) -> Graph:
    """Return a recipe's graph; unchanged files, options and code are not read a second time.

    Args:
        compiling: called before it is compiled, where it is: there will be work to do, in all likelihood.

    Raises:
        CommandError: there is no such recipe.
        RecipeError: everything that is wrong with it, at once.
    """
    from forge_pipeline.kept_plan import kept_graph
    from forge_pipeline.kernel_cache import place_kernel_cache
    from forge_pipeline.registry import Codecs

    place_kernel_cache()

    def compile_now() -> tuple[Graph, tuple[Path, ...]]:
        compiling()
        graph, loaded = compile_recipe(recipe, options)
        cache.index.settle_codecs(Codecs().versions())
        return graph, (*loaded.files, *loaded.imports)

    if not recipe.is_file():
        raise CommandError(f"{recipe}: there is no such recipe", "give the path of a .yaml, .hcl or .json file")
    return kept_graph(cache.index, recipe, options.sets, options.directory, compile_now)


def identity(recipe: Path) -> str:
    """Name a recipe among those that share a cache: one name for its three spellings, as they share a lock."""
    from forge_pipeline.lock import lock_path

    return str(lock_path(recipe).absolute())
