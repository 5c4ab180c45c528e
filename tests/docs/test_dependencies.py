"""The page on dependencies says truly which library is imported where, and names every one that is declared."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import DOCS, ROOT

TEXT = (DOCS / "decisions/0009-dependencies.md").read_text(encoding="utf-8")
BEFORE, EXTRAS = TEXT.split("\n## Extras\n")
CORE = re.findall(r"^\| ([\w-]+) \| (`\w+`|not imported) \|(.*?)\|", BEFORE, re.MULTILINE)


def _imports() -> Iterator[tuple[str, str]]:
    """Give every outside package that our code imports, with the file that does."""
    for path in (*(ROOT / "forge_pipeline").rglob("*.py"), *(ROOT / "steps").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in names:
                yield name.partition(".")[0], str(path.relative_to(ROOT))


def _declared() -> tuple[list[str], list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name = re.compile(r"^[A-Za-z0-9-]+")
    extras = [one for extra, ones in project["optional-dependencies"].items() if extra != "all" for one in ones]
    return [name.match(one)[0] for one in project["dependencies"]], [name.match(one)[0] for one in extras]  # type: ignore[index]


def test_every_library_is_imported_in_its_rooms_alone() -> None:
    rooms = {name.strip("`"): re.findall(r"`([^`]+)`", where) for _, name, where in CORE if name != "not imported"}
    found = {room: set[str]() for room in rooms}
    strays = []
    for name, path in _imports():
        if name in rooms:
            room = next((room for room in rooms[name] if path.startswith(room)), None)
            if room is None:
                strays.append((name, path))
            else:
                found[name].add(room)
    assert strays == []
    assert {name: sorted(used) for name, used in found.items()} == {name: sorted(used) for name, used in rooms.items()}


def test_what_is_said_not_to_be_imported_is_not() -> None:
    unused = {distribution for distribution, name, _ in CORE if name == "not imported"}
    modules = {"scikit-image": "skimage"}
    coming = {"torch", "torchvision", "lpips", "pepedp", "pyiqa"}
    imported = {name for name, _ in _imports()}
    assert imported & ({modules.get(one, one) for one in unused} | coming) == set()


def test_every_declared_distribution_is_on_the_page() -> None:
    core, extras = _declared()
    assert sorted({distribution for distribution, *_ in CORE}) == sorted(core)
    assert [one for one in extras if not re.search(rf"[ |,]{re.escape(one)}[ ,|]", EXTRAS)] == []


def test_extras_are_imported_where_the_page_says() -> None:
    rows = re.findall(r"^\| `\w+` \| ([^|]+) \| ([^|]*; imported in [^|]+) \|$", EXTRAS, re.MULTILINE)
    told = {tuple(sorted(re.findall(r"`([^`]+)`", where))): names.split(", ") for names, where in rows}
    assert sorted(name for names in told.values() for name in names) == ["fsspec", "paramiko", "ray", "s3fs"]
    for files, names in told.items():
        assert sorted({path for name, path in _imports() if name in names}) == list(files), names


def test_the_cost_is_counted() -> None:
    distributions = {distribution for distribution, *_ in CORE}
    unused = {distribution for distribution, name, _ in CORE if name == "not imported"}
    assert f"{len(distributions)} distributions in the core, {len(unused)} of which nothing imports." in TEXT


def test_every_decision_has_its_parts() -> None:
    pages = sorted((DOCS / "decisions").glob("0*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        parts = re.findall(r"^\*\*(.+?)\.\*\*", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert parts == ["Question", "Options", "Choice", "What it costs"], page.name


def test_every_decision_is_listed() -> None:
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", Path(DOCS / "decisions/README.md").read_text(encoding="utf-8"))
    assert listed == sorted(page.name for page in (DOCS / "decisions").glob("0*.md"))
