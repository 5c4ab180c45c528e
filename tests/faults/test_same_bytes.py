"""The same bytes whatever the processor offers and however many threads a library takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from PIL import Image as Pillow

from tests.faults.conftest import MakeWorld, Undisturbed, run_in_peace
from tests.faults.worlds import EVERYTHING, METRICS, PAIRS, World, draw_photo

pytestmark = pytest.mark.slow

CLIP = Path(__file__).parents[2] / "recipes" / "media" / "panned.mp4"
# All that the machine has of what numpy chooses among when it runs.
NUMPY = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
# All that OpenCV chooses among on x86; to name one that a machine lacks does no harm.
OPENCV = ["SSE4.1", "SSE4.2", "AVX", "FP16", "AVX2", "FMA3", "AVX512-SKX"]
PLAIN_LIBRARIES = {
    "NPY_DISABLE_CPU_FEATURES": ",".join(NUMPY),
    "OPENCV_CPU_DISABLE": ",".join(OPENCV),
    "OPENCV_IPP": "disabled",
    "JSIMD_FORCENONE": "1",  # libjpeg-turbo
}
PLAIN_KERNELS = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@pytest.fixture(scope="module")
def with_everything(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Run every operator on all that the processor offers."""
    undisturbed = run_in_peace(_everything(tmp_path_factory.mktemp("everything") / "world"))
    empty = [step for step, counts in undisturbed.result.steps.items() if not counts.out]
    assert not empty, "these steps show nothing"
    return undisturbed


@pytest.mark.parametrize("plain", [PLAIN_LIBRARIES, {**PLAIN_LIBRARIES, **PLAIN_KERNELS}], ids=["libraries", "all"])
def test_features_of_the_processor_change_no_byte(
    tmp_path: Path, with_everything: Undisturbed, plain_kernels: Path, plain: dict[str, str]
) -> None:
    told = tmp_path / "features"
    # Kernels that were compiled for the whole processor are not to be found.
    env = {**plain, "NUMBA_CACHE_DIR": str(plain_kernels)} if "NUMBA_CPU_NAME" in plain else plain
    _assert_same_bytes(_everything(tmp_path / "world"), with_everything, {"features": str(told)}, env)
    features = json.loads(told.read_text())
    assert features["numpy"] == []
    assert "AVX2?" in features["opencv"] or "AVX2" not in features["opencv"]
    assert ("+avx" not in features["numba"]) == ("NUMBA_CPU_NAME" in plain)


@pytest.mark.parametrize("threads", [1, 7])
def test_threads_of_libraries_change_no_byte(tmp_path: Path, with_everything: Undisturbed, threads: int) -> None:
    env = dict.fromkeys(THREADS, str(threads))
    env["NUMBA_NUM_THREADS"] = str(min(threads, numba.config.NUMBA_DEFAULT_NUM_THREADS))  # it refuses more
    _assert_same_bytes(_everything(tmp_path / "world"), with_everything, {"cv2_threads": threads}, env)


def test_workers_and_executors_change_no_byte(make_world: MakeWorld, undisturbed_pairs: Undisturbed) -> None:
    for workers in (1, 2, 8):
        world = make_world(f"workers-{workers}", PAIRS)
        assert world.run(executor="threads", workers=workers).status == "done"
        assert world.outcome() == undisturbed_pairs.outcome


def _assert_same_bytes(world: World, expected: Undisturbed, orders: dict[str, Any], env: dict[str, str]) -> None:
    done = world.cli(orders=orders, env=env)
    assert done.returncode == 0, done.stderr
    found = world.outcome()
    assert found.manifest == expected.outcome.manifest
    assert found == expected.outcome
    assert world.actions() == expected.actions


def _everything(root: Path) -> World:
    world = World(root, EVERYTHING.replace("VIDEO", str(CLIP)).replace("METRICS", METRICS))
    _draw_odd_ones(root / "odd")
    return world


def _draw_odd_ones(folder: Path) -> None:
    """Draw a photograph in every way that asks a decoder or a conversion for arithmetic."""
    folder.mkdir()
    pixels = draw_photo(20)
    rgb = Pillow.fromarray(pixels)
    rgb.save(folder / "fine.jpg", quality=95, subsampling=0)
    Pillow.fromarray(draw_photo(21)).save(folder / "coarse.jpg", quality=60, subsampling=2, progressive=True)
    Pillow.fromarray(draw_photo(22)).save(folder / "lossy.webp", quality=70)
    Pillow.fromarray(draw_photo(23)).convert("CMYK").save(folder / "print.jpg", quality=90)
    Pillow.fromarray(draw_photo(24)).quantize(64).save(folder / "palette.png")
    Pillow.fromarray(draw_photo(25)[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    alpha = np.dstack([draw_photo(26), draw_photo(27)[..., 0]])
    Pillow.fromarray(alpha, "RGBA").save(folder / "alpha.png")
