"""Other dispatches of this ledger to the same workflow and ref: whose run a candidate may be."""

from typing import Any

import pytest

from gha_step.ledger.attribution import others_of
from gha_step.ledger.record import Record, State
from gha_step.ledger.transitions import (
    FoundByMarker,
    FoundByName,
    Indistinguishable,
    Looked,
    NothingFound,
    OnlyCandidate,
)
from tests.ledger.records import TARGET, run
from tests.ledger.records import record as stored

from .listed import EPOCH, MARKER, OVER, PROMOTION, SETTLED, accepted_without_id, decide, listed, listing, unknown

SENT = 1_700_000_001.0  # the local time at which every record here was sent
OPEN = [State.SENDING, State.UNKNOWN, State.ACCEPTED_WITHOUT_ID]
NAMED, MARKED = f"Deploy for {PROMOTION}", f"Deploy {MARKER}"


def theirs(state: State = State.ACCEPTED_WITHOUT_ID, **changes: Any) -> Record:
    """Another promotion's record of the same workflow and ref."""
    fields: dict[str, Any] = {"promotion": "test.02", "sending_at": SENT, "listings": 5}
    if state is State.ACCEPTED_WITHOUT_ID:
        fields["answered_date"] = EPOCH
    return stored(state, alias="theirs", **(fields | changes))


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("begun", [SETTLED, OVER + 299.9])
def test_the_only_candidate_waits_for_an_open_dispatch_of_another_key(state: State, begun: float) -> None:
    event = decide(accepted_without_id(), listing(listed(), begun=begun), rivals=[theirs(state)])
    assert isinstance(event, Looked)


@pytest.mark.parametrize("state", OPEN)
def test_whoever_waits_for_others_waits_five_minutes_at_most(state: State) -> None:
    event = decide(accepted_without_id(), listing(listed(), begun=OVER + 300), rivals=[theirs(state)])
    assert isinstance(event, Indistinguishable)
    nothing = decide(accepted_without_id(), listing(begun=OVER + 300), rivals=[theirs(state)])
    assert isinstance(nothing, NothingFound)


@pytest.mark.parametrize("begun", [SETTLED, OVER + 200])
def test_once_the_others_have_ended_the_only_candidate_is_ours(begun: float) -> None:
    assert isinstance(decide(accepted_without_id(), listing(listed(), begun=begun)), OnlyCandidate)


@pytest.mark.parametrize(
    ("looking", "title"), [(accepted_without_id, NAMED), (unknown, NAMED), (accepted_without_id, MARKED)]
)
def test_a_run_that_its_title_proves_waits_for_nobody(looking: Any, title: str) -> None:
    record = looking(names_promotion=True, marker=MARKER if title == MARKED else None)
    event = decide(record, listing(listed(title=title), begun=SETTLED), rivals=[theirs()])
    assert isinstance(event, FoundByName | FoundByMarker)


def test_as_many_candidates_as_dispatches_that_have_all_settled_are_ambiguous() -> None:
    runs = [listed(7), listed(8), listed(9)]
    for count, rivals in ((2, [theirs()]), (3, [theirs()]), (3, [theirs(), theirs()])):
        event = decide(accepted_without_id(), listing(*runs[:count], begun=SETTLED), rivals=rivals)
        assert isinstance(event, Indistinguishable)
        assert [candidate.id for candidate in event.candidates] == [7, 8, 9][:count]


@pytest.mark.parametrize(
    "rival",
    [
        theirs(State.SENDING),
        theirs(State.UNKNOWN),
        theirs(answered_date=EPOCH + 1),
        theirs(answered_date=None),
        theirs(listings=2),
    ],
    ids=["sending", "unknown", "answered later", "no date", "two listings"],
)
def test_several_candidates_wait_while_the_end_of_another_dispatch_may_take_one(rival: Record) -> None:
    event = decide(accepted_without_id(), listing(listed(7), listed(8), begun=SETTLED), rivals=[rival])
    assert isinstance(event, Looked)


def test_fewer_candidates_than_dispatches_are_waited_for() -> None:
    event = decide(accepted_without_id(), listing(listed(7), listed(8), begun=SETTLED), rivals=[theirs(), theirs()])
    assert isinstance(event, Looked)


def test_the_only_candidate_may_be_the_run_of_an_accepted_dispatch_that_ended_without_one() -> None:
    # Both had a 204, one run is late: the first ends ambiguous with it, and the second must not take it then.
    early = decide(accepted_without_id(), listing(listed(), begun=SETTLED), unidentified=True)
    assert isinstance(early, Looked)
    late = decide(accepted_without_id(), listing(listed(), begun=OVER), unidentified=True)
    assert isinstance(late, Indistinguishable)


@pytest.mark.parametrize("state", list(State))
def test_only_an_accepted_dispatch_without_a_run_is_unidentified(state: State) -> None:
    expected = state in (State.AMBIGUOUS, State.UNRESOLVED)
    assert others_of(accepted_without_id(), [theirs(state, answered_date=EPOCH)]).unidentified is expected
    assert not others_of(accepted_without_id(), [theirs(state, answered_date=None)]).unidentified


def test_a_lost_answer_waits_for_nobody() -> None:
    assert isinstance(decide(unknown(), listing(listed(), begun=OVER), rivals=[theirs()]), Indistinguishable)


@pytest.mark.parametrize("state", list(State))
def test_only_an_open_dispatch_of_the_same_short_ref_is_a_rival(state: State) -> None:
    mine = accepted_without_id()
    assert bool(others_of(mine, [theirs(state)]).rivals) is (state in OPEN)
    assert not others_of(mine, [theirs(state, target=TARGET.model_copy(update={"ref": "dev"}))]).rivals
    full = theirs(state, target=TARGET.model_copy(update={"ref": "refs/heads/main"}))
    assert bool(others_of(mine, [full]).rivals) is (state in OPEN)


@pytest.mark.parametrize(("sent", "expected"), [(-5.1, False), (-5.0, True), (0.0, True), (500.0, True)])
def test_what_was_sent_before_the_floor_is_no_rival(sent: float, expected: bool) -> None:
    assert bool(others_of(accepted_without_id(), [theirs(sending_at=SENT + sent)]).rivals) is expected


@pytest.mark.parametrize("gap", ["answered_date", "floor"])
def test_where_githubs_clock_is_not_known_every_open_dispatch_is_a_rival(gap: str) -> None:
    assert others_of(accepted_without_id(**{gap: None}), [theirs(sending_at=1.0)]).rivals


def test_every_run_that_another_record_names_is_taken() -> None:
    records = [theirs(State.ACCEPTED), theirs(State.ACCEPTED, run=run("only-candidate", 8)), theirs()]
    assert others_of(accepted_without_id(), records).runs == {7, 8}


@pytest.mark.parametrize("state", list(State))
def test_the_promotions_name_is_blocked_by_its_other_dispatches_that_have_no_run(state: State) -> None:
    mine = accepted_without_id()
    free = state in (State.RESERVED, State.REJECTED, State.ACCEPTED)
    assert others_of(mine, [theirs(state, promotion=PROMOTION)]).name_is_unique is free
    assert others_of(mine, [theirs(state)]).name_is_unique
