"""A dispatch that owes a report: it is there from the record's first write on, whatever becomes of the dispatch."""

from concurrent.futures import wait
from typing import Any

import pytest

from gha_step.contract.errors import ConfigError, SecretsUnavailable, StepError
from gha_step.contract.request import Caller
from gha_step.contract.result import StepResult
from gha_step.contract.secret import Token
from gha_step.emulator import EXAMPLE_TOKEN, Answer, GitHub, Response, bad_gateway
from gha_step.github.dispatch import Workflow
from gha_step.github.endpoint import resolve_endpoint
from gha_step.ledger.duties import Report
from gha_step.ledger.record import Record, State
from gha_step.steps.dispatch.request import DispatchCall, DispatchRequest, Key, Witness
from gha_step.steps.dispatch.task import Joined
from tests.support.calls import INPUTS
from tests.support.core import Program, Start
from tests.support.ledger import FaultyStore

ID = "r_0123456789abcdef"
REPORT = Report(via="claims", kind="run", id=ID)
CALLER = Caller(("demo", "port", "run", ID), ID)


def call(program: Program, url: str, *, problem: StepError | None = None, may_send: bool = True, **changes: Any) -> Any:
    """One call for the run, and what it comes to."""
    key = Key.of(CALLER, REPORT.model_copy(update=changes))
    request = DispatchRequest.of(
        key,
        Workflow(resolve_endpoint(url, allow_http=False), "myorg", "my-app", "deploy.yml", "main"),
        Token(EXAMPLE_TOKEN),
        inputs=dict(INPUTS),
        timeout=3600,
        correlation_input=None,
        may_send=lambda: may_send,
    )
    witness: Witness | None = None
    outcome = program.dispatches.decide(
        DispatchCall(
            key,
            None if problem else request,
            request.payload,
            problem,
            witness,
            program.clock.monotonic(),
        )
    )
    if isinstance(outcome, StepResult):
        return outcome
    wait([outcome.ready], 15)
    return outcome


def test_the_first_write_holds_the_report(program: Program, store: FaultyStore, github_url: str) -> None:
    written: list[Record] = []
    store.before_write = written.append
    call(program, github_url)
    assert [record.report for record in written] == [REPORT, REPORT]
    assert (written[0].version, written[0].state, written[0].schema_version) == (0, State.SENDING, 2)
    assert store.only().state is State.ACCEPTED


def test_what_cannot_be_dispatched_is_recorded_with_its_report(
    program: Program, store: FaultyStore, github: GitHub, github_url: str
) -> None:
    call(program, github_url, problem=ConfigError("no such thing"))
    record = store.only()
    assert (record.state, record.reason, record.report) == (State.REJECTED, "no such thing", REPORT)
    assert github.count("dispatch") == 0


def test_what_cannot_be_dispatched_yet_is_recorded_and_sent_later(
    program: Program, store: FaultyStore, github: GitHub, github_url: str
) -> None:
    result = call(program, github_url, problem=SecretsUnavailable("the API server is away", 5.0))
    assert result.status == "Running"
    record = store.only()
    assert (record.state, record.reason, record.report) == (State.RESERVED, "the API server is away", REPORT)
    call(program, github_url)
    assert store.only().state is State.ACCEPTED
    assert len(github.runs) == 1


def test_the_newest_wish_for_a_report_counts_as_long_as_nothing_is_sent(
    program: Program, store: FaultyStore, github_url: str
) -> None:
    call(program, github_url, problem=SecretsUnavailable("the API server is away", 5.0))
    call(program, github_url, wanted=False)
    assert store.only().report == REPORT.model_copy(update={"wanted": False})
    call(program, github_url, wanted=True)
    assert store.only().report == REPORT.model_copy(update={"wanted": False})


def test_no_timeout_ends_the_wait_of_a_dispatch_whose_follower_does(
    program: Program, store: FaultyStore, github: GitHub, github_url: str
) -> None:
    day = Response.of(403, {"message": "You have exceeded a secondary rate limit"}, {"Retry-After": "86400"})
    github.faults.add(Answer(day), "dispatch")
    joined = call(program, github_url)
    assert store.only().state is State.RESERVED
    assert isinstance(joined, Joined)
    assert joined.task.note is not None
    assert joined.task.note.queued
    program.clock.sleep(7200)
    call(program, github_url)
    assert store.only().state is State.RESERVED


def test_nothing_is_sent_once_the_caller_does_not_let_it(
    program: Program, store: FaultyStore, github: GitHub, github_url: str
) -> None:
    call(program, github_url, may_send=False)
    assert github.count("dispatch") == 0
    assert list(store.real.records()) == []
    call(program, github_url)
    assert len(github.runs) == 1


def test_a_look_for_the_run_does_not_take_the_place_of_the_dispatch(
    process: Start, store: FaultyStore, github: GitHub, github_url: str
) -> None:
    """The follower and the way in meet at one task: what the follower knows of no inputs must never be sent."""
    github.faults.add(bad_gateway("before"), "dispatch")
    program = process()
    joined = call(program, github_url)
    assert store.only().state is State.UNKNOWN
    look = DispatchRequest.to_look(store.only(), joined.call.request.workflow, Token(EXAMPLE_TOKEN))
    task = joined.task
    task.newer_request(look)
    assert task.request is joined.call.request
    assert not look.may_send()


@pytest.mark.parametrize("end", [State.ACCEPTED, State.UNKNOWN])
def test_a_record_that_vanishes_is_written_again_with_its_report(
    program: Program, store: FaultyStore, github: GitHub, github_url: str, end: State
) -> None:
    if end is State.UNKNOWN:
        github.faults.add(bad_gateway("before"), "dispatch")
    call(program, github_url)
    record = store.only()
    acknowledged = record.owing(REPORT.model_copy(update={"ack": "closed"}))
    program.dispatches._journal.write(acknowledged)
    store.forget()
    call(program, github_url)
    assert store.only().report == acknowledged.report
    assert len(github.runs) <= 1
