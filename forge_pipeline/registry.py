"""Operator names to classes: installed packages by entry point, a recipe's own files by import, a test's by hand."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from forge_pipeline.compiled import ClassRef
from forge_pipeline.digest import digest_bytes
from forge_pipeline.errors import CommandError, EnvironmentFault, ForgeError
from forge_pipeline.fingerprint import code_digest, import_closure, statements
from forge_pipeline.installed import offered
from forge_pipeline.kernel_cache import kernels_apart
from forge_pipeline.payload import Codec
from forge_pipeline.shapes import Metric, Operator

STEPS_GROUP = "forge_pipeline.steps"
KINDS_GROUP = "forge_pipeline.kinds"

_CODE = "__forge_code__"
"""Set in the modules that recipes import: the digest of their code, or empty for what lies beside such a file."""

_LOADING = threading.RLock()


class Registry:
    """Finds marked classes in the modules it is given; imports a module only when one of its operators is wanted."""

    def __init__(self) -> None:
        self._modules: dict[str, tuple[str, str]] = {}
        """Name -> (module, what it came from)."""
        self._classes: dict[str, type[Operator]] = {}
        self._files: dict[str, str] = {}

    @classmethod
    def installed(cls) -> Registry:
        """Return a registry of everything that is installed, ours and other people's."""
        registry = cls()
        for point in offered(STEPS_GROUP):
            registry.add_package(point.value)
        return registry

    def add_package(self, package: str) -> None:
        """Learn the names that a package marks, reading its files as text.

        Raises:
            ForgeError: a name is marked twice.
        """
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise EnvironmentFault(f"steps package '{package}' is registered but cannot be found", "pip install -e .")
        for module, path in _module_files(package, Path(spec.origin)):
            for name in _marked_names(path):
                self._learn(name, module, f"module {module}")

    def add_module(self, module: ModuleType) -> None:
        """Learn the classes that a module marks (for tests, and for files that recipes import)."""
        for cls in _marked_classes(module):
            self._learn(cls.name, module.__name__, f"module {module.__name__}")
            self._classes[cls.name] = cls

    def add_file(self, path: Path) -> None:
        """Import a file that a recipe names, and learn the classes that it marks.

        Raises:
            CommandError: it is not there, breaks on import, or marks nothing.
        """
        module = load_file(path)
        before = set(self._modules)
        self.add_module(module)
        if set(self._modules) == before and not any(m == module.__name__ for m, _ in self._modules.values()):
            raise CommandError(
                f"{path}: marks no operator", "put @operator('my.name', version=1) above a Transform, Select, ..."
            )
        self._files[module.__name__] = str(path)

    def names(self) -> list[str]:
        """List all names, of operators and metrics."""
        return sorted(self._modules)

    def find(self, name: str) -> type[Operator] | None:
        """Return the class of that name, importing its module; None if there is none."""
        if name not in self._classes and name in self._modules:
            for cls in _marked_classes(importlib.import_module(self._modules[name][0])):
                self._classes.setdefault(cls.name, cls)
        return self._classes.get(name)

    def operators(self) -> dict[str, type[Operator]]:
        """Import everything and return the operators that recipes can use."""
        return {n: c for n in self.names() if (c := self.find(n)) is not None and not issubclass(c, Metric)}

    def metrics(self) -> dict[str, type[Metric]]:
        """Import everything and return the metrics."""
        return {n: c for n in self.names() if (c := self.find(n)) is not None and issubclass(c, Metric)}

    def ref(self, cls: type[Operator]) -> ClassRef:
        """Say where any process finds a class."""
        return ClassRef(cls.__module__, cls.__qualname__, self._files.get(cls.__module__, ""))

    def _learn(self, name: str, module: str, origin: str) -> None:
        known = self._modules.get(name)
        if known is not None and known[0] != module:
            raise ForgeError(
                f"operator '{name}' is defined twice: by {known[1]} and by {origin}", "give one of them another name"
            )
        self._modules[name] = (module, origin)


def load_class(ref: ClassRef) -> type[Any]:
    """Return the class a reference names, in any process."""
    module = load_file(Path(ref.file)) if ref.file else importlib.import_module(ref.module)
    found: Any = module
    for part in ref.qualname.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


def load_file(path: Path) -> ModuleType:
    """Import a Python file under a name made from its path; what lies beside it can be imported by it.

    A file that was edited since, or that imports an edited one, is imported anew: a notebook must not run old code.

    Raises:
        CommandError: it is not there or breaks on import.
    """
    path = path.resolve()
    if not path.is_file():
        raise CommandError(f"import: {path} is not there", "give a path relative to the recipe's folder")
    name = f"forge_import_{path.stem}_{digest_bytes(str(path).encode())[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CommandError(f"import: {path} is no Python file", "name a file that ends in .py")
    # Python's own imports wait for each other; a module that is half executed has classes that are half defined.
    with _LOADING:
        try:
            code = code_digest(name, str(path))
            loaded = sys.modules.get(name)
            if loaded is not None and vars(loaded).get(_CODE) == code:
                return loaded
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            with kernels_apart(code), _imports_from(path):
                # Not by the loader, which would trust a .pyc of the same second and size.
                exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
        except Exception as error:
            sys.modules.pop(name, None)
            raise CommandError(f"import: {path} breaks on import: {type(error).__name__}: {error}") from error
        vars(module)[_CODE] = code
        return module


@contextlib.contextmanager
def _imports_from(path: Path) -> Iterator[None]:
    """Let a file import what lies beside it as it is now, whatever was imported under those names before."""
    beside = {name for name in import_closure("", str(path)).files if ":" not in name}
    before = {name: sys.modules.pop(name) for name in beside if name in sys.modules}
    writes = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # the user's folder stays as it is
    sys.path.insert(0, str(path.parent))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(path.parent))
        sys.dont_write_bytecode = writes
        # A module from elsewhere gets its name back; one of an earlier edit, or of another import, does not.
        for name in beside & set(sys.modules):
            vars(sys.modules[name])[_CODE] = ""
        sys.modules.update({name: old for name, old in before.items() if _CODE not in vars(old)})


class Codecs(dict[str, Codec]):
    """How values of each kind are kept, found by entry point when first asked for."""

    def __missing__(self, kind: str) -> Codec:
        self[kind] = self._load(kind)
        return self[kind]

    def modules(self) -> list[str]:
        """Name the modules of all installed codecs."""
        return sorted({point.module for point in self._points.values()})

    def versions(self) -> dict[str, int]:
        """Return the version of every installed codec, by kind."""
        return {kind: self[kind].version for kind in sorted(self._points)}

    def _load(self, kind: str) -> Codec:
        point = self._points.get(kind)
        if point is None:
            raise EnvironmentFault(f"no codec for samples of kind '{kind}' is installed", "pip install -e .")
        return point.load()()  # type: ignore[no-any-return]

    @cached_property
    def _points(self) -> dict[str, Any]:
        return {point.name: point for point in offered(KINDS_GROUP)}


def _module_files(package: str, origin: Path) -> Iterator[tuple[str, Path]]:
    if origin.name != "__init__.py":
        yield package, origin
        return
    for path in sorted(origin.parent.rglob("*.py")):
        parts = path.relative_to(origin.parent).with_suffix("").parts
        yield ".".join([package, *(p for p in parts if p != "__init__")]), path


def _marked_names(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if "@operator(" not in text and "@metric(" not in text:
        return
    for node in statements(ast.parse(text, str(path))):
        if not isinstance(node, ast.ClassDef):
            continue
        for mark in node.decorator_list:
            if (
                isinstance(mark, ast.Call)
                and isinstance(mark.func, ast.Name)
                and mark.func.id in ("operator", "metric")
            ):
                name = mark.args[0] if mark.args else None
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    yield name.value


def _marked_classes(module: ModuleType) -> Iterator[type[Operator]]:
    for _, cls in inspect.getmembers(module, inspect.isclass):
        if issubclass(cls, Operator) and cls.__module__ == module.__name__ and "name" in vars(cls) and cls.name:
            yield cls
