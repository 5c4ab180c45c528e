"""A finished run and its events, for the tests of all reports."""

from forge_pipeline.events import (
    Event,
    ExportDone,
    Failure,
    Note,
    RunEnded,
    RunResult,
    RunStarted,
    StepAdvanced,
    StepCounts,
    StepFinished,
)

PHOTOS = StepCounts(use="read.images", entered=6, out=5, reused=6, failed=1, seconds=0.012, digest="aa")
TILES = StepCounts(
    use="tile.best", entered=5, out=1200, ran=5, rebuilt=1, seconds=3.21, bytes_out=1_234_567, digest="bb"
)
CLEAN = StepCounts(
    use="filter.iqa",
    entered=1200,
    out=1000,
    ran=1,
    measured=2400,
    dropped={"laplacian": 80, "blockiness": 120},
    seconds=75.0,
    digest="cc",
)
STEPS = {"photos": PHOTOS, "tiles": TILES, "clean": CLEAN}
FAILURES = tuple(Failure("photos", f"photos/{n}.png", "truncated") for n in range(7))
RESULT = RunResult(
    recipe="sr_dataset",
    status="done",
    seconds=80.5,
    steps=STEPS,
    exports=(ExportDone("pairs", "output/sr_x4", 2000, 1990, "dd"),),
    failures=FAILURES,
)
EVENTS: tuple[Event, ...] = (
    RunStarted("sr_dataset", {step: counts.use for step, counts in STEPS.items()}),
    Note("cache: another run holds it; waiting"),
    StepFinished("photos", PHOTOS, reused_whole=True),
    StepAdvanced("tiles", StepCounts(use="tile.best", entered=3, out=700), expected=5),
    StepFinished("tiles", TILES),
    StepFinished("clean", CLEAN),
    RunEnded(RESULT),
)
