"""The table of a run."""

from forge_pipeline.events import StepCounts
from forge_pipeline.report.table import Column, Table, plain_lines, reasons_lines, reasons_text, steps_table


def test_reasons_come_most_frequent_first_then_by_name() -> None:
    counts = StepCounts(use="x", dropped={"small": 3, "flat": 12_000, "dark": 3, "none": 0})
    assert reasons_text(counts) == "dropped 12,006: flat 12,000, dark 3, small 3"


def test_a_single_reason_is_not_counted_twice() -> None:
    assert reasons_text(StepCounts(use="x", dropped={"small": 3, "none": 0})) == "dropped 3: small"
    assert reasons_text(StepCounts(use="x")) == ""


def test_numbers_stand_at_the_right_and_no_line_ends_in_a_space() -> None:
    table = Table((Column("n", numeric=True), Column("word")), (("1", "a"), ("1,000", "")))
    assert plain_lines(table) == ["    n  word", "    1  a", "1,000"]


def test_a_rare_thing_has_a_column_only_when_it_happened() -> None:
    def headings(counts: StepCounts) -> list[str]:
        return [column.heading for column in steps_table({"a": counts}).columns]

    usual = ["step", "in", "out", "reused", "ran", "time", "bytes"]
    everything = StepCounts(use="x", measured=1, rebuilt=1, dropped={"small": 1}, failed=1)
    assert headings(StepCounts(use="x")) == usual
    assert headings(everything) == [*usual[:5], "measured", "rebuilt", "dropped", "quarantined", *usual[5:]]


def test_the_main_job_fits_80_columns() -> None:
    counts = StepCounts("x", 800, 800, 800, 800, 8_000, {"flat": 300}, 12, seconds=3_000, bytes_out=10**9)
    assert max(len(line) for line in plain_lines(steps_table({"unique": counts}))) <= 80


def test_drops_and_samples_used_in_part_are_told_step_by_step() -> None:
    steps = {
        "a": StepCounts(use="x"),
        "b": StepCounts(use="x", dropped={"small": 3, "flat": 1000}),
        "c": StepCounts(use="x", dropped={"black": 1}, partial={"truncated": 2}),
    }
    assert reasons_lines(steps) == [
        "b: dropped 1,003: flat 1,000, small 3",
        "c: dropped 1: black; used in part 2: truncated",
    ]


def test_a_run_without_steps_has_a_heading() -> None:
    assert plain_lines(steps_table({})) == ["step  in  out  reused  ran  time  bytes"]
