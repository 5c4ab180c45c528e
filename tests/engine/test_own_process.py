"""What a run's command sets in its own process."""

import gc
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from forge_pipeline import api
from forge_pipeline.cli.main import forge_run

# Images of 8 MB, made and let go in turn: pages that are given back have to be asked for, and zeroed, anew.
_MAKE_IMAGES = """
import resource, sys
from forge_pipeline.own_process import settle_process
if sys.argv[1] == "settled":
    settle_process()
images = [bytearray(8 << 20) for _ in range(3)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    images.pop()
    images.insert(0, bytearray(8 << 20))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_images_are_kept_for_the_next_ones() -> None:
    found = subprocess.run([sys.executable, "-c", _MAKE_IMAGES, "settled"], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 2048  # the pages of one image; without it, those of three


def test_a_program_that_calls_the_command_keeps_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    before = gc.get_threshold()
    assert forge_run(["r.yaml", "--executr"]) == 2
    assert gc.get_threshold() == before
    assert capsys.readouterr().err.startswith("forge-run: unknown option '--executr'\n")


def test_a_program_that_calls_the_command_goes_on_after_ctrl_c_though_a_task_hangs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "run", interrupted)
    (tmp_path / "r.yaml").write_text("forge: 1\n")
    done = threading.Event()
    hanging = threading.Thread(target=done.wait, name="forge-worker-0")
    hanging.start()
    try:
        assert forge_run([str(tmp_path / "r.yaml")]) == 130
    finally:
        done.set()
        hanging.join()
    assert capsys.readouterr().err == "interrupted\n"


def test_the_command_looks_for_cycles_less_often() -> None:
    code = (
        "import sys, gc; sys.argv = ['forge-run', '--help']; from forge_pipeline.cli.main import forge_run; forge_run()"
    )
    found = subprocess.run(
        [sys.executable, "-c", f"{code}; print(gc.get_threshold()[0])"], capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines()[-1] == "50000"
