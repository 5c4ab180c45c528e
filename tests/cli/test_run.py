"""`forge run`: options reach the engine, results reach the right stream."""

import json
import sys
from dataclasses import asdict, replace

import pytest

from forge_pipeline.cli.main import forge, forge_run
from forge_pipeline.errors import FrozenDiffers, RunFailed
from forge_pipeline.events import Note, RunEnded, RunResult, RunStarted, StepCounts
from forge_pipeline.report.json_report import run_json


def _result(status: str = "done") -> RunResult:
    return RunResult("sr_dataset", status, 1.5, {"photos": StepCounts(use="read.images", entered=2, out=2, reused=2)})


def _run(result: RunResult, then: BaseException | None = None):
    def run(recipe, options, announce):
        announce(RunStarted("sr_dataset", {"photos": "read.images"}))
        print("an operator that prints")
        announce(RunEnded(result))
        if then is not None:
            raise then
        return result

    return run


@pytest.mark.parametrize(("status", "code"), [("done", 0), ("failed", 1), ("interrupted", 130)])
def test_the_exit_code_says_how_the_run_ended(engine, capsys, status, code) -> None:
    engine.answers["run"] = _run(_result(status))
    assert forge_run(["recipe.yaml"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert f"sr_dataset: {status if status != 'interrupted' else 'interrupted after'}" in err


@pytest.mark.parametrize("status", ["done", "failed", "interrupted"])
def test_json_is_the_only_thing_on_stdout(engine, capsys, status) -> None:
    engine.answers["run"] = _run(_result(status))
    forge_run(["recipe.yaml", "--json"])
    out, err = capsys.readouterr()
    assert out == run_json(_result(status)) + "\n"
    assert json.loads(out)["status"] == status
    assert "an operator that prints" in err


def test_json_is_printed_when_the_run_fails_by_an_error(engine, capsys) -> None:
    engine.answers["run"] = _run(_result("failed"), then=RunFailed("step 'photos': 2 of 2 samples failed"))
    assert forge_run(["recipe.yaml", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "failed"
    assert err.endswith("step 'photos': 2 of 2 samples failed\n")


def test_an_error_that_the_report_told_is_not_told_again(engine, capsys) -> None:
    failed = replace(_result("failed"), error="--frozen: the result would differ")
    engine.answers["run"] = _run(failed, then=FrozenDiffers("--frozen: the result would differ"))
    assert forge_run(["recipe.yaml"]) == 1
    assert capsys.readouterr().err.count("--frozen: the result would differ") == 1
    assert forge_run(["recipe.yaml", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_before_any_result_exits_130_without_json(engine, capsys) -> None:
    engine.answers["run"] = KeyboardInterrupt()
    assert forge_run(["recipe.yaml", "--json"]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_ctrl_c_after_the_result_prints_it_and_exits_130(engine, capsys) -> None:
    engine.answers["run"] = _run(_result("interrupted"), then=KeyboardInterrupt())
    assert forge_run(["recipe.yaml", "--json"]) == 130
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "interrupted"
    assert "hint: type the same command again to go on from here" in err


def test_quiet_tells_notes_alone(engine, capsys) -> None:
    def run(recipe, options, announce):
        announce(Note("cache: another run holds it; waiting"))
        announce(RunEnded(_result()))
        return _result()

    engine.answers["run"] = run
    assert forge_run(["recipe.yaml", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "cache: another run holds it; waiting\n")


def test_options_have_their_defaults(engine, tmp_path) -> None:
    engine.answers["run"] = _run(_result())
    forge_run(["recipe.yaml"])
    [(name, (recipe, options, _))] = engine.asked
    assert (name, str(recipe)) == ("run", "recipe.yaml")
    assert asdict(options) == {
        "directory": tmp_path,
        "sets": (),
        "cache": tmp_path / ".forge/cache",
        "executor": None,
        "workers": None,
        "memory": None,
        "until": None,
        "sample": None,
        "frozen": False,
        "verify": 0,
        "shard": None,
        "only": None,
        "budget_s": None,
        "store": "",
        "profile": None,
        "ray_address": "",
        "command": "forge-run recipe.yaml",
    }


def test_every_option_reaches_the_engine(engine, tmp_path) -> None:
    engine.answers["run"] = _run(_result())
    typed = "--set vars.scale=2 --set steps.clean.with.keep=a=b --frozen --until hr --sample 3 --executor inline"
    more = ["--workers", "2", "--cache", "there", "--verify", "5", "--shard", "2/8", "--only", "photos/a b.png"]
    more += ["--store", "s3://bucket/prefix", "--profile", "machine.yaml"]
    more += ["--memory", "512MB", "--budget", "1h30min", "--ray-address", "head:6379"]
    (tmp_path / "machine.yaml").touch()
    forge(["run", "recipe.yaml", *typed.split(), *more])
    options = engine.asked[0][1][1]
    assert asdict(options) == {
        "directory": tmp_path,
        "sets": ("vars.scale=2", "steps.clean.with.keep=a=b"),
        "cache": tmp_path / "there",
        "executor": "inline",
        "workers": 2,
        "memory": "512MB",
        "until": "hr",
        "sample": 3,
        "frozen": True,
        "verify": 5,
        "shard": (2, 8),
        "only": "photos/a b.png",
        "budget_s": 5400.0,
        "store": "s3://bucket/prefix",
        "profile": tmp_path / "machine.yaml",
        "ray_address": "head:6379",
        "command": "forge-run recipe.yaml --set vars.scale=2 --set steps.clean.with.keep=a=b --cache there "
        "--store s3://bucket/prefix --profile machine.yaml",
    }


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("2", "I/N such as 2/8"),
        ("2/x", "I/N such as 2/8"),
        ("²/8", "I/N such as 2/8"),
        ("0/8", "I/N with I from 1 to N, such as 2/8"),
        ("9/8", "I/N with I from 1 to N, such as 2/8"),
    ],
)
def test_a_shard_is_counted_from_one(engine, capsys, typed, expected) -> None:
    assert forge_run(["recipe.yaml", "--shard", typed]) == 2
    assert capsys.readouterr().err == (
        f"forge-run: argument --shard: found '{typed}', expected {expected}\n  hint: forge-run --help\n"
    )


@pytest.mark.parametrize("typed", ["", "30", "-5s", "5 weeks", "0min", "1min2h"])
def test_a_budget_is_a_time(engine, capsys, typed) -> None:
    assert forge_run(["recipe.yaml", f"--budget={typed}"]) == 2
    assert capsys.readouterr().err == (
        f"forge-run: argument --budget: found '{typed}', expected a time such as 90s, 30min or 1h30min\n"
        "  hint: forge-run --help\n"
    )


@pytest.mark.parametrize("typed", ["", "lots", "-1GB", "0%", "140%"])
def test_memory_is_a_size_or_a_share(engine, capsys, typed) -> None:
    assert forge_run(["recipe.yaml", f"--memory={typed}"]) == 2
    assert capsys.readouterr().err == (
        f"forge-run: argument --memory: found '{typed}', expected a size such as 512MB or 8GiB, or a share such as "
        "40%\n"
        "  hint: forge-run --help\n"
    )


def test_the_environment_names_the_cache_and_the_option_wins(engine, tmp_path, monkeypatch) -> None:
    engine.answers["run"] = _run(_result())
    monkeypatch.setenv("FORGE_CACHE", "/elsewhere")
    forge_run(["recipe.yaml"])
    forge_run(["recipe.yaml", "--cache", "here"])
    assert [str(asked[1][1].cache) for asked in engine.asked] == ["/elsewhere", str(tmp_path / "here")]


def test_directory_moves_recipe_and_cache_and_the_caller_stays(engine, tmp_path, monkeypatch) -> None:
    engine.answers["run"] = _run(_result())
    caller = tmp_path / "elsewhere"
    caller.mkdir()
    monkeypatch.chdir(caller)
    assert forge_run(["recipe.yaml", "--directory", ".."]) == 0
    options = engine.asked[0][1][1]
    assert (options.directory, options.cache) == (tmp_path, tmp_path / ".forge/cache")
    assert caller.samefile(".")


def test_a_missing_recipe_names_the_nearest(engine, capsys) -> None:
    assert forge_run(["recipes.yaml"]) == 2
    assert capsys.readouterr().err == "recipes.yaml: there is no such recipe\n  hint: did you mean 'recipe.yaml'?\n"


def test_a_folder_is_no_recipe(engine, capsys, tmp_path) -> None:
    assert forge_run(["."]) == 2
    assert capsys.readouterr().err == (
        ".: this is a folder, expected a recipe file\n  hint: did you mean 'recipe.yaml'?\n"
    )


def test_a_recipe_left_behind_by_directory_is_found_for_the_hint(engine, capsys, tmp_path) -> None:
    (tmp_path / "work").mkdir()
    assert forge_run(["recipe.yaml", "--directory", "work"]) == 2
    assert capsys.readouterr().err == (
        "recipe.yaml: there is no such recipe\n"
        f"  hint: --directory moves the recipe's path too; type {tmp_path / 'recipe.yaml'}\n"
    )


def test_json_of_a_dry_run_is_refused(engine, capsys) -> None:
    assert forge_run(["recipe.yaml", "--dry-run", "--json"]) == 2
    assert capsys.readouterr().err == (
        "--json tells the result of a run, and --dry-run has none\n  hint: leave one of them out\n"
    )


def test_a_run_that_is_no_terminal_imports_no_rich(engine) -> None:
    engine.answers["run"] = _run(_result())
    before = {name for name in sys.modules if name == "rich" or name.startswith("rich.")}
    console = sys.modules.pop("forge_pipeline.report.console", None)
    forge_run(["recipe.yaml"])
    assert "forge_pipeline.report.console" not in sys.modules
    assert {name for name in sys.modules if name == "rich" or name.startswith("rich.")} == before
    if console is not None:
        sys.modules["forge_pipeline.report.console"] = console
