"""Recipe files into one tree: read by suffix, included files first, deep-merged."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from forge_pipeline.errors import CommandError, Problem, RecipeError, Where
from forge_pipeline.recipe.model import is_free_key, shown
from forge_pipeline.recipe.suggest import suggest
from forge_pipeline.recipe.terms import TermError
from forge_pipeline.recipe.text import Span, Text
from forge_pipeline.recipe.tree import BrokenNode, ListNode, MapNode, Member, Node, ScalarNode, plain, tree_problems

MAX_BYTES = 1 << 20
"""Size of a recipe file at most; the shipped one has 2 KB."""

_MAX_FILES = 64
_SUFFIXES = (".yaml", ".yml", ".hcl", ".json")


@dataclass(slots=True)
class Bundle:
    """A recipe's files, merged.

    Attributes:
        root: the merged tree, or None when this file cannot be read.
        files: every file that was read, the recipe itself first.
        imports: Python files that they name, each relative to the file that names it.
        complete: whether every file could be read; what one lacks would look like errors in the others.
        problems: everything wrong so far.
    """

    root: MapNode | None = None
    files: list[Path] = field(default_factory=list)
    imports: list[Path] = field(default_factory=list)
    complete: bool = True
    problems: list[Problem] = field(default_factory=list)


def read_bundle(path: Path) -> Bundle:
    """Read a recipe and all that it includes.

    Raises CommandError when the recipe itself is not there; all else is in the bundle's problems.
    """
    if not _is_there(path):
        there = sorted(p.name for p in path.parent.glob("*") if p.suffix in _SUFFIXES) if path.parent.is_dir() else []
        near = suggest(path.name, there)
        raise CommandError(f"recipe {path} is not there", f"did you mean {path.with_name(near)}?" if near else "")
    bundle = Bundle()
    bundle.root = _read(path, (), bundle)
    if bundle.root is not None and not bundle.problems:
        bundle.problems += _idle_overrides(bundle.root)
    return bundle


def _read(path: Path, chain: tuple[Path, ...], bundle: Bundle) -> MapNode | None:
    """Read one file with what it includes below it."""
    bundle.files.append(path)
    try:
        root = _root(path)
    except RecipeError as error:
        bundle.problems += error.problems
        bundle.complete = False
        return None
    bundle.problems += tree_problems(_without_free_values(root))
    _check_version(root, bundle)
    merged: MapNode | None = None
    for included, span in _paths(root, "include", path, bundle):
        merged = _merged(merged, _included(included, span, (*chain, path), bundle), bundle)
    for imported, span in _paths(root, "import", path, bundle):
        if not _is_there(imported):
            bundle.problems.append(span.problem(f"import '{imported}' is not there"))
        elif imported not in bundle.imports:
            bundle.imports.append(imported)
    return _merged(merged, root, bundle)


def _root(path: Path) -> MapNode:
    """Parse a file. Raises RecipeError."""
    root = _parser(path)(_text(path))
    if root is None:
        raise RecipeError([Problem(Where(str(path)), "the file is empty, expected a recipe")])
    if not isinstance(root, MapNode):
        kind = "a list" if isinstance(root, ListNode) else "a single value"
        raise root.span.error(f"the file holds {kind}, expected a mapping with 'forge' and 'steps'")
    return root


def _without_free_values(root: MapNode) -> MapNode:
    """Empty the `x-*` keys of a recipe and of its steps: what stands there is the user's own."""
    steps = root.member("steps")
    if steps and isinstance(steps.value, MapNode):
        kept = tuple(
            Member(m.key, m.key_span, _emptied(m.value) if isinstance(m.value, MapNode) else m.value)
            for m in steps.value.members
        )
        value = MapNode(kept, steps.value.span)
        members = tuple(Member(m.key, m.key_span, value) if m is steps else m for m in root.members)
        root = MapNode(members, root.span)
    return _emptied(root)


def _emptied(node: MapNode) -> MapNode:
    empty = ScalarNode(None, node.span)
    members = (Member(m.key, m.key_span, empty if is_free_key(m.key) else m.value) for m in node.members)
    return MapNode(tuple(members), node.span)


def _included(path: Path, span: Span, chain: tuple[Path, ...], bundle: Bundle) -> MapNode | None:
    if path in chain:
        circle = " -> ".join(str(one) for one in (*chain[chain.index(path) :], path))
        bundle.problems.append(span.problem(f"files include each other in a circle: {circle}"))
    elif not _is_there(path):
        bundle.problems.append(span.problem(f"included file '{path}' is not there"))
        bundle.complete = False
    elif path in bundle.files:
        return None  # two files that include the same third get it once
    elif len(bundle.files) >= _MAX_FILES:
        bundle.problems.append(span.problem(f"more than {_MAX_FILES} files are included"))
    else:
        return _read(path, chain, bundle)
    return None


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a null character in it
        return False


def _text(path: Path) -> Text:
    """Read a file's text, bounded in size. Raises RecipeError."""
    where = Where(str(path))
    if not path.is_file():
        raise RecipeError([Problem(where, "this is no file, expected a recipe")])
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError([Problem(where, f"cannot be read: {error.strerror}")]) from None
    if len(content) > MAX_BYTES:
        size = path.stat().st_size
        raise RecipeError([Problem(where, f"the file has {size:,} bytes, a recipe has at most {MAX_BYTES:,}")])
    try:
        return Text(str(path), content.decode().removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        place = Text(str(path), before).where(len(before))
        message = f"byte 0x{content[error.start]:02x} is no UTF-8, expected text in UTF-8"
        raise RecipeError([Problem(Where(place.file, place.line, place.column), message)]) from None


def _parser(path: Path) -> Callable[[Text], Node | None]:
    """Choose the format by suffix; only its library is imported."""
    if path.suffix in (".yaml", ".yml"):
        from forge_pipeline.recipe.yaml_format import parse_yaml

        return parse_yaml
    if path.suffix == ".json":
        from forge_pipeline.recipe.json_format import parse_json

        return parse_json
    if path.suffix == ".hcl":
        from forge_pipeline.recipe.hcl_format import parse_hcl

        return parse_hcl
    raise RecipeError(
        [Problem(Where(str(path)), f"suffix '{path.suffix}' is unknown, expected {', '.join(_SUFFIXES)}")]
    )


def _check_version(root: MapNode, bundle: Bundle) -> None:
    """Look at every file's version: in the merged tree only one of them is left."""
    version = root.value("forge")
    if version is not None and bundle.files[1:] and isinstance(version, ScalarNode) and version.value != 1:
        bundle.problems.append(version.span.problem(f"forge is {version.span.spelling}, expected 1"))


def _paths(root: MapNode, key: str, path: Path, bundle: Bundle) -> list[tuple[Path, Span]]:
    """Return the paths under `include` or `import`, relative to the folder of the file that names them."""
    node = root.value(key)
    if node is None or isinstance(node, BrokenNode):
        return []
    try:
        value = plain(node)
    except TermError as error:
        bundle.problems.append(error.span.problem(f"'{key}' holds a reference, expected paths that are written out"))
        return []
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        bundle.problems.append(node.span.problem(f"{key} is {shown(value)}, expected a path or a list of paths"))
        return []
    spans = [item.span for item in node.items] if hasattr(node, "items") else [node.span]
    return [
        (Path(posixpath.normpath((path.parent / one).as_posix())), span) for one, span in zip(value, spans, strict=True)
    ]


def _merged(base: MapNode | None, over: MapNode | None, bundle: Bundle) -> MapNode | None:
    """Lay one recipe over another: maps are merged, all else is replaced, a step only with `override: true`."""
    if base is None or over is None:
        return over or base
    result = _laid_over(base, over)
    base_steps, over_steps = base.value("steps"), over.value("steps")
    if isinstance(base_steps, MapNode) and isinstance(over_steps, MapNode):
        steps = base_steps
        for member in over_steps.members:
            steps = _with_step(steps, member, bundle)
        result = result.replaced("steps", over_steps.span, MapNode(steps.members, over_steps.span))
    return result


def _with_step(steps: MapNode, over: Member, bundle: Bundle) -> MapNode:
    below = steps.member(over.key)
    if below is None:
        return steps.replaced(over.key, over.key_span, over.value)
    if not _overrides(over.value):
        at = below.key_span.where
        bundle.problems.append(over.key_span.problem(f"step '{over.key}' is there already, at {at}", "override: true"))
        return steps
    if not isinstance(below.value, MapNode) or not isinstance(over.value, MapNode):
        return steps
    kept = tuple(member for member in over.value.members if member.key != "override")
    return steps.replaced(over.key, over.key_span, _laid_over(below.value, MapNode(kept, over.value.span)))


def _laid_over(base: MapNode, over: MapNode) -> MapNode:
    result = MapNode(base.members, over.span)
    for member in over.members:
        below = result.value(member.key)
        value = member.value
        if isinstance(below, MapNode) and isinstance(value, MapNode):
            value = _laid_over(below, value)
        result = result.replaced(member.key, member.key_span, value)
    return result


def _overrides(step: Node) -> bool:
    flag = step.value("override") if isinstance(step, MapNode) else None
    return isinstance(flag, ScalarNode) and flag.value is True


def _idle_overrides(root: MapNode) -> list[Problem]:
    """Find steps that say `override: true` with nothing under them: an id was mistyped."""
    steps = root.value("steps")
    if not isinstance(steps, MapNode):
        return []
    idle = [member for member in steps.members if _overrides(member.value)]
    others = [member.key for member in steps.members if member not in idle]
    return [
        member.key_span.problem(
            f"step '{member.key}' says 'override: true', and no included recipe has such a step",
            f"did you mean '{near}'?" if (near := suggest(member.key, others)) else "",
        )
        for member in idle
    ]
