"""A run is cancelled once where its Promotion ends without success: over sockets, with a GitHub that is emulated."""

from pathlib import Path
from typing import Any

import pytest

from gha_step.contract.errors import LedgerUnavailable
from gha_step.emulator import EXAMPLE_TOKEN, Answer, Response, bad_gateway
from gha_step.inbound.promotions import API
from gha_step.ledger.record import Record, State
from gha_step.ledger_report import describe
from tests.inbound.abort.conftest import NAME, PATH, Watched, promotion
from tests.support.api_server import Scripted, answer, reset, status
from tests.support.calls import config
from tests.support.github import MARKED, NAMED, WORKFLOW
from tests.support.secrets import write_secret


@pytest.mark.parametrize("phase", ["Aborted", "Failed", "Errored", "deleted"])
def test_the_run_of_a_promotion_that_ends_without_success_is_cancelled_once(watched: Watched, phase: str) -> None:
    watched.dispatch()
    watched.turn()
    assert watched.cancels == (0, 0)
    watched.ends(phase)
    watched.follow()
    assert watched.cancels == (1, 0)
    assert (watched.run.status, watched.run.conclusion) == ("completed", "cancelled")
    assert (watched.duty.end, watched.duty.attempt, watched.duty.outcome) == (phase, 1, "cancelled")
    assert watched.outcomes == ["cancelled"]
    assert watched.record.state is State.ACCEPTED
    assert "the run was cancelled" in describe(watched.record, watched.clock.now())


def test_a_promotion_that_succeeds_closes_the_duty_for_good(watched: Watched) -> None:
    watched.dispatch()
    watched.ends("Succeeded")
    watched.follow()
    assert watched.outcomes == ["succeeded"]
    watched.ends("deleted")
    watched.restart()
    assert watched.aborts.owes(watched.record) is False
    assert watched.cancels == (0, 0)


@pytest.mark.parametrize("phase", [None, "", "Pending", "Running", "Suspended", "succeeded", "deleted"])
def test_another_phase_is_no_end(watched: Watched, phase: str | None) -> None:
    watched.dispatch()
    watched.server.objects[PATH] = promotion(phase)
    for _ in range(50):
        watched.clock.sleep(watched.turn() or 0.0)
    assert watched.duty.end is None
    assert watched.cancels == (0, 0)


def test_a_promotion_of_the_same_name_is_another_one(watched: Watched) -> None:
    watched.dispatch()
    watched.server.objects[PATH] = promotion("Running", uid="uid-2")
    watched.follow()
    assert (watched.duty.end, watched.duty.outcome) == ("deleted", "cancelled")


NO_ANSWERS: dict[str, Scripted] = {
    "forbidden": answer(403, status(403, "Forbidden", "no")),
    "not served": answer(404, status(404, "NotFound", "the server could not find the requested resource")),
    "a 404 of something else": answer(404, b"<html>not found</html>"),
    "gone": answer(410, status(410, "Expired", "later")),
    "no metadata": answer(200, {"kind": "Promotion"}),
    "reset": reset,
}


@pytest.mark.parametrize("case", NO_ANSWERS)
def test_an_api_server_that_does_not_answer_has_deleted_nothing(watched: Watched, case: str) -> None:
    watched.dispatch()
    for _ in range(8):
        watched.server.scripted.append(NO_ANSWERS[case])
        watched.clock.sleep(watched.turn() or 0.0)
        watched.server.scripted.clear()
    assert watched.duty.end is None
    watched.ends("Succeeded")
    watched.follow()
    assert watched.cancels == (0, 0)


def test_an_attempt_that_began_after_the_end_is_left_alone(watched: Watched) -> None:
    """GitHub could not be asked when the Promotion ended; then a person ran the workflow again."""
    watched.dispatch()
    watched.clock.sleep(60)
    watched.ends("Aborted")
    watched.github.faults.add(bad_gateway("before"), "get-run")
    watched.turn()
    assert (watched.duty.end, watched.duty.attempt) == ("Aborted", None)
    watched.clock.sleep(10)
    watched.run.rerun()
    watched.run.set_status("in_progress")
    watched.follow()
    assert watched.duty.outcome == "another-attempt"
    assert watched.cancels == (0, 0)
    assert watched.run.status == "in_progress"


def test_an_attempt_that_began_between_the_two_looks_is_left_alone(watched: Watched) -> None:
    watched.dispatch()
    watched.ends("Aborted")

    def run_again(record: Record) -> None:
        if record.abort is not None and record.abort.attempt is not None and watched.github.runs[0].attempt == 1:
            watched.run.rerun()
            watched.run.set_status("in_progress")

    watched.store.before_write = run_again
    watched.follow()
    assert (watched.duty.attempt, watched.duty.outcome) == (1, "another-attempt")
    assert watched.cancels == (0, 0)


def test_nothing_is_forced_without_being_asked_for(watched: Watched) -> None:
    watched.dispatch()
    watched.run.workflow.cleans_up_for = 3000.0
    watched.ends("Aborted")
    watched.follow()
    watched.clock.sleep(2000)
    assert (watched.duty.outcome, watched.cancels) == ("cancelled", (1, 0))


@pytest.mark.parametrize(("cleans_up_for", "forced"), [(350.0, 0), (3000.0, 1)])
def test_force_comes_six_minutes_after_the_cancel_if_the_run_goes_on(
    watched: Watched, cleans_up_for: float, forced: int
) -> None:
    watched.dispatch(cancelOnAbort="force")
    watched.run.workflow.cleans_up_for = cleans_up_for
    watched.ends("Aborted")
    begun = watched.clock.now()
    watched.turn()
    watched.restart()  # the six minutes do not begin anew
    watched.follow()
    assert watched.cancels == (1, forced)
    assert watched.duty.outcome == ("force-cancelled" if forced else "cancelled")
    assert watched.clock.now() - begun == pytest.approx(360, abs=10)


@pytest.mark.parametrize("mode", [True, "force"])
def test_a_process_that_dies_between_cancel_and_close_cancels_once(watched: Watched, mode: Any) -> None:
    watched.dispatch(cancelOnAbort=mode)
    watched.run.workflow.cleans_up_for = 100.0
    watched.ends("Aborted")

    def die(record: Record) -> None:
        if watched.cancels[0]:
            raise LedgerUnavailable("the process dies", 1.0)

    watched.store.before_write = die
    watched.turn()
    assert watched.duty.attempt == 1
    assert not watched.duty.closed
    watched.store.before_write = lambda record: None
    watched.restart()
    watched.follow()
    assert watched.duty.outcome == "cancelled"
    watched.clock.sleep(200)
    assert watched.run.conclusion == "cancelled"
    assert watched.cancels[1] == 0


def test_what_was_done_is_written_before_it_is_done_again(watched: Watched) -> None:
    """The ledger is away for a moment, and the process lives."""
    watched.dispatch()
    watched.ends("Aborted")

    def away(record: Record) -> None:
        if watched.cancels[0]:
            watched.store.before_write = lambda record: None
            raise LedgerUnavailable("away", 1.0)

    watched.store.before_write = away
    watched.follow()
    assert (watched.cancels, watched.outcomes) == ((1, 0), ["cancelled"])


def test_where_nothing_was_sent_nothing_ever_is(watched: Watched) -> None:
    limit = Response.of(403, {"message": "You have exceeded a secondary rate limit"}, {"Retry-After": "30"})
    watched.github.faults.add(Answer(limit), "dispatch")
    wish = config(cancelOnAbort=True, timeout="300")
    assert watched.program.call(wish).status == "Running"
    assert watched.record.state is State.RESERVED
    watched.ends("Aborted")
    watched.follow()
    assert (watched.record.state, watched.duty.outcome) == (State.REJECTED, "not-dispatched")
    watched.clock.sleep(100)
    result = watched.program.call(wish)
    assert (result.status, result.message) == ("Failed", "aborted; nothing was dispatched: the Promotion is Aborted")
    assert watched.github.runs == []


def test_a_send_that_comes_back_after_the_end_is_not_tried_again(watched: Watched) -> None:
    """The end is known while a POST is on its way; GitHub refuses it for now."""
    limit = Response.of(403, {"message": "You have exceeded a secondary rate limit"}, {"Retry-After": "1"})
    watched.github.faults.add(Answer(limit), "dispatch")
    wish = config(cancelOnAbort=True, timeout="300")
    watched.program.call(wish)
    record = watched.record
    seen = watched.duty.model_copy(update={"end": "Aborted", "ended": watched.clock.now()})
    watched.store.write(record.owing(seen))
    watched.clock.sleep(30)
    assert watched.program.follow(wish).message == "aborted; nothing was dispatched: the Promotion is Aborted"
    assert watched.github.runs == []


def test_a_lost_answer_is_looked_into_though_no_host_calls(watched: Watched) -> None:
    watched.github.repository("myorg/my-app").add_workflow("marked.yml", WORKFLOW.format(title=MARKED), runs_for=1e6)
    watched.github.faults.add(bad_gateway("after"), "dispatch")
    inputs = {"image_tag": "1"}
    watched.dispatch(workflowFile="marked.yml", inputs=inputs, correlationInput="gha_step", timeout="300")
    watched.ends("Aborted")
    watched.follow()
    assert watched.record.run is not None
    assert watched.record.run.source == "marker"
    assert (watched.duty.outcome, watched.cancels) == ("cancelled", (1, 0))


def test_a_run_that_is_only_surely_ours_by_a_rule_is_never_cancelled(watched: Watched) -> None:
    watched.github.repository("myorg/my-app").add_workflow("named.yml", WORKFLOW.format(title=NAMED), runs_for=1e6)
    watched.github.faults.add(bad_gateway("after"), "dispatch")
    watched.dispatch(workflowFile="named.yml", inputs={"image_tag": "1", "promotion": NAME}, timeout="300")
    watched.ends("Aborted")
    watched.follow()
    assert watched.record.run is not None
    assert watched.record.run.source == "promotion-name"
    assert (watched.duty.outcome, watched.cancels) == ("unknown-run", (0, 0))
    assert "look at it yourself" in describe(watched.record, watched.clock.now())


def test_a_secret_that_names_another_server_since_cancels_nothing_there(
    watched: Watched, secrets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched.dispatch()
    url = str(watched.record.target.api_base).replace("127.0.0.1", "localhost")
    write_secret(secrets, accessToken=EXAMPLE_TOKEN, baseURL=url)
    watched.ends("Aborted")
    watched.follow()
    assert (watched.duty.outcome, watched.cancels) == ("given-up", (0, 0))
    assert f"the credentials are now for {url}" in caplog.text
    assert watched.github.count("get-run") == 0


@pytest.mark.parametrize("trouble", ["another token", "no rights"])
def test_what_cannot_be_done_is_tried_for_an_hour_and_then_told(
    watched: Watched, secrets: Path, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    watched.dispatch()
    if trouble == "another token":
        write_secret(secrets, accessToken="ghp_" + "0" * 36, baseURL=watched.record.target.api_base)
    else:
        refused = Response.of(403, {"message": "Resource not accessible by personal access token"})
        watched.github.faults.add(Answer(refused), "cancel-run", times=1000)
    watched.ends("Aborted")
    begun = watched.clock.now()
    watched.follow()
    assert watched.duty.outcome == "given-up"
    assert watched.clock.now() - begun == pytest.approx(3600, abs=90)
    assert watched.run.status == "in_progress"
    assert len([one for one in caplog.records if one.levelname == "ERROR"]) == 1


def test_the_promotion_is_read_by_quorum(watched: Watched) -> None:
    """Without a resourceVersion: an answer from a cache may be older than the Promotion."""
    watched.dispatch()
    watched.turn()
    assert {request.path for request in watched.server.requests} == {f"{API}/namespaces/demo/promotions/{NAME}"}
