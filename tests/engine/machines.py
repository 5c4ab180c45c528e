"""A machine of which nothing is to be said, for tests that change one thing of it."""

from __future__ import annotations

from pathlib import Path

from forge_pipeline.doctor import Diagnosis, Place, Ray
from forge_pipeline.executors.choose import Choice
from forge_pipeline.libraries import Library
from forge_pipeline.machine import Cores, Memory

GB = 10**9
CACHE = Place("cache", Path("/data/cache"), "ext4", False, 100 * GB, 400.0)
WORK = Place("working folder", Path("/data"), "ext4", False, 100 * GB, 400.0)


def sound_machine() -> Diagnosis:
    """Return a machine of which nothing is to be said."""
    return Diagnosis(
        python="3.11.7",
        system="Linux",
        processor="AMD EPYC",
        features=("avx2",),
        cores=Cores(8, 8),
        memory=Memory(64 * GB, 60 * GB),
        gpus=(),
        threads={},
        open_files=4096,
        shared_memory_bytes=10 * GB,
        places=(CACHE, WORK),
        libraries=(Library("numpy", ">=2.1", version="2.4"), Library("torch", ">=2.9", "models")),
        ray=Ray(None),
        chosen=Choice("threads", 8, "r"),
        chosen_holding=Choice("processes", 8, "r"),
    )
