"""How long tasks take is learnt from those that came back."""

from forge_pipeline.run.pace import Pace


def test_nothing_is_known_of_a_step_before_its_first_task_came_back() -> None:
    pace = Pace()
    pace.learn("one", 1000, 1.0)
    assert pace.expected_s("one", 1000) == 1.0
    assert pace.expected_s("two", 1000) is None


def test_a_first_task_that_compiles_is_soon_outweighed() -> None:
    pace = Pace()
    pace.learn("one", 1000, 1.3)
    for _ in range(12):
        pace.learn("one", 1000, 0.02)
    expected_s = pace.expected_s("one", 1000)
    assert expected_s is not None
    assert 0.1 < expected_s < 0.13  # the mean of all


def test_of_what_was_learnt_long_ago_little_is_left() -> None:
    pace = Pace()
    for seconds in [1.0] * 30 + [0.1] * 60:
        pace.learn("one", 1000, seconds)
    expected_s = pace.expected_s("one", 1000)
    assert expected_s is not None
    assert 0.1 < expected_s < 0.16
