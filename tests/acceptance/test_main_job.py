"""The shipped recipe, on its real photographs and its real video, as a stranger runs it."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from forge_pipeline.digest import digest_file
from forge_pipeline.graph import compile_graph
from forge_pipeline.recipe.load import load_recipe
from forge_pipeline.registry import Registry
from tests.steps.export.loaders import BasicSR, Neosr, Redux, load_all_pairs

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
FORBIDDEN = ("torch", "ray", "cv2", "numba", "networkx", "pydantic")
pytestmark = pytest.mark.slow


@dataclass
class Job:
    """A copy of the shipped recipe in a folder of its own."""

    folder: Path

    def run(self, *arguments: str, recipe: str = "recipes/sr_dataset.yaml") -> dict[str, Any]:
        """Run it by the command line, and return its JSON."""
        done = self.command(*arguments, "--json", recipe=recipe)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def command(self, *arguments: str, recipe: str = "recipes/sr_dataset.yaml") -> subprocess.CompletedProcess[str]:
        """Run it by the command line."""
        command = [sys.executable, "-c", "from forge_pipeline.cli.main import forge_run; raise SystemExit(forge_run())"]
        whole = [*command, recipe, *arguments]
        return subprocess.run(whole, cwd=self.folder, capture_output=True, text=True, check=False)

    @property
    def dataset(self) -> Path:
        """Where its pairs are."""
        return self.folder / "output/sr_x4"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("main_job")
    shutil.copytree(RECIPES, folder / "recipes", ignore=shutil.ignore_patterns("*.lock"))
    made = Job(folder)
    made.run()
    return made


@pytest.fixture
def fresh(job: Job, tmp_path: Path) -> Job:
    """A job that has run, to be changed by one test."""
    shutil.copytree(job.folder, tmp_path / "job", copy_function=shutil.copy2)
    copied = Job(tmp_path / "job")
    copied.run()  # the copies' time stamps are young: the second look settles them
    return copied


def _work(result: dict[str, Any], *, but: tuple[str, ...] = ()) -> dict[str, tuple[int, int, int]]:
    steps = result["steps"].items()
    return {step: (c["ran"], c["measured"], c["rebuilt"]) for step, c in steps if step not in but}


def _nothing(work: dict[str, tuple[int, int, int]]) -> bool:
    return all(done == (0, 0, 0) for done in work.values())


@pytest.mark.alone
def test_the_second_run_runs_nothing_and_takes_less_than_a_second(job: Job) -> None:
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        again = job.run()
        seconds.append(time.perf_counter() - started)
        assert _nothing(_work(again))
        assert again["exports"][0]["written"] == 0
    assert statistics.median(seconds) < 1.0


def test_an_unchanged_run_imports_no_library_of_images_graphs_or_recipes(job: Job) -> None:
    heavy = ("numpy", "pydantic", "cv2", "av", "PIL", "numba", "networkx", "yaml", "hcl2", "torch", "ray")
    code = (
        "import sys; from forge_pipeline.cli.main import forge_run; code = forge_run(sys.argv[1:])\n"
        f"print(code, sorted(set({heavy!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "recipes/sr_dataset.yaml", "--quiet"],
        cwd=job.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "0 []\n"


@pytest.mark.parametrize("spelling", ["yaml", "hcl", "json"])
def test_three_spellings_share_one_cache(job: Job, spelling: str) -> None:
    assert _nothing(_work(job.run(recipe=f"recipes/sr_dataset.{spelling}")))


@pytest.mark.parametrize("recipe", sorted({path.stem for path in RECIPES.glob("*.yaml")}))
def test_three_spellings_give_equal_keys(recipe: str) -> None:
    graphs = [
        compile_graph(load_recipe(RECIPES / f"{recipe}{suffix}"), Registry.installed())
        for suffix in (".yaml", ".hcl", ".json")
    ]
    assert graphs[0] == graphs[1] == graphs[2]


def test_a_threshold_measures_nothing_again(fresh: Job) -> None:
    changed = fresh.run("--set", "steps.clean.with.keep=blockiness < 30 and laplacian > 0.03")
    assert changed["steps"]["clean"]["measured"] == 0
    assert changed["steps"]["clean"]["ran"] == 1
    assert changed["steps"]["clean"]["dropped"]["laplacian"] > 0
    assert _nothing({step: done for step, done in _work(changed).items() if step in ("photos", "frames", "tiles")})
    # Fewer tiles came on than before, and all of them were seen before.
    assert changed["steps"]["hr"]["ran"] <= 3
    assert changed["steps"]["unique"]["measured"] == 0


def test_lambda_runs_the_downscale_and_the_export_alone(fresh: Job) -> None:
    changed = fresh.run("--set", "steps.lr.with.lambda=0.7")
    assert _nothing(_work(changed, but=("lr", "pairs")))
    assert changed["steps"]["lr"]["ran"] == changed["steps"]["lr"]["in"]
    assert changed["steps"]["pairs"]["measured"] == changed["steps"]["pairs"]["in"]
    assert load_all_pairs(fresh.dataset, 4)


def test_every_trainer_loads_every_pair(job: Job) -> None:
    pairs = load_all_pairs(job.dataset, 4)
    manifest = [json.loads(line) for line in (job.dataset / "manifest.jsonl").read_text().splitlines()]
    assert len(pairs) == len(manifest) == job.run()["exports"][0]["files"] // 2
    hr, lr = job.dataset / "hr", job.dataset / "lr"
    for loader in (
        BasicSR(hr, lr, 4),
        BasicSR(hr, lr, 4, meta_info=job.dataset / "meta_info.txt"),
        Redux([hr], [lr], 4),
        Neosr(str(hr), str(lr), 4),
    ):
        assert {pair.stem for pair in loader} == {row["stem"] for row in manifest}


def test_every_row_tells_its_source_and_every_reject_its_reason(job: Job) -> None:
    rows = [json.loads(line) for line in (job.dataset / "manifest.jsonl").read_text().splitlines()]
    for row in rows:
        assert row["source"]["path"]
        assert len(row["source"]["digest"]) == 40
        assert len(row["crop"]) == 4
        assert row["facts"]["pair_correlation"] >= 0.5
        assert [link["step"] for link in row["trail"]][-2:] == ["unique", "hr"]
    assert any(row["frame"] is not None for row in rows)
    rejects = [json.loads(line) for line in (job.dataset / "rejects.jsonl").read_text().splitlines()]
    assert {reject["reason"] for reject in rejects} == {"low_complexity", "duplicate"}
    assert all(reject["values"] and reject["source"]["path"] for reject in rejects)


def _digests(dataset: Path) -> dict[Path, str]:
    """Name every file by its place in the dataset, but for the list of what is ours, which has times of the disk."""
    files = [path for path in sorted(dataset.rglob("*")) if path.is_file() and path.name != "owned.json"]
    return {path.relative_to(dataset): digest_file(path) for path in files}


def test_any_executor_and_number_of_workers_publish_the_same_bytes(job: Job, tmp_path: Path) -> None:
    expected = _digests(job.dataset)
    assert {path.parts[0] for path in expected} >= {"hr", "lr"}
    for name, arguments in {"inline": ["--executor", "inline"], "eight": ["--workers", "8"]}.items():
        output = tmp_path / name
        job.run("--cache", str(tmp_path / f"cache-{name}"), "--set", f"vars.output={output}", *arguments)
        assert _digests(output) == expected


def test_sources_are_never_changed(job: Job) -> None:
    for path in (RECIPES / "media").iterdir():
        assert digest_file(path) == digest_file(job.folder / "recipes/media" / path.name)


def test_losing_the_cache_gives_the_same_dataset(fresh: Job) -> None:
    before = fresh.run()["exports"][0]["digest"]
    shutil.rmtree(fresh.folder / ".forge")
    again = fresh.run()
    assert (again["exports"][0]["digest"], again["exports"][0]["written"]) == (before, 0)


def test_frozen_passes_on_the_same_dataset_and_names_what_differs(fresh: Job) -> None:
    assert fresh.command("--frozen").returncode == 0
    differs = fresh.command("--frozen", "--set", "steps.lr.with.lambda=0.7")
    assert differs.returncode == 1
    assert "step 'lr'" in differs.stderr
    assert "param 'lambda' 0.5 -> 0.7" in differs.stderr


@pytest.mark.alone
@pytest.mark.parametrize("command", [["--help"], ["run", "--help"]])
def test_help_imports_nothing_heavy_and_is_quick(command: list[str]) -> None:
    script = (
        "import sys\nfrom forge_pipeline.cli.main import forge\n"
        "try:\n    forge(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write(' '.join(sys.modules))"
    )
    run: Callable[[], subprocess.CompletedProcess[str]] = lambda: subprocess.run(  # noqa: E731
        [sys.executable, "-c", script, *command], capture_output=True, text=True, check=True, env={**os.environ}
    )
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        done = run()
        seconds.append(time.perf_counter() - started)
    imported = {name.partition(".")[0] for name in done.stderr.split()}
    assert not imported & {*FORBIDDEN, "numpy", "pydantic", "rich", "yaml"}
    assert statistics.median(seconds) < 0.25
