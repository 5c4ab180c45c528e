"""Where numba cannot be imported every kernel gives the same bits."""

from __future__ import annotations

import ast
import json
import os
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import forge_steps
from tests.faults.worlds import EVERYTHING, METRICS, World
from tests.steps.bare import Bare, call
from tests.steps.kernel_calls import CALLS, FUNCTIONS, import_everything

pytestmark = pytest.mark.slow

STEPS = Path(forge_steps.__file__).parent
CLIP = Path(__file__).parents[2] / "recipes" / "media" / "panned.mp4"
PHOTO = "package:skimage/data/chelsea.png"


@pytest.fixture(scope="module")
def bare() -> Iterator[Bare]:
    with Bare() as bare:
        yield bare


def assert_same(found: Any, expected: Any) -> None:
    """Compare to the bit, types too."""
    assert type(found) is type(expected)
    if isinstance(found, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert np.array_equal(found.view(f"V{found.itemsize}"), expected.view(f"V{found.itemsize}"))
    elif isinstance(found, tuple | list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert repr(found) == repr(expected)


def assert_agree(name: str, bare: Bare) -> None:
    """Call the same on both sides."""

    @settings(max_examples=50, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(CALLS[name])
    def both(arguments: tuple[Any, ...]) -> None:
        assert_same(bare.ask(FUNCTIONS[name], arguments), call(FUNCTIONS[name], arguments))

    both()


@pytest.fixture(scope="module")
def compared() -> set[str]:
    """What was compared before."""
    return set()


@pytest.mark.parametrize("name", list(CALLS))
def test_the_bits_are_those_of_compiled_kernels(bare: Bare, compared: set[str], name: str) -> None:
    assert_agree(name, bare)
    compared.add(name)


def twins() -> set[str]:
    """Name every function that stands for a kernel, from the sources: `module:name`."""
    found = set()
    for path in sorted(STEPS.rglob("*.py")):
        module = ".".join(("forge_steps", *path.relative_to(STEPS).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text())):
            for mark in getattr(node, "decorator_list", ()):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "kernel_or":
                    room, _, name = ast.unparse(mark.args[0]).rpartition(".")
                    found.add(f"{module.rpartition('.')[0]}.{room}:{name}" if room else f"{module}:{name}")
    return found


def test_every_function_that_stands_for_a_kernel_was_compared(bare: Bare, compared: set[str]) -> None:
    for name in CALLS.keys() - compared:
        assert_agree(name, bare)
    assert len(twins()) > 40
    assert twins() - bare.ran() == set()


def test_everything_can_be_imported(bare: Bare) -> None:
    names = bare.ask("tests.steps.kernel_calls:import_everything", ())
    assert names == import_everything()
    assert {"forge_steps.kernels", "forge_steps.video._yuv"} < set(names)


def test_it_is_told_once_and_operators_declare_what_is_there() -> None:
    script = (
        "import sys; sys.modules['numba'] = None  # as if it were not there\n"
        "from tests.steps.kernel_calls import import_everything\n"
        "import_everything()\n"
        "from forge_steps.tile.best import Best\n"
        "from forge_steps.video.frames import Frames\n"
        "print(Best.libraries, Frames.libraries)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == (
        "numba cannot be imported (import of numba halted; None in sys.modules): kernels run in numpy, with the same "
        "pixels, 3 to 100 times slower; hint: pip install numba\n"
    )
    assert done.stdout == "('numpy',) ('av', 'numpy')\n"


def test_numba_that_compiles_nothing_counts_as_absent() -> None:
    script = (
        "import numpy as np\n"
        "from forge_steps.kernels import best_tiles\n"
        "print(best_tiles(np.eye(20, dtype=np.float32) * 0.5, 8))"
    )
    env = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    asked = [sys.executable, "-c", script]
    told = subprocess.run(asked, env=env, capture_output=True, text=True, check=True)
    assert told.stderr == (
        "numba compiles nothing (NUMBA_DISABLE_JIT is set): kernels run in numpy, with the same pixels, "
        "3 to 100 times slower; hint: unset NUMBA_DISABLE_JIT\n"
    )
    assert told.stdout == subprocess.run(asked, capture_output=True, text=True, check=True).stdout


def test_a_dataset_of_every_operator_is_the_same(tmp_path: Path) -> None:
    recipe = EVERYTHING.replace("[photos, odd]", "photos").replace("VIDEO", str(CLIP)).replace("METRICS", METRICS)
    compiled, plain = (World(tmp_path / name, recipe) for name in ("compiled", "plain"))
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['numba'] = None\n")
    before = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    for world, env in ((compiled, {}), (plain, {"PYTHONPATH": os.pathsep.join(before)})):
        done = world.cli(env=env)
        assert done.returncode == 0, done.stderr
        assert ("numba cannot be imported" in done.stderr) == bool(env)
    assert len(compiled.outcome().manifest) > 20
    found, expected = plain.outcome(), compiled.outcome()
    assert found.files == expected.files
    assert found.manifest == expected.manifest
    assert _datasets(found.lock) == _datasets(expected.lock)
    # Configurations name the versions of libraries, and there is none of numba.
    assert found.lock != expected.lock


def test_the_main_job_gives_the_same_dataset_where_numba_is_not_installed(tmp_path: Path) -> None:
    # A dozen images, so that numpy takes seconds for them.
    few = (f"vars.photos={PHOTO}", "vars.tile_px=96", "steps.frames.with.min_difference=0.1")
    arguments = ["recipes/sr_dataset.yaml", *(word for each in few for word in ("--set", each))]
    found, locks = [], []
    for name, python in (("installed", [sys.executable]), ("absent", [sys.executable, "-S"])):
        folder = tmp_path / name
        shutil.copytree(CLIP.parents[1], folder / "recipes", ignore=shutil.ignore_patterns("*.lock"))
        env = os.environ | ({"PYTHONPATH": _path_without_numba(tmp_path / "site")} if name == "absent" else {})
        script = "from forge_pipeline.cli.main import forge_run; raise SystemExit(forge_run())"
        command = [*python, "-c", script, *arguments]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ("numba cannot be imported (No module named 'numba')" in done.stderr) == (name == "absent")
        files = [
            path for path in sorted((folder / "output").rglob("*")) if path.is_file() and ".forge" not in str(path)
        ]
        found.append({str(path.relative_to(folder)): path.read_bytes() for path in files})
        locks.append(_datasets((folder / "recipes" / "sr_dataset.lock").read_text()))
    assert len(found[0]) > 20
    assert found[0] == found[1]
    assert locks[0] == locks[1]


def _path_without_numba(folder: Path) -> str:
    """Lay links to all that is installed, less numba and its compiler; python -S looks nowhere else."""
    folder.mkdir()
    for installed in (Path(name) for name in site.getsitepackages()):
        for path in installed.iterdir():
            if not path.name.startswith(("numba", "llvmlite")):
                (folder / path.name).symlink_to(path)
    return os.pathsep.join(map(str, (folder, STEPS.parents[1], STEPS.parent)))


def _datasets(lock: str) -> dict[str, Any]:
    """Return what a lock says of each step's dataset."""
    steps: dict[str, dict[str, Any]] = json.loads(lock)["steps"]
    return {step: {name: fact for name, fact in facts.items() if name != "config"} for step, facts in steps.items()}
