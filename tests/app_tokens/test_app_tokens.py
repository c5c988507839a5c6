"""One request however many want a token; kept until shortly before its end; asked anew when GitHub refuses it."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from gha_step.contract.errors import Unavailable
from gha_step.contract.secret import Token
from gha_step.emulator import Answer, Close, Delay, GitHub, Hold, Installation, Reset, Response, bad_gateway
from gha_step.github.app import Installation as Wanted
from gha_step.github.app_tokens import AppTokens
from gha_step.github.errors import BadPrivateKey, Refused, Unreachable
from tests.support.app_keys import rsa_key
from tests.support.clock import LONG, VirtualClock, soon
from tests.support.network import FaultyConnector, ScriptedConnection

from .conftest import NEW

Make = Callable[..., Wanted]


def test_a_token_is_that_of_the_installation_for_the_one_repository(
    tokens: AppTokens, wanted: Make, github: GitHub, installed: Installation
) -> None:
    github.add_repository("myorg/other")
    token = tokens.token(wanted())
    assert [token.reveal()] == installed.tokens
    issued = github.token(token.reveal())
    assert issued is not None
    assert issued.repositories == frozenset({"myorg/my-app"})
    (asked,) = github.log
    assert asked.headers["authorization"] == "not a token"
    assert asked.headers["x-github-api-version"] == "2022-11-28"


def test_a_token_is_fetched_once_and_kept(tokens: AppTokens, wanted: Make, github: GitHub) -> None:
    first = tokens.token(wanted())
    assert tokens.token(wanted(owner="MyOrg", repo="My-App")) == first
    assert github.count(NEW) == 1


def test_a_hundred_at_once_wait_for_one_request(tokens: AppTokens, wanted: Make, github: GitHub) -> None:
    github.faults.add(Delay(0.3), NEW)
    with ThreadPoolExecutor(100) as pool:
        got = set(pool.map(lambda _: tokens.token(wanted()).reveal(), range(100)))
    assert (len(got), github.count(NEW)) == (1, 1)


def test_whoever_cannot_wait_joins_later(tokens: AppTokens, wanted: Make, github: GitHub) -> None:
    held = Hold()
    github.faults.add(held, NEW)
    with soon(), pytest.raises(Unavailable, match="is on its way") as caught:
        tokens.token(wanted(), patience=0.05)
    assert caught.value.retry_after == 1
    held.release()
    tokens.token(wanted(), patience=LONG)
    assert github.count(NEW) == 1


def test_all_who_wait_hear_of_a_failure_and_none_asks_by_itself(
    tokens: AppTokens, wanted: Make, github: GitHub
) -> None:
    github.faults.add(Delay(0.3), NEW, times=None)
    github.faults.add(Reset("before"), NEW, times=None)

    def failed(_: int) -> bool:
        with pytest.raises(Unavailable):
            tokens.token(wanted())
        return True

    with ThreadPoolExecutor(50) as pool:
        assert all(pool.map(failed, range(50)))
    assert github.count(NEW) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"repo": "other"},
        {"issuer": "4711"},
    ],
)
def test_another_repository_or_app_has_a_token_of_its_own(
    tokens: AppTokens, wanted: Make, github: GitHub, changes: dict[str, str]
) -> None:
    github.add_repository("myorg/other")
    assert tokens.token(wanted()) != tokens.token(wanted(**changes))
    assert github.count(NEW) == 2


def test_who_shows_another_key_does_not_get_what_the_right_one_has_earned(
    tokens: AppTokens, wanted: Make, github: GitHub
) -> None:
    tokens.token(wanted())
    with pytest.raises(Refused, match="does not belong to this App"):
        tokens.token(wanted(private_key=Token(rsa_key("second").private)))
    assert github.count(NEW) == 2


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("skew", [0.0, 20.0, -20.0])
def test_a_token_is_renewed_shortly_before_its_end(
    tokens: AppTokens, wanted: Make, github: GitHub, clock: VirtualClock, skew: float
) -> None:
    github.skew = skew
    first = tokens.token(wanted())
    clock.forward(3290)
    assert tokens.token(wanted()) == first
    clock.forward(15)
    second = tokens.token(wanted())
    assert second != first
    assert github.count(NEW) == 2
    assert github.token(first.reveal()) is not None  # those who still use it may


@pytest.mark.parametrize("skew", [3600.0, -3600.0, 86_400.0, 700.0, -90.0])
def test_a_wrong_clock_of_ours_is_found_out_by_the_refusal_and_remembered(
    tokens: AppTokens, wanted: Make, github: GitHub, clock: VirtualClock, skew: float
) -> None:
    github.skew = skew
    first = tokens.token(wanted())
    assert github.count(NEW) == 2
    clock.forward(3290)
    assert tokens.token(wanted()) == first
    clock.forward(15)
    assert tokens.token(wanted()) != first
    assert github.count(NEW) == 3


def test_a_wrong_key_is_not_blamed_on_a_wrong_clock_for_ever(tokens: AppTokens, wanted: Make, github: GitHub) -> None:
    github.skew = 3600
    with pytest.raises(Refused, match="does not belong to this App"):
        tokens.token(wanted(private_key=Token(rsa_key("second").private)))
    assert github.count(NEW) == 2


# ---------------------------------------------------------------- trouble


@pytest.mark.parametrize("fault", [Reset("before"), Reset("after"), Close("before"), bad_gateway("before")])
def test_trouble_passes_and_is_not_asked_into(
    tokens: AppTokens, wanted: Make, github: GitHub, clock: VirtualClock, fault: Reset
) -> None:
    github.faults.add(fault, NEW)
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            tokens.token(wanted())
        assert caught.value.retry_after is not None
        assert 1 <= caught.value.retry_after <= 5
    assert github.count(NEW) == 1
    clock.forward(5)
    tokens.token(wanted())
    assert github.count(NEW) == 2


def test_silence_is_trouble(tokens: AppTokens, wanted: Make, connector: FaultyConnector, clock: VirtualClock) -> None:
    silent = ScriptedConnection(None, clock=clock)
    connector.on_connect = lambda endpoint: silent
    with pytest.raises(Unavailable, match="did not answer within 10 s"):
        tokens.token(wanted())
    assert silent.closed


def test_within_a_rate_limit_nothing_is_asked(
    tokens: AppTokens, wanted: Make, github: GitHub, clock: VirtualClock
) -> None:
    github.limit_rate(40, secondary=True, operation=NEW)
    with pytest.raises(Unavailable, match="rate limited by") as caught:
        tokens.token(wanted())
    assert caught.value.retry_after is not None
    assert 38 <= caught.value.retry_after <= 41
    clock.forward(30)
    with pytest.raises(Unavailable):
        tokens.token(wanted())
    assert github.count(NEW) == 1
    clock.forward(11)
    tokens.token(wanted())
    assert github.count(NEW) == 2


def test_a_server_that_cannot_be_reached_is_not_a_missing_app(
    tokens: AppTokens, wanted: Make, connector: FaultyConnector, github: GitHub
) -> None:
    def refuse(endpoint: object) -> None:
        raise Unreachable("github.example.com cannot be reached")

    connector.on_connect = refuse
    with pytest.raises(Unavailable, match="cannot be reached"):
        tokens.token(wanted())
    assert github.count() == 0


def test_an_answer_that_holds_no_token_is_trouble(tokens: AppTokens, wanted: Make, github: GitHub) -> None:
    github.faults.add(Answer(Response.of(201, {"token": "ghs_hidden", "expires_at": "never"})), NEW)
    with pytest.raises(Unavailable) as caught:
        tokens.token(wanted())
    assert "ghs_hidden" not in str(caught.value)


def test_a_proof_that_a_server_repeats_is_told_nowhere(
    tokens: AppTokens, wanted: Make, connector: FaultyConnector
) -> None:
    class Echo(ScriptedConnection):
        def receive(self, seconds: float) -> bytes:
            (proof,) = re.findall(rb"Authorization: Bearer (\S+)", self.sent)
            body = b'{"message": "who is %s?"}' % proof
            return b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    connector.on_connect = lambda endpoint: Echo()
    with pytest.raises(Refused) as caught:
        tokens.token(wanted())
    assert "who is ***?" in str(caught.value)
    assert "eyJ" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"number": 816}, "no such App, or no such installation"),
        ({"issuer": "Iv23nobody"}, "no such App"),
        ({"repo": "nothing"}, "cannot see myorg/nothing"),
    ],
)
def test_a_refusal_is_final_for_its_call_and_asked_again_by_the_next(
    tokens: AppTokens, wanted: Make, github: GitHub, changes: dict[str, str | int], words: str
) -> None:
    for number in (1, 2):
        with pytest.raises(Refused, match=words):
            tokens.token(wanted(**changes))
        assert github.count(NEW) == number


def test_a_suspended_installation_has_no_tokens_until_it_is_lifted(
    tokens: AppTokens, wanted: Make, installed: Installation
) -> None:
    installed.suspended = True
    with pytest.raises(Refused, match="is suspended: lift that"):
        tokens.token(wanted())
    installed.suspended = False
    tokens.token(wanted())


def test_a_key_that_cannot_sign_is_told_before_anything_is_sent(
    tokens: AppTokens, wanted: Make, github: GitHub, connector: FaultyConnector
) -> None:
    with pytest.raises(BadPrivateKey):
        tokens.token(wanted(private_key=Token("-----BEGIN nothing")))
    assert (github.count(), connector.connects) == (0, 0)


# ---------------------------------------------------------------- a token that GitHub refuses


def test_a_refused_token_is_dropped_for_all(tokens: AppTokens, wanted: Make, github: GitHub) -> None:
    first = tokens.token(wanted())
    second = tokens.renewed(wanted(), first)
    assert second != first
    assert tokens.token(wanted()) == second
    assert github.count(NEW) == 2


def test_what_others_have_renewed_already_is_not_renewed_again(tokens: AppTokens, wanted: Make, github: GitHub) -> None:
    first = tokens.token(wanted())
    github.faults.add(Delay(0.2), NEW)
    with ThreadPoolExecutor(50) as pool:
        got = set(pool.map(lambda _: tokens.renewed(wanted(), first).reveal(), range(50)))
    assert (len(got), github.count(NEW)) == (1, 2)


def test_a_process_forgets_and_asks_again(make_tokens: Callable[[], AppTokens], wanted: Make, github: GitHub) -> None:
    make_tokens().token(wanted())
    make_tokens().token(wanted())
    assert github.count(NEW) == 2
