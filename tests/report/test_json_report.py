"""The contract of `--json`."""

import json

from forge_pipeline.events import ExportDone, Failure, RunResult, StepCounts
from forge_pipeline.report.json_report import run_json


def test_the_object_has_exactly_the_fields_of_the_contract() -> None:
    counts = StepCounts(
        use="filter.iqa",
        entered=10,
        out=6,
        ran=1,
        reused=2,
        measured=20,
        dropped={"small": 3},
        failed=1,
        rebuilt=4,
        seconds=2,
        bytes_out=99,
        digest="ab12",
    )
    result = RunResult(
        recipe="sr_dataset",
        status="interrupted",
        seconds=3,
        steps={"clean": counts},
        exports=(ExportDone("pairs", "output/sr", 12, 4, "cd34"),),
        failures=(Failure("photos", "photos/é.png", "truncated", "forge-run r.yaml --only photos/é.png"),),
        executor="threads",
        workers=2,
        peak_rss_bytes=123,
    )
    assert json.loads(run_json(result)) == {
        "recipe": "sr_dataset",
        "status": "interrupted",
        "seconds": 3.0,
        "steps": {
            "clean": {
                "use": "filter.iqa",
                "in": 10,
                "out": 6,
                "ran": 1,
                "reused": 2,
                "measured": 20,
                "dropped": {"small": 3},
                "failed": 1,
                "rebuilt": 4,
                "seconds": 2.0,
                "digest": "ab12",
            }
        },
        "exports": [{"step": "pairs", "path": "output/sr", "files": 12, "written": 4, "digest": "cd34"}],
        "failures": [
            {
                "step": "photos",
                "sample": "photos/é.png",
                "reason": "truncated",
                "reproduce": "forge-run r.yaml --only photos/é.png",
            }
        ],
        "executor": "threads",
        "workers": 2,
        "peak_rss_bytes": 123,
    }


def test_any_file_name_is_spelled_in_ascii() -> None:
    result = RunResult("r", "done", 0.5, {}, failures=(Failure("a", "é\udcff", "x"),))
    text = run_json(result)
    assert text.isascii()
    assert json.loads(text)["failures"][0]["sample"] == "é\udcff"
