"""Which libraries are there, without importing one; and what really trying one says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from forge_pipeline.libraries import Library, fits, look_at_libraries, try_library


def test_what_every_run_needs_comes_first_and_is_here() -> None:
    found = look_at_libraries()
    core = [one for one in found if not one.extra]
    assert list(found[: len(core)]) == core
    assert {"numpy", "opencv-python", "numba", "pillow", "av", "psutil"} <= {one.name for one in core}
    assert [one.name for one in core if one.version is None or one.problem] == []


def test_extras_are_named_with_the_line_that_installs_them() -> None:
    found = {one.name: one for one in look_at_libraries()}
    assert found["ray"].install == "pip install 'forge-pipeline[ray]'"
    assert found["pepedp"].extra == "models"
    assert not {"pytest", "pepeline"} & found.keys()  # of no use to a run
    assert Library("numpy", ">=2.1").install == "pip install 'numpy>=2.1'"


def test_nothing_is_imported_to_look() -> None:
    code = (
        "import sys\n"
        "from forge_pipeline.libraries import look_at_libraries\n"
        "look_at_libraries()\n"
        "print(sorted({'numpy', 'cv2', 'numba', 'torch', 'ray', 'av', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("found", "wanted", "fitting"),
    [
        ("2.1", ">=2.1", True),
        ("2.1.0", "==2.1", True),
        ("2.0.9", ">=2.1", False),
        ("10.0", ">=9", True),
        ("2.9.1+cpu", ">=2.9", True),
        ("3.0.0rc1", "<3", False),
        ("8.1.4", "<9,>=8.1", True),
        ("9.0", "<9,>=8.1", False),
        ("1.5", "!=1.5", False),
        ("1.0", "", True),
        ("1.0", "~=0.9", True),  # a form that is not read is not held against anybody
    ],
)
def test_versions_are_compared_as_numbers(found: str, wanted: str, fitting: bool) -> None:
    assert fits(found, wanted) == fitting


def test_a_library_that_works_says_how_long_it_took() -> None:
    tried = try_library(Library("numpy", version="2"))
    assert tried.problem == ""
    assert tried.told.endswith(" s to import")


def test_a_library_that_cannot_be_imported_says_why() -> None:
    tried = try_library(Library("no-such-library", version="1"))
    assert tried.problem == "ModuleNotFoundError: No module named 'no_such_library'"


def test_a_library_that_crashes_says_by_what_signal(tmp_path, monkeypatch) -> None:
    (tmp_path / "crashing.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert try_library(Library("crashing", version="1")).problem == "importing it ended the process by signal 11"


def test_what_is_not_installed_is_not_tried() -> None:
    assert try_library(Library("ray")) == Library("ray")
