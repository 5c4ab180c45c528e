"""The end of a run as the one JSON object that `--json` prints: a contract with scripts."""

from __future__ import annotations

import json
from typing import Any

from forge_pipeline.events import RunResult, StepCounts


def run_json(result: RunResult) -> str:
    """Spell a result as the contract says, in ASCII, without a newline at its end."""
    return json.dumps(
        {
            "recipe": result.recipe,
            "status": result.status,
            "seconds": float(result.seconds),
            "steps": {step: _step(counts) for step, counts in result.steps.items()},
            "exports": [
                {
                    "step": export.step,
                    "path": export.path,
                    "files": export.files,
                    "written": export.written,
                    "digest": export.digest,
                }
                for export in result.exports
            ],
            "failures": [
                {
                    "step": failure.step,
                    "sample": failure.sample,
                    "reason": failure.reason,
                    "reproduce": failure.reproduce,
                }
                for failure in result.failures
            ],
            "executor": result.executor,
            "workers": result.workers,
            "peak_rss_bytes": result.peak_rss_bytes,
        },
        indent=2,
        allow_nan=False,
    )


def _step(counts: StepCounts) -> dict[str, Any]:
    return {
        "use": counts.use,
        "in": counts.entered,
        "out": counts.out,
        "ran": counts.ran,
        "reused": counts.reused,
        "measured": counts.measured,
        "dropped": dict(sorted(counts.dropped.items())),
        "failed": counts.failed,
        "rebuilt": counts.rebuilt,
        "seconds": float(counts.seconds),
        "digest": counts.digest,
    }
