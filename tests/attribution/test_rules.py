"""The three rules that may name a run, the settling that they wait for, and the ends without a run."""

from typing import Any

import pytest

from gha_step.ledger.attribution import find_marker, is_nothing_new, shows, time_left
from gha_step.ledger.record import Candidate, Record, State
from gha_step.ledger.transitions import (
    Event,
    FoundByMarker,
    FoundByName,
    Indistinguishable,
    Looked,
    NothingFound,
    OnlyCandidate,
)
from tests.ledger.records import record as stored
from tests.support.rows import each_row

from .listed import (
    EPOCH,
    FOREIGN,
    MARKER,
    NO_ANSWER,
    OVER,
    PROMOTION,
    SETTLED,
    accepted_without_id,
    decide,
    follow,
    listed,
    listing,
    unknown,
    url,
)

LOOKING = pytest.mark.parametrize("looking", [accepted_without_id, unknown])
MARKED = f"Deploy {MARKER}"
NAMED = f"Deploy for {PROMOTION}"


def ids(event: Event) -> list[int]:
    """The candidates that an event tells of."""
    if isinstance(event, Looked):
        return [candidate.id for candidate in event.seen]
    assert isinstance(event, Indistinguishable)
    return [candidate.id for candidate in event.candidates]


# ---------------------------------------------------------------- whole words


@each_row(
    ("title", "expected"),
    [
        ("v1", True),
        ("Deploy v1", True),
        ("v1: deploy", True),
        ("(v1)", True),
        ("a_v1_b", True),  # neighbours that are not alphanumeric
        ("v1.", True),
        ("v10", False),
        ("xv1", False),
        ("Xv1 v10", False),
        ("v10 v1", True),  # one whole word is enough
        ("V1", False),
        ("", False),
    ],
)
def test_a_word_is_shown_only_whole(title: str, expected: bool) -> None:
    assert shows("v1", title) is expected


def test_no_title_shows_the_empty_word() -> None:
    assert not shows("", "Deploy")
    assert not shows("", "")


@pytest.mark.parametrize("word", ["a.b", "a+b", "(", "[x]", "a|b", "^", "$"])
def test_a_word_is_no_pattern(word: str) -> None:
    assert shows(word, f"Deploy {word} now")
    assert not shows("a.b", "Deploy axb now")


# ---------------------------------------------------------------- marker


@LOOKING
@pytest.mark.parametrize("listings", [0, 1, 2, 30])
def test_one_marked_run_is_ours_at_once(looking: Any, listings: int) -> None:
    event = decide(looking(marker=MARKER, listings=listings), listing(listed(title=MARKED), begun=0.0))
    assert isinstance(event, FoundByMarker)
    assert (event.run.id, event.run.url, event.run.source) == (7, url(7), "marker")


@LOOKING
def test_one_marked_run_is_ours_among_strangers_and_after_the_deadline(looking: Any) -> None:
    strangers = [listed(number) for number in range(20, 40)]
    event = decide(looking(marker=MARKER), listing(*strangers, listed(7, title=MARKED), begun=10 * OVER))
    assert isinstance(event, FoundByMarker)
    assert event.run.id == 7


@LOOKING
def test_two_marked_runs_are_ambiguous_at_once(looking: Any) -> None:
    event = decide(
        looking(marker=MARKER, listings=0),
        listing(listed(7, title=MARKED), listed(8, title=MARKED), listed(9), begun=0.0),
    )
    assert isinstance(event, Indistinguishable)
    assert ids(event) == [7, 8]


@LOOKING
@pytest.mark.parametrize("title", [f"x{MARKER}", f"{MARKER}a", MARKER.upper(), MARKER[:-1], f"{MARKER} {FOREIGN}"])
def test_what_is_not_the_whole_marker_proves_nothing(looking: Any, title: str) -> None:
    assert isinstance(decide(looking(marker=MARKER), listing(listed(title=title), begun=0.0)), Looked)


@LOOKING
@pytest.mark.parametrize(
    "spoilt",
    [{"event": "push"}, {"head_branch": "dev"}, {"at": -60.0}, {"actor": "alice"}],
    ids=lambda spoilt: next(iter(spoilt)),
)
def test_a_marked_run_that_is_not_eligible_is_not_ours(looking: Any, spoilt: dict[str, Any]) -> None:
    record = looking(marker=MARKER, actor="kargo-bot")
    event = decide(record, listing(listed(title=MARKED, **spoilt), begun=0.0))
    assert isinstance(event, Looked)
    assert event.seen == ()


@LOOKING
def test_with_a_marker_neither_the_name_nor_the_only_candidate_is_claimed(looking: Any) -> None:
    record = looking(marker=MARKER, names_promotion=True)
    assert isinstance(decide(record, listing(listed(title=NAMED), begun=SETTLED + 5)), Looked)


@LOOKING
def test_without_the_mark_in_any_title_the_end_is_ambiguous_and_says_why(looking: Any) -> None:
    event = decide(looking(marker=MARKER), listing(listed(), begun=OVER))
    assert isinstance(event, Indistinguishable)
    assert ids(event) == [7]
    assert "marker" in event.reason


@LOOKING
def test_a_marker_that_no_title_shows_ends_at_the_deadline(looking: Any) -> None:
    assert isinstance(decide(looking(marker=MARKER), listing(begun=OVER)), NothingFound)


# ---------------------------------------------------------------- the late look for the marker

ENDED = pytest.mark.parametrize("state", [State.UNRESOLVED, State.AMBIGUOUS])


def ended(state: State, **changes: Any) -> Record:
    fields: dict[str, Any] = {"marker": MARKER, "floor": EPOCH - 5}
    return stored(state, **(fields | changes))


@ENDED
def test_a_late_marked_run_is_found(state: State) -> None:
    found = find_marker(ended(state), listing(listed(7, title=MARKED), listed(8), begun=4000.0))
    assert found is not None
    assert (found.run.id, found.run.source) == (7, "marker")


@ENDED
@pytest.mark.parametrize(
    "runs",
    [
        (),
        (listed(),),
        (listed(title=NAMED),),
        (listed(title=f"Deploy {FOREIGN}"),),
        (listed(title=MARKED, event="push"),),
        (listed(title=MARKED, head_branch="dev"),),
        (listed(title=MARKED, at=-60.0),),
        (listed(7, title=MARKED), listed(8, title=MARKED)),
    ],
)
def test_the_late_look_finds_nothing_but_one_eligible_marked_run(state: State, runs: Any) -> None:
    assert find_marker(ended(state), listing(*runs, begun=4000.0)) is None


def test_a_late_marked_run_is_found_although_others_were_candidates() -> None:
    looks = follow(unknown(marker=MARKER), [listing(listed(7), listed(8), begun=OVER)])
    assert looks.state is State.AMBIGUOUS
    found = find_marker(looks, listing(listed(7), listed(8), listed(9, title=MARKED), begun=500.0))
    assert found is not None
    assert found.run.id == 9


@ENDED
def test_the_late_look_leaves_a_claimed_run_to_its_owner(state: State) -> None:
    assert find_marker(ended(state), listing(listed(7, title=MARKED)), others_runs={7}) is None


@ENDED
def test_there_is_no_late_look_without_a_marker(state: State) -> None:
    assert find_marker(ended(state, marker=None), listing(listed(title=NAMED))) is None


def test_of_two_marked_runs_the_one_that_a_later_listing_still_shows_is_not_claimed() -> None:
    looks = follow(unknown(marker=MARKER), [listing(listed(7, title=MARKED), listed(8, title=MARKED), begun=1.0)])
    assert looks.state is State.AMBIGUOUS
    assert find_marker(looks, listing(listed(8, title=MARKED), begun=100.0)) is None


# ---------------------------------------------------------------- the promotion's name


@pytest.mark.parametrize("listings", [0, 2])
def test_after_a_204_the_one_run_with_the_promotions_name_is_ours_at_once(listings: int) -> None:
    record = accepted_without_id(names_promotion=True, listings=listings)
    event = decide(record, listing(listed(7, title=NAMED), listed(8), begun=0.0))
    assert isinstance(event, FoundByName)
    assert (event.run.id, event.run.source) == (7, "promotion-name")


@pytest.mark.parametrize(
    ("listings", "begun", "found"),
    [(0, 0.0, False), (2, 19.9, False), (1, 25.0, False), (2, 20.0, True), (8, 59.0, True)],
)
def test_after_a_lost_answer_the_name_counts_only_when_settled(listings: int, begun: float, found: bool) -> None:
    event = decide(unknown(names_promotion=True, listings=listings), listing(listed(title=NAMED), begun=begun))
    assert isinstance(event, FoundByName) is found


@LOOKING
def test_the_name_proves_nothing_where_no_input_held_it(looking: Any) -> None:
    record = looking(names_promotion=False)
    assert isinstance(decide(record, listing(listed(7, title=NAMED), listed(8), begun=15.0)), Looked)


@LOOKING
def test_the_name_proves_nothing_where_another_dispatch_of_the_promotion_may_be_meant(looking: Any) -> None:
    record = looking(names_promotion=True)
    event = decide(record, listing(listed(7, title=NAMED), begun=15.0), name_is_unique=False)
    assert isinstance(event, Looked)
    over = decide(
        looking(names_promotion=True), listing(listed(7, title=NAMED), listed(8), begun=OVER + 1), name_is_unique=False
    )
    assert isinstance(over, Indistinguishable)
    assert ids(over) == [7, 8]


@LOOKING
def test_two_runs_with_the_promotions_name_are_not_told_apart(looking: Any) -> None:
    both = listed(7, title=NAMED), listed(8, title=NAMED)
    assert isinstance(decide(looking(names_promotion=True), listing(*both, begun=15.0)), Looked)
    over = decide(looking(names_promotion=True), listing(*both, begun=OVER + 1))
    assert isinstance(over, Indistinguishable)
    assert ids(over) == [7, 8]


@LOOKING
@pytest.mark.parametrize("title", [f"{PROMOTION}x", f"x{PROMOTION}", PROMOTION.upper(), PROMOTION.replace(".", "x")])
def test_a_name_within_a_longer_word_proves_nothing(looking: Any, title: str) -> None:
    record = looking(names_promotion=True)
    assert isinstance(decide(record, listing(listed(7, title=title), listed(8), begun=15.0)), Looked)


@LOOKING
@pytest.mark.parametrize(
    "spoilt",
    [{"event": "push"}, {"head_branch": "dev"}, {"at": -60.0}, {"actor": "alice"}, {"title": f"{NAMED} {FOREIGN}"}],
    ids=lambda spoilt: next(iter(spoilt)),
)
def test_a_named_run_that_is_not_eligible_is_not_ours(looking: Any, spoilt: dict[str, Any]) -> None:
    fields = {"title": NAMED} | spoilt
    event = decide(looking(names_promotion=True, actor="kargo-bot"), listing(listed(**fields), begun=SETTLED))
    assert isinstance(event, Looked)
    assert event.seen == ()


@LOOKING
def test_a_named_run_of_another_key_is_not_ours(looking: Any) -> None:
    event = decide(looking(names_promotion=True), listing(listed(7, title=NAMED), begun=SETTLED), taken={7})
    assert isinstance(event, Looked)


@LOOKING
def test_of_two_named_runs_the_one_that_a_later_listing_still_shows_is_not_claimed(looking: Any) -> None:
    looks = follow(
        looking(names_promotion=True, listings=1),
        [
            listing(listed(7, title=NAMED), listed(8, title=NAMED), begun=15.0),
            listing(listed(8, title=NAMED), begun=SETTLED + 1),
        ],
    )
    assert looks.state is not State.ACCEPTED


@LOOKING
@pytest.mark.parametrize(
    "title", [PROMOTION, f"Deploy {PROMOTION}.", f"({PROMOTION})", f"{PROMOTION}: main", f"{PROMOTION} - 2"]
)
def test_punctuation_around_the_name_is_no_part_of_it(looking: Any, title: str) -> None:
    event = decide(looking(names_promotion=True), listing(listed(7, title=title), listed(8), begun=20.5))
    assert isinstance(event, FoundByName)


@LOOKING
def test_a_named_run_that_only_an_earlier_listing_showed_is_ours(looking: Any) -> None:
    looks = follow(
        looking(names_promotion=True, listings=1),
        [listing(listed(7, title=NAMED), listed(8, title=NAMED), begun=15.0), listing(begun=SETTLED + 1)],
        taken={8},
    )
    assert looks.run is not None
    assert looks.run.id == 7


@LOOKING
@pytest.mark.parametrize("other", [f"{PROMOTION}-2", f"{PROMOTION}.2", f"pre-{PROMOTION}"])
def test_the_name_of_another_promotion_that_holds_ours_is_not_ours(looking: Any, other: str) -> None:
    event = decide(looking(names_promotion=True), listing(listed(7, title=f"Deploy {other}"), listed(8), begun=20.5))
    assert not isinstance(event, FoundByName)


# ---------------------------------------------------------------- the only candidate


def test_after_a_204_the_only_candidate_is_ours_when_settled() -> None:
    event = decide(accepted_without_id(), listing(listed(), begun=SETTLED))
    assert isinstance(event, OnlyCandidate)
    assert (event.run.id, event.run.url, event.run.source) == (7, url(7), "only-candidate")


@pytest.mark.parametrize("begun", [0.0, 10.0, 20.0, 20.9])
def test_the_only_candidate_waits_until_s_has_passed_for_certain(begun: float) -> None:
    # 204 at 0.9 s and a listing at 20.0 s have the Dates 0 and 20: only 19.1 s lie between them.
    assert isinstance(decide(accepted_without_id(), listing(listed(), begun=begun)), Looked)


def test_settling_goes_by_githubs_dates_and_not_by_the_local_clock() -> None:
    early = decide(accepted_without_id(), listing(listed(), begun=5.0), since_sending=59.0)
    assert isinstance(early, Looked)
    late = decide(accepted_without_id(), listing(listed(), begun=SETTLED), since_sending=0.0)
    assert isinstance(late, OnlyCandidate)


@pytest.mark.parametrize("listings", [0, 1])
def test_the_only_candidate_takes_three_listings(listings: int) -> None:
    assert isinstance(decide(accepted_without_id(listings=listings), listing(listed(), begun=30.0)), Looked)
    assert isinstance(decide(accepted_without_id(listings=2), listing(listed(), begun=30.0)), OnlyCandidate)


@pytest.mark.parametrize(("answered", "begun"), [(None, SETTLED), (EPOCH, None)])
def test_without_githubs_dates_nothing_is_settled(answered: float | None, begun: float | None) -> None:
    event = decide(accepted_without_id(answered_date=answered), listing(listed(), begun=begun), since_sending=50.0)
    assert isinstance(event, Looked)


def test_two_candidates_are_ambiguous_when_settled() -> None:
    event = decide(accepted_without_id(), listing(listed(8), listed(7), begun=SETTLED))
    assert isinstance(event, Indistinguishable)
    assert ids(event) == [7, 8]


def test_two_candidates_are_not_given_up_before_it_is_settled() -> None:
    assert isinstance(decide(accepted_without_id(), listing(listed(8), listed(7), begun=20.0)), Looked)


def test_a_candidate_that_an_earlier_listing_showed_still_counts() -> None:
    looks = follow(
        accepted_without_id(listings=0),
        [listing(listed(7), begun=1.0), listing(begun=3.0), listing(listed(8), begun=SETTLED)],
    )
    assert looks.state is State.AMBIGUOUS
    assert [candidate.id for candidate in looks.candidates] == [7, 8]


def test_the_only_candidate_may_have_been_shown_by_an_earlier_listing_alone() -> None:
    looks = follow(
        accepted_without_id(listings=0), [listing(listed(7), begun=1.0), listing(begun=3.0), listing(begun=SETTLED)]
    )
    assert looks.run is not None
    assert (looks.run.id, looks.run.source) == (7, "only-candidate")


def test_a_candidate_that_another_key_claims_meanwhile_no_longer_counts() -> None:
    seen = (Candidate(id=7, url=url(7)), Candidate(id=8, url=url(8)))
    event = decide(accepted_without_id(seen=seen), listing(listed(7), listed(8), begun=SETTLED), taken={7})
    assert isinstance(event, OnlyCandidate)
    assert event.run.id == 8


def test_nothing_is_claimed_where_every_candidate_is_another_keys() -> None:
    event = decide(accepted_without_id(), listing(listed(7), begun=SETTLED), taken={7})
    assert isinstance(event, Looked)
    assert event.seen == ()


@pytest.mark.parametrize("begun", [0.0, 19.0, 25.0, 59.0])
def test_after_a_lost_answer_a_sole_candidate_is_listed_and_never_claimed(begun: float) -> None:
    event = decide(unknown(), listing(listed(), begun=begun))
    assert isinstance(event, Looked)
    assert ids(event) == [7]


def test_after_a_lost_answer_a_sole_candidate_ends_ambiguous() -> None:
    event = decide(unknown(), listing(listed(), begun=OVER))
    assert isinstance(event, Indistinguishable)
    assert ids(event) == [7]
    assert event.reason == f"{NO_ANSWER}; possibly none of these runs belongs to this step"


# ---------------------------------------------------------------- when looking ends


@pytest.mark.parametrize(
    ("timeout", "settle", "ends"),
    [(60, 20.0, 60.0), (1, 20.0, 30.0), (30, 20.0, 30.0), (300, 20.0, 300.0), (5, 240.0, 250.0)],
)
@LOOKING
def test_looking_ends_at_the_timeout_or_ten_seconds_after_settling(
    looking: Any, timeout: int, settle: float, ends: float
) -> None:
    record = looking(timeout=timeout, sending_at=1000.0)
    assert time_left(record, settle, 1000.0) == ends
    assert time_left(record, settle, 1000.0 + ends) == 0


@pytest.mark.parametrize("listings", [2, 9])
def test_a_pod_that_has_first_watched_another_for_90_s_still_looks(listings: int) -> None:
    late = unknown(lost_at=1_700_000_001.0 + 95, listings=listings, names_promotion=True)
    assert isinstance(decide(late, listing(begun=96.0)), Looked)
    assert isinstance(decide(late, listing(begun=95.0 + 29.9)), Looked)
    assert isinstance(decide(late, listing(begun=95.0 + 30.0)), NothingFound)
    assert isinstance(decide(late, listing(listed(title=NAMED), begun=120.0)), FoundByName)


def test_a_204_that_came_late_is_still_looked_after_by_githubs_clock() -> None:
    late = accepted_without_id(answered_date=EPOCH + 250)
    assert isinstance(decide(late, listing(begun=279.9)), Looked)
    assert isinstance(decide(late, listing(begun=280.0)), NothingFound)
    assert isinstance(decide(late, listing(listed(at=251), begun=271.0)), OnlyCandidate)


@LOOKING
@pytest.mark.parametrize("marker", [None, MARKER])
@pytest.mark.parametrize(("listings", "over"), [(0, False), (1, False), (2, True), (3, True)])
def test_looking_never_ends_before_three_listings(looking: Any, marker: Any, listings: int, over: bool) -> None:
    event = decide(looking(listings=listings, marker=marker), listing(begun=10 * OVER))
    assert isinstance(event, NothingFound if over else Looked)


@LOOKING
def test_looking_goes_on_until_the_deadline(looking: Any) -> None:
    assert isinstance(decide(looking(), listing(begun=1.0), since_sending=OVER - 0.1), Looked)


@LOOKING
def test_no_run_by_the_deadline_is_unresolved(looking: Any) -> None:
    event = decide(looking(), listing(begun=OVER))
    assert isinstance(event, NothingFound)
    evidence = f"{NO_ANSWER}; " if looking is unknown else ""
    assert event.reason == f"{evidence}no matching run appeared in time"


@LOOKING
def test_the_look_at_the_deadline_still_finds_the_run(looking: Any) -> None:
    record = looking(names_promotion=True)
    assert isinstance(decide(record, listing(listed(title=NAMED), begun=OVER + 100)), FoundByName)


def test_after_a_204_the_only_candidate_is_still_found_by_a_look_after_the_deadline() -> None:
    assert isinstance(decide(accepted_without_id(), listing(listed(), begun=OVER + 100)), OnlyCandidate)


def test_after_a_204_without_a_date_the_deadline_ends_it_as_ambiguous() -> None:
    record = accepted_without_id(answered_date=None)
    event = decide(record, listing(listed(), begun=OVER), since_sending=OVER)
    assert isinstance(event, Indistinguishable)
    assert ids(event) == [7]


@each_row(
    ("before", "event", "expected"),
    [
        ({"listings": 0}, Looked(()), True),
        ({"listings": 9}, Looked(()), True),
        ({"listings": 2}, Looked(()), False),  # others wait for the third
        ({"listings": 0}, Looked((Candidate(id=7, url=url(7)),)), False),
        ({"listings": 0, "floor": None}, Looked((), EPOCH), False),
        ({"listings": 0}, Looked((), EPOCH), True),  # the floor stays what it was
        ({"listings": 0}, NothingFound(reason=""), False),
    ],
)
def test_of_a_look_that_decides_nothing_only_news_are_for_others(
    before: dict[str, Any], event: Event, expected: bool
) -> None:
    assert is_nothing_new(accepted_without_id(**before), event) is expected
