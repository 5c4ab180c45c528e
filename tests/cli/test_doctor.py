"""`forge doctor`: what it prints, and its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from forge_pipeline import api
from forge_pipeline.cli.doctor import diagnosis_lines
from forge_pipeline.cli.main import forge
from forge_pipeline.doctor import Diagnosis, Ray, with_findings
from forge_pipeline.gpus import Gpu
from forge_pipeline.libraries import Library
from forge_pipeline.machine import Memory
from tests.engine.machines import CACHE, sound_machine


@pytest.fixture
def sound() -> Diagnosis:
    """Return a machine of which nothing is to be said."""
    return sound_machine()


def test_everything_is_laid_out_and_what_matters_comes_last(sound: Diagnosis) -> None:
    limited = Memory(64 * 10**9, 60 * 10**9, 16 * 10**9, 4 * 10**9)
    broken = replace(CACHE, write_mb_s=None, problem="permission denied")
    libraries = (*sound.libraries, Library("ray", ">=2.50", "ray"), Library("lpips", ">=0.1.4", "models"))
    gpus = (Gpu(0, "H100", 80 * 10**9, 10**9),)
    told = replace(
        sound, memory=limited, places=(broken,), libraries=libraries, gpus=gpus, threads={"OMP_NUM_THREADS": "4"}
    )
    assert diagnosis_lines(with_findings(told)) == [
        "python     3.11.7 on Linux",
        "processor  AMD EPYC, avx2",
        "cores      8: 8 built in, 8 by affinity, no quota",
        "memory     12 GB to be had of 16 GB; a container's limit of 16 GB, 4.0 GB in use",
        "gpu        H100, 80 GB, 1.0 GB in use",
        "threads    OMP_NUM_THREADS=4",
        "cache      /data/cache, ext4, 100 GB free, cannot be written",
        "ray        not installed, no cluster is named",
        "auto       threads: r",
        "           a step that holds Python's lock: processes, 8 at once",
        "",
        "library  version  needs  for",
        "numpy    2.4      >=2.1  every run",
        "not installed: torch, lpips: pip install 'forge-pipeline[models]'",
        "not installed: ray: pip install 'forge-pipeline[ray]'",
        "",
        "broken: cache /data/cache: cannot be written: permission denied",
        "  hint: --cache DIR with a folder on a local disk, or: export FORGE_CACHE=DIR",
        "advice: gpu: H100 has nothing to do without torch",
        "  hint: pip install 'forge-pipeline[models]'",
        "1 broken: a run would stop",
    ]


@pytest.mark.parametrize(
    ("ray", "line"),
    [
        (Ray("2.50"), "ray             2.50, no cluster is named"),
        (Ray("2.50", "head:6379"), "ray             2.50, a cluster at head:6379 answers"),
        (Ray("2.50", problem="ray: no cluster answers"), "ray             2.50, no cluster can be reached"),
    ],
)
def test_the_cluster_that_a_run_would_use_is_told(sound: Diagnosis, ray: Ray, line: str) -> None:
    assert line in diagnosis_lines(replace(sound, ray=ray))


def test_this_machine_exits_0_and_tells_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert forge(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["broken"] is False
    assert told["cores"]["usable"] >= 1
    assert told["memory"]["usable_now_bytes"] > 0
    assert [place["path"] for place in told["places"]] == [f"{tmp_path}/.forge/cache", str(tmp_path)]
    assert {"name", "workers", "reason"} == set(told["chosen"])


def test_something_broken_exits_3(sound: Diagnosis, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    broken = with_findings(replace(sound, libraries=(Library("numpy", ">=2.1"),)))
    monkeypatch.setattr(api, "diagnose", lambda cache, directory, deep: broken)
    assert forge(["doctor"]) == 3
    assert capsys.readouterr().out.endswith(
        "broken: numpy: not installed, and every run needs it\n  hint: pip install 'numpy>=2.1'\n"
        "1 broken: a run would stop\n"
    )


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from forge_pipeline.cli.main import forge\n"
        "forge(['doctor'])\n"
        "print(sorted({'numpy', 'cv2', 'numba', 'torch', 'ray', 'av', 'PIL', 'psutil'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_deep_tries_every_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert forge(["doctor", "--deep", "--json"]) == 0
    libraries = {one["name"]: one for one in json.loads(capsys.readouterr().out)["libraries"]}
    assert libraries["numba"]["told"].startswith("compiles, ")
    assert libraries["av"]["told"].startswith("decodes h264, ")
    # Of what is installed, each was tried: it works, or it says what is wrong (a torchvision of another torch).
    assert all(bool(one["told"]) != bool(one["problem"]) for one in libraries.values() if one["version"])
    assert not [one["problem"] for one in libraries.values() if one["extra"] == "" and one["problem"]]
