"""Results and links are spelled from pieces, and always as canonical JSON spells them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from forge_pipeline.cache.index_rows import read_trail, spell_trail
from forge_pipeline.digest import canonical_json, spell_text
from forge_pipeline.sample import Link, spell_header
from forge_pipeline.task import ChildResult, Result, read_result

_TEXTS = st.text(max_size=8).filter(lambda text: text.isprintable() or text.isascii())
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)
_FIELDS = st.dictionaries(_TEXTS, _VALUES, max_size=3)
_CHILDREN = st.lists(st.builds(ChildResult, _TEXTS, _TEXTS, _FIELDS, _FIELDS), max_size=3).map(tuple)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(_CHILDREN, _TEXTS, _FIELDS)
def test_a_result_is_spelled_as_canonical_json_and_read_back(
    children: tuple[ChildResult, ...], reason: str, values: dict[str, Any]
) -> None:
    for result in (
        Result("children", children),
        Result("children", children, reason=reason, values=values),
        Result("reject", reason=reason, values=values),
        Result("value", value=values),
    ):
        told: dict[str, Any] = {"kind": result.kind}
        if result.kind == "children":
            told["children"] = [list(child) for child in result.children]
        if result.kind == "value":
            told["value"] = result.value
        told |= {name: value for name in ("reason", "values") if (value := getattr(result, name))}
        assert result.text == canonical_json(told)
        again = read_result(result.text)
        assert again == result
        assert again.text == result.text


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(st.builds(Link, _TEXTS, _FIELDS), max_size=3).map(tuple))
def test_a_trail_is_spelled_as_canonical_json_and_read_back(trail: tuple[Link, ...]) -> None:
    assert spell_trail(trail) == canonical_json([[link.step, link.fields] for link in trail])
    assert read_trail(spell_trail(trail)) == trail


@settings(derandomize=True, max_examples=100, deadline=None)
@given(_TEXTS)
def test_a_text_is_spelled_as_canonical_json(text: str) -> None:
    assert spell_text(text) == canonical_json(text)


def test_headers_that_are_equal_and_not_the_same_are_spelled_each_as_it_is() -> None:
    headers = [{"width": 1}, {"width": 1.0}, {"width": True}, {"width": 1}]
    spelled = ['{"width":1}', '{"width":1.0}', '{"width":true}', '{"width":1}']
    assert [spell_header(header) for header in headers * 2] == spelled * 2
