"""The libraries that this package asks for: which are there, in what version, and whether they really work."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, requires, version

PACKAGE = "forge-pipeline"
CORE = ""
"""The extra of what every run needs."""

_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*)")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
_NOT_SHOWN = ("dev", "bench", "all")
# Whoever has one of these has the module of the first.
_OTHER_NAMES = {"opencv-python": ("opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")}
_MODULES = {
    "opencv-python": "cv2",
    "pillow": "PIL.Image",
    "pyyaml": "yaml",
    "python-hcl2": "hcl2",
    "scikit-image": "skimage.metrics",
}
# What a library is asked beyond being imported; it prints one line.
_PROBES = {
    "numba": "print(numba.njit(lambda x: x + 1)(1) == 2 and f'compiles, {numba.config.NUMBA_NUM_THREADS} threads')",
    "opencv-python": "print(f'{cv2.getNumThreads()} threads')",
    "av": "av.codec.Codec('h264', 'r'); print('decodes h264')",
    "torch": (
        "cuda = torch.cuda.is_available()\n"
        "print(f'CUDA {torch.version.cuda}, {torch.ones(8, device=\"cuda\").sum().item():.0f} of 8 added on '"
        "f'{torch.cuda.get_device_name()}' if cuda else f'no CUDA, {torch.get_num_threads()} threads')"
    ),
}
_PROBE_SECONDS_MAX = 180


@dataclass(frozen=True, slots=True)
class Library:
    """One distribution.

    Attributes:
        wanted: the versions that are asked for, such as `>=2.1`.
        extra: the extra of this package that installs it; empty for what every run needs.
        version: what is installed; None where nothing is.
        problem: why it cannot be used; empty where nothing is known against it.
        told: what it said of itself when it was really tried.
    """

    name: str
    wanted: str = ""
    extra: str = CORE
    version: str | None = None
    problem: str = ""
    told: str = ""

    @property
    def install(self) -> str:
        """Return the line that installs it."""
        if self.extra:
            return f"pip install '{PACKAGE}[{self.extra}]'"
        return f"pip install '{self.name}{self.wanted}'"


def look_at_libraries() -> tuple[Library, ...]:
    """Return what every run needs, then what extras bring; nothing is imported."""
    found = []
    for line in requires(PACKAGE) or ():
        library = _library(line)
        if library.extra not in _NOT_SHOWN:
            found.append(_installed(library))
    return tuple(sorted(found, key=lambda one: one.extra))


def try_library(library: Library) -> Library:
    """Import a library in a process of its own, and let it do a little: a crash of native code is a finding too."""
    if library.version is None:
        return library
    module = _MODULES.get(library.name, library.name.replace("-", "_"))
    code = f"import {module}\n{_PROBES.get(library.name, 'print()')}"
    started = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_PROBE_SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return replace(library, problem=f"importing it took more than {_PROBE_SECONDS_MAX} s")
    if done.returncode < 0:
        return replace(library, problem=f"importing it ended the process by signal {-done.returncode}")
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return replace(library, problem=said[-1] if said else f"importing it ended with exit code {done.returncode}")
    took = f"{time.perf_counter() - started:.1f} s to import"
    return replace(library, told=", ".join(part for part in (done.stdout.strip(), took) if part))


def _library(requirement: str) -> Library:
    """Read a requirement such as `torch>=2.9; extra == "models"`."""
    text, _, marker = requirement.partition(";")
    parts = _REQUIREMENT.match(text.strip())
    assert parts is not None, requirement
    extra = _EXTRA.search(marker)
    return Library(parts[1], parts[2].strip().strip("()"), extra[1] if extra else CORE)


def _installed(library: Library) -> Library:
    for name in (library.name, *_OTHER_NAMES.get(library.name, ())):
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        problem = "" if fits(found, library.wanted) else f"found {found}, expected {library.wanted}"
        return replace(library, version=found, problem=problem)
    return library


def fits(found: str, wanted: str) -> bool:
    """Tell whether a version is one of those asked for: `>=`, `<`, `==` and `!=` of plain numbers, with commas."""
    for clause in filter(None, (part.strip() for part in wanted.split(","))):
        parts = re.fullmatch(r"(>=|<=|==|!=|<|>)\s*([\d.]+)(?:\.\*)?", clause)
        if parts is None:
            continue  # a form that we do not read is not held against anybody
        ours, theirs = _numbers(found), _numbers(parts[2])
        length = max(len(ours), len(theirs))
        ours, theirs = (one + (0,) * (length - len(one)) for one in (ours, theirs))
        holds = {
            ">=": ours >= theirs,
            "<=": ours <= theirs,
            "==": ours == theirs,
            "!=": ours != theirs,
            "<": ours < theirs,
            ">": ours > theirs,
        }
        if not holds[parts[1]]:
            return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    """Return the release part of a version: of `2.9.1+cpu` or `2.9.1rc1` 2, 9, 1."""
    release = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in release[0].split(".")) if release else ()
