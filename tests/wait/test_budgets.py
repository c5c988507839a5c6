"""When a token may be used."""

import pytest

from gha_step.contract.secret import Token
from gha_step.github.endpoint import resolve_endpoint
from gha_step.github.rate_limits import BURST, DISPATCHES, MAX_HOLD, MAX_WAIT, PACE, WAIT, RateLimits

HERE = resolve_endpoint(None, allow_http=False)
THERE = resolve_endpoint("https://ghe.example", allow_http=False)
TOKEN, OTHER = Token("a"), Token("b")


def test_what_github_asks_for_is_kept_and_is_the_tokens_own() -> None:
    budgets = RateLimits()
    assert budgets.limited(HERE, TOKEN, 30.0, 100.0).until == 131.0
    assert budgets.hold(HERE, TOKEN).until == 131.0
    assert budgets.hold(HERE, OTHER).until < 100.0
    assert budgets.hold(THERE, TOKEN).until < 100.0


def test_an_earlier_answer_that_comes_late_shortens_nothing() -> None:
    budgets = RateLimits()
    budgets.limited(HERE, TOKEN, 300.0, 100.0)
    assert budgets.limited(HERE, TOKEN, 1.0, 100.0).until == 401.0


def test_a_limit_that_does_not_say_how_long_grows_and_is_bounded() -> None:
    budgets = RateLimits()
    waits = []
    now = 0.0
    for _ in range(20):
        until = budgets.limited(HERE, TOKEN, None, now).until
        waits.append(until - now - 1.0)
        now = until
    assert waits[:4] == [WAIT, 2 * WAIT, 4 * WAIT, 8 * WAIT]
    assert set(waits[5:]) == {MAX_WAIT}
    budgets.answered(HERE, TOKEN)
    assert budgets.limited(HERE, TOKEN, None, now).until == now + WAIT + 1.0


@pytest.mark.parametrize("wait", [0.0, 0.4])
def test_a_limit_that_ends_at_once_is_kept_for_a_second_that_doubles(wait: float) -> None:
    budgets = RateLimits()
    waits, now = [], 100.0
    for _ in range(9):
        hold = budgets.limited(HERE, TOKEN, wait, now)
        assert hold.asked(now) == pytest.approx(wait)  # which is what decides whether the step's timeout leaves time
        waits.append(round(hold.until - now - 1.0, 6))
        now = hold.until
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    budgets.answered(HERE, TOKEN)
    assert budgets.limited(HERE, TOKEN, wait, now).until == now + 2.0


def test_answers_to_requests_that_were_under_way_double_nothing() -> None:
    budgets = RateLimits()
    for _ in range(10):
        assert budgets.limited(HERE, TOKEN, 0.0, 100.0).until == 102.0


def test_dispatches_and_reads_are_limited_apart() -> None:
    budgets = RateLimits()
    budgets.limited(HERE, TOKEN, 600.0, 100.0, kind=DISPATCHES, why="limited")
    assert budgets.hold(HERE, TOKEN).until < 100.0
    assert budgets.hold(HERE, TOKEN, DISPATCHES).why == "limited"


@pytest.mark.parametrize("wait", [1e9, 1e12])
def test_no_header_holds_a_token_for_ever(wait: float) -> None:
    assert RateLimits().limited(HERE, TOKEN, wait, 0.0).until == MAX_HOLD + 1.0


def test_a_few_may_look_at_once_and_many_take_turns() -> None:
    budgets = RateLimits()
    turns = [budgets.take_turn(HERE, TOKEN, 100.0) for _ in range(BURST + 20)]
    assert turns[:BURST] == [100.0] * BURST
    assert turns == sorted(turns)
    assert turns[-1] == pytest.approx(100.0 + 19 * PACE)
    assert budgets.take_turn(HERE, OTHER, 100.0) == 100.0


def test_a_look_of_two_requests_takes_two_turns() -> None:
    budgets = RateLimits()
    turns = [budgets.take_turn(HERE, TOKEN, 100.0, requests=2) for _ in range(BURST)]
    assert turns[-1] == pytest.approx(100.0 + PACE * (2 * (BURST - 1) - BURST))


def test_no_more_than_the_pace_in_the_long_run() -> None:
    budgets = RateLimits()
    turns = [budgets.take_turn(HERE, TOKEN, 100.0 + index / 1_000) for index in range(3_000)]
    in_a_minute = sum(turn < 160.0 for turn in turns)
    assert in_a_minute <= 60 / PACE + BURST + 1


def test_the_memory_is_bounded() -> None:
    budgets = RateLimits()
    for index in range(3_000):
        budgets.limited(HERE, Token(str(index)), 60.0, 0.0)
    assert len(budgets._budgets) == 1_000
    assert budgets.hold(HERE, Token("2999")).until == 61.0
