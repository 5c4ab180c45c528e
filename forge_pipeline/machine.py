"""What this process may use of its machine: cores, memory and GPUs, the limits of its container honoured.

Linux tells in /proc and /sys, at a cost of 0.8 ms; psutil (25 ms to import) is asked on other systems only.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from forge_pipeline.gpus import Gpu, look_at_gpus

# cgroup v1 spells "no limit" as the largest page-aligned 63-bit number; nothing near it is a limit.
_NO_LIMIT_BYTES = 1 << 60
_ROOT = Path("/")


class Machine(NamedTuple):
    """What a run may use.

    Attributes:
        cores: how many may work at once: of the affinity mask, and of the container's quota (1.5 counts as 2).
        memory_bytes: the smaller of what is built in and what the container allows.
        memory_available_bytes: what may be had now without swapping, or being killed by the container's limit.
        gpus: those that CUDA would show.
    """

    cores: int
    memory_bytes: int
    memory_available_bytes: int
    gpus: tuple[Gpu, ...] = ()


class Cores(NamedTuple):
    """How the number of usable cores comes about; `quota` of a container in cores, None where there is none."""

    present: int
    allowed: int
    quota: float | None = None

    @property
    def usable(self) -> int:
        """How many may work at once, at least 1."""
        # Rounded up: with a quota of 1.5 two threads use it all, one does not.
        return self.allowed if self.quota is None else max(1, min(self.allowed, math.ceil(self.quota)))


class Memory(NamedTuple):
    """How much memory there is; `limit_bytes` and `limit_used_bytes` of the tightest container, None where none is."""

    total_bytes: int
    available_bytes: int
    limit_bytes: int | None = None
    limit_used_bytes: int = 0

    @property
    def usable_bytes(self) -> int:
        """What may be used in all."""
        return self.total_bytes if self.limit_bytes is None else min(self.total_bytes, self.limit_bytes)

    @property
    def usable_now_bytes(self) -> int:
        """What may be had now."""
        if self.limit_bytes is None:
            return self.available_bytes
        return max(0, min(self.available_bytes, self.limit_bytes - self.limit_used_bytes))


class Processes(NamedTuple):
    """What this process and those below it hold and have used; a page that two of them share counts twice.

    Attributes:
        cpu_seconds: by process id: of all its threads, since it began.
        machine_seconds: that all cores have had since the machine began, busy or not.
        machine_busy_seconds: of these, those in which any process worked.
    """

    rss_bytes: int
    workers_rss_bytes: int
    cpu_seconds: Mapping[int, float]
    machine_seconds: float = 0.0
    machine_busy_seconds: float = 0.0


def look_at_machine() -> Machine:
    """Look at everything that bears on how many tasks should run, and where."""
    memory = look_at_memory()
    return Machine(look_at_cores().usable, memory.usable_bytes, memory.usable_now_bytes, look_at_gpus())


def look_at_cores(root: Path = _ROOT) -> Cores:
    """Count cores.

    Args:
        root: where /proc and /sys are looked for.
    """
    present = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else present
    quotas = [quota for group in _groups(root, "cpu") if (quota := _quota(group)) is not None]
    return Cores(present, allowed, min(quotas, default=None))


def look_at_memory(root: Path = _ROOT) -> Memory:
    """Measure memory.

    Args:
        root: where /proc and /sys are looked for.
    """
    total, available = _system_memory(root)
    limits = [found for group in _groups(root, "memory") if (found := _memory_limit(group)) is not None]
    if not limits:
        return Memory(total, available)
    # Every group above ours has a limit of its own; the one that leaves least is the one that kills.
    limit, used = min(limits, key=lambda one: one[0] - one[1])
    return Memory(total, available, limit, used)


def look_at_processes() -> Processes:
    """Measure this process and all below it (psutil: 25 ms the first time, then 1 ms on a system of 100 processes)."""
    import psutil

    me = psutil.Process()
    rss: dict[int, int] = {}
    cpu: dict[int, float] = {}
    for process in (me, *me.children(recursive=True)):
        try:
            with process.oneshot():
                times = process.cpu_times()
                rss[process.pid] = process.memory_info().rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended between being listed and being asked
        cpu[process.pid] = times.user + times.system
    own = rss.pop(me.pid, 0)
    times = psutil.cpu_times()._asdict()
    # Linux counts what guests use among the user's too.
    had = sum(seconds for name, seconds in times.items() if not name.startswith("guest"))
    return Processes(own, sum(rss.values()), cpu, had, had - times["idle"] - times.get("iowait", 0.0))


class MemorySize(NamedTuple):
    """How much memory somebody asks for: so many bytes, or a share of what is available."""

    size_bytes: int = 0
    share: float = 0.0

    def of(self, available_bytes: int) -> int:
        """Return it in bytes, at least 1."""
        return max(1, self.size_bytes or int(available_bytes * self.share))


def read_memory_size(text: str) -> MemorySize:
    """Read `512MB`, `1.5 GiB`, `800000000` or `40%`; k, M, G, T count by 1000, Ki, Mi, Gi, Ti by 1024.

    Raises:
        ValueError: it is none of these, or nothing.
    """
    number, unit = _split_unit(text.strip())
    if unit == "%" and 0 < number <= 100:
        return MemorySize(share=number / 100)
    if unit in _UNITS and number * _UNITS[unit] >= 1:
        return MemorySize(int(number * _UNITS[unit]))
    raise ValueError(f"found '{text}', expected a size such as 512MB or 8GiB, or a share such as 40%")


def _split_unit(text: str) -> tuple[float, str]:
    """Split a number from what stands behind it; -1 where there is no number."""
    digits = text.rstrip("%abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    plain = digits.isascii() and digits.replace(".", "", 1).isdigit()
    return (float(digits), text[len(digits) :].strip().lower()) if plain else (-1.0, "")


_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _UNITS |= dict.fromkeys((_letter, f"{_letter}b"), 1000**_power)
    _UNITS |= dict.fromkeys((f"{_letter}i", f"{_letter}ib"), 1024**_power)


class Resident(NamedTuple):
    """What this process holds, and the most that it ever held."""

    now_bytes: int
    peak_bytes: int


def own_memory(root: Path = _ROOT) -> Resident:
    """Measure this process alone (Linux: 0.03 ms).

    Args:
        root: where /proc is looked for.
    """
    told = _resident(root / "proc/self/status")
    if told is not None:
        return told
    import psutil

    now = int(psutil.Process().memory_info().rss)
    return Resident(now, max(now, own_peak_bytes(root)))


def workers_memory(root: Path = _ROOT) -> dict[int, Resident]:
    """Measure each process below this one, by its id; its peak is what it holds now where the system keeps no peaks.

    Args:
        root: where /proc is looked for.
    """
    import psutil

    found: dict[int, Resident] = {}
    for process in psutil.Process().children(recursive=True):
        try:
            told = _resident(root / f"proc/{process.pid}/status") or Resident(*[int(process.memory_info().rss)] * 2)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended between being listed and being asked
        found[process.pid] = told
    return found


def _resident(status: Path) -> Resident | None:
    """Read what Linux tells of a process; None where it tells nothing."""
    found = {"VmRSS": 0, "VmHWM": 0}
    for line in _read(status).splitlines():
        name, _, value = line.partition(":")
        if name in found:
            found[name] = int(value.split()[0]) * 1024
    return Resident(found["VmRSS"], max(found.values())) if found["VmRSS"] else None


def release_freed_memory() -> None:
    """Give memory back to the system that was freed and is kept for reuse; nothing where the C library cannot."""
    if sys.platform == "linux":
        import ctypes

        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # musl has none
            trim(0)


def own_peak_bytes(root: Path = _ROOT) -> int:
    """Return the most memory that this process has ever held.

    Args:
        root: where /proc is looked for.
    """
    # Not ru_maxrss where that can be helped: Linux hands it on to a program started by exec, so that a run started
    # from a large process would tell that one's peak.
    for line in _read(root / "proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _system_memory(root: Path) -> tuple[int, int]:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        import psutil

        memory = psutil.virtual_memory()
        return memory.total, memory.available
    kib = {line.partition(":")[0]: int(line.split()[1]) for line in lines if len(line.split()) > 1}
    # MemAvailable came with Linux 3.14.
    available = kib.get("MemAvailable", kib["MemFree"] + kib.get("Cached", 0))
    return kib["MemTotal"] * 1024, available * 1024


# --- cgroups --------------------------------------------------------------------------------------


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folder of our control group and of every one above it, for one controller; version 1 or 2 or both."""
    if sys.platform != "linux":
        return
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    base = root / "sys/fs/cgroup"
    for line in lines:
        _, names, path = line.split(":", 2)
        if names == "":
            mounts = [base, base / "unified"]
        elif controller in names.split(","):
            mounts = [base / names, base / controller]
        else:
            continue
        for mount in mounts:
            if mount.is_dir():
                yield from _upwards(mount, path)
                break


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    group = mount / path.lstrip("/")
    # In a container without a namespace of its own the path is the host's, and our group is the mount itself.
    while group != mount:
        if group.is_dir():
            yield group
        group = group.parent
    yield mount


def _quota(group: Path) -> float | None:
    """Return how many cores a group may use; None where it has no quota."""
    both = _read(group / "cpu.max").split()
    quota, period = both if len(both) == 2 else (_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))
    if not (quota.isdigit() and period.isdigit()) or not int(period):
        return None  # `max` in version 2, -1 in version 1
    return int(quota) / int(period)


def _memory_limit(group: Path) -> tuple[int, int] | None:
    """Return a group's limit, and what counts against it and could not be freed at once; None without a limit."""
    for limit_name, used_name, cache_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit = _read(group / limit_name)
        if not limit.isdigit() or int(limit) >= _NO_LIMIT_BYTES:
            continue
        used = _read(group / used_name)
        facts = dict(line.split(" ", 1) for line in _read(group / "memory.stat").splitlines() if " " in line)
        # Pages of files that nobody looks at go before anybody is killed: kubelet counts the same way.
        return int(limit), max(0, int(used or 0) - int(facts.get(cache_name, 0)))
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
