"""What comes next for a run whose Promotion may end without success: rules as tables."""

from typing import Any

import pytest

from gha_step.github.runs import ObservedRun
from gha_step.inbound.abort import rules
from gha_step.inbound.abort.rules import Cancel, Close, Find, Known, LookAtPromotion, Reject, Wait, next_step
from gha_step.ledger.duties import Cancellation
from gha_step.ledger.record import Record, State
from tests.ledger.records import ABORT, owing, record, run
from tests.support.rows import each_row

NOW = 1_700_010_000.0
SEEN: dict[str, Any] = {"end": "Aborted", "ended": NOW - 10}
NOTED: dict[str, Any] = {**SEEN, "attempt": 1}
FORCE: dict[str, Any] = {**NOTED, "mode": "force"}


def made(state: State = State.ACCEPTED, duty: dict[str, Any] | None = None, **changes: Any) -> Record:
    return owing(record(state, **changes), ABORT, **(duty or {}))


def outcome(step: object) -> str | None:
    return step.outcome if isinstance(step, Close) else None


@pytest.mark.parametrize("state", list(State))
def test_as_long_as_the_promotion_goes_on_it_is_looked_at_and_nothing_else(state: State) -> None:
    assert next_step(made(state), Known(), NOW) == LookAtPromotion()
    assert next_step(made(state), Known(next_look=NOW + 3), NOW) == Wait(3.0)


@each_row(
    ("case", "expected"),
    [
        (made(State.RESERVED, SEEN), Reject("aborted; nothing was dispatched: the Promotion is Aborted")),
        (
            made(State.RESERVED, {**SEEN, "end": "deleted"}),
            Reject("aborted; nothing was dispatched: the Promotion was deleted"),
        ),
        (made(State.REJECTED, SEEN), Close("not-dispatched", "nothing was dispatched")),
        (made(State.SENDING, SEEN), Find()),
        (made(State.UNKNOWN, SEEN), Find()),
        (made(State.ACCEPTED_WITHOUT_ID, SEEN), Find()),
        (made(State.AMBIGUOUS, SEEN), Wait(30.0)),
        (made(State.UNRESOLVED, SEEN), Wait(30.0)),
        (made(State.UNRESOLVED, SEEN, marker="gs-x"), Find()),
        (made(State.ACCEPTED, SEEN), Cancel(None)),
        (made(State.ACCEPTED, SEEN, run=run("marker")), Cancel(None)),
        (made(State.ACCEPTED, SEEN, run=run("promotion-name")), Wait(30.0)),
        (made(State.ACCEPTED, SEEN, run=run("only-candidate")), Wait(30.0)),
        (made(State.ACCEPTED, SEEN, run=run("host")), Wait(30.0)),
        (made(State.ACCEPTED, NOTED), Cancel(force=False)),
        (made(State.ACCEPTED, FORCE), Cancel(force=False)),
        (made(State.ACCEPTED, {**FORCE, "asked": NOW - 359}), Wait(1.0)),
        (made(State.ACCEPTED, {**FORCE, "asked": NOW - 360}), Cancel(force=True)),
    ],
)
def test_once_it_has_ended_the_record_says_what_comes_next(case: Record, expected: object) -> None:
    assert next_step(case, Known(), NOW) == expected


@pytest.mark.parametrize(
    ("case", "after", "expected"),
    [
        (made(State.UNRESOLVED, SEEN), rules.UNKNOWN_FOR, "unknown-run"),
        (made(State.UNKNOWN, SEEN), rules.UNKNOWN_FOR, "unknown-run"),
        (made(State.ACCEPTED, SEEN, run=run("promotion-name")), rules.UNKNOWN_FOR, "unknown-run"),
        (made(State.ACCEPTED, NOTED), rules.GIVE_UP_AFTER, "given-up"),
        (made(State.ACCEPTED, {**NOTED, "end": "deleted"}), rules.DELETED_FOR, "given-up"),
    ],
)
def test_no_duty_stays_open_for_ever(case: Record, after: float, expected: str) -> None:
    ended = NOW - 10
    known = Known(next_look=NOW * 2, next_try=NOW * 2)
    assert outcome(next_step(case, known, ended + after - 1)) is None
    step = next_step(case, known, ended + after)
    assert isinstance(step, Close)
    assert (step.outcome, step.error) == (expected, True)


@each_row("duty", [{}, SEEN, NOTED, FORCE])
@each_row("state", list(State))
def test_a_record_that_is_deleted_is_kept_for_ten_minutes_at_most(state: State, duty: dict[str, Any]) -> None:
    going = made(state, duty, deletion=NOW - rules.DELETED_FOR)
    step = next_step(going, Known(trouble="GitHub is away"), NOW)
    if duty and state is State.RESERVED:
        assert isinstance(step, Reject)
    elif duty and state is State.REJECTED:
        assert outcome(step) == "not-dispatched"
    else:
        assert outcome(step) == ("given-up" if not duty or state is State.ACCEPTED else "unknown-run")
    assert outcome(next_step(going, Known(), NOW - 1)) in (None, "not-dispatched")


def observed(status: str = "in_progress", attempt: int = 1, began: float | None = NOW - 100, **changes: Any) -> Any:
    return ObservedRun(status, changes.pop("conclusion", None), attempt, "url", started_at=began, **changes)


def duty(**changes: Any) -> Cancellation:
    return ABORT.model_copy(update={**SEEN, **changes})


@each_row(
    ("case", "look", "expected"),
    [
        (duty(), observed(), duty(attempt=1)),
        (duty(), observed(began=NOW), duty(attempt=1)),  # our own run may begin after the end was seen
        (duty(), observed(attempt=2), duty(attempt=2)),
        (duty(), observed(attempt=2, began=NOW - 9), "another-attempt"),
        (duty(), observed(attempt=2, began=None), duty(attempt=2)),
        (duty(ended=NOW - 31), observed(attempt=2, began=None), "another-attempt"),
        (duty(ended=NOW + 600), observed(attempt=2, began=NOW - 9), "another-attempt"),  # by a clock ahead of ours
        (duty(ended=NOW + 600), observed(attempt=2, began=None), "another-attempt"),
        (duty(ended=NOW + 600), observed(), duty(ended=NOW + 600, attempt=1)),
        (duty(), observed("completed", conclusion="success"), "ended"),
        (duty(), observed("completed"), duty(attempt=1)),  # GitHub is about to say how
        (duty(attempt=1), observed(), None),
        (duty(attempt=1), observed("queued"), None),
        (duty(attempt=1), observed("a status of tomorrow"), None),
        (duty(attempt=1), observed(attempt=2), "another-attempt"),
        (duty(attempt=2), observed(attempt=1), "another-attempt"),
        (duty(attempt=1), observed("completed", attempt=2, conclusion="success"), "another-attempt"),
        (duty(attempt=1, asked=NOW), observed("completed", conclusion="cancelled"), "cancelled"),
        (duty(attempt=1, asked=NOW), observed(attempt=2), "another-attempt"),
    ],
)
def test_only_the_attempt_that_was_current_is_cancelled(case: Cancellation, look: ObservedRun, expected: Any) -> None:
    found = rules.seen(case, look, NOW, NOW)
    assert (found.outcome if isinstance(found, Close) else found) == expected


def test_how_long_ago_it_began_is_told_by_githubs_own_clock() -> None:
    """GitHub's clock is an hour ahead of ours."""
    hour = 3600.0
    current, later = observed(attempt=2, began=NOW + hour - 100), observed(attempt=2, began=NOW + hour - 5)
    assert rules.seen(duty(), current, NOW + hour, NOW) == duty(attempt=2)
    assert outcome(rules.seen(duty(), later, NOW + hour, NOW)) == "another-attempt"


@pytest.mark.parametrize(
    ("mode", "force", "took", "expected"),
    [
        ("cancel", False, True, "cancelled"),
        ("cancel", False, False, None),
        ("force", False, True, duty(attempt=1, mode="force", asked=NOW)),
        ("force", False, False, duty(attempt=1, mode="force", asked=NOW)),
        ("force", True, True, "force-cancelled"),
        ("force", True, False, None),
    ],
)
def test_what_githubs_answer_to_a_cancel_comes_to(mode: str, force: bool, took: bool, expected: object) -> None:
    found = rules.answered(duty(attempt=1, mode=mode), force=force, took=took, now=NOW)
    assert (found.outcome if isinstance(found, Close) else found) == expected


def test_a_promotion_that_takes_hours_is_looked_at_less_often() -> None:
    made_at = record().created_at
    spans = [rules.until_next_look(record(), made_at + seconds) for seconds in (0, 600, 1200, 3600, 90_000)]
    assert spans == [5.0, 10.0, 20.0, 30.0, 30.0]
