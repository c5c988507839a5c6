"""Signatures are over the message's own bytes, in either of the two forms, and nothing else is right."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_step.contract.secret import Token
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, Action, example, kafka_message
from gha_step.inbound.port.signature import sign, verdict, without_headers, without_the_two_keys

SECRET = Token("emulator-client-secret-of-32-byte")
OTHER = Token("another")


def signed(body: str, at: str = '"1700000000"', secret: Token = SECRET, name: str = "headers") -> bytes:
    """``body`` without its closing brace, with headers as its last member."""
    plain = at.strip('"')
    signature = sign((body + "}").encode(), plain.encode(), secret).decode()
    return f'{body},"{name}":{{"X-Port-Signature":"{signature}","X-Port-Timestamp":{at}}}}}'.encode()


@pytest.mark.parametrize("form", ["without headers", "without the two keys"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("more", [{}, {"X-Other": "1"}])
def test_both_forms_that_port_may_sign_are_right(form: Any, version: Any, more: dict[str, Any]) -> None:
    port = example()
    run = port.press(Action("k", invocation="GITHUB"), {"n": 1e-7, "text": 'quote " back \\ ünicode'})
    raw = kafka_message(
        port, run, port.credentials[EXAMPLE_CLIENT_ID], version=version, signed=form, other_headers=dict(more)
    )
    assert verdict(raw, SECRET) == "right"
    assert verdict(raw, OTHER) == "wrong"


@pytest.mark.parametrize("spelling", ["1e-7", "1E7", "1.10", "0.1e1", '"\\u00fc"', '"\\/"', "100000000000000000000"])
def test_a_spelling_that_no_serialiser_gives_back_is_right(spelling: str) -> None:
    assert verdict(signed(f'{{"a":{spelling},"b":[]'), SECRET) == "right"


def test_a_time_stamp_may_be_a_number_and_as_old_as_it_likes() -> None:
    assert verdict(signed('{"a":1', "1577836800"), SECRET) == "right"
    assert verdict(signed('{"a":1', '"1577836800"'), SECRET) == "right"


@pytest.mark.parametrize(
    "change",
    [
        (b'"a":1', b'"a":2'),
        (b"v1,", b"v2,"),
        (b"v1,", b""),
        (b"1700000000", b"1700000001"),
        (b"1700000000", b"\\ud800"),
        (b"v1,", b"\\ud800"),
        (b'"X-Port-Timestamp":"1700000000"', b'"X-Port-Timestamp":null'),
        (b'"X-Port-Timestamp"', b'"X-Port-Other"'),
        (b'"headers":{', b'"headers":{"X-Port-Timestamp":"1700000000",'),
        (b'"a":1', b'"a":1,"headers":{}'),
        (b'"a":1', b'"a": 1'),
    ],
)
def test_whatever_is_changed_makes_it_wrong(change: tuple[bytes, bytes]) -> None:
    raw = signed('{"a":1')
    assert verdict(raw, SECRET) == "right"
    changed = raw.replace(*change)
    assert changed != raw
    assert verdict(changed, SECRET) == "wrong"


@pytest.mark.parametrize("raw", [b"{}", b'{"headers":{}}', b'{"headers":null}', b'{"headers":{"X-Other":"1"}}', b"[]"])
def test_a_missing_signature_is_told_apart(raw: bytes) -> None:
    assert verdict(raw, SECRET) == "missing"


@pytest.mark.parametrize("raw", [b"", b"\xff", b"{", b'{"headers":7}', b'{"headers":[]}', b'{"headers":"x"}'])
def test_what_cannot_be_read_is_wrong(raw: bytes) -> None:
    assert verdict(raw, SECRET) == "wrong"


def test_headers_inside_stay_and_the_outer_ones_go_wherever_they_stand() -> None:
    inner = '{"a":{"headers":{"x":1}}'
    assert verdict(signed(inner), SECRET) == "right"
    for text, rest in [
        ('{"headers":{},"a":1}', '{"a":1}'),
        ('{"a":1,"headers":{}}', '{"a":1}'),
        ('{"a":1,"headers":{},"b":2}', '{"a":1,"b":2}'),
        ('{"headers":{}}', "{}"),
        ('{"a":1}', '{"a":1}'),
        ("{}", "{}"),
    ]:
        assert without_headers(text.encode()).decode() == rest


def test_of_the_headers_only_the_two_keys_go() -> None:
    text = b'{"a":1,"headers":{"X-Port-Signature":"s","k":1.10,"X-Port-Timestamp":1},"b":2}'
    assert without_the_two_keys(text) == b'{"a":1,"headers":{"k":1.10},"b":2}'
    with pytest.raises(ValueError, match="no headers"):
        without_the_two_keys(b'{"a":1}')


@pytest.mark.parametrize("raw", [b"[]", b"7", b'{"a"', b'{"a":1', b"{a:1}", b'{"a":1,}', b"{7:1}", b'{"a" 1}'])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        without_headers(raw)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5), VALUES, st.booleans())
def test_cutting_gives_what_reading_and_dropping_gives(body: dict[str, Any], headers: Any, ascii_only: bool) -> None:
    text = json.dumps({**body, "headers": headers}, separators=(",", ":"), ensure_ascii=ascii_only)
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        return
    expected = {key: value for key, value in body.items() if key != "headers"}
    assert without_headers(raw) == json.dumps(expected, separators=(",", ":"), ensure_ascii=ascii_only).encode()


@given(st.binary(max_size=100))
def test_no_bytes_whatever_are_right_or_raise(raw: bytes) -> None:
    assert verdict(raw, SECRET) in ("wrong", "missing")
