"""What is claimed next, and when."""

import pytest

from gha_step.inbound.port.claiming import (
    LONGEST_PAUSE,
    MOST_NODES,
    MOST_RUNS,
    NO_ROUTES,
    Claim,
    Pace,
    Places,
    Rules,
    Wait,
    claimed,
    failed,
    next_claim,
    refusal,
)
from gha_step.inbound.port.errors import Limited, LoginRefused, Lost, NotSent, PortError, Refused
from gha_step.inbound.port.refusals import ASK_EVERY, TELL_EVERY, Refusals

RULES = Rules(places=200, poll=3.0)
NOW = 1000.0
DUE = Pace({"run": NOW, "node": NOW + 1})


def test_the_limit_is_what_is_free() -> None:
    assert next_claim(DUE, Places(7), NOW, RULES) == Claim("run", 7)


def test_one_claim_asks_for_no_more_than_port_s_own_integration_does() -> None:
    nodes = Pace({"run": NOW + 1, "node": NOW})
    assert next_claim(DUE, Places(1000), NOW, RULES) == Claim("run", MOST_RUNS)
    assert next_claim(nodes, Places(1000), NOW, RULES) == Claim("node", MOST_NODES)


def test_with_no_place_free_nothing_is_claimed_however_long_it_is_due() -> None:
    assert next_claim(DUE, Places(0), NOW + 500, RULES) == Wait(None)
    assert next_claim(DUE, Places(-3), NOW, RULES) == Wait(None)


def test_of_two_kinds_the_one_that_is_due_for_longer_comes_first() -> None:
    assert next_claim(DUE, Places(5), NOW + 2, RULES) == Claim("run", 5)
    later = claimed(DUE, Claim("run", 5), 0, 0, NOW + 2, RULES)
    assert next_claim(later, Places(5), NOW + 2, RULES) == Claim("node", 5)
    both = claimed(later, Claim("node", 5), 0, 0, NOW + 2, RULES)
    assert next_claim(both, Places(5), NOW + 2, RULES) == Wait(3.0)


def test_an_action_with_more_than_its_share_of_the_places_is_left_out() -> None:
    places = Places(100, {"greedy": 61, "modest": 60})
    assert next_claim(DUE, places, NOW, RULES) == Claim("run", 100, frozenset({"greedy"}))
    nodes = Pace({"run": NOW + 1, "node": NOW})
    assert next_claim(nodes, places, NOW, RULES) == Claim("node", 100)


@pytest.mark.parametrize(
    ("brought", "new", "pause"),
    [
        pytest.param(5, 5, 0.0, id="a full page of new ones: there may be more"),
        pytest.param(5, 1, 0.0, id="a full page with one new"),
        pytest.param(9, 9, 0.0, id="more than was asked for"),
        pytest.param(5, 0, 3.0, id="a full page of known ones"),
        pytest.param(4, 4, 3.0, id="a page that was not full"),
        pytest.param(0, 0, 3.0, id="nothing"),
    ],
)
def test_the_next_claim_comes_at_once_only_after_a_full_page_that_brought_something_new(
    brought: int, new: int, pause: float
) -> None:
    assert claimed(DUE, Claim("run", 5), brought, new, NOW, RULES).due["run"] == NOW + pause


def test_while_answers_are_lost_the_pauses_grow_and_an_answer_ends_that() -> None:
    pace, pauses = DUE, []
    for _ in range(12):
        pace = failed(pace, "run", Lost("x"), NOW, RULES)
        pauses.append(pace.due["run"] - NOW)
    assert pauses[:5] == [6.0, 12.0, 24.0, 48.0, LONGEST_PAUSE]
    assert set(pauses[5:]) == {LONGEST_PAUSE}
    for _ in range(12):
        pace = claimed(pace, Claim("run", 5), 1, 1, NOW, RULES)
    pace = failed(pace, "run", Lost("x"), NOW, RULES)
    assert pace.due == {"run": NOW + 6.0, "node": NOW + 1}


def test_after_each_lost_answer_half_as_much_is_claimed_as_it_may_have_been_too_long() -> None:
    pace, limits = DUE, []
    for _ in range(20):
        claim = next_claim(pace, Places(200), NOW + 10_000, RULES)
        assert isinstance(claim, Claim)
        limits.append(claim.limit)
        pace = failed(pace, claim.kind, Lost("x"), NOW, RULES).at("node", NOW + 20_000)
    assert limits[:4] == [200, 100, 50, 25]
    assert set(limits[8:]) == {1}
    pace = claimed(pace, Claim("run", 1), 0, 0, NOW, RULES)
    assert next_claim(pace, Places(200), NOW + 3, RULES) == Claim("run", 1)
    limits = []
    for _ in range(20):
        claim = next_claim(pace, Places(200), NOW + 3, RULES)
        assert isinstance(claim, Claim)
        limits.append(claim.limit)
        pace = claimed(pace, claim, claim.limit, claim.limit, NOW, RULES)
    assert limits == sorted(limits)
    assert limits[-1] == 200


@pytest.mark.parametrize(
    ("error", "pause", "kind"),
    [
        pytest.param(Limited("x", 250.0), 250.0, None, id="port asks to wait"),
        pytest.param(NotSent("x", 5.0), 5.0, None, id="no connection"),
        pytest.param(NotSent("x", 1.0), 3.0, None, id="never more often than POLL"),
        pytest.param(LoginRefused("x", 42.0), 42.0, "login", id="the token"),
        pytest.param(Refused("x", 403), ASK_EVERY, "status 403", id="forbidden"),
        pytest.param(Refused("x", 404), ASK_EVERY, "status 404", id="unknown installation"),
    ],
)
def test_what_port_refuses_or_asks_for_sets_the_next_try(error: PortError, pause: float, kind: str | None) -> None:
    assert failed(DUE, "run", error, NOW, RULES).due["run"] == NOW + pause
    assert refusal(error) == kind


def test_routes_for_nodes_that_port_does_not_serve_are_tried_once_an_hour() -> None:
    assert failed(DUE, "node", Refused("x", 404), NOW, RULES).due["node"] == NOW + NO_ROUTES
    assert failed(DUE, "node", Refused("x", 403), NOW, RULES).due["node"] == NOW + ASK_EVERY
    assert refusal(Lost("x")) is None


def test_a_refusal_is_told_when_it_begins_once_an_hour_and_when_it_is_another() -> None:
    refusals = Refusals()
    assert not refusals.ends("claims")
    told = [now for now in range(0, 7260, 60) if refusals.begins("claims", "login", float(now))]
    assert told == [0, TELL_EVERY, 2 * TELL_EVERY]
    assert refusals.begins("claims", "status 403", 7300.0)
    assert not refusals.begins("claims", "status 403", 7360.0)
    assert refusals.begins("nodes", "status 403", 7360.0)
    assert refusals.ends("claims")
    assert not refusals.ends("claims")
    assert refusals.begins("claims", "status 403", 7420.0)
