"""Where compiled kernels are kept: in the user's cache folder, one folder for each state of all operators' source."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from forge_pipeline.fingerprint import packages_digest

_VARIABLE = "NUMBA_CACHE_DIR"
# States that are kept: someone who edits kernels or changes branches makes one after the other, of 10 MB each.
_KEPT = 8


def place_kernel_cache() -> None:
    """Let numba keep compiled kernels in a folder that is named by the source of all operators, and by its own version.

    numba looks only at the file of each kernel: an edited helper module went on giving the old pixels. A folder that
    the user has named by NUMBA_CACHE_DIR stays. May be called before or after numba is imported, and again.
    """
    given = os.environ.get(_VARIABLE)
    if given and Path(given).parent != _root():
        return
    if name := _state(packages_digest()):
        _place(str(_opened(_root() / name)))


def ready_compiler() -> None:
    """Let numba, where it is loaded, learn now what the first call of any kernel would have it learn (0.3 s)."""
    if "numba" in sys.modules:
        # None of it is documented, and all is only done sooner: where a version has it elsewhere, that call does it.
        with suppress(ImportError, AttributeError):
            from numba.core.registry import cpu_target

            cpu_target.target_context.refresh()
            cpu_target.typing_context.refresh()


@contextmanager
def kernels_apart(code: str) -> Iterator[None]:
    """Let kernels that are defined within a block be kept in a folder of their own, named by the digest of their code.

    For the files that a recipe imports: what lies beside them is as hidden from numba as any helper.
    """
    given = os.environ.get(_VARIABLE)
    named_by_user = given and Path(given).parent != _root()
    if name := _state(code):
        _place(str(Path(given or "") / name if named_by_user else _opened(_root() / name)))
    try:
        yield
    finally:
        _place(given)


def _state(code: str) -> str:
    """Name a state of source under this numba; empty where there is none."""
    try:
        return f"{code[:16]}-{version('numba')}"
    except PackageNotFoundError:
        return ""


def _place(folder: str | None) -> None:
    if folder is None:
        os.environ.pop(_VARIABLE, None)
    else:
        os.environ[_VARIABLE] = folder
    if (numba := sys.modules.get("numba")) is not None:
        numba.config.CACHE_DIR = folder or ""


def _root() -> Path:
    """Return `numba` in the project's part of the user's cache folder (XDG Base Directory Specification)."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if Path(given).is_absolute() else Path("~/.cache").expanduser()
    return base / "forge-pipeline" / "numba"


def _opened(folder: Path) -> Path:
    """Make a folder and let go the longest unused beside it; where nothing can be written, take a temporary one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        return _private(Path(tempfile.gettempdir()) / f"forge-pipeline-{os.getuid()}") / "numba" / folder.name
    with suppress(OSError):
        states = sorted((p for p in folder.parent.iterdir() if p != folder), key=lambda p: p.stat().st_mtime_ns)
        for state in states[: 1 - _KEPT]:
            shutil.rmtree(state, ignore_errors=True)
    return folder


def _private(folder: Path) -> Path:
    """Return a folder that nobody else can write to: kernels are kept as pickles, which run what they hold."""
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022:
            return folder
    return Path(tempfile.mkdtemp(prefix="forge-pipeline-"))
