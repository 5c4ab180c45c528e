"""The last words of a run."""

from pathlib import Path

from forge_pipeline.events import ExportDone, Failure, RunResult, StepCounts
from forge_pipeline.report.closing import end_lines, failure_lines


def test_failures_of_a_step_that_was_reused_are_still_counted() -> None:
    steps = {"photos": StepCounts(use="read.images", entered=9, out=7, failed=2)}
    exports = (ExportDone("pics", "out", 7, 0, "d"),)
    assert failure_lines(RunResult("r", "done", 1.0, steps, exports)) == [
        "2 samples quarantined:",
        "  all are listed in out/rejects.jsonl",
    ]
    assert failure_lines(RunResult("r", "failed", 1.0, steps)) == ["2 samples quarantined"]


def test_a_path_under_the_working_folder_is_told_as_it_is_typed(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = Path(tmp_path).anchor + "elsewhere"
    exports = (ExportDone("a", str(tmp_path / "out"), 1, 1, "d"), ExportDone("b", elsewhere, 2, 0, "d"))
    lines = end_lines(RunResult("r", "done", 1.0, {}, exports))
    assert lines[-3:-1] == ["a: 1 image in out (1 file written)", f"b: 2 images in {elsewhere} (nothing to write)"]


def test_what_an_export_no_longer_holds_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    exports = (ExportDone("a", str(tmp_path / "out"), 0, 2, "d", deleted=7),)
    lines = end_lines(RunResult("r", "done", 1.0, {}, exports))
    assert lines[-2] == "a: 0 images in out (2 files written, 7 deleted); no sample reached it"


def test_failures_that_no_export_lists_have_a_way_to_be_seen_and_a_hint_comes_once() -> None:
    why = "hr is 4 x 5, not 4 times lr\n  hint: put `tile.grid` before it"
    failures = tuple(Failure("pairs", f"photos/{n}.png", why) for n in range(7))
    assert failure_lines(RunResult("r", "failed", 1.0, {}, failures=failures))[:4] == [
        "7 samples quarantined:",
        "  step 'pairs', sample 'photos/0.png': hr is 4 x 5, not 4 times lr",
        "  hint: put `tile.grid` before it",
        "  step 'pairs', sample 'photos/1.png': hr is 4 x 5, not 4 times lr",
    ]
    assert failure_lines(RunResult("r", "failed", 1.0, {}, failures=failures))[-1] == "  and 2 more; --json lists them"


def test_a_run_that_failed_before_its_first_sample_has_no_table_of_zeros() -> None:
    steps = {"photos": StepCounts(use="read.images")}
    result = RunResult("r", "failed", 0.2, steps, error="path 'p' is not there\n  hint: ls")
    assert end_lines(result) == ["r: failed after 200 ms", "path 'p' is not there", "  hint: ls"]
    moved = RunResult("r", "failed", 0.2, {"photos": StepCounts(use="read.images", entered=1)}, error="disk full")
    assert end_lines(moved)[1].startswith("step")
