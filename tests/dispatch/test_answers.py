"""What the host is told of each state: the table of ledger.md."""

from typing import Any

import pytest

from gha_step.contract.request import Caller
from gha_step.contract.result import StepResult
from gha_step.contract.secret import Token
from gha_step.ledger.record import Candidate, State
from gha_step.steps.dispatch.answers import Note, tell
from gha_step.steps.dispatch.request import DispatchRequest, Key
from tests.github.answers import workflow
from tests.ledger.records import TARGET, record, run
from tests.support.calls import output

KEY = Key.of(Caller(("demo", "uid-1", "dispatch"), "test.01abc"))
SENT = [state for state in State if state not in (State.RESERVED, State.REJECTED)]
OPEN = [State.SENDING, State.UNKNOWN, State.ACCEPTED_WITHOUT_ID]
FINAL = [State.ACCEPTED, State.REJECTED, State.AMBIGUOUS, State.UNRESOLVED]


def order(inputs: dict[str, str] | None = None, **names: str) -> DispatchRequest:
    return DispatchRequest.of(
        KEY, workflow(**names), Token("ghp_hidden"), inputs=inputs or {}, timeout=60, correlation_input=None
    )


def words(result: StepResult) -> str:
    assert result.message is not None
    return result.message


def told(state: State, note: Note | None = None, **changes: Any) -> StepResult:
    return tell(record(state, **changes), note=note)


@pytest.mark.parametrize("state", list(State))
def test_only_final_states_are_told_as_final(state: State) -> None:
    result = told(state)
    assert (result.status == "Running") == (state not in FINAL)
    assert (result.retry_after is not None) == (result.status == "Running")
    assert (result.status == "Succeeded") == (state is State.ACCEPTED)


@pytest.mark.parametrize("state", SENT)
def test_from_sending_on_every_answer_carries_the_witness(state: State) -> None:
    assert output(told(state))["dispatch"] == {"record": record(state).key, "target": TARGET.hash}


@pytest.mark.parametrize("state", [State.RESERVED, State.REJECTED])
def test_where_nothing_was_sent_there_is_no_witness(state: State) -> None:
    assert output(told(state)) == {}


@pytest.mark.parametrize("state", OPEN)
def test_looking_is_asked_about_again_within_two_to_five_seconds(state: State) -> None:
    result = told(state)
    assert result.retry_after is not None
    assert 2 <= result.retry_after <= 5
    assert "looking for the run" in words(result)


def test_only_what_github_accepted_is_said_to_be_dispatched() -> None:
    assert words(told(State.ACCEPTED_WITHOUT_ID)).startswith("dispatched ")
    for state in (State.SENDING, State.UNKNOWN):
        assert "may have been dispatched" in words(told(state))


def test_a_wait_before_sending_says_that_nothing_is_dispatched_yet() -> None:
    result = told(State.RESERVED, Note("GitHub is down", 7))
    assert (result.message, result.retry_after) == ("nothing dispatched yet: GitHub is down", 7)
    assert words(told(State.RESERVED)).startswith("nothing dispatched yet: ")


@pytest.mark.parametrize("source", ["response", "marker", "promotion-name", "only-candidate", "host"])
def test_a_run_is_told_with_how_it_is_known(source: str) -> None:
    shown = output(told(State.ACCEPTED, run=run(source)))
    assert (shown["runID"], shown["runIDSource"]) == (7, source)
    assert shown["links"][0]["url"] == shown["url"] == run().url


def test_a_run_that_is_not_yet_written_is_told_all_the_same() -> None:
    result = tell(record(State.SENDING), note=None, exact=run())
    assert (result.status, output(result)["runID"]) == ("Succeeded", 7)


def test_githubs_own_word_goes_before_the_ledgers() -> None:
    result = tell(record(State.ACCEPTED, run=run("marker", 8)), note=None, exact=run("response", 7))
    assert output(result)["runID"] == 7


def test_a_rejection_says_that_nothing_was_dispatched_and_why() -> None:
    assert words(told(State.REJECTED, reason="404")) == "nothing was dispatched: 404"


def test_an_ambiguous_end_lists_the_candidates_and_the_remedy() -> None:
    both = (Candidate(id=5, url="https://x/5"), Candidate(id=6, url="https://x/6"))
    said = words(told(State.AMBIGUOUS, candidates=both))
    assert "https://x/5, https://x/6" in said
    assert "correlationInput" in said
    assert "not sent again" in said
    many = tuple(Candidate(id=number, url=f"https://x/{number}") for number in range(5_000))
    said = words(told(State.AMBIGUOUS, candidates=many))
    assert "https://x/9, and 4990 more on https://" in said
    assert "https://x/10" not in said


def test_an_unresolved_end_says_how_much_is_known_and_where_to_look() -> None:
    lost = words(told(State.UNRESOLVED))
    assert "may have been dispatched" in lost
    accepted = words(told(State.UNRESOLVED, answered_date=1.0))
    assert "was accepted by GitHub, but no run was seen" in accepted
    for said in (lost, accepted):
        assert "https://github.com/myorg/my-app/actions/workflows/deploy.yml" in said
        assert "not sent again" in said
        assert "correlationInput" in said


def test_an_end_in_spite_of_a_marker_says_that_the_run_name_must_show_it() -> None:
    marker = "gs-" + "a" * 26
    said = words(told(State.UNRESOLVED, marker=marker))
    assert marker in said
    assert "run-name: " in said


@pytest.mark.parametrize("state", SENT)
def test_other_inputs_than_those_that_were_sent_are_told(state: State) -> None:
    result = tell(record(state), note=None, request=order({"a": "b"}))
    assert output(result)["inputsChanged"] is True
    assert "inputs of this call differ" in words(result)


@pytest.mark.parametrize("state", [State.ACCEPTED, State.AMBIGUOUS, State.UNRESOLVED])
def test_another_target_than_the_one_that_was_sent_to_is_a_failure(state: State) -> None:
    result = tell(record(state), note=None, request=order(ref="dev"))
    assert (result.status, result.terminal) == ("Failed", True)
    assert "nothing was sent for the new one" in words(result)


@pytest.mark.parametrize("state", OPEN)
def test_another_target_is_no_failure_while_the_first_is_open(state: State) -> None:
    assert tell(record(state), note=None, request=order(ref="dev")).status == "Running"


def test_another_target_after_a_rejection_is_told_the_rejection() -> None:
    assert words(tell(record(State.REJECTED), note=None, request=order(ref="dev"))).startswith("nothing was dispatched")


def test_an_order_does_not_show_its_token_or_inputs_when_it_is_printed() -> None:
    shown = repr(order({"password": "hunter2"}))
    assert "ghp_hidden" not in shown
    assert "hunter2" not in shown
