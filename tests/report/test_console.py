"""The report on a terminal."""

import io

from forge_pipeline.events import Failure, RunEnded, RunResult, StepAdvanced, StepCounts, StepFinished
from forge_pipeline.report.console import ConsoleReport
from tests.report.sample_run import EVENTS


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _terminal(monkeypatch) -> FakeTerminal:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    return FakeTerminal()


def test_the_end_has_the_table_and_the_closing_lines(monkeypatch) -> None:
    terminal = _terminal(monkeypatch)
    with ConsoleReport(terminal) as report:
        for event in EVENTS:
            report.announce(event)
    shown = terminal.getvalue()
    assert "cache: another run holds it; waiting" in shown
    assert "blockiness 120, laplacian 80" in shown
    assert shown.rstrip().endswith("sr_dataset: done in 1m 20s")


def test_a_running_step_has_a_bar_and_a_finished_one_has_none(monkeypatch) -> None:
    terminal = _terminal(monkeypatch)
    counts = StepCounts(use="x", entered=3)
    with ConsoleReport(terminal) as report:
        report.announce(StepAdvanced("tiles", counts, expected=50))
        report.announce(StepAdvanced("frames", counts))
        assert [(bar.description, bar.completed, bar.total) for bar in report.bars] == [
            ("tiles", 3, 50),
            ("frames", 3, None),
        ]
        report.announce(StepFinished("tiles", counts))
        assert [bar.description for bar in report.bars] == ["frames"]


def test_a_file_name_is_never_taken_as_markup(monkeypatch) -> None:
    terminal = _terminal(monkeypatch)
    result = RunResult("r", "failed", 1.0, {}, failures=(Failure("a", "[red]cat[/blue]:smile:.png", "truncated"),))
    with ConsoleReport(terminal) as report:
        report.announce(RunEnded(result))
    assert "step 'a', sample '[red]cat[/blue]:smile:.png': truncated" in terminal.getvalue()
