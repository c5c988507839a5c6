"""What counts as JSON on every wire."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_step.contract.json_text import canonical_json, compact_json, parse_json
from tests.support.rows import each_row

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@each_row(
    ("text", "words"),
    [
        ("NaN", "NaN is not JSON"),
        ('{"a": Infinity}', "Infinity is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ("1e999", "too large"),
        ('{"a": -1e999}', "too large"),
        ("9" * 400 + ".0", "too large"),
        ("9" * 5000, "^a number of more than 4300 digits is too large$"),
        ("[" * 100_000, "nested too deeply"),
        ("{", "not JSON"),
        ("", "not JSON"),
        ("'a'", "not JSON"),
        ("[1,]", "not JSON"),
        ("{} {}", "not JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b'{"a": "\xc3"}', "not UTF-8"),
        ('"\x01"', "not JSON"),
        ("01", "not JSON"),
        (".5", "not JSON"),
    ],
)
def test_what_is_no_json_is_refused_by_a_value_error(text: str | bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_json(text)


@pytest.mark.parametrize("text", ['{"password": hunter2}', '["hunter2" "hunter2"]', "hunter2", '{"a": "hunter2'])
def test_a_refusal_does_not_quote_the_document(text: str) -> None:
    with pytest.raises(ValueError, match="not JSON") as caught:
        parse_json(text)
    assert "hunter2" not in str(caught.value)


def test_a_huge_number_is_quoted_only_in_part() -> None:
    with pytest.raises(ValueError, match="too large") as caught:
        parse_json("1" + "0" * 3000 + "e5")
    assert len(str(caught.value)) < 100


def test_the_last_of_two_equal_keys_counts() -> None:
    assert parse_json('{"a": 1, "a": 2}') == {"a": 2}


@given(VALUES)
def test_decoding_undoes_encoding(value: object) -> None:
    assert parse_json(compact_json(value)) == value
    assert parse_json(canonical_json(value)) == value


@given(st.dictionaries(st.text(), st.integers(), max_size=6))
def test_equal_objects_have_equal_canonical_text_whatever_their_order(value: dict[str, int]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


@given(VALUES)
def test_compact_text_is_json_for_everybody_else_too(value: object) -> None:
    assert json.loads(compact_json(value)) == value


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_number_that_json_lacks_is_ever_written(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        compact_json({"a": number})


def test_writing_a_value_nested_too_deeply_is_a_value_error() -> None:
    value: object = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="nested too deeply"):
        compact_json(value)
    while isinstance(value, list):  # else freeing it would overflow the stack of some interpreters
        value = value[0]


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"x": {"a": 1, "b": 2, "a": 3}}]'])
def test_a_key_that_is_there_twice_is_named_where_it_matters(text: str) -> None:
    with pytest.raises(ValueError, match="the key 'a' is there twice"):
        parse_json(text, unique=True)
    parse_json(text)
