"""Numbers as people read them."""

import pytest

from forge_pipeline.report.numbers import bytes_text, count_text, seconds_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_949, "9.9 kB"),
        (9_951, "10 kB"),
        (999_499, "999 kB"),
        (999_999, "1.0 MB"),
        (1_234_567, "1.2 MB"),
        (34_000_000_000, "34 GB"),
        (10**18, "1000 PB"),
    ],
)
def test_bytes_are_rounded_to_a_unit_that_fits(count: int, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1m 00s"),
        (125, "2m 05s"),
        (3599.6, "1h 00m"),
        (11_220, "3h 07m"),
    ],
)
def test_durations_are_rounded_to_units_that_fit(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_a_count_agrees_with_its_noun() -> None:
    assert [count_text(n, "sample") for n in (0, 1, 2, 12_000)] == [
        "0 samples",
        "1 sample",
        "2 samples",
        "12,000 samples",
    ]
