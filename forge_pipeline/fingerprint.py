"""The digest of an operator's code: its module, what that imports inside its own package, and their data files."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from forge_pipeline.digest import digest_file, digest_json
from forge_pipeline.installed import offered

# The engine's own modules are left out: what they do to pixels and keys is one number, compiled.ENGINE_FORMAT.
_ENGINE = "forge_pipeline"
_NOT_DATA = {".py", ".pyc", ".pyo", ".so", ".pyd", ".nbi", ".nbc"}


def packages_digest(group: str = "forge_pipeline.steps") -> str:
    """Name all source of all installed packages of operators: what compiled kernels depend on."""
    found = {}
    for point in offered(group):
        origin = _module_file(point.value)
        if origin is not None:
            root = origin.parent if origin.name == "__init__.py" else origin
            for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
                found[f"{point.value}:{path.relative_to(root)}"] = _content(path)
    return digest_json(found)


@dataclass
class Closure:
    """All modules that one module stands on inside its own package, and the outside packages that they import."""

    files: dict[str, Path] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)


def code_digest(module: str, file: str = "") -> str:
    """Name an operator's code.

    Args:
        module: dotted name of the operator's module.
        file: its path, for a module that a recipe imports from a file. The path itself is not part of the name.
    """
    if not file:
        return _package_code_digest(module)
    # Not remembered: such a file can be edited and imported again within one process (a notebook).
    closure = import_closure(module, file)
    return digest_json({name: digest_file(path) for name, path in closure.files.items()})


@cache
def _package_code_digest(module: str) -> str:
    return digest_json({name: _content(path) for name, path in import_closure(module).files.items()})


def import_closure(module: str, file: str = "") -> Closure:
    """Follow a module's imports (late ones too) inside its own top-level package, without importing anything.

    A module given by file follows the modules and packages that lie beside it, and is named by its file's name.
    """
    if file:
        folder = Path(file).parent
        return _closure(Path(file).stem, Path(file), lambda name: _beside(folder, name), folder)
    own = module.partition(".")[0]
    return _closure(module, _module_file(module), lambda name: _module_file(name) if _top(name) == own else None)


def _closure(
    root: str, root_path: Path | None, find: Callable[[str], Path | None], bare: Path | None = None
) -> Closure:
    """Collect what a module stands on.

    Args:
        find: returns the file of a module that counts as our own, None for any other.
        bare: a folder that is no package, whose other files are nobody's data.
    """
    closure = Closure()
    pending = [(root, root_path)]
    while pending:
        name, path = pending.pop()
        if path is None or name in closure.files:
            continue
        closure.files[name] = path
        for data in _data_files(path) if path.parent != bare else ():
            closure.files[f"{_package(name, path)}:{data.name}"] = data
        for imported in _imports(name, path, find):
            found = find(imported)
            if found is None:
                closure.outside.add(_top(imported))
            else:
                pending.append((imported, found))
            pending += [(parent, find(parent)) for parent in _parents(imported)]
    closure.outside -= {_ENGINE, _top(root), ""}
    return closure


def _beside(folder: Path, name: str) -> Path | None:
    return _file_in([folder], name.split(".")) if name else None


def _top(name: str) -> str:
    return name.partition(".")[0]


def _imports(name: str, path: Path, find: Callable[[str], Path | None]) -> Iterator[str]:
    for base, names in _statements(_package(name, path), path.read_bytes()):
        yield base
        # `from a.b import c`: c may be a module or a name; only a module's file is found.
        yield from (full for alias in names if find(full := f"{base}.{alias}" if base else alias))


@cache
def _statements(package: str, source: bytes) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Read the imports off a module's text: the module named, and the names taken from it. Parsed once a text."""
    found: list[tuple[str, tuple[str, ...]]] = []
    tree = ast.parse(source)
    # Only these two are expressions: a walk over statements alone takes a tenth of the time.
    for node in ast.walk(tree) if b"import_module" in source or b"__import__" in source else statements(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((_absolute(package, node), tuple(alias.name for alias in node.names)))
        elif _is_import_module(node):
            argument = node.args[0]  # type: ignore[attr-defined]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                found.append((argument.value, ()))
    return tuple(found)


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk over the statements of a module, those in functions and blocks too."""
    pending: list[Any] = [tree]
    while pending:
        node = pending.pop()
        yield node
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, block, ())
            if isinstance(inner, list):  # a lambda's body, and that of a conditional expression, is no statement
                pending += inner


def _is_import_module(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not node.args:
        return False
    called = node.func
    return (isinstance(called, ast.Attribute) and called.attr == "import_module") or (
        isinstance(called, ast.Name) and called.id in ("import_module", "__import__")
    )


def _absolute(package: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _package(name: str, path: Path) -> str:
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


@cache
def _module_file(name: str) -> Path | None:
    """Find a module's file by walking from its top package, so that nothing is imported on the way."""
    top, *rest = name.split(".")
    if top == _ENGINE or not top:
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    return _file_in([Path(root) for root in spec.submodule_search_locations or ()], rest)


def _file_in(roots: Iterable[Path], parts: Sequence[str]) -> Path | None:
    for root in roots:
        base = root.joinpath(*parts)
        # A package wins over a module of its name, as Python has it.
        for candidate in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if candidate.is_file():
                return candidate
    return None


def _data_files(path: Path) -> Iterator[Path]:
    for beside in sorted(path.parent.iterdir()):
        if beside.is_file() and beside.suffix not in _NOT_DATA and not beside.name.startswith("."):
            yield beside


@cache
def _content(path: Path) -> str:
    return digest_file(path)
