"""What a run may use of its machine, with the limits of containers in their two versions."""

import os
from pathlib import Path
from typing import Any

import pytest

from forge_pipeline import gpus as gpus_module
from forge_pipeline.gpus import Gpu, look_at_gpus, visible_gpus
from forge_pipeline.machine import Cores, Memory, look_at_cores, look_at_machine, look_at_memory

GIB = 1 << 30
MEMINFO = "MemTotal:       16777216 kB\nMemFree:         1048576 kB\nMemAvailable:   12582912 kB\nHugePages_Total: 0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a system of 16 GiB, 12 of them free, that is in no container."""
    write(tmp_path, "proc/meminfo", MEMINFO)
    write(tmp_path, "proc/self/cgroup", "0::/")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    return tmp_path


def write(root: Path, name: str, text: object) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def test_without_a_container_the_system_counts(root: Path) -> None:
    assert look_at_memory(root) == Memory(16 * GIB, 12 * GIB)
    assert look_at_memory(root).usable_bytes == 16 * GIB
    assert look_at_memory(root).usable_now_bytes == 12 * GIB
    assert look_at_cores(root).quota is None


def test_version_2_limits_memory_and_cores(root: Path) -> None:
    write(root, "proc/self/cgroup", "0::/pod/job")
    group = "sys/fs/cgroup/pod/job"
    write(root, f"{group}/memory.max", 4 * GIB)
    write(root, f"{group}/memory.current", 3 * GIB)
    write(root, f"{group}/memory.stat", f"anon {GIB}\ninactive_file {2 * GIB}")
    write(root, f"{group}/cpu.max", "150000 100000")
    memory = look_at_memory(root)
    assert memory == Memory(16 * GIB, 12 * GIB, 4 * GIB, 1 * GIB)
    assert (memory.usable_bytes, memory.usable_now_bytes) == (4 * GIB, 3 * GIB)
    assert look_at_cores(root).quota == 1.5


def test_a_group_above_ours_limits_too(root: Path) -> None:
    write(root, "proc/self/cgroup", "0::/pod/job")
    write(root, "sys/fs/cgroup/pod/memory.max", 2 * GIB)
    write(root, "sys/fs/cgroup/pod/memory.current", GIB)
    write(root, "sys/fs/cgroup/pod/cpu.max", "50000 100000")
    write(root, "sys/fs/cgroup/pod/job/memory.max", "max")
    write(root, "sys/fs/cgroup/pod/job/cpu.max", "max 100000")
    assert look_at_memory(root) == Memory(16 * GIB, 12 * GIB, 2 * GIB, GIB)
    assert look_at_cores(root).quota == 0.5
    assert look_at_cores(root).usable == 1


def test_the_group_that_leaves_least_counts_and_not_the_smallest(root: Path) -> None:
    write(root, "proc/self/cgroup", "0::/pod/job")
    write(root, "sys/fs/cgroup/pod/memory.max", 8 * GIB)
    write(root, "sys/fs/cgroup/pod/memory.current", 7 * GIB)
    write(root, "sys/fs/cgroup/pod/job/memory.max", 4 * GIB)
    write(root, "sys/fs/cgroup/pod/job/memory.current", GIB)
    assert look_at_memory(root).usable_now_bytes == GIB


def test_version_1_limits_memory_and_cores(root: Path) -> None:
    write(root, "proc/self/cgroup", "4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n0::/docker/ab")
    # In a container the host's path is not there: our group is the mount itself.
    write(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", 2 * GIB)
    write(root, "sys/fs/cgroup/memory/memory.usage_in_bytes", GIB)
    write(root, "sys/fs/cgroup/memory/memory.stat", f"total_inactive_file {GIB // 2}")
    write(root, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", 200000)
    write(root, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", 100000)
    assert look_at_memory(root) == Memory(16 * GIB, 12 * GIB, 2 * GIB, GIB // 2)
    assert look_at_cores(root).quota == 2.0


def test_version_1_spells_no_limit_as_a_huge_number(root: Path) -> None:
    write(root, "proc/self/cgroup", "4:memory:/\n3:cpu:/")
    write(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", 9223372036854771712)
    write(root, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", -1)
    write(root, "sys/fs/cgroup/cpu/cpu.cfs_period_us", 100000)
    assert look_at_memory(root) == Memory(16 * GIB, 12 * GIB)
    assert look_at_cores(root).quota is None


def test_a_limit_above_what_is_built_in_changes_nothing() -> None:
    assert Memory(16 * GIB, 12 * GIB, 64 * GIB, GIB).usable_bytes == 16 * GIB
    assert Memory(16 * GIB, 12 * GIB, 64 * GIB, GIB).usable_now_bytes == 12 * GIB


def test_more_used_than_allowed_leaves_nothing_rather_than_less() -> None:
    assert Memory(16 * GIB, 12 * GIB, GIB, 2 * GIB).usable_now_bytes == 0


@pytest.mark.parametrize(("quota", "usable"), [(None, 8), (0.25, 1), (1.5, 2), (3.0, 3), (64.0, 8)])
def test_a_quota_is_rounded_up_and_never_above_the_affinity(quota: float | None, usable: int) -> None:
    assert Cores(present=16, allowed=8, quota=quota).usable == usable


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_the_affinity_of_this_process_counts() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert look_at_cores().allowed == 1
        assert look_at_machine().cores == 1
    finally:
        os.sched_setaffinity(0, before)


def test_this_machine_has_cores_and_memory() -> None:
    machine = look_at_machine()
    assert machine.cores >= 1
    assert 0 < machine.memory_available_bytes <= machine.memory_bytes


@pytest.mark.parametrize(
    ("shown", "indexes"),
    [(None, [0, 1, 2]), ("", []), ("-1", []), ("2,0", [2, 0]), ("1,9,0", [1]), ("GPU-bb", [1]), ("0, 2", [0, 2])],
)
def test_gpus_are_chosen_as_cuda_does(shown: str | None, indexes: list[int]) -> None:
    gpus = [Gpu(i, "H100", 80 * GIB, uuid=f"GPU-{name}{name}-1") for i, name in enumerate("abc")]
    assert [gpu.number for gpu in visible_gpus(gpus, shown)] == indexes


class FakeDriver:
    """NVIDIA's library as it answers for two GPUs, the second of which is a slice without a utilisation."""

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:
        handle._obj.value = index + 1
        return 0

    def nvmlDeviceGetName(self, handle: Any, name: Any, length: int) -> int:
        name.value = f"GPU {handle.value}".encode()
        return 0

    def nvmlDeviceGetUUID(self, handle: Any, uuid: Any, length: int) -> int:
        uuid.value = f"GPU-{handle.value}".encode()
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        memory._obj[0], memory._obj[1], memory._obj[2] = 80 * GIB, 60 * GIB, 20 * GIB
        return 0

    def nvmlDeviceGetUtilizationRates(self, handle: Any, rates: Any) -> int:
        if handle.value == 2:
            return 3  # NVML_ERROR_NOT_SUPPORTED
        rates._obj[0] = 57
        return 0


def test_the_driver_is_asked_for_names_memory_and_utilisation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus_module, "_library", FakeDriver)
    assert look_at_gpus("0,1") == (
        Gpu(0, "GPU 1", 80 * GIB, 20 * GIB, 0.57, "GPU-1"),
        Gpu(1, "GPU 2", 80 * GIB, 20 * GIB, 0.0, "GPU-2"),
    )
