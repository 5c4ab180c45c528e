"""Finds the files that a source's paths mean: files, folders, globs, archives and data of installed packages."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import itertools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

from forge_pipeline.archives import SUFFIXES as ARCHIVE_SUFFIXES
from forge_pipeline.archives import is_archive, plain_name
from forge_pipeline.errors import CommandError, DataError, EnvironmentFault
from forge_pipeline.files import list_members
from forge_pipeline.finder import Entry, Finder
from forge_pipeline.sample import Location

PACKAGE = "package:"
_MAGIC = re.compile(r"[*?\[]")
_TOKEN = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for.

    Attributes:
        operator: its name, for messages: `read.images`.
        what: the thing looked for, in the singular: `image`.
        suffixes: in lower case with their dot; only these are taken from folders and archives.
        include: glob patterns on relative names; empty means all.
        exclude: glob patterns on relative names; these are left out.
    """

    operator: str
    what: str
    suffixes: frozenset[str]
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def wants(self, name: str) -> bool:
        """Tell whether a file of that relative name is taken from a folder or archive."""
        return (
            os.path.splitext(name)[1].lower() in self.suffixes  # noqa: PTH122 - a million names, and Path is 10x slower
            and not any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))
            and (not self.include or any(matches(name, pattern) for pattern in self.include))
            and not any(matches(name, pattern) for pattern in self.exclude)
        )


class PathFinder(Finder):
    """Finds what the parameters `path`, `include` and `exclude` of a source mean.

    Attributes:
        operator, what, suffixes: as in `Search`.
    """

    operator: ClassVar[str]
    what: ClassVar[str]
    suffixes: ClassVar[frozenset[str]]

    def entries(self, directory: Path) -> Iterator[Entry]:
        """Find the files; see `find` for their names."""
        return find(self._paths(), directory, self._search())

    def roots(self, directory: Path) -> Sequence[Path]:
        """Name the folders that are searched."""
        return roots(self._paths(), directory, self._search())

    def _paths(self) -> list[str]:
        path = self.params["path"]
        return [path] if isinstance(path, str) else path

    def _search(self) -> Search:
        return Search(self.operator, self.what, self.suffixes, self.params["include"], self.params["exclude"])


def find(paths: Sequence[str], directory: Path, search: Search) -> Iterator[Entry]:
    """Find every file that the paths mean, each once, in any order.

    Those of one path are given as they are met, since a folder may hold a million: what is wrong is found on the way.

    The name of a file is its path relative to the folder, archive or glob's folder that named it (POSIX, NFC). With
    several paths each name starts with its own path's last folder name, or a single file's name alone; a label that
    came before gets `~2`, `~3` in the order of the list. So no name depends on what else lies in a folder.

    Raises:
        CommandError: a path is not there, is damaged, or means no file.
        EnvironmentFault: a folder cannot be read.
    """
    if not paths:
        raise CommandError(f"{search.operator}: path is an empty list, expected at least one path")
    try:
        yield from _find_one(paths[0], directory, search)[1] if len(paths) == 1 else _find_all(paths, directory, search)
    except OSError as error:
        raise EnvironmentFault(f"{error.filename}: cannot be read ({(error.strerror or '').lower()})") from error


def roots(paths: Sequence[str], directory: Path, search: Search) -> list[Path]:
    """Name the folders that the paths search: those named, and those of globs that go into folders.

    Raises:
        CommandError: a path names no installed package.
    """
    found = []
    for path in paths:
        place = _place(path, directory, search)
        if place.is_dir():
            found.append(place)
        elif _MAGIC.search(path) and not place.is_file():
            base, pattern = _split_glob(place)
            # `*.png` takes files of one folder; `*`, `*/*.png` and `**` also what lies in folders below it.
            if "/" in pattern or not pattern.lower().endswith((*search.suffixes, *ARCHIVE_SUFFIXES)):
                found.append(base)
    return found


def matches(name: str, pattern: str) -> bool:
    """Match a relative name, or one of its folders, against a glob: `*` stays in its folder, `**` does not.

    A pattern without a slash is about file and folder names at any depth.
    """
    return _matches_part(name, _expression(pattern if "/" in pattern else f"**/{pattern}"))


# --- one path -------------------------------------------------------------------------------------


def _find_all(paths: Sequence[str], directory: Path, search: Search) -> Iterator[Entry]:
    found: set[Location] = set()
    used: set[str] = set()
    for path in paths:
        label, entries = _find_one(path, directory, search)
        for entry in _labelled(entries, label, used):
            if entry.location not in found:
                found.add(entry.location)
                yield entry


def _find_one(path: str, directory: Path, search: Search) -> tuple[str, Iterator[Entry]]:
    """Return the label of a path and its files; a file named by itself has an empty label."""
    place = _place(path, directory, search)
    if place.is_file() and is_archive(place):
        ending = next(suffix for suffix in ARCHIVE_SUFFIXES if place.name.lower().endswith(suffix))
        return _nfc(place.name[: -len(ending)]), _named(lambda: _in_archive(place, search), path, search)
    if place.is_file():
        return "", iter([Entry(_nfc(place.name), Location(str(place)))])
    if place.is_dir():
        return _label(path), _named(lambda: _walk(place, search.wants), path, search)
    if _MAGIC.search(path):
        base, pattern = _split_glob(place)
        if base.is_dir():
            return _label(path), _named(lambda: _in_glob(base, pattern, search), path, search)
        place = base
    raise CommandError(
        f"{search.operator}: path '{path}' is not there, expected a file, a folder, a glob or an archive",
        _nearby(place),
    )


def _place(path: str, directory: Path, search: Search) -> Path:
    if not path.startswith(PACKAGE):
        return directory / Path(path).expanduser()
    package, _, inside = path.removeprefix(PACKAGE).strip("/").partition("/")
    # A top-level name: its spec is found without importing it.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise CommandError(
            f"{search.operator}: path '{path}' names no installed Python package, expected {PACKAGE}NAME/FILE",
            f"python -m pip show {package}" if package.isidentifier() else "",
        )
    return Path(folders[0], inside)


def _split_glob(place: Path) -> tuple[Path, str]:
    parts = place.parts
    first = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    return Path(*parts[:first]), "/".join(parts[first:])


def _in_glob(base: Path, pattern: str, search: Search) -> Iterator[Entry]:
    expression = _expression(pattern)
    archives = pattern.lower().endswith(ARCHIVE_SUFFIXES)

    def wants(name: str) -> bool:
        return _matches_part(name, expression) and (search.wants(name) or (archives and is_archive(name)))

    for entry in _walk(base, wants):
        if is_archive(entry.name) and not entry.problem:
            inside = _in_archive(Path(entry.location.path), search)
            yield from (replace(member, name=f"{entry.name}/{member.name}") for member in inside)
        else:
            yield entry


def _in_archive(path: Path, search: Search) -> Iterator[Entry]:
    try:
        members = list_members(path)
    except DataError as error:
        raise CommandError(f"{search.operator}: {error.message}") from error
    for member in members:
        name = plain_name(member.name)
        if search.wants(name):
            yield Entry(_sayable(name), Location(str(path), member.name), member.problem)


def _walk(folder: Path, wants: Callable[[str], bool]) -> Iterator[Entry]:
    """Yield the wanted files under a folder; linked folders are not entered, so there is no way out and no circle."""
    root = os.path.realpath(folder)
    pending = [("", str(folder))]
    while pending:
        prefix, path = pending.pop()
        with os.scandir(path) as listing:
            for item in listing:
                name = prefix + item.name
                if item.is_dir(follow_symlinks=False):
                    if not item.name.startswith("."):
                        pending.append((f"{name}/", item.path))
                elif wants(name) and not item.is_dir():
                    yield Entry(_sayable(name), Location(item.path), _file_problem(item, root))


def _file_problem(item: os.DirEntry[str], root: str) -> str:
    if _sayable(item.path) != item.path:
        return "its name is no valid UTF-8"
    if not item.is_file():
        return "it is a broken link" if item.is_symlink() else "it is a device"
    if item.is_symlink() and not os.path.realpath(item.path).startswith(root + os.sep):
        return "it is a link that leaves the folder"
    return ""


# --- names ----------------------------------------------------------------------------------------


def _named(entries: Callable[[], Iterator[Entry]], path: str, search: Search) -> Iterator[Entry]:
    """Spell names in NFC, where no other file has that name; there is at least one."""
    others: list[Entry] = []
    empty = True
    for entry in entries():
        empty = False
        if entry.name.isascii():  # NFC already
            yield entry
        else:
            others.append(entry)
    if empty:
        filtered = " that passes include and exclude" if search.include or search.exclude else ""
        raise CommandError(
            f"{search.operator}: path '{path}' holds no {search.what}{filtered}, "
            f"expected at least one file that ends in {', '.join(sorted(search.suffixes))}"
        )
    # Two names that differ only in how accents are spelled stay as they are: joined they would be one.
    counts = Counter(_nfc(entry.name) for entry in others)
    if any(name.isascii() for name in counts):  # of the sign for Kelvin NFC is the letter K: look for such names again
        counts.update({entry.name for entry in entries()} & counts.keys())
    for entry in others:
        yield replace(entry, name=_nfc(entry.name)) if counts[_nfc(entry.name)] == 1 else entry


def _labelled(entries: Iterator[Entry], label: str, used: set[str]) -> Iterator[Entry]:
    """Put a path's label before its names; `used` holds the labels given before."""
    if label:
        label = _fresh(label, "", used)
        return (replace(entry, name=f"{label}/{entry.name}") for entry in entries)
    (entry,) = entries
    name = PurePosixPath(entry.name)
    return iter([replace(entry, name=_fresh(name.stem, name.suffix, used))])


def _fresh(stem: str, suffix: str, used: set[str]) -> str:
    names = itertools.chain([stem + suffix], (f"{stem}~{count}{suffix}" for count in itertools.count(2)))
    name = next(name for name in names if name not in used)
    used.add(name)
    return name


def _label(path: str) -> str:
    """Return the last folder named in a path as it was written: a resolved one would bring this machine into keys."""
    parts = path.removeprefix(PACKAGE).replace(os.sep, "/").split("/")
    named = list(itertools.takewhile(lambda part: not _MAGIC.search(part), parts))
    return next((_nfc(part) for part in reversed(named) if part not in ("", ".", "..", "~")), "files")


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _sayable(name: str) -> str:
    """Replace the bytes that are no UTF-8, which no manifest could hold."""
    return name.encode("utf-8", "backslashreplace").decode() if not name.isascii() else name


def _nearby(place: Path) -> str:
    """Suggest a name that lies where the missing one was looked for."""
    folder, missing = place.parent, place.name
    while not folder.is_dir() and folder != folder.parent:
        folder, missing = folder.parent, folder.name
    close = difflib.get_close_matches(missing, [entry.name for entry in folder.iterdir()], n=1)
    return f"did you mean '{close[0]}'?" if close else f"ls {folder}"


# --- globs ----------------------------------------------------------------------------------------


def _matches_part(name: str, expression: re.Pattern[str]) -> bool:
    parts = name.split("/")
    return any(expression.fullmatch("/".join(parts[:count])) for count in range(len(parts), 0, -1))


@functools.lru_cache(maxsize=64)
def _expression(pattern: str) -> re.Pattern[str]:
    """Translate a glob: `**` is any number of folders, `*`, `?` and `[...]` stay within a name."""
    text = ""
    for part in pattern.split("/"):
        text += "(?:[^/]+/)*" if part == "**" else _TOKEN.sub(_translated, part) + "/"
    try:
        return re.compile(f"{text}[^/]+" if pattern.endswith("**") else text.removesuffix("/"))
    except re.error as error:
        raise CommandError(f"glob '{pattern.removeprefix('**/')}' cannot be understood ({error.msg})") from error


def _translated(token: re.Match[str]) -> str:
    found = token.group()
    if found in ("*", "?"):
        return {"*": "[^/]*", "?": "[^/]"}[found]
    if len(found) > 1:
        inside = found[1:-1].replace("\\", r"\\").replace("[", r"\[")
        return f"[^/{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
    return re.escape(found)
