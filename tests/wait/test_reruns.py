"""A failed run for which a new attempt is waited for."""

from typing import Any

import pytest

from gha_step.emulator import Job, Run
from gha_step.github.runs import ObservedRun
from gha_step.steps.wait.ending import ALL_GRACES, grace_left

from .follower import Follower, told

GRACE: dict[str, Any] = {"rerunGrace": "5m", "expectedConclusion": "success"}
FAILED = (Job("deploy", ("Build", "Test"), "Test"),)


def failed(here: Follower, conclusion: str = "failure") -> Run:
    run = here.run()
    run.finish(conclusion, FAILED)
    return run


def test_a_failure_is_final_only_after_the_grace(here: Follower) -> None:
    failed(here)
    first = told(here.call(**GRACE))
    assert first["status"] == "Running"
    assert "ended with failure; waiting " in first["message"]
    assert first["output"]["failedJobs"][0]["failedStep"] == "Test"
    assert "conclusion" not in first["output"]
    began = here.clock.monotonic()
    last = here.follow(**GRACE)[-1]
    assert last.status == "Failed"
    assert 299 <= here.clock.monotonic() - began <= 312


def test_a_new_attempt_within_the_grace_decides(here: Follower) -> None:
    run = failed(here)
    here.call(**GRACE)
    here.clock.sleep(100)
    run.rerun()
    answers = here.follow(**GRACE)
    assert (answers[-1].status, told(answers[-1])["output"]["attempt"]) == ("Succeeded", 2)


def test_each_failed_attempt_gets_it_again(here: Follower) -> None:
    run = failed(here)
    for attempt in (2, 3):
        here.clock.sleep(250)
        assert here.call(**GRACE).status == "Running"
        run.rerun()
        run.finish("failure", FAILED)
        assert told(here.call(**GRACE))["output"]["attempt"] == attempt
    here.clock.sleep(301)
    assert here.call(**GRACE).status == "Failed"
    assert here.github.count("get-run-attempt") == 1


def test_all_together_end_a_day_after_the_first_failure(here: Follower) -> None:
    run = failed(here)
    here.clock.sleep(ALL_GRACES - 20)
    run.rerun()
    run.finish("failure", FAILED)
    assert here.call(**GRACE).status == "Running"
    here.clock.sleep(30)
    assert here.call(**GRACE).status == "Failed"


def test_a_restart_does_not_begin_it_anew(here: Follower) -> None:
    failed(here)
    here.call(**GRACE)
    here.clock.sleep(200)
    here.restart()
    assert here.call(**GRACE).status == "Running"
    here.clock.sleep(105)
    here.restart()
    assert here.call(**GRACE).status == "Failed"


def test_it_is_counted_by_githubs_clock(here: Follower) -> None:
    here.github.skew = 7_200.0
    failed(here)
    assert here.call(**GRACE).status == "Running"
    here.clock.sleep(301)
    assert here.call(**GRACE).status == "Failed"


@pytest.mark.parametrize("conclusion", ["cancelled", "startup_failure", "skipped", "stale"])
def test_some_ends_have_none(here: Follower, conclusion: str) -> None:
    failed(here, conclusion)
    assert here.call(**GRACE).status == "Failed"


def test_the_expected_conclusion_ends_at_once(here: Follower) -> None:
    failed(here)
    assert here.call(rerunGrace="5m", expectedConclusion="failure").status == "Succeeded"


def test_without_an_expectation_a_failure_is_put_off_too(here: Follower) -> None:
    failed(here)
    assert here.call(rerunGrace="5m").status == "Running"
    here.clock.sleep(301)
    assert here.call(rerunGrace="5m").status == "Succeeded"


def test_while_it_lasts_no_outputs_are_read(here: Follower) -> None:
    failed(here).upload({"n": 1})
    here.call(outputs={}, **GRACE)
    assert here.github.count("list-artifacts") == 0


def test_of_named_jobs_it_begins_as_the_run_ends(here: Follower) -> None:
    run = here.run()
    run.jobs = (Job("deploy", conclusion="failure", status="completed"), Job("tests"))
    assert "the run continues" in str(here.call(jobs=["deploy"], **GRACE).message)
    here.clock.sleep(1_000)
    assert here.call(jobs=["deploy"], **GRACE).status == "Running"
    run.finish("failure", (Job("deploy", conclusion="failure"), Job("tests", conclusion="success")))
    assert here.call(jobs=["deploy"], **GRACE).status == "Running"
    run.rerun(jobs=[Job("deploy"), Job("tests")], carry_over=["tests"])
    run.set_status("in_progress")
    run.set_job("deploy", "completed", "success")
    assert here.call(jobs=["deploy"], **GRACE).status == "Succeeded"


def test_what_is_left_of_it() -> None:
    run = ObservedRun("completed", "failure", 2, "", updated_at=1_000.0)
    assert grace_left(run, 900.0, 300.0, 1_100.0) == 200.0
    assert grace_left(run, 1_000.0 - ALL_GRACES + 50.0, 300.0, 1_010.0) == 40.0
    assert grace_left(run, None, 300.0, 5_000.0) == 0.0


@pytest.mark.parametrize(
    ("written", "words"), [("61m", "the maximum is 1h"), ("0s", "longer than 0s"), (5, "is not a string")]
)
def test_bad_durations_are_refused(here: Follower, written: Any, words: str) -> None:
    message = str(here.call(rerunGrace=written).message)
    assert "config.rerunGrace" in message
    assert words in message
