"""A duty only goes from open to closed, no matter who writes it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gha_step.ledger.duties import Cancellation, Duty, Report
from gha_step.ledger.record import Record, State, payload_of
from gha_step.ledger.transitions import adopt
from tests.ledger.records import ABORT, DUTIES, REPORT, owing, record
from tests.support.rows import each_row

REPORTS = st.builds(
    Report,
    via=st.just("claims"),
    kind=st.just("run"),
    id=st.just("r_1"),
    wanted=st.booleans(),
    ack=st.sampled_from(["open", "closed", "none"]),
    linked=st.booleans(),
    said=st.sampled_from([(), ("link",), ("end",), ("link", "end"), ("end", "link")]),
    label=st.sampled_from(["", "queued", "unknown"]),
    cancel=st.sampled_from(["none", "asked", "forced"]),
    closed=st.booleans(),
)


@pytest.mark.parametrize(
    ("changes", "legal"),
    [
        ({}, True),
        ({"ack": "closed"}, True),
        ({"linked": True, "said": ("link",), "label": "queued"}, True),
        ({"said": ("end", "link")}, True),
        ({"cancel": "forced"}, True),
        ({"closed": True}, True),
        ({"ack": "none"}, False),
        ({"via": "kafka"}, False),
        ({"kind": "node"}, False),
        ({"id": "r_2"}, False),
        ({"wanted": False}, False),
    ],
)
def test_what_an_open_report_may_become_once_something_was_sent(changes: dict[str, Any], legal: bool) -> None:
    assert REPORT.may_become(REPORT.model_copy(update=changes), sent=True) is legal


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"ack": "closed"}, {"ack": "open"}),
        ({"ack": "none"}, {"ack": "open"}),
        ({"linked": True}, {"linked": False}),
        ({"said": ("link", "end")}, {"said": ("link",)}),
        ({"cancel": "forced"}, {"cancel": "asked"}),
        ({"closed": True}, {"closed": False}),
        ({"closed": True}, {"label": "other"}),
    ],
)
def test_nothing_is_taken_back(before: dict[str, Any], after: dict[str, Any]) -> None:
    old = REPORT.model_copy(update=before)
    assert not old.may_become(old.model_copy(update=after), sent=True)
    assert not old.may_become(old.model_copy(update=after), sent=False)


def test_new_content_is_adopted_while_nothing_was_sent() -> None:
    other = REPORT.model_copy(update={"wanted": False})
    assert owing(record()).owing(other).report == other
    with pytest.raises(ValueError, match="cannot become"):
        owing(record(State.SENDING)).owing(other)


@given(REPORTS, REPORTS, REPORTS)
def test_what_may_become_is_an_order(first: Report, second: Report, third: Report) -> None:
    assert first.may_become(first, sent=True)
    if first.may_become(second, sent=True) and second.may_become(third, sent=True):
        assert first.may_become(third, sent=True)
    if first.may_become(second, sent=True) and second.may_become(first, sent=True):
        assert first.model_copy(update={"label": "", "said": ()}) == second.model_copy(update={"label": "", "said": ()})
        assert set(first.said) == set(second.said)


SEEN = ABORT.model_copy(update={"end": "Aborted", "ended": 5.0, "attempt": 2, "asked": 6.0})


@each_row(
    ("before", "changes", "sent", "legal"),
    [
        (ABORT, {"end": "deleted", "ended": 5.0}, True, True),
        (ABORT, {"closed": True, "outcome": "succeeded", "end": "Succeeded", "ended": 5.0}, True, True),
        (SEEN, {"closed": True, "outcome": "cancelled"}, True, True),
        (ABORT, {"mode": "force"}, False, True),
        (ABORT, {"secret": None, "url": "https://github.com/o/r", "insecure": True}, False, True),
        (ABORT, {"mode": "force"}, True, False),
        (ABORT, {"secret": "other"}, True, False),
        (ABORT, {"insecure": True}, True, False),
        (ABORT, {"closed": True}, True, False),
        (ABORT, {"outcome": "cancelled"}, True, False),
        (SEEN, {"end": "Failed"}, False, False),
        (SEEN, {"end": None}, False, False),
        (SEEN, {"ended": 6.0}, False, False),
        (SEEN, {"attempt": 3}, False, False),
        (SEEN, {"asked": None}, False, False),
        (
            SEEN.model_copy(update={"closed": True, "outcome": "ended"}),
            {"closed": False, "outcome": None},
            False,
            False,
        ),
        (SEEN.model_copy(update={"closed": True, "outcome": "ended"}), {"outcome": "cancelled"}, False, False),
    ],
)
def test_the_parts_of_a_cancellation_are_written_once(
    before: Cancellation, changes: dict[str, Any], sent: bool, legal: bool
) -> None:
    assert before.may_become(before.model_copy(update=changes), sent=sent) is legal


def test_a_call_changes_what_is_owed_only_while_nothing_was_sent_and_nothing_closed() -> None:
    newer = ABORT.model_copy(update={"mode": "force", "secret": "other"})
    assert SEEN.adopting(newer) == SEEN.model_copy(update={"mode": "force", "secret": "other"})
    closed = SEEN.model_copy(update={"closed": True, "outcome": "ended"})
    assert closed.adopting(newer) is closed
    payload = payload_of(record())
    assert adopt(record(), payload, ABORT).abort == ABORT
    assert adopt(owing(record(), ABORT), payload, newer).abort == newer
    assert adopt(owing(record(), ABORT), payload, None).abort == ABORT


@pytest.mark.parametrize("duty", DUTIES)
def test_a_record_with_a_duty_is_of_schema_2_and_no_other_is(duty: Duty) -> None:
    made = owing(record(), duty)
    assert made.schema_version == 2
    assert Record.model_validate_json(made.model_dump_json()) == made
    for change in ({"schema_version": 1}, {"report": None, "abort": None}):
        with pytest.raises(ValidationError):
            Record.model_validate(made.model_dump() | change)
    with pytest.raises(ValidationError):
        Record.model_validate(record().model_dump() | {"schema_version": 2})


@pytest.mark.parametrize("change", [{"id": ""}, {"id": "r" * 65}, {"label": "x" * 65}, {"said": ["hello"]}, {"new": 1}])
def test_a_report_has_bounds(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Report.model_validate(REPORT.model_dump() | change)
