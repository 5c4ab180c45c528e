"""The plain report."""

import io

import pytest

from forge_pipeline.events import Event, ExportDone, Note, RunEnded, RunResult, StepAdvanced, StepCounts, StepFinished
from forge_pipeline.report.lines import SIGN_OF_LIFE_SECONDS, LineReport, QuietReport
from tests.report.sample_run import EVENTS

WHOLE = """\
sr_dataset: 3 steps
cache: another run holds it; waiting
tiles: 5 in, 1,200 out, 5 ran, 1 rebuilt, 1.2 MB, 3.2 s
clean: 1,200 in, 1,000 out, 1 ran, 2,400 measured, 1m 15s; dropped 200: blockiness 120, laplacian 80

step       in    out  reused  ran  measured  rebuilt  dropped  quarantined    time   bytes
photos      6      5       6    0         -        -        -            1   12 ms       -
tiles       5  1,200       0    5         -        1        -            -   3.2 s  1.2 MB
clean   1,200  1,000       0    1     2,400        -      200            -  1m 15s       -

clean: dropped 200: blockiness 120, laplacian 80
7 samples quarantined:
  step 'photos', sample 'photos/0.png': truncated
  step 'photos', sample 'photos/1.png': truncated
  step 'photos', sample 'photos/2.png': truncated
  step 'photos', sample 'photos/3.png': truncated
  step 'photos', sample 'photos/4.png': truncated
  and 2 more
  all are listed in output/sr_x4/rejects.jsonl
pairs: 2,000 images in output/sr_x4 (1,990 files written)
sr_dataset: done in 1m 20s
"""


def _told(report: LineReport, stream: io.StringIO, *events: Event) -> str:
    with report:
        for event in events:
            report.announce(event)
    return stream.getvalue()


def test_a_run_is_told_in_few_lines() -> None:
    stream = io.StringIO()
    assert _told(LineReport(stream), stream, *EVENTS) == WHOLE


def test_a_quiet_run_tells_notes_and_failures_alone() -> None:
    stream = io.StringIO()
    lines = _told(QuietReport(stream), stream, *EVENTS).splitlines()
    assert lines[:2] == ["cache: another run holds it; waiting", "7 samples quarantined:"]
    assert lines[-1] == "  all are listed in output/sr_x4/rejects.jsonl"
    assert len(lines) == 9


def test_a_quiet_run_that_fails_says_why() -> None:
    stream = io.StringIO()
    assert _told(QuietReport(stream), stream, RunEnded(RunResult("r", "failed", 1.0, {}, error="why"))) == "why\n"


def test_a_quiet_run_tells_of_an_export_that_nothing_reached() -> None:
    stream = io.StringIO()
    exports = (ExportDone("full", "full", 3, 0, "d"), ExportDone("pairs", "out", 0, 2, "d", deleted=7))
    told = _told(QuietReport(stream), stream, RunEnded(RunResult("r", "done", 1.0, {}, exports)))
    assert told == "pairs: 0 images in out (2 files written, 7 deleted); no sample reached it\n"


def test_a_thousand_events_within_a_minute_are_worth_no_line() -> None:
    stream = io.StringIO()
    report = LineReport(stream, clock=lambda: 0.0)
    advanced = StepAdvanced("tiles", StepCounts(use="tile.best", entered=3))
    assert _told(report, stream, *[advanced] * 1000) == ""


def test_a_long_step_gives_a_sign_of_life_once_a_minute() -> None:
    now = [0.0]
    stream = io.StringIO()
    report = LineReport(stream, clock=lambda: now[0])
    counts = StepCounts(use="tile.best", entered=1500, out=20)
    for second in range(0, 150, 10):
        now[0] = float(second)
        report.announce(StepAdvanced("tiles", counts, expected=5000 if second < 100 else None))
    assert SIGN_OF_LIFE_SECONDS == 60
    assert stream.getvalue() == ("tiles: at work, 1,500 of 5,000 in, 20 out\ntiles: at work, 1,500 in, 20 out\n")


@pytest.mark.parametrize(
    ("result", "last_lines"),
    [
        (
            RunResult("r", "interrupted", 2.0, {}),
            [
                "r: interrupted after 2.0 s; what was finished is kept",
                "  hint: type the same command again to go on from here",
            ],
        ),
        (
            RunResult("r", "failed", 2.0, {}, error="step 'a': 3 of 9 samples failed\n  hint: look"),
            ["r: failed after 2.0 s", "step 'a': 3 of 9 samples failed", "  hint: look"],
        ),
        (RunResult("r", "done", 0.3, {"a": StepCounts(use="x", reused=4)}), ["r: done in 300 ms; nothing had to run"]),
        (RunResult("r", "done", 0.3, {"a": StepCounts(use="x", measured=1)}), ["r: done in 300 ms"]),
    ],
)
def test_the_last_line_says_how_it_ended(result: RunResult, last_lines: list[str]) -> None:
    stream = io.StringIO()
    assert _told(LineReport(stream), stream, RunEnded(result)).splitlines()[-len(last_lines) :] == last_lines


def test_a_closed_stream_never_stops_a_run() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    report = LineReport(Broken())
    report.announce(Note("hello"))
    closed = io.StringIO()
    closed.close()
    LineReport(closed).announce(StepFinished("a", StepCounts(use="x")))
    assert closed.closed
