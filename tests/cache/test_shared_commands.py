"""Commands as they are typed, with a bucket behind them: in worker processes, killed on the way, no secret told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forge_pipeline.digest import digest_file
from tests.engine.worlds import World
from tests.faults.worlds import DRIVER

STEPS = """
    photos: {use: toy.read, with: {path: photos}}
    hr: {use: toy.add, from: photos, with: {amount: 1}}
    lr: {use: toy.add, from: hr, with: {amount: 2}}
    out: {use: toy.pair, from: {a: hr, b: lr}, with: {path: out}}
"""
SECRET = b"verysecretvalue"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "world")
    made.files(**{f"p{number:02}": f"{number} {number * 7} 3" for number in range(20)})
    made.recipe(STEPS)
    return made


def typed(world: World, *words: str) -> list[str]:
    name = "forge_run" if words[0] != "cache" else "forge"
    code = f"import sys; from forge_pipeline.cli.main import {name}; sys.exit({name}(sys.argv[1:]))"
    return [sys.executable, "-c", code, *words, "--directory", str(world.root)]


@pytest.mark.slow
def test_worker_processes_use_the_bucket_and_no_secret_is_written_anywhere(
    world: World, s3: str, bucket: str, tmp_path: Path
) -> None:
    url = f"s3://{bucket}/{tmp_path.name}"
    alone = world.run_clean()
    words = typed(world, "toy.yaml", "--store", url, "--executor", "processes", "--workers", "2")
    done = subprocess.run(words, capture_output=True, check=True)
    assert {name: world.tree(name) for name in world.exports()} == alone.trees
    size = subprocess.run(typed(world, "cache", "size", "--store", url), capture_output=True, check=True)
    lines = size.stdout.decode().splitlines()
    assert lines[1].startswith("  40 payloads, ")
    assert f" in {url}, of all who share it; " in lines[1]
    written = [path for path in world.root.rglob("*") if path.is_file()]
    assert len(written) > 40
    assert [path for path in written if SECRET in path.read_bytes()] == []
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_uploads_leaves_nothing_torn(world: World, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    alone = world.run_clean()
    words = ["toy.yaml", "--store", f"file://{shared}", "--executor", "inline"]
    # What follows the first upload takes seconds: it is killed on the way, not at its end.
    orders = json.dumps({"slow": [2.0, str(tmp_path / "begun")]})
    run = subprocess.Popen([sys.executable, str(DRIVER), orders, *words], cwd=world.root, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not any(shared.glob("payloads/*/*")) and time.monotonic() < end and run.poll() is None:
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert any(shared.glob("payloads/*/*"))
    subprocess.run(typed(world, *words), stderr=subprocess.DEVNULL, check=True)
    assert {name: world.tree(name) for name in world.exports()} == alone.trees
    for path in shared.glob("payloads/*/*"):
        assert digest_file(path) == path.stem.partition("-")[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (
            ("toy.yaml", "--store", "s3://AKID:SECRET@bucket"),
            2,
            "store: s3://bucket...: a URL may hold no credentials, since it is shown and kept; leave what stands "
            "before the '@' out\n  hint: export AWS_PROFILE=NAME, with the key in ~/.aws/credentials\n",
        ),
        (
            ("toy.yaml", "--store", "/shared"),
            2,
            "store: '/shared' has no scheme, expected a URL such as s3://bucket/prefix\n"
            "  hint: for a folder that other machines see too: file:///shared\n",
        ),
        (
            ("toy.yaml", "--store", "file:///no/such/mount", "--quiet"),
            3,
            "store file:///no/such/mount: there is no such folder\n"
            "  hint: mkdir -p /no/such/mount  (or mount the share that should be there)\n",
        ),
        (
            ("cache", "size", "--shared"),
            2,
            "forge cache size: takes no --shared\n  hint: forge cache collect --keep last:10 --shared\n",
        ),
    ],
)
def test_what_is_wrong_with_a_store_is_told_once(world: World, words: tuple[str, ...], code: int, told: str) -> None:
    done = subprocess.run(typed(world, *words), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.endswith(told)
    assert done.stderr.count(told.splitlines()[0]) == 1
    assert "SECRET" not in done.stderr


@pytest.mark.slow
def test_shared_payloads_are_deleted_only_where_payloads_are_shared(world: World) -> None:
    subprocess.run(typed(world, "toy.yaml", "--quiet"), check=True, capture_output=True)
    words = typed(world, "cache", "collect", "--keep", "last:1", "--shared")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "--shared: the payloads lie in the cache's own folder\n  hint: leave --shared out\n",
    )
