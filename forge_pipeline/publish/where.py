"""Which paths a publication may use: its folder, its names in there, and what it needs beside it while it works."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from forge_pipeline.errors import BrokenPromise, CommandError, PublicationError
from forge_pipeline.publish.model import HIDDEN


def check_export_paths(exports: Mapping[str, Path], sources: Mapping[str, Iterable[Path]]) -> None:
    """Refuse exports that would write where a source is read, or where another export writes.

    Links, `..` and, where the file system ignores it, case are seen through. Two exports whose folders differ only in
    case are refused everywhere, since the recipe would not work on every machine.

    Args:
        exports: folder by step id.
        sources: folders and files read, by step id.

    Raises:
        CommandError: naming both steps.
    """
    watched = {source: list(_watched(paths)) for source, paths in sources.items()}
    for step, folder in exports.items():
        hint = f"--set steps.{step}.with.path=FOLDER"
        for source, paths in watched.items():
            for path in paths:
                if relation := _relation(folder, path):
                    what = f"{relation} the source '{source}' ({path}), which is only read"
                    raise CommandError(f"step '{step}': its path {folder} is {what}", hint)
        for other, other_folder in exports.items():
            if other == step:
                break
            if relation := _relation(folder, other_folder, any_case=True):
                what = f"{relation} the folder of step '{other}' ({other_folder}), expected one of its own"
                raise CommandError(f"step '{step}': its path {folder} is {what}", hint)


def check_names(wanted: Iterable[str]) -> None:
    """Refuse names that cannot all stand in one folder on every file system: an operator's mistake, not a user's."""
    seen: dict[str, str] = {}
    for path in wanted:
        parts = path.split("/")
        if not all(parts) or "\\" in path or {".", ".."} & set(parts) or parts[0].casefold() == HIDDEN:
            raise BrokenPromise(f"an export named a file '{path}', expected a relative path inside its folder")
        other = seen.setdefault(path.casefold(), path)
        if other != path:
            raise BrokenPromise(f"an export named two files '{other}' and '{path}', which differ only in case")
    for path in seen.values():
        for parent in parents(path):
            if parent.casefold() in seen:
                raise BrokenPromise(f"an export named '{parent}' as a file and as the folder of '{path}'")


def parents(path: str) -> Iterator[str]:
    """Give the folders above a relative path, outermost first."""
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


def real_folder(folder: Path) -> Path:
    """Return the folder with all links followed: one folder, one lock. Raises PublicationError for a file."""
    real = Path(os.path.realpath(folder))
    if real.exists() and not real.is_dir():
        hint = f"move it away: mv {folder} {folder}.mine"
        raise PublicationError(f"{folder}: is a file, expected a folder or nothing", hint)
    return real


def lock_file(folder: Path) -> Path:
    """Name the lock of a folder: beside it, or inside where the folder is a mount point of a parent not ours."""
    if folder.exists() and not os.access(folder.parent, os.W_OK):
        return folder / HIDDEN / "lock"
    return folder.parent / f".{folder.name}.forge-lock"


def first_staging(folder: Path) -> Path:
    """Name the folder that is filled and then renamed to become the export."""
    return folder.parent / f".{folder.name}.forge-staging"


def staging(folder: Path) -> Path:
    """Name the folder for new files of an export that exists: inside it, to be on the same file system."""
    return folder / HIDDEN / "staging"


def journal_file(folder: Path) -> Path:
    """Name the list of renames and deletes that are under way."""
    return folder / HIDDEN / "journal.json"


def is_unfinished(folder: Path) -> bool:
    """Tell whether a publication of this folder is under way or was interrupted."""
    return any(
        os.path.lexists(path)
        for path in (journal_file(folder), staging(folder), first_staging(folder), lock_file(folder))
    )


def _watched(paths: Iterable[Path]) -> Iterator[Path]:
    """Leave out files that lie to any folder as another one does: of all files in one, a single one is looked at."""
    seen: set[str] = set()
    for path in paths:
        text = os.fspath(path)
        if os.path.islink(text) or os.path.isdir(text):  # noqa: PTH112, PTH114 - Path is several times slower
            yield path
        elif (folder := os.path.dirname(text)) not in seen:  # noqa: PTH120
            seen.add(folder)
            yield path


def _relation(path: Path, other: Path, any_case: bool = False) -> str:
    """Say how a path lies to another: `equal to`, `inside`, `around`, or nothing."""
    above, other_above = _line(path), _line(other)
    inside = _found(other_above[0], above, any_case)
    around = _found(above[0], other_above, any_case)
    if inside and around:
        return "equal to"
    return "inside" if inside else "around" if around else ""


def _line(path: Path) -> list[Path]:
    real = Path(os.path.realpath(path))
    return [real, *real.parents]


def _found(wanted: Path, line: list[Path], any_case: bool) -> bool:
    """Tell whether a path is one of a line of folders, by its name or, where it exists, by what it is."""
    folded = str(wanted).casefold()
    for at in line:
        if at == wanted or (any_case and str(at).casefold() == folded):
            return True
        try:
            if at.samefile(wanted):
                return True
        except OSError:
            continue
    return False
