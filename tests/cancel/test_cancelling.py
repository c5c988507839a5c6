"""The step against an emulated GitHub over real sockets, by a clock that moves only when told to."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gha_step.contract.errors import LedgerUnavailable
from gha_step.contract.request import StepRequest
from gha_step.contract.result import StepResult
from gha_step.emulator import EXAMPLE_TOKEN, Reset, Token, bad_gateway
from gha_step.ledger.cancels import cancels
from gha_step.ledger.record import Record
from gha_step.ledger.shrinking import shrunk
from tests.support.calls import body, output
from tests.support.clock import LONG
from tests.support.secrets import write_secret
from tests.wait.follower import RUN, Follower, config, following

KIND = "gha-cancel-workflow"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Follower]:
    with following(tmp_path) as made:
        yield made


def call(here: Follower, alias: str = "cancel", project: str = "demo", **changes: Any) -> StepResult:
    return here.program.call(config(**changes), kind=KIND, alias=alias, project=project)


def follow(here: Follower, **changes: Any) -> StepResult:
    return here.program.follow(config(**changes), kind=KIND, alias="cancel")


def test_a_run_is_cancelled_once_and_its_end_waited_for(here: Follower) -> None:
    run = here.run()
    run.workflow.cleans_up_for = 60.0
    first = call(here)
    assert first.status == "Running"
    assert "is cancelled; waiting for its end" in str(first.message)
    last = follow(here)
    assert (last.status, output(last)["conclusion"], output(last)["attempt"]) == ("Succeeded", "cancelled", 1)
    assert here.github.count("cancel-run") == 1
    assert here.github.count("force-cancel-run") == 0


def test_a_project_whose_github_is_silent_leaves_threads_for_another(here: Follower) -> None:
    here.restart(threads=8)
    write_secret(here.folder, "other", accessToken=EXAMPLE_TOKEN, baseURL=here.url)
    silent = threading.Event()
    here.connector.on_send = lambda data: None if f"/{RUN}" in data.decode() else (silent.wait(LONG), None)[1]
    try:
        for number in range(8):
            request = body(config(runID=number + 1), kind=KIND, alias=f"cancel-{number}")
            here.program.steps.execute(StepRequest.parse(request), here.clock.monotonic())
        here.run()
        assert "is cancelled" in str(call(here, project="other").message)
    finally:
        silent.set()


def test_a_run_that_had_ended_is_a_success_with_a_note(here: Follower) -> None:
    here.run().finish()
    result = call(here)
    assert (result.status, output(result)["conclusion"]) == ("Succeeded", "success")
    assert "had ended before, so nothing was cancelled" in str(result.message)
    assert result.message == call(here).message
    assert here.github.count("cancel-run") == 0


def test_an_attempt_that_began_after_a_run_was_found_ended_is_never_cancelled(here: Follower) -> None:
    run = here.run()
    run.finish("failure")
    call(here)
    run.rerun()
    run.set_status("in_progress")
    for _ in range(2):
        result = call(here)
        assert (result.status, run.status) == ("Succeeded", "in_progress")
        assert "attempt 2 has begun since and is left alone" in str(result.message)
        here.restart()
    assert here.github.count("cancel-run") == 0


def test_a_later_attempt_is_never_cancelled_whoever_asks(here: Follower) -> None:
    run = here.run()
    call(here)
    run.rerun()
    run.set_status("in_progress")
    here.restart()
    result = call(here)
    assert result.status == "Succeeded"
    assert "attempt 2 has begun since and is left alone" in str(result.message)
    assert here.github.count("cancel-run") == 1
    assert run.status == "in_progress"


def test_the_attempt_is_still_known_once_the_ledger_has_forgotten_details(here: Follower) -> None:
    here.run()
    call(here)
    (made,) = here.store.records()
    less = shrunk(made)
    assert less is not None
    assert cancels(Record.model_validate_json(less)) == cancels(made) == (1, RUN)


def test_another_step_may_cancel_the_later_attempt(here: Follower) -> None:
    run = here.run()
    call(here)
    run.rerun()
    run.set_status("in_progress")
    assert call(here, alias="again").status == "Running"
    assert run.conclusion == "cancelled"


def test_nothing_is_cancelled_before_the_attempt_is_in_the_ledger(here: Follower) -> None:
    run = here.run()
    here.store.close()
    result = call(here)
    assert result.status == "Running"
    assert run.status == "in_progress"


def test_a_ledger_that_refuses_for_long_ends_the_step_unless_the_cancel_was_sent(here: Follower) -> None:
    def denied() -> None:
        raise LedgerUnavailable("the ServiceAccount may not get WorkflowDispatches", lasting=True)

    here.run().workflow.cleans_up_for = 10_000.0
    assert call(here, alias="sent").status == "Running"
    here.store.before_read = denied
    assert call(here, alias="sent").status == "Running"
    result = call(here)
    assert result.status == "Failed"
    assert "nothing is cancelled without the ledger: the ServiceAccount may not get" in str(result.message)


def test_force_comes_only_where_it_is_wished_and_after_its_time(here: Follower) -> None:
    run = here.run()
    run.workflow.cleans_up_for = 10_000.0
    assert call(here, force="6m").status == "Running"
    here.clock.sleep(355)
    call(here, force="6m")
    assert here.github.count("force-cancel-run") == 0
    here.clock.sleep(6)
    assert "force-cancelled" in str(call(here, force="6m").message)
    assert follow(here, force="6m").status == "Succeeded"
    assert here.github.count("force-cancel-run", "cancel-run") == 2


def test_the_cancel_of_a_run_that_ends_meanwhile_is_no_failure(here: Follower) -> None:
    here.run().set_status("in_progress")
    here.github.faults.add(Reset("after"), "cancel-run")
    assert follow(here).status == "Succeeded"


@pytest.mark.parametrize("operation", ["get-run", "cancel-run"])
def test_trouble_passes(here: Follower, operation: Any) -> None:
    here.run()
    here.github.faults.add(bad_gateway("before"), operation, times=5)
    assert follow(here).status == "Succeeded"
    assert here.github.runs[0].conclusion == "cancelled"


def test_a_token_that_may_not_fails_with_the_permission(here: Follower) -> None:
    here.run()
    here.github.add_token(Token(EXAMPLE_TOKEN, kind="fine-grained", actions="read"))
    result = follow(here)
    assert result.status == "Failed"
    assert "Actions: read and write" in str(result.message)


def test_a_missing_run_fails_after_two_looks(here: Follower) -> None:
    first = call(here)
    assert "trying once more" in str(first.message)
    here.clock.sleep(first.retry_after or 0.0)
    assert call(here).status == "Failed"
    assert here.github.count("get-run") == 2


def test_a_record_of_a_dispatch_is_not_taken_for_one_of_this_step(here: Follower) -> None:
    here.run()
    assert here.program.call(alias="cancel").status == "Succeeded"
    result = call(here)
    assert result.status == "Failed"
    assert "give this step an alias of its own" in str(result.message)
    assert here.github.count("cancel-run") == 0


def test_one_step_cancels_one_run(here: Follower) -> None:
    here.run()
    here.run()
    call(here)
    result = call(here, runID=str(RUN + 1))
    assert result.status == "Failed"
    assert "one step cancels one run" in str(result.message)
    assert here.github.runs[1].status == "in_progress"


@pytest.mark.parametrize(
    ("written", "words"), [("25h", "the maximum is 24h"), (360, "is not a string"), ("0s", "longer than 0s")]
)
def test_a_bad_force_is_refused(here: Follower, written: Any, words: str) -> None:
    message = str(call(here, force=written).message)
    assert "config.force" in message
    assert words in message
