"""When a token is asked for: rules over any course of events."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_step.contract.secret import Token
from gha_step.inbound.port.tokens import EVERY, LONGEST_LIFE, Grant, TokenKeeper, read_grant
from tests.support.rows import each_row


def jwt(claims: Any) -> str:
    return "h." + base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode() + ".s"


def grant(name: str, lifetime: float = 10_800.0) -> Grant:
    return Grant(Token(name), lifetime)


def test_a_token_is_kept_to_its_end_and_then_asked_for_at_once() -> None:
    keeper = TokenKeeper()
    assert (keeper.current(0), keeper.wait(0)) == (None, 0)
    keeper.asks(0)
    keeper.given(grant("a", 100), 0)
    assert keeper.current(99.9) == Token("a")
    assert (keeper.current(100), keeper.wait(100)) == (None, 0)


def test_failures_to_get_one_come_once_a_minute() -> None:
    keeper = TokenKeeper()
    keeper.asks(0)
    assert keeper.wait(10) == EVERY - 10
    assert keeper.wait(EVERY) == 0
    keeper.asks(EVERY)
    assert keeper.wait(EVERY + 1) == EVERY - 1


def test_a_leftover_of_moments_is_followed_at_once_but_not_for_ever() -> None:
    keeper = TokenKeeper()
    keeper.asks(0)
    keeper.given(grant("a", 2), 0)  # the last two seconds of what another process asked for
    assert keeper.wait(2) == EVERY - 2  # the first request was free already
    keeper.asks(EVERY)
    keeper.given(grant("b", 2), EVERY)
    assert keeper.wait(EVERY + 2) == 0
    keeper.asks(EVERY + 2)
    keeper.given(grant("c", 2), EVERY + 2)
    assert keeper.wait(EVERY + 4) == EVERY - 2


@pytest.mark.parametrize(("accepted", "wait"), [(True, 0.0), (False, EVERY - 5)])
def test_a_refused_token_is_followed_at_once_only_if_it_had_been_accepted(accepted: bool, wait: float) -> None:
    keeper = TokenKeeper()
    keeper.asks(0)
    keeper.given(Grant(Token("a"), 30.0), 0)
    keeper._free = False
    if accepted:
        keeper.accepted(Token("a"))
    keeper.refused(Token("a"))
    assert keeper.current(5) is None
    assert keeper.wait(5) == wait


def test_the_same_token_again_is_not_renewed_twice() -> None:
    keeper = TokenKeeper()
    keeper.asks(0)
    keeper.given(grant("a"), 0)
    keeper.accepted(Token("a"))
    keeper.refused(Token("a"))
    keeper.asks(1)
    keeper.given(grant("a"), 1)
    keeper.refused(Token("a"))
    assert keeper.wait(2) == EVERY - 1


def test_an_old_tokens_refusal_leaves_the_new_one_alone() -> None:
    keeper = TokenKeeper()
    keeper.asks(0)
    keeper.given(grant("b"), 0)
    keeper.refused(Token("a"))
    keeper.accepted(Token("a"))
    assert keeper.current(1) == Token("b")


@given(st.lists(st.sampled_from(["ask", "fail", "short", "refused", "used", "pass"]), max_size=60))
def test_no_course_of_events_asks_more_than_twice_a_minute_for_each_token(events: list[str]) -> None:
    """With a Port that always gives another token of a second's life, or refuses every one."""
    keeper, now, asked, made = TokenKeeper(), 0.0, [], 0
    for event in events:
        if event == "pass":
            now += 7.0
        elif event == "refused" and keeper.grant is not None:
            keeper.refused(keeper.grant.token)
        elif event == "used" and keeper.grant is not None:
            pass  # never accepted here
        elif event in ("ask", "fail", "short") and keeper.current(now) is None and keeper.wait(now) == 0:
            keeper.asks(now)
            asked.append(now)
            if event != "fail":
                made += 1
                keeper.given(grant(f"t{made}", 1.0), now)
    for start in asked:
        assert len([at for at in asked if start <= at < start + EVERY]) <= 2


@pytest.mark.parametrize(
    ("claims", "machine", "org"),
    [
        ({"isMachine": True, "orgId": "org_1"}, True, "org_1"),
        ({"isMachine": True, "personalToken": True}, False, None),
        ({"personalToken": True}, False, None),
        ({"isMachine": "yes", "orgId": 7}, None, None),
        ({"orgId": "\ud800"}, None, None),
        ({"orgId": "a b"}, None, None),
        ({"orgId": "o" * 201}, None, None),
        ({}, None, None),
        ([], None, None),
    ],
)
def test_a_token_says_whose_it_is(claims: Any, machine: bool | None, org: str | None) -> None:
    found = read_grant(json.dumps({"accessToken": jwt(claims), "expiresIn": 10}).encode())
    assert (found.machine, found.org_id, found.lifetime) == (machine, org, 10.0)


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "..", "a.ÿ.c".encode("ascii", "replace").decode(), "x" * 16_384])
def test_a_token_need_not_be_a_jwt(token: str) -> None:
    for lifetime in (1e9, 10**400):
        assert read_grant(json.dumps({"accessToken": token, "expiresIn": lifetime}).encode()).lifetime == LONGEST_LIFE


@each_row(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"accessToken":"a"}',
        b'{"accessToken":7,"expiresIn":1}',
        b'{"accessToken":"","expiresIn":1}',
        b'{"accessToken":"a b","expiresIn":1}',
        b'{"accessToken":"a\\r\\nX: y","expiresIn":1}',
        b'{"accessToken":"a","expiresIn":true}',
        b'{"accessToken":"a","expiresIn":-1}',
        b'{"accessToken":"a","expiresIn":"10"}',
        b'{"accessToken":"' + b"x" * 16_385 + b'","expiresIn":1}',
    ],
)
def test_what_is_no_grant_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError) as raised:
        read_grant(body)
    assert "xxx" not in str(raised.value)
