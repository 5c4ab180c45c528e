"""Three machines do one recipe on real photographs by the command line, and one of them is killed on the way."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.worlds import DRIVER, PAIRS, draw_photos

pytestmark = pytest.mark.slow

FORGE = [sys.executable, "-c", "from forge_pipeline.cli.main import forge; raise SystemExit(forge())"]


class Machine:
    """A folder with the sources and the recipe, as one machine of several has them."""

    def __init__(self, root: Path, recipe: str = PAIRS) -> None:
        self.root = root
        draw_photos(root / "photos")
        (root / "faulty.yaml").write_text(recipe)

    def forge(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Type `forge ...` here."""
        return subprocess.run([*FORGE, *words], cwd=self.root, capture_output=True, text=True, check=False)

    def run(self, *words: str) -> dict[str, Any]:
        """Type `forge run ... --json` here, and read what it says."""
        done = self.forge("run", "faulty.yaml", "--json", *words)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def killed(self, *words: str) -> None:
        """Type `forge-run ...`, which is killed with SIGKILL between its first image and the second."""
        orders = json.dumps({"kill": ["create", "/cache/incoming/", 2]})
        typed = [sys.executable, str(DRIVER), orders, "faulty.yaml", "--executor", "inline", *words]
        done = subprocess.run(typed, cwd=self.root, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert len(list((self.cache / "payloads").rglob("*.png"))) == 1

    @property
    def cache(self) -> Path:
        """The cache that nobody named."""
        return self.root / ".forge" / "cache"

    def published(self) -> dict[str, bytes]:
        """Read the dataset and the lock."""
        found = {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted((self.root / "output").rglob("*"))
            if path.is_file() and ".forge" not in path.parts
        }
        return {**found, "lock": (self.root / "faulty.lock").read_bytes()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one machine makes that does it all."""
    machine = Machine(tmp_path_factory.mktemp("plain"))
    machine.run()
    return machine.published()


@pytest.mark.parametrize("finished", [False, True], ids=["left as it was killed", "typed again"])
def test_three_machines_make_the_dataset_that_one_makes(
    tmp_path: Path, plain: dict[str, bytes], finished: bool
) -> None:
    machines = {number: Machine(tmp_path / f"machine{number}") for number in (1, 2, 3)}
    machines[2].killed("--shard", "2/3")
    if finished:
        machines[2].run("--shard", "2/3")
    for number in (1, 3):
        machines[number].run("--shard", f"{number}/3")
    first = machines[1]
    merged = first.forge("cache", "merge", str(machines[2].cache), str(machines[3].cache), "--json")
    assert merged.returncode == 0, merged.stderr
    assert json.loads(merged.stdout)["conflicts"] == []
    for number in (2, 3):
        shutil.rmtree(machines[number].root)
    steps = first.run()["steps"]
    if finished:
        assert {step: (steps[step]["ran"], steps[step]["rebuilt"]) for step in ("photos", "tiles")} == {
            "photos": (0, 0),
            "tiles": (0, 0),
        }
        assert steps["clean"]["measured"] == 0
        assert steps["clean"]["ran"] == 1
    assert first.published() == plain


def test_what_a_failure_says_to_type_shows_it_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "here", PAIRS.replace("seed: 7", "seed: 7\ndefaults: {max_errors: 100%}"))
    photo = sorted((machine.root / "photos").rglob("*.png"))[0]
    broken = machine.root / "photos" / "a b.png"
    broken.write_bytes(photo.read_bytes()[:2000])
    done = machine.forge("run", "faulty.yaml")
    assert done.returncode == 0, done.stderr
    [typed] = [line[15:] for line in done.stderr.splitlines() if line.startswith("    reproduce: ")]
    assert typed == "forge-run faulty.yaml --only 'photos/a b.png' --until photos --executor inline"
    again = machine.forge("run", *shlex.split(typed)[1:], "--json")
    result = json.loads(again.stdout)
    assert result["steps"]["photos"]["in"] == 1
    assert [(f["step"], f["sample"], f["reproduce"]) for f in result["failures"]] == [
        ("photos", "photos/a b.png", typed)
    ]
    row = next(
        json.loads(line)
        for line in (machine.root / "output/faulty/rejects.jsonl").read_text().splitlines()
        if '"failed"' in line
    )
    assert row["reproduce"] == typed.replace("faulty.yaml", "RECIPE")
