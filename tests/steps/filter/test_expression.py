"""A condition is read into a typed tree, and every error names its column, what was found and what was expected."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_pipeline.errors import DataError
from forge_steps.filter._expression import parse
from forge_steps.filter._judgement import is_kept, reason, value_of
from forge_steps.filter._tokens import ExpressionError
from forge_steps.filter._tree import names_in

METRICS = ("blockiness", "entropy", "laplacian", "width")


def kept(expression: str, **row: object) -> bool:
    return is_kept(parse(expression, METRICS), {name.replace("__", "."): value for name, value in row.items()})


@pytest.mark.parametrize(
    ("expression", "row", "answer"),
    [
        ("blockiness < 30 and laplacian > 0.004", {"blockiness": 3.0, "laplacian": 0.1}, True),
        ("blockiness < 30 and laplacian > 0.004", {"blockiness": 3.0, "laplacian": 0.004}, False),
        ("blockiness < 30 or laplacian > 1", {"blockiness": 30, "laplacian": 2}, True),
        ("not blockiness < 30", {"blockiness": 30}, True),
        ("not (blockiness < 30 or laplacian < 1)", {"blockiness": 30, "laplacian": 0}, False),
        ("0.1 < laplacian <= 0.5", {"laplacian": 0.5}, True),
        ("0.1 < laplacian <= 0.5", {"laplacian": 0.1}, False),
        ("3 > laplacian > 2 > 1", {"laplacian": 2.5}, True),
        ("blockiness == 1e1", {"blockiness": 10.0}, True),
        ("blockiness != .5", {"blockiness": 0.5}, False),
        ("blockiness + 2 * laplacian - 1 > 3", {"blockiness": 1, "laplacian": 2}, True),
        ("(blockiness + 2) * laplacian == 6", {"blockiness": 1, "laplacian": 2}, True),
        ("8 / 2 / 2 == 2", {}, True),
        ("-laplacian < -1", {"laplacian": 2}, True),
        ("2 - -1 == 3", {}, True),
        ("width in [64, -128]", {"width": -128}, True),
        ("width not in [64, 128]", {"width": 65}, True),
        ("source.codec in ['png', \"webp\"]", {"source__codec": "webp"}, True),
        ("source.codec == 'a\\'b'", {"source__codec": "a'b"}, True),
        ("source.lossless == true", {"source__lossless": True}, True),
        ("source.lossless", {"source__lossless": False}, False),
        ("source.pages == true", {"source__pages": 1}, False),
        ("not not true", {}, True),
    ],
)
def test_conditions_are_judged(expression: str, row: dict, answer: bool):
    assert kept(expression, **row) is answer


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("source.q >= 80", False),
        ("not source.q >= 80", False),
        ("source.q >= 80 or source.q is null", True),
        ("source.q is not null", False),
        ("source.q == source.q", False),
        ("source.q in [1]", False),
        ("source.q + 1 > 0 or width > 0", True),
        ("source.q > 0 and width > 0", False),
        ("not (source.q > 0 and width < 0)", True),
        ("width / 0 > 1", False),
        ("not width / 0 > 1", False),
        ("not width * 1e308 * 1e308 - width * 1e308 * 1e308 > 1", False),
    ],
)
def test_a_missing_field_never_keeps_a_sample_by_a_comparison(expression: str, answer: bool):
    assert kept(expression, source__q=None, width=10) is answer


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("blocky < 30", "column 1: unknown metric 'blocky'; did you mean 'blockiness'?"),
        (
            "zzz < 30",
            "column 1: unknown metric 'zzz', expected one of blockiness, entropy, laplacian, width, "
            "or a field source.*",
        ),
        (
            "laplacian > 1 and clean.blockiness < 30",
            "column 19: 'clean.blockiness' cannot be read: a score belongs to the content that it was measured on; "
            "name 'blockiness', and it is measured on what enters this step",
        ),
        ("blockiness < 'low'", "column 14: cannot compare a number with a text"),
        ("source.codec < 'png'", "column 16: found a text, '<' compares numbers"),
        ("'a' + 1 == 2", "column 1: found a text, '+' takes numbers"),
        ("-(width < 1) == 2", "column 3: found a condition, '-' takes a number"),
        ("width in ['a']", "column 11: cannot compare a number with a text"),
        ("width in [entropy]", "column 11: found 'entropy', expected a number or a text in quotes"),
        ("width in []", "column 11: found ']', expected a name, a number or a text in quotes"),
        ("width in [1", "column 12: found the end, expected ']'"),
        (
            "blockiness",
            "column 1: the expression is a number, expected a condition such as 'blockiness < 30'",
        ),
        ("not blockiness", "column 5: found a number, 'not' takes a condition"),
        ("blockiness < 30 and laplacian", "column 21: found a number, 'and' joins conditions"),
        ("blockiness = 30", "column 12: found '='; did you mean '=='?"),
        ("width > 1 && width < 9", "column 11: found '&&'; did you mean 'and'?"),
        ("!width", "column 1: found '!'; did you mean 'not'?"),
        ("(width < 3", "column 11: found the end, expected ')'"),
        ("width < 3)", "column 10: found ')', expected 'and', 'or' or the end"),
        ("width < 3 width", "column 11: found 'width', expected 'and', 'or' or the end"),
        ("width <", "column 8: found the end, expected a name, a number or a text in quotes"),
        ("", "column 1: found the end, expected a name, a number or a text in quotes"),
        ("width is 3", "column 10: found '3', expected 'null'"),
        ("width + 1 is null", "column 1: found a number, expected a name before 'is null'"),
        ("width == null", "column 10: null is no value to compare with; write 'NAME is null'"),
        ("width not 3", "column 11: found '3', expected 'in'"),
        ("width > 30px", "column 9: '30p' is not a number; write 30, 0.004 or 4e-3"),
        ("width > 1e999", "column 9: '1e999' is too large for a number"),
        ("source.codec == 'png", "column 17: the text that begins with ' has no end"),
        ("width > 3 ; 4", "column 11: found ';', expected a name, a number, a text in quotes or an operator"),
        (
            "__import__('os')",
            "column 1: unknown metric '__import__', expected one of blockiness, entropy, laplacian, "
            "width, or a field source.*",
        ),
        ("(" * 41 + "1", "column 41: nested more than 40 deep"),
        ("1 < 2" + " " * 1996, "column 2001: found 2001 characters, expected at most 2000"),
    ],
)
def test_errors_name_the_column_and_what_was_expected(expression: str, message: str):
    with pytest.raises(ExpressionError) as caught:
        parse(expression, METRICS)
    assert str(caught.value) == message
    assert str(pickle.loads(pickle.dumps(caught.value))) == message


def test_names_come_once_in_the_order_of_use():
    node = parse("laplacian > width / 2 and not (source.q is null or laplacian in [1]) and 1 < entropy < 3", METRICS)
    assert names_in(node) == ("laplacian", "width", "source.q", "entropy")


@pytest.mark.parametrize(
    ("expression", "slug"),
    [
        ("blockiness < 30 and laplacian > 1", "blockiness"),
        ("blockiness < 90 and laplacian > 1", "laplacian"),
        ("laplacian > 1 or blockiness < 30", "laplacian"),
        ("not (blockiness > 30 and width == 10)", "blockiness"),
        ("not width == 10", "width"),
        ("blockiness < 90 and 0.1 < laplacian < 9 and entropy > 9", "entropy"),
        ("source.q >= 80", "source.q_missing"),
        ("width == 10 and source.q + width > 3", "source.q_missing"),
        ("width / 0 > 3", "width"),
        ("1 > 2", "keep"),
    ],
)
def test_the_reason_is_the_name_in_the_first_comparison_that_is_not_true(expression: str, slug: str):
    row = {"blockiness": 50.0, "laplacian": 0.5, "entropy": 7.0, "width": 10, "source.q": None}
    assert reason(parse(expression, METRICS), row) == slug


def test_a_field_of_another_type_than_the_condition_needs_is_named():
    with pytest.raises(DataError) as caught:
        kept("source.q > 3", source__q="high")
    assert str(caught.value) == "filter.iqa: source.q is 'high', expected a number"
    with pytest.raises(DataError) as caught:
        kept("source.q and width > 3", source__q=3, width=4)
    assert str(caught.value) == "filter.iqa: source.q is 3, expected true or false"


numbers = st.one_of(st.integers(0, 9).map(float), st.sampled_from([0.5, 2.25]))
leaves = st.one_of(numbers.map(repr), st.sampled_from(METRICS))
sums = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda s: f"(-{s})"),
    ),
    max_leaves=6,
)
comparisons = st.tuples(sums, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), sums).map(" ".join)
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map(lambda s: f"not ({s})"),
        inner.map(lambda s: f"({s})"),
    ),
    max_leaves=6,
)


@given(conditions, st.lists(numbers, min_size=4, max_size=4))
def test_any_condition_means_what_the_same_text_means_in_python(expression: str, values: list[float]):
    row = dict(zip(METRICS, values, strict=True))
    node = parse(expression, METRICS)
    assert value_of(node, row) is eval(expression, {}, dict(row))
    assert is_kept(node, row) or reason(node, row) in (*METRICS, "keep")


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_with_a_column(text: str):
    try:
        parse(text, METRICS)
    except ExpressionError as error:
        assert 1 <= error.column <= len(text) + 1
    else:
        assert text.strip()
