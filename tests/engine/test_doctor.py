"""What the doctor finds on a machine, and what it says of it."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forge_pipeline.doctor import Diagnosis, Finding, Ray, diagnose, look_at_place, look_at_ray, with_findings
from forge_pipeline.executors.library_threads import VARIABLES
from forge_pipeline.gpus import Gpu
from forge_pipeline.libraries import Library
from forge_pipeline.machine import Cores, Memory
from tests.engine.machines import CACHE, GB, WORK, sound_machine


@pytest.fixture
def sound() -> Diagnosis:
    """Return a machine of which nothing is to be said."""
    return sound_machine()


def found(sound: Diagnosis, **changes: Any) -> list[Finding]:
    return list(with_findings(replace(sound, **changes)).findings)


def test_a_sound_machine_has_no_findings(sound: Diagnosis) -> None:
    assert found(sound) == []
    assert not with_findings(sound).broken


def test_a_library_that_every_run_needs(sound: Diagnosis) -> None:
    old = Library("numpy", ">=2.1", version="1.26", problem="found 1.26, expected >=2.1")
    assert found(sound, libraries=(Library("av", ">=18"), old)) == [
        Finding("broken", "av: not installed, and every run needs it", "pip install 'av>=18'"),
        Finding("broken", "numpy: found 1.26, expected >=2.1", "pip install 'numpy>=2.1'"),
    ]
    assert with_findings(replace(sound, libraries=(old,))).broken


def test_an_extra_that_does_not_work_is_no_reason_to_stop(sound: Diagnosis) -> None:
    ray = Library("ray", ">=2.50", "ray", "2.40", "found 2.40, expected >=2.50")
    assert found(sound, libraries=(ray,)) == [
        Finding("advice", "ray: found 2.40, expected >=2.50", "pip install 'forge-pipeline[ray]'")
    ]


def test_a_cache_on_a_network(sound: Diagnosis) -> None:
    place = replace(CACHE, file_system="nfs4", network=True)
    assert found(sound, places=(place, WORK)) == [
        Finding(
            "broken",
            "cache /data/cache: lies on a network file system (nfs4), where an index can be damaged",
            "--cache DIR with a folder on a local disk, or: export FORGE_CACHE=DIR",
        )
    ]


def test_a_working_folder_on_a_network_is_fine(sound: Diagnosis) -> None:
    assert found(sound, places=(CACHE, replace(WORK, file_system="nfs4", network=True))) == []


def test_a_folder_that_cannot_be_written(sound: Diagnosis) -> None:
    places = tuple(replace(place, write_mb_s=None, problem="permission denied") for place in (CACHE, WORK))
    assert found(sound, places=places) == [
        Finding(
            "broken",
            "cache /data/cache: cannot be written: permission denied",
            "--cache DIR with a folder on a local disk, or: export FORGE_CACHE=DIR",
        ),
        Finding("advice", "working folder /data: cannot be written: permission denied", "df -h /data"),
    ]


def test_a_disk_that_is_nearly_full_or_slow(sound: Diagnosis) -> None:
    full = replace(WORK, free_bytes=GB // 20)
    slow = replace(CACHE, free_bytes=2 * GB, write_mb_s=31.4)
    cache_hint = "--cache DIR with a folder on a local disk, or: export FORGE_CACHE=DIR"
    assert found(sound, places=(slow, full)) == [
        Finding(
            "broken",
            "working folder /data: 0.05 GB free; a photograph of 12 megapixels takes 20 MB as PNG",
            "df -h /data",
        ),
        Finding(
            "advice",
            "cache /data/cache: 2.00 GB free; a photograph of 12 megapixels takes 20 MB as PNG",
            cache_hint,
        ),
        Finding("advice", "cache /data/cache: writes 31 MB/s; below 60 workers wait for the disk", cache_hint),
    ]


def test_more_workers_than_memory(sound: Diagnosis) -> None:
    assert found(sound, memory=Memory(8 * GB, 3 * GB)) == [
        Finding(
            "advice",
            "memory: 3.0 GB to be had for 8 workers; one needs up to 1.1 GB for a photograph of 24 megapixels",
            "--workers 2",
        )
    ]


@pytest.mark.parametrize(
    ("cores", "why"),
    [
        (Cores(16, 16, 1.5), "cores: 2 of 16 may be used: the container's quota is 1.5"),
        (Cores(16, 4), "cores: 4 of 16 may be used: the affinity mask says so"),
        (Cores(16, 4, 8.0), "cores: 4 of 16 may be used: the affinity mask says so"),
    ],
)
def test_cores_that_may_not_be_used(sound: Diagnosis, cores: Cores, why: str) -> None:
    assert found(sound, cores=cores) == [Finding("advice", why)]


def test_few_open_files(sound: Diagnosis) -> None:
    assert found(sound, open_files=256) == [
        Finding("advice", "open files: a process may have 256, and workers may need 1024", "ulimit -n 4096")
    ]


def test_a_gpu_that_nothing_can_use(sound: Diagnosis) -> None:
    gpus = (Gpu(0, "H100", 80 * GB),)
    assert found(sound, gpus=gpus) == [
        Finding("advice", "gpu: H100 has nothing to do without torch", "pip install 'forge-pipeline[models]'")
    ]
    cpu_only = Library("torch", ">=2.9", "models", "2.9.0", told="no CUDA, 8 threads, 3.0 s to import")
    assert found(sound, gpus=gpus, libraries=(cpu_only,)) == [
        Finding(
            "advice",
            "gpu: torch 2.9.0 was built without CUDA and cannot use H100",
            "pip install torch --index-url https://download.pytorch.org/whl/cu128",
        )
    ]


def test_a_cluster_that_does_not_answer_or_cannot_be_used(sound: Diagnosis) -> None:
    assert found(sound, ray=Ray("2.50", problem="ray: no cluster answers at h:6379", hint="ray start")) == [
        Finding("advice", "ray: no cluster answers at h:6379", "ray start")
    ]
    assert found(sound, ray=Ray(None, "10.0.0.1:6379")) == [
        Finding(
            "advice",
            "ray: a cluster answers at 10.0.0.1:6379, and ray is not installed here",
            "pip install 'forge-pipeline[ray]'",
        )
    ]
    assert found(sound, ray=Ray("2.50"), shared_memory_bytes=64 << 20) == [
        Finding(
            "advice",
            "ray: /dev/shm has 67 MB free, and Ray's store of objects lies there",
            "docker run --shm-size 2g ...",
        )
    ]


# --- looking --------------------------------------------------------------------------------------


def test_this_machine_can_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "2")
    told = diagnose(tmp_path / "cache", tmp_path)
    assert [finding for finding in told.findings if finding.text.startswith(("numpy", "av:"))] == []
    assert [place.role for place in told.places] == ["cache", "working folder"]
    assert told.chosen.workers == told.cores.usable
    assert told.threads == dict.fromkeys(VARIABLES, "2")
    assert list(tmp_path.iterdir()) == []  # a cache that was not there is not made, and no trial is left


def test_a_folder_is_measured_by_writing_there(tmp_path: Path) -> None:
    place = look_at_place("cache", tmp_path / "not/yet/there")
    assert place.write_mb_s is not None
    assert place.write_mb_s > 0
    assert place.free_bytes
    assert place.problem == ""


def test_a_network_file_system_is_seen(tmp_path: Path) -> None:
    (tmp_path / "mounts").write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n")
    place = look_at_place("cache", tmp_path / "cache", mounts=str(tmp_path / "mounts"))
    assert (place.file_system, place.network) == ("nfs4", True)


def test_a_place_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert look_at_place("cache", tmp_path / "file/cache").problem == "not a directory"


def test_a_cluster_is_looked_for_where_a_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    noted = tmp_path / "ray/ray_current_cluster"
    noted.parent.mkdir()
    assert look_at_ray(None) == Ray(None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        noted.write_text(f"127.0.0.1:{port}\n")
        assert look_at_ray("2.50") == Ray("2.50", f"127.0.0.1:{port}")
        noted.unlink()
        monkeypatch.setenv("RAY_ADDRESS", f"localhost:{port}")
        assert look_at_ray("2.50") == Ray("2.50", f"localhost:{port}")
        monkeypatch.setenv("RAY_ADDRESS", "auto")
        assert look_at_ray("2.50", f"127.0.0.1:{port}") == Ray("2.50", f"127.0.0.1:{port}")
    gone = f"127.0.0.1:{port}"
    hint = f"ray start --head --port {port} on 127.0.0.1, or --ray-address local"
    assert look_at_ray("2.50", gone) == Ray(
        "2.50", problem=f"ray: no cluster answers at {gone} (connection refused)", hint=hint
    )
    noted.write_text(gone)  # a run believes no note, and starts a cluster of its own
    assert look_at_ray("2.50") == Ray("2.50")
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert look_at_ray("2.50") == Ray(
        "2.50",
        problem="Ray's address: found 'ray://head:10001', expected auto, local, HOST or HOST:PORT",
        hint="--ray-address HOST:6379, typed on a machine of the cluster",
    )
    assert look_at_ray("2.50", "local") == Ray("2.50")


def test_the_profile_is_read_as_a_run_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = tmp_path / "machine.yaml"
    monkeypatch.setenv("FORGE_PROFILE", str(profile))
    profile.write_text("ray: {address: 'a/b'}\n")
    told = diagnose(tmp_path / "cache", tmp_path)
    assert told.ray.problem == "Ray's address: found 'a/b', expected auto, local, HOST or HOST:PORT"
    profile.write_text("wrokers: 3\n")
    assert diagnose(tmp_path / "cache", tmp_path).findings[0] == Finding(
        "broken",
        f"{profile}:1:1: unknown key 'wrokers' in the profile\n    wrokers: 3\n    ^\n  hint: did you mean 'workers'?",
    )
    profile.unlink()
    assert diagnose(tmp_path / "cache", tmp_path).findings[0] == Finding(
        "broken", f"$FORGE_PROFILE: there is no file '{profile}'\n  hint: /dev/null stands for no profile"
    )
