"""Folders of a cluster's workers: swept when their process is gone, and never while it is there."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from forge_pipeline.bench import Bench
from forge_pipeline.cache.folder import FolderStore
from forge_pipeline.executors.elsewhere import describe_run
from forge_pipeline.executors.ray import RayExecutor
from forge_pipeline.executors.scratch import in_use, new_scratch, sweep_scratches
from forge_pipeline.executors.supervisor import Supervisor
from forge_pipeline.reuse import Nothing

HOLD = """
import sys
from forge_pipeline.executors.ray import RayExecutor
from forge_pipeline.executors.scratch import in_use, new_scratch
folder = new_scratch()
with in_use(folder):
    (folder / "sent.png").write_bytes(b"bytes that were sent along")
    print(folder, flush=True)
    sys.stdin.read()
"""


class Worker:
    """A process that is in the midst of a chunk."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.folder = Path(self._process.stdout.readline().strip())

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Worker]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = Worker()
    yield made
    made.kill()


def test_a_folder_is_swept_when_its_worker_was_killed_and_not_before(worker: Worker) -> None:
    sweep_scratches()
    assert (worker.folder / "sent.png").read_bytes() == b"bytes that were sent along"
    worker.kill()
    assert worker.folder.is_dir()
    sweep_scratches()
    assert not worker.folder.exists()


def test_a_later_worker_sweeps_what_a_killed_one_left(worker: Worker, tmp_path: Path) -> None:
    worker.kill()
    setting = describe_run([], FolderStore(tmp_path / "store"), None)
    Supervisor(setting, "gpu7").close()
    assert not worker.folder.exists()


class Cluster:
    """A cluster that has ended its workers by the time it is left."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def leave(self) -> None:
        self._worker.kill()


def test_the_end_of_a_run_sweeps_what_its_own_workers_left(worker: Worker, tmp_path: Path) -> None:
    executor = RayExecutor(Bench(FolderStore(tmp_path / "store"), Nothing()), None, [], "local", 1)
    executor._cluster = Cluster(worker)  # type: ignore[assignment]
    executor.close()
    assert not worker.folder.exists()


def test_a_folder_that_is_swept_before_it_is_locked_is_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder, make = new_scratch(), Path.mkdir
    sweeps = []

    def made(path: Path, *arguments: int, **options: bool) -> None:
        make(path, *arguments, **options)  # type: ignore[arg-type]
        if not sweeps:
            sweeps.append(path)
            sweep_scratches()
            assert not path.exists()

    monkeypatch.setattr(Path, "mkdir", made)
    with in_use(folder):
        assert folder.is_dir()
        sweep_scratches()
        assert folder.is_dir()
    assert sweeps == [folder]
    assert not folder.exists()


def test_what_is_no_folder_of_a_worker_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = tmp_path / "mine"
    mine.mkdir()
    (tmp_path / "forge-ray-link").symlink_to(mine)
    (tmp_path / "forge-ray-file").write_text("no folder")
    (tmp_path / "other").mkdir()
    sweep_scratches()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["forge-ray-file", "forge-ray-link", "mine", "other"]
