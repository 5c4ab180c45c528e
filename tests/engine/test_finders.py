"""A source's finder is used without its operator wherever it can be had alone, and its code is the operator's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from forge_pipeline.cache.place import open_cache
from forge_pipeline.compiled import ClassRef
from forge_pipeline.params import Params
from forge_pipeline.recipe_graph import graph_of
from forge_pipeline.shapes import Source
from tests.engine.worlds import World

OPERATORS = """
from collections.abc import Iterator
from typing import Annotated

import numpy as np
from pydantic import Field

from forge_pipeline.step import LOCATOR, Child, Context, File, Params, Source, operator
{imports}


class NumbersParams(Params):
    path: Annotated[str, LOCATOR] = Field(description="folder")
    suffix: Annotated[str, LOCATOR] = Field(default=".txt", description="which files")


@operator("my.read", version=1)
class Read(Source):
    Params = NumbersParams
    libraries = ("numpy",)
    finder = TextFinder
    {more}

    def facts(self, file: File) -> dict:
        return {{}}

    def load(self, file: File, context: Context) -> Iterator[Child]:
        yield Child(np.full((1, 1, 3), int(file.read()), np.uint8))
"""
FINDER = """
from collections.abc import Iterator
from pathlib import Path

from forge_pipeline.finder import Entry, Finder
from forge_pipeline.sample import Location


class TextFinder(Finder):
    def entries(self, directory: Path) -> Iterator[Entry]:
        for path in sorted((directory / self.params["path"]).glob("*" + self.params["suffix"])):
            yield Entry(path.name, Location(str(path)))

    def roots(self, directory: Path) -> list[Path]:
        return [directory / self.params["path"]]
"""
OWN_ENTRIES = """
    def entries(self, directory):
        return iter(TextFinder({"path": self.params.path, "suffix": ".txt"}).entries(directory))
"""
STEPS = """
    numbers: {use: my.read, with: {path: photos}}
    add: {use: toy.add, from: numbers}
    out: {use: toy.write, from: add, with: {path: out}}
"""


def numbers(root: Path, imports: str, more: str = "", **files: str) -> World:
    """Make a world whose source stands in `mine.py`, with the other files that are given by their dotted names."""
    world = World(root)
    world.files(a="1", b="2")
    world.file("mine.py", OPERATORS.format(imports=imports, more=more))
    for name, text in files.items():
        world.file(f"{name.replace('__', '/')}.py", text)
    world.recipe(STEPS, **{"import": ["./toy_steps.py", "./mine.py"]})
    return world


def finder_of(world: World) -> ClassRef | None:
    options = world.options()
    with open_cache(world.root / "cache") as cache:
        return graph_of(world.recipe_path, options, cache)["numbers"].finder


def imported(world: World) -> list[str]:
    """Run as a process of its own, and name what it imported of heavy libraries and of the recipe's own files."""
    code = (
        "import sys, json; from forge_pipeline.cli.main import forge_run; assert forge_run(sys.argv[1:]) == 0;"
        "own = {name[:-9] for name in sys.modules if name.startswith('forge_import_')};"
        "print(json.dumps(sorted(own | ({'numpy', 'pydantic'} & set(sys.modules)))))"
    )
    words = [str(world.recipe_path), "--directory", str(world.root), "--cache", str(world.root / "cache"), "--quiet"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


def test_an_unchanged_run_imports_a_finder_beside_the_operator_and_not_the_operator(tmp_path: Path) -> None:
    world = numbers(tmp_path, "from text_finder import TextFinder", text_finder=FINDER)
    assert finder_of(world) == ClassRef("text_finder", "TextFinder", str(tmp_path / "text_finder.py"))
    world.settle()
    imported(world)
    assert imported(world) == ["forge_import_text_finder"]


@pytest.mark.parametrize(
    ("imports", "more", "files"),
    [
        ("from parts.found import TextFinder", "", {"parts__found": FINDER, "parts____init__": ""}),
        (FINDER, "", {}),
        ("from text_finder import TextFinder", OWN_ENTRIES, {"text_finder": FINDER}),
    ],
    ids=["in a package beside it", "in its own file", "beside entries of its own"],
)
def test_a_finder_gives_the_same_wherever_it_stands(
    tmp_path: Path, imports: str, more: str, files: dict[str, str]
) -> None:
    alone = numbers(tmp_path / "alone", "from text_finder import TextFinder", text_finder=FINDER)
    world = numbers(tmp_path / "here", imports, more, **files)
    world.settle()
    assert len(world.run().rows()) == 2
    world.run().assert_nothing_done()
    assert [row["key"] for row in world.run().rows()] == [row["key"] for row in alone.run().rows()]
    imported(world)
    assert imported(world) == ["forge_import_mine", "numpy", "pydantic"]


def test_an_installed_finder_is_found_by_its_module(tmp_path: Path) -> None:
    world = numbers(tmp_path, "from forge_steps.read._find_images import ImageFinder as TextFinder")
    assert finder_of(world) == ClassRef("forge_steps.read._find_images", "ImageFinder")


def test_an_edit_of_a_finder_is_an_edit_of_its_operator(tmp_path: Path) -> None:
    world = numbers(tmp_path, "from text_finder import TextFinder", text_finder=FINDER)
    world.settle()
    assert world.run().funnel["numbers"][:2] == (2, 2)
    world.file("text_finder.py", FINDER.replace('"*" +', '"a*" +'))
    after = world.run()
    assert after.funnel["numbers"][:2] == (1, 1)
    assert after.counts("ran")["numbers"] == 1
    after.assert_same_as(world.run_clean())


def test_a_source_that_finds_nothing_by_itself_says_so() -> None:
    class Bare(Source):
        def facts(self, file):  # type: ignore[no-untyped-def]
            return {}

        def load(self, file, context):  # type: ignore[no-untyped-def]
            yield from ()

    with pytest.raises(TypeError, match=r"^this source has neither a `finder` nor `entries` of its own$"):
        next(iter(Bare(Params()).entries(Path())))
