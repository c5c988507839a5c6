"""The one table of moves, walked pair by pair, and what must hold whatever happens."""

import hashlib
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gha_step.ledger.keys import MARKER_SHAPE, digest, marker_of, step_key
from gha_step.ledger.record import FINAL, Payload, Record, Run, State
from gha_step.ledger.transitions import (
    TABLE,
    AcceptedWithoutId,
    Event,
    ExactId,
    FoundByMarker,
    FoundByName,
    IllegalMove,
    Looked,
    NotSent,
    OnlyCandidate,
    OwnersEvent,
    Reached,
    RecordLost,
    RefusedForNow,
    Send,
    ToldByHost,
    Trouble,
    adopt,
    advance,
)
from tests.ledger.records import OURS, TARGET, events, record, run
from tests.support.rows import each_row

RESERVED, SENDING, UNKNOWN, WITHOUT_ID = State.RESERVED, State.SENDING, State.UNKNOWN, State.ACCEPTED_WITHOUT_ID
ACCEPTED, REJECTED, AMBIGUOUS, UNRESOLVED = State.ACCEPTED, State.REJECTED, State.AMBIGUOUS, State.UNRESOLVED

# "State × event", row by row, for a record that is stored and whose attempt is the event's.
SPECIFICATION = """
reserved                                                    | Send              | sending
reserved                                                    | Trouble, Reached  | reserved
reserved                                                    | GaveUp            | rejected
sending, unknown                                            | NotSent           | reserved
sending, unknown                                            | RefusedForNow     | reserved
sending, unknown                                            | RefusedForGood    | rejected
sending, unknown                                            | AcceptedWithoutId | accepted_without_id
sending                                                     | AnswerLost        | unknown
sending                                                     | OwnerGone         | unknown
sending, unknown, accepted_without_id, unresolved, ambiguous| ExactId           | accepted
reserved                                                    | FoundByMarker     | accepted
accepted_without_id, unknown, unresolved, ambiguous         | FoundByMarker     | accepted
accepted_without_id, unknown                                | FoundByName       | accepted
accepted_without_id                                         | OnlyCandidate     | accepted
accepted_without_id                                         | Looked            | accepted_without_id
unknown                                                     | Looked            | unknown
accepted_without_id, unknown                                | Indistinguishable | ambiguous
accepted_without_id, unknown                                | NothingFound      | unresolved
"""
EVENTS = {kind.__name__: kind for kind in TABLE}
MOVES: dict[tuple[State, type[Event]], State] = {
    (State(state), EVENTS[event]): State(to.strip())
    for states, events, to in (line.split("|") for line in SPECIFICATION.strip().splitlines())
    for state in states.replace(" ", "").split(",")
    for event in events.replace(" ", "").split(",")
}
PAIRS = list(itertools.product(State, TABLE))
LEGAL = [pair for pair in PAIRS if pair in MOVES]
ILLEGAL = [pair for pair in PAIRS if pair not in MOVES]
OWNERS = [(state, kind) for state, kind in LEGAL if issubclass(kind, OwnersEvent)]


def name(value: object) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


@each_row(("state", "kind"), LEGAL, ids=name)
def test_a_legal_move_lands_where_the_specification_says(state: State, kind: type[Event]) -> None:
    before = record(state)
    after = advance(before, events()[kind])
    assert after.state is MOVES[state, kind]
    assert vars(after).keys() == Record.model_fields.keys()  # no event says anything that the record does not know
    assert (after.key, after.key_parts, after.target, after.version) == (
        before.key,
        before.key_parts,
        before.target,
        before.version,
    )


@each_row(("state", "kind"), ILLEGAL, ids=name)
def test_every_other_move_is_refused(state: State, kind: type[Event]) -> None:
    with pytest.raises(IllegalMove, match=f"{kind.__name__} is not legal .* in state {state}"):
        advance(record(state), events()[kind])


@each_row(("state", "kind"), OWNERS, ids=name)
def test_another_attempts_word_counts_for_nothing(state: State, kind: type[Event]) -> None:
    with pytest.raises(IllegalMove):
        advance(record(state), events(nonce="another")[kind])


@pytest.mark.parametrize("state", list(State))
def test_an_owners_word_needs_an_attempt(state: State) -> None:
    stripped = record(state, nonce=None, owner=None)
    for kind, event in events(nonce="n").items():
        if issubclass(kind, OwnersEvent):
            with pytest.raises(IllegalMove):
                advance(stripped, event)


def test_only_somebody_who_refuses_or_never_sent_frees_a_record_for_another_attempt() -> None:
    back = {kind for (state, kind), to in MOVES.items() if to is RESERVED and state is not RESERVED}
    assert back == {NotSent, RefusedForNow}
    assert all(issubclass(kind, OwnersEvent) for kind in back)


# ---------------------------------------------------------------- records that are new, and runs that improve


@pytest.mark.parametrize(("kind", "to"), [(ToldByHost, ACCEPTED), (RecordLost, UNRESOLVED)])
def test_witnesses_count_only_where_there_is_no_record(kind: type[Event], to: State) -> None:
    assert advance(record(RESERVED, version=0), events()[kind]).state is to
    for state in State:
        with pytest.raises(IllegalMove):
            advance(record(state), events()[kind])


@pytest.mark.parametrize("source", ["marker", "promotion-name", "only-candidate"])
@pytest.mark.parametrize("run_id", [7, 8])
def test_githubs_own_answer_replaces_an_attributed_run(source: str, run_id: int) -> None:
    after = advance(record(ACCEPTED, run=run(source)), events(run_id=run_id)[ExactId])
    assert after.state is ACCEPTED
    assert after.run == run("response", run_id)


def test_a_run_from_the_host_has_no_attempt_whose_answer_could_replace_it() -> None:
    with pytest.raises(IllegalMove):
        advance(record(ACCEPTED, run=run("host"), nonce=None, owner=None), events()[ExactId])


def test_an_exact_id_is_never_replaced_by_another() -> None:
    with pytest.raises(IllegalMove):
        advance(record(ACCEPTED), events(run_id=8)[ExactId])


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (ExactId(nonce="n", run=run("marker")), SENDING),
        (FoundByMarker(run=run("response")), UNKNOWN),
        (FoundByName(run=run("marker")), UNKNOWN),
        (OnlyCandidate(run=run("response")), WITHOUT_ID),
    ],
)
def test_no_rule_may_pass_its_run_off_as_anothers(event: Event, state: State) -> None:
    with pytest.raises(IllegalMove):
        advance(record(state), event)


# ---------------------------------------------------------------- what a move remembers


def test_send_remembers_the_attempt_and_forgets_old_reasons() -> None:
    before = record(RESERVED, reason="unreachable", trouble_since=5.0)
    after = advance(before, Send(nonce="m", owner=OURS, sending_at=11.0, floor=6.0, baseline_ids=(1, 2)))
    assert (after.nonce, after.owner, after.sending_at, after.floor, after.baseline_ids, after.reason) == (
        "m",
        OURS,
        11.0,
        6.0,
        (1, 2),
        None,
    )


@pytest.mark.parametrize("kind", [NotSent, RefusedForNow])
def test_an_attempt_that_came_to_nothing_leaves_no_trace_of_itself(kind: type[Event]) -> None:
    before = record(SENDING, floor=1.0, baseline_ids=(1,), actor="kargo-bot", lost_at=2.0)
    after = advance(before, events()[kind])
    assert (
        after.nonce,
        after.owner,
        after.sending_at,
        after.floor,
        after.baseline_ids,
        after.actor,
        after.lost_at,
    ) == (
        None,
        None,
        None,
        None,
        (),
        None,
        None,
    )


def test_trouble_counts_from_its_first_moment() -> None:
    first = advance(record(RESERVED), Trouble(at=10.0, reason="a"))
    second = advance(first, Trouble(at=50.0, reason="b"))
    assert (second.trouble_since, second.reason) == (10.0, "b")
    assert advance(second, Reached()).trouble_since is None


def test_a_refusal_for_now_is_trouble_from_its_first_moment_unless_it_may_succeed_at_once() -> None:
    assert advance(record(SENDING), RefusedForNow(nonce="n", at=12.0, reason="r")).trouble_since == 12.0
    assert advance(record(SENDING, trouble_since=3.0), RefusedForNow(nonce="n", at=12.0, reason="r")).trouble_since == 3
    assert advance(record(SENDING), RefusedForNow(nonce="n", at=None, reason="r")).trouble_since is None


def test_the_floor_of_the_baseline_is_better_than_that_of_the_answer() -> None:
    assert advance(record(SENDING, floor=1.0), AcceptedWithoutId(nonce="n", date=13.0, floor=8.0)).floor == 1.0
    assert advance(record(SENDING), AcceptedWithoutId(nonce="n", date=13.0, floor=8.0)).floor == 8.0


def test_looking_counts_listings_and_keeps_the_first_floor() -> None:
    once = advance(record(UNKNOWN), Looked(seen=(), floor=9.0))
    twice = advance(once, Looked(seen=(), floor=4.0))
    assert (twice.listings, twice.floor) == (2, 9.0)


def test_a_found_run_ends_all_doubt() -> None:
    after = advance(record(AMBIGUOUS), events()[ExactId])
    assert (after.candidates, after.reason) == ((), None)


# ---------------------------------------------------------------- rule 7, as properties


def all_events() -> list[Event]:
    return [
        event
        for nonce in ("n", "m")
        for run_id in (7, 8)
        for event in events(nonce=nonce, run_id=run_id).values()
    ]  # fmt: skip


HISTORIES = st.lists(st.sampled_from(all_events()), max_size=40)


def steps(start: Record, history: list[Event]) -> list[tuple[Record, Event, Record]]:
    """All moves that the table lets this history make."""
    made = []
    for event in history:
        try:
            after = advance(start, event)
        except IllegalMove:
            continue
        made.append((start, event, after))
        start = after.model_copy(update={"version": int(after.version) + 1})
    return made


@given(st.sampled_from(list(State)), st.sampled_from([0, 1]), HISTORIES)
def test_evidence_only_improves(state: State, version: int, history: list[Event]) -> None:
    start = record(state, version=version) if state is RESERVED else record(state)
    for before, event, after in steps(start, history):
        assert (after.key, after.key_parts, after.target, after.inputs_hash) == (
            before.key,
            before.key_parts,
            before.target,
            before.inputs_hash,
        )
        if before.state is REJECTED:
            raise AssertionError(f"rejected was changed by {event}")
        if before.state is ACCEPTED:
            assert after.state is ACCEPTED
            assert before.run is not None
            assert before.run.source != "response"
            assert after.run is not None
            assert after.run.source == "response"
        if before.state in (AMBIGUOUS, UNRESOLVED):
            assert after.state is ACCEPTED
        assert (after.state is ACCEPTED) == (after.run is not None)


@given(HISTORIES)
def test_a_second_attempt_begins_only_after_the_first_is_known_to_have_come_to_nothing(history: list[Event]) -> None:
    open_attempt: str | None = None
    for _, event, after in steps(record(RESERVED), history):
        if isinstance(event, Send):
            assert open_attempt is None
            open_attempt = event.nonce
        elif isinstance(event, NotSent | RefusedForNow):
            assert event.nonce == open_attempt
            open_attempt = None
        if after.state in (SENDING, UNKNOWN, WITHOUT_ID):
            assert after.nonce == open_attempt


@given(HISTORIES)
def test_an_exact_id_is_accepted_late_but_never_of_a_rejected_dispatch(history: list[Event]) -> None:
    last = record(SENDING)
    for _, _, after in steps(last, history):
        last = after
    if last.nonce == "n" and last.state not in (RESERVED, REJECTED) and (not last.run or last.run.source != "response"):
        assert advance(last, events()[ExactId]).run == run("response")
    elif last.state in (RESERVED, REJECTED):
        with pytest.raises(IllegalMove):
            advance(last, events()[ExactId])


@given(st.sampled_from(list(State)), HISTORIES)
def test_every_record_that_moves_make_survives_storage(state: State, history: list[Event]) -> None:
    for _, _, after in steps(record(state), history):
        assert Record.model_validate_json(after.model_dump_json(exclude_none=True)) == after


@pytest.mark.parametrize("state", sorted(State))
def test_final_states_are_exactly_those_that_are_told_as_final(state: State) -> None:
    assert record(state).final == (state in {ACCEPTED, REJECTED, AMBIGUOUS, UNRESOLVED}) == (state in FINAL)


# ---------------------------------------------------------------- payload, keys


def payload(**changes: Any) -> Payload:
    fields: dict[str, Any] = {
        "target": TARGET.model_copy(update={"ref": "dev"}),
        "inputs_hash": "1" * 64,
        "timeout": 5,
        "marker": None,
        "names_promotion": True,
    }
    return Payload(**(fields | changes))


def test_the_newest_payload_counts_while_nothing_was_sent() -> None:
    adopted = adopt(record(RESERVED), payload())
    assert (adopted.target.ref, adopted.inputs_hash, adopted.timeout, adopted.names_promotion) == (
        "dev",
        "1" * 64,
        5,
        True,
    )


@pytest.mark.parametrize("state", [state for state in State if state is not RESERVED])
def test_once_something_may_have_been_sent_the_payload_stays(state: State) -> None:
    with pytest.raises(IllegalMove):
        adopt(record(state), payload())


def test_a_key_is_the_hash_of_its_length_prefixed_parts() -> None:
    raw = b"".join(len(part).to_bytes(8, "big") + part for part in (b"demo", b"uid", b"\xc3\xa4"))
    assert step_key("demo", "uid", "ä") == hashlib.sha256(raw).hexdigest()


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_different_parts_have_different_keys(one: list[str], other: list[str]) -> None:
    assert (step_key(*one) == step_key(*other)) == (one == other)


@pytest.mark.parametrize("parts", [("",), ("demo", "", "alias"), ("demo", "uid", "")])
def test_an_empty_part_makes_no_key(parts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="empty"):
        step_key(*parts)


@given(st.text(min_size=1))
def test_a_marker_is_fixed_by_its_key_and_has_githubs_alphabet(alias: str) -> None:
    key = step_key("demo", "uid", alias)
    marker = marker_of(key)
    assert marker == marker_of(key)
    assert len(marker) == len(MARKER_SHAPE) == 29
    assert marker.startswith("gs-")
    assert set(marker[3:]) <= set("abcdefghijklmnopqrstuvwxyz234567")


def test_equal_values_have_equal_digests_whatever_their_order() -> None:
    assert digest({"a": "1", "b": "2"}) == digest({"b": "2", "a": "1"}) != digest({"a": "1", "b": "3"})


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"state": "invented"},
        {"extra": 1},
        {"key_parts": None},
        {"run": {"id": "x", "url": "", "source": "response"}},
        {"run": {"id": 1, "url": "", "source": "guess"}},
    ],
)
def test_a_record_of_another_shape_is_not_read(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Record.model_validate({**record().model_dump(), **change})


def test_records_and_events_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        record().state = SENDING  # type: ignore[misc]
    with pytest.raises(AttributeError):
        events()[Send].nonce = "x"  # type: ignore[union-attr,misc]
    assert isinstance(run(), Run)


def test_a_witness_event_is_not_among_the_moves_of_stored_records() -> None:
    assert not any(kind in (ToldByHost, RecordLost) for _, kind in MOVES)
    witnesses: set[type[Event]] = {ToldByHost, RecordLost}
    assert {kind for _, kind in MOVES} == set(TABLE) - witnesses
