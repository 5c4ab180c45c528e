"""What this machine is for a run: cores, memory, disks, libraries, Ray; what is broken, and what could be better."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from forge_pipeline.cache.place import file_system, is_network
from forge_pipeline.errors import CommandError, EnvironmentFault, ProfileError
from forge_pipeline.executors.choose import Choice, choose
from forge_pipeline.executors.library_threads import VARIABLES
from forge_pipeline.executors.ray_cluster import find_cluster, read_address
from forge_pipeline.gpus import Gpu, look_at_gpus
from forge_pipeline.libraries import CORE, Library, look_at_libraries, try_library
from forge_pipeline.machine import Cores, Machine, Memory, look_at_cores, look_at_memory
from forge_pipeline.profile import Profile, find_profile, load_profile

# What a photograph of 24 megapixels needs on its way down a chain, as the scheduler estimates it: 24e6 x 4 bytes x
# (1 + 6, the largest expansion that an operator declares) = 0.67 GB, and a process with its libraries 0.25 GB.
_WORKER_BYTES = 1 << 30
_FREE_LEAST_BYTES = 100 << 20  # below this a run of any size ends with a full disk
_FREE_LITTLE_BYTES = 5 << 30
_SLOW_DISK_MB_S = 60  # a laptop's spinning disk; four workers of the main job write about as much
_TRIAL_BYTES = 8 << 20
_OPEN_FILES_FEW = 1024
_SHARED_MEMORY_LITTLE_BYTES = 1 << 30  # containers have 64 MB, and Ray's store of objects lies there
_FEATURES = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_int8", "asimd", "asimddp", "sve")

Level = Literal["broken", "advice"]


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that runs write to.

    Attributes:
        role: `cache` or `working folder`.
        file_system: its type; empty where the system does not tell.
        network: whether it is one where the locks of an index cannot be trusted.
        free_bytes: None where that cannot be asked.
        write_mb_s: of a file of 8 MiB that was written and waited for; None where it could not be written.
        problem: why it could not be written.
    """

    role: str
    path: Path
    file_system: str
    network: bool
    free_bytes: int | None
    write_mb_s: float | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Ray:
    """Whether a cluster can be had.

    Attributes:
        version: of what is installed; None where nothing is.
        address: of the cluster that answers; empty where a run would start one here.
        problem: why the one that is named cannot be used.
        hint: what can be done about that.
    """

    version: str | None
    address: str = ""
    problem: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something broken that would stop a run, or something that could be better; with the figure behind it."""

    level: Level
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was looked at.

    Attributes:
        features: of the processor: those that libraries of this field have kernels for.
        threads: what the shell says about threads of libraries, by variable.
        open_files: how many a process may have; None where the system does not tell.
        shared_memory_bytes: free in /dev/shm; None where there is none.
        chosen: what `auto` chooses for steps that release Python's lock.
        chosen_holding: and for those that hold it.
        profile_problem: all that is wrong with the machine's profile.
    """

    python: str
    system: str
    processor: str
    features: tuple[str, ...]
    cores: Cores
    memory: Memory
    gpus: tuple[Gpu, ...]
    threads: Mapping[str, str]
    open_files: int | None
    shared_memory_bytes: int | None
    places: tuple[Place, ...]
    libraries: tuple[Library, ...]
    ray: Ray
    chosen: Choice
    chosen_holding: Choice
    profile_problem: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def broken(self) -> bool:
        """Whether something would stop a run."""
        return any(finding.level == "broken" for finding in self.findings)


def diagnose(cache: Path, directory: Path, deep: bool = False) -> Diagnosis:
    """Look at everything that bears on a run.

    Args:
        cache: the cache's folder, which need not be there yet.
        directory: the working folder.
        deep: import every library that is installed, each in a process of its own.
    """
    profile, profile_problem = _read_profile(cache)
    libraries = look_at_libraries()
    if deep:
        libraries = tuple(try_library(library) for library in libraries)
    cores, memory, gpus = look_at_cores(), look_at_memory(), look_at_gpus()
    machine = Machine(cores.usable, memory.usable_bytes, memory.usable_now_bytes, gpus)
    found = Diagnosis(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=_processor(),
        features=_features(),
        cores=cores,
        memory=memory,
        gpus=gpus,
        threads={name: os.environ[name] for name in VARIABLES if name in os.environ},
        open_files=_open_files(),
        shared_memory_bytes=_shared_memory_bytes(),
        places=(look_at_place("cache", cache), look_at_place("working folder", directory)),
        libraries=libraries,
        ray=look_at_ray(next((one.version for one in libraries if one.name == "ray"), None), profile.ray_address),
        chosen=choose((), machine),
        chosen_holding=choose((), machine, "processes"),
        profile_problem=profile_problem,
    )
    return with_findings(found)


# --- looking --------------------------------------------------------------------------------------


def _read_profile(cache: Path) -> tuple[Profile, str]:
    """Read the profile that a run would read; one that stops every run must not stop this."""
    try:
        return load_profile(find_profile(None), cache), ""
    except (CommandError, ProfileError) as error:
        return Profile(), str(error)


def look_at_place(role: str, path: Path, mounts: str = "") -> Place:
    """Look at a folder, or at the nearest one above it that is there, and write a file there for a moment.

    Args:
        mounts: the table of mounts, if not the system's own.
    """
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    kind = file_system(path, mounts)
    free: int | None = None
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(there).free
    try:
        speed, problem = _write_trial(there), ""
    except OSError as error:
        speed, problem = None, (error.strerror or str(error)).lower()
    return Place(role, path, kind, is_network(kind), free, speed, problem)


def _write_trial(folder: Path) -> float:
    """Return how fast a file is written and reaches the disk, in MB/s."""
    data = os.urandom(1 << 20)
    with tempfile.TemporaryFile(dir=folder) as stream:
        started = time.perf_counter()
        for _ in range(_TRIAL_BYTES // len(data)):
            stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
        return _TRIAL_BYTES / 1e6 / (time.perf_counter() - started)


def look_at_ray(version: str | None, address: str = "") -> Ray:
    """Look for the cluster that a run on Ray would use, where it would, and knock at its port.

    Args:
        address: what the machine's profile says; where that is nothing, RAY_ADDRESS and what was started here count.
    """
    try:
        found = find_cluster(read_address(address or "auto"))
    except (CommandError, EnvironmentFault) as error:
        return Ray(version, problem=error.message, hint=error.hint)
    return Ray(version, "" if found is None else str(found))


def _cpu_lines() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    facts = (line.partition(":") for line in reversed(lines))
    return {name.strip(): value.strip() for name, _, value in facts}


def _processor() -> str:
    return _cpu_lines().get("model name") or platform.processor() or platform.machine()


def _features() -> tuple[str, ...]:
    facts = _cpu_lines()
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return tuple(name for name in _FEATURES if name in flags)


def _open_files() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _shared_memory_bytes() -> int | None:
    try:
        return shutil.disk_usage("/dev/shm").free
    except OSError:
        return None


# --- judging --------------------------------------------------------------------------------------


def with_findings(diagnosis: Diagnosis) -> Diagnosis:
    """Judge what was looked at: what is broken first."""
    from dataclasses import replace

    found: list[Finding] = []
    for judge in _JUDGES:
        found += judge(diagnosis)
    found.sort(key=lambda finding: finding.level != "broken")
    return replace(diagnosis, findings=tuple(found))


def _judge_profile(diagnosis: Diagnosis) -> list[Finding]:
    return [Finding("broken", diagnosis.profile_problem)] if diagnosis.profile_problem else []


def _judge_libraries(diagnosis: Diagnosis) -> list[Finding]:
    found: list[Finding] = []
    for one in diagnosis.libraries:
        if one.version is None:
            if one.extra == CORE:
                found.append(Finding("broken", f"{one.name}: not installed, and every run needs it", one.install))
        elif one.problem:
            level: Level = "broken" if one.extra == CORE else "advice"
            found.append(Finding(level, f"{one.name}: {one.problem}", one.install))
    return found


def _judge_places(diagnosis: Diagnosis) -> list[Finding]:
    found: list[Finding] = []
    for place in diagnosis.places:
        where = f"{place.role} {place.path}"
        hint = "--cache DIR with a folder on a local disk, or: export FORGE_CACHE=DIR"
        hint = hint if place.role == "cache" else f"df -h {place.path}"
        if place.role == "cache" and place.network:
            text = f"{where}: lies on a network file system ({place.file_system}), where an index can be damaged"
            found.append(Finding("broken", text, hint))
        if place.problem:
            level: Level = "broken" if place.role == "cache" else "advice"
            found.append(Finding(level, f"{where}: cannot be written: {place.problem}", hint))
        free = place.free_bytes
        if free is not None and free < _FREE_LITTLE_BYTES:
            level = "broken" if free < _FREE_LEAST_BYTES else "advice"
            text = f"{where}: {free / 1e9:.2f} GB free; a photograph of 12 megapixels takes 20 MB as PNG"
            found.append(Finding(level, text, hint))
        if place.write_mb_s is not None and place.write_mb_s < _SLOW_DISK_MB_S:
            text = f"{where}: writes {place.write_mb_s:.0f} MB/s; below {_SLOW_DISK_MB_S} workers wait for the disk"
            found.append(Finding("advice", text, hint if place.role == "cache" else ""))
    return found


def _judge_memory(diagnosis: Diagnosis) -> list[Finding]:
    workers, available = diagnosis.chosen.workers, diagnosis.memory.usable_now_bytes
    if available >= workers * _WORKER_BYTES:
        return []
    fit = max(1, available // _WORKER_BYTES)
    text = (
        f"memory: {available / 1e9:.1f} GB to be had for {workers} workers; one needs up to "
        f"{_WORKER_BYTES / 1e9:.1f} GB for a photograph of 24 megapixels"
    )
    return [Finding("advice", text, f"--workers {fit}")]


def _judge_cores(diagnosis: Diagnosis) -> list[Finding]:
    found: list[Finding] = []
    cores = diagnosis.cores
    if cores.usable < cores.present:
        why = f"the container's quota is {cores.quota:g}" if cores.quota is not None else "the affinity mask says so"
        if cores.quota is not None and cores.usable == cores.allowed:
            why = "the affinity mask says so"
        found.append(Finding("advice", f"cores: {cores.usable} of {cores.present} may be used: {why}"))
    if diagnosis.open_files is not None and diagnosis.open_files < _OPEN_FILES_FEW:
        text = f"open files: a process may have {diagnosis.open_files}, and workers may need {_OPEN_FILES_FEW}"
        found.append(Finding("advice", text, "ulimit -n 4096"))
    return found


def _judge_gpus(diagnosis: Diagnosis) -> list[Finding]:
    torch = next((one for one in diagnosis.libraries if one.name == "torch"), None)
    if torch is None:
        return []
    if diagnosis.gpus and torch.version is None:
        return [Finding("advice", f"gpu: {diagnosis.gpus[0].name} has nothing to do without torch", torch.install)]
    if diagnosis.gpus and torch.told.startswith("no CUDA"):
        text = f"gpu: torch {torch.version} was built without CUDA and cannot use {diagnosis.gpus[0].name}"
        return [Finding("advice", text, "pip install torch --index-url https://download.pytorch.org/whl/cu128")]
    return []


def _judge_ray(diagnosis: Diagnosis) -> list[Finding]:
    ray = diagnosis.ray
    if ray.problem:
        return [Finding("advice", ray.problem, ray.hint)]
    if ray.address and ray.version is None:
        text = f"ray: a cluster answers at {ray.address}, and ray is not installed here"
        return [Finding("advice", text, "pip install 'forge-pipeline[ray]'")]
    shared = diagnosis.shared_memory_bytes
    if ray.version is not None and shared is not None and shared < _SHARED_MEMORY_LITTLE_BYTES:
        text = f"ray: /dev/shm has {shared / 1e6:.0f} MB free, and Ray's store of objects lies there"
        return [Finding("advice", text, "docker run --shm-size 2g ...")]
    return []


_JUDGES: Sequence[Callable[[Diagnosis], list[Finding]]] = (
    _judge_profile,
    _judge_libraries,
    _judge_places,
    _judge_memory,
    _judge_cores,
    _judge_gpus,
    _judge_ray,
)
