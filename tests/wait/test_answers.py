"""What the host is told of what was seen."""

from dataclasses import replace
from typing import Any

import pytest

from gha_step.contract.result import Status, StepResult
from gha_step.github.endpoint import resolve_endpoint
from gha_step.github.runs import ObservedJob, ObservedRun, PendingDeployment, RunReference
from gha_step.steps.wait.answers import Wish, tell, tell_slow
from gha_step.steps.wait.config import WaitForWorkflowConfig
from gha_step.steps.wait.snapshot import Snapshot, Trouble
from tests.support.rows import each_row

from .follower import RUN, config, told

REFERENCE = RunReference(resolve_endpoint(None, allow_http=False), "myorg", "my-app", RUN)
URL = f"https://github.com/myorg/my-app/actions/runs/{RUN}"
COMPLETED = ObservedRun("completed", "success", 1, URL, ".github/workflows/deploy.yml", "main")
RUNNING = ObservedRun("in_progress", None, 1, URL)
WAITING = ObservedRun("waiting", None, 1, URL)
NOW = 1_000.0


def wish(expected: str | None = None, every: str = "10s") -> Wish:
    wanted = {} if expected is None else {"expectedConclusion": expected}
    return Wish(REFERENCE, WaitForWorkflowConfig.parse(config(pollInterval=every, **wanted)))


ANY, WANTS_SUCCESS = wish(), wish("success")
CONCLUSIONS = ("success", "failure", "neutral", "cancelled", "skipped", "timed_out", "action_required", "stale")
FAILED_JOB = ObservedJob("deploy", "failure", "Test", f"{URL}/job/1")


def hear(seen: Snapshot, asked: Wish = ANY) -> StepResult:
    result = tell(asked, seen, NOW)
    assert f"run {RUN} of myorg/my-app" in str(result.message)
    assert result.terminal == (True if result.status is Status.FAILED else None)
    assert (result.retry_after is not None) == (result.status is Status.RUNNING)
    return result


@pytest.mark.parametrize("conclusion", [*CONCLUSIONS, "startup_failure", "invented_tomorrow"])
def test_without_an_expectation_every_conclusion_succeeds(conclusion: str) -> None:
    result = hear(Snapshot(replace(COMPLETED, conclusion=conclusion)))
    assert result.status is Status.SUCCEEDED
    assert told(result)["output"] == {"conclusion": conclusion, "status": "completed", "url": URL, "attempt": 1}


@each_row("expected", CONCLUSIONS)
@each_row("conclusion", [*CONCLUSIONS, "startup_failure", "invented_tomorrow"])
def test_with_one_only_that_conclusion_succeeds(expected: str, conclusion: str) -> None:
    result = hear(Snapshot(replace(COMPLETED, conclusion=conclusion)), wish(expected))
    assert result.status is (Status.SUCCEEDED if conclusion == expected else Status.FAILED)
    assert told(result)["output"]["conclusion"] == conclusion
    if conclusion != expected:
        assert f"ended with {conclusion}, but {expected} was expected" in str(result.message)
        assert URL in str(result.message)


@pytest.mark.parametrize("status", ["requested", "queued", "pending", "waiting", "in_progress", "invented_tomorrow"])
def test_a_run_that_goes_on_is_looked_at_again_after_the_poll_interval(status: str) -> None:
    result = hear(Snapshot(ObservedRun(status, None, 1, URL)), wish("success", "42.5s"))
    assert (result.status, result.retry_after) == (Status.RUNNING, 42.5)
    assert told(result)["output"] == {"status": status, "url": URL, "attempt": 1}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("queued", "waits for a runner"),
        ("pending", "concurrency group"),
        ("requested", "not queued it yet"),
        ("in_progress", "is in progress"),
        ("invented_tomorrow", "is invented_tomorrow"),
        ("completed", "does not show its conclusion yet"),
    ],
)
def test_a_message_says_what_the_run_waits_for(status: str, words: str) -> None:
    assert words in str(hear(Snapshot(ObservedRun(status, None, 1, URL))).message)


def test_a_poll_interval_below_a_second_is_a_second() -> None:
    assert hear(Snapshot(RUNNING), wish(every="1ms")).retry_after == 1.0


@pytest.mark.parametrize(
    ("pending", "words"),
    [
        ((PendingDeployment("production", ("alice", "team ops"), 0),), "environment production by alice or team ops"),
        (
            (PendingDeployment("eu", ("alice",), 0), PendingDeployment("us", ("bob",), 5)),
            "environment eu by alice, and for the approval of environment us by bob",
        ),
        ((PendingDeployment("production", (), 30),), "timer of environment production (30 minutes)"),
        ((PendingDeployment("production", (), 0),), "protection rule of environment production"),
        ((PendingDeployment("e", (), 0),) * 256, ", and for 251 more environments: "),
        ((), "a deployment protection rule"),
    ],
)
def test_a_waiting_run_says_for_whom(pending: tuple[PendingDeployment, ...], words: str) -> None:
    message = str(hear(Snapshot(WAITING, pending=pending)).message)
    assert words in message
    assert message.endswith(URL)
    assert len(message) < 500


def test_who_may_approve_is_told_even_if_it_is_not_known_who() -> None:
    assert "waiting for approval; reviewers unknown (why)" in str(hear(Snapshot(WAITING, detail="why")).message)


def test_a_mismatch_names_the_failed_jobs_with_their_steps_and_links() -> None:
    seen = Snapshot(
        replace(COMPLETED, conclusion="failure"), jobs=(FAILED_JOB, ObservedJob("lint", "timed_out", None, None))
    )
    result = hear(seen, WANTS_SUCCESS)
    assert "job 'deploy' ended with failure in its step 'Test'" in str(result.message)
    assert f"{URL}/job/1" in str(result.message)
    assert "job 'lint' ended with timed_out" in str(result.message)
    assert told(result)["output"]["failedJobs"] == [
        {"name": "deploy", "conclusion": "failure", "failedStep": "Test", "url": f"{URL}/job/1"},
        {"name": "lint", "conclusion": "timed_out"},
    ]


def test_of_many_failed_jobs_a_message_names_five() -> None:
    jobs = tuple(replace(FAILED_JOB, name=f"job-{number}") for number in range(50))
    result = hear(Snapshot(replace(COMPLETED, conclusion="failure"), jobs=jobs, more_jobs=200), WANTS_SUCCESS)
    assert "job-4" in str(result.message)
    assert "job-5" not in str(result.message)
    assert "and 245 more" in str(result.message)
    assert len(told(result)["output"]["failedJobs"]) == 50


def test_jobs_that_cannot_be_read_do_not_hide_that_the_run_failed() -> None:
    result = hear(Snapshot(replace(COMPLETED, conclusion="failure"), detail="a proxy said 502"), WANTS_SUCCESS)
    assert "its jobs could not be read: a proxy said 502" in str(result.message)
    assert "failedJobs" not in told(result)["output"]


def test_a_startup_failure_is_explained() -> None:
    message = str(hear(Snapshot(replace(COMPLETED, conclusion="startup_failure")), WANTS_SUCCESS).message)
    assert "the workflow file .github/workflows/deploy.yml is invalid at main" in message


def test_a_second_attempt_is_named() -> None:
    result = hear(Snapshot(replace(RUNNING, attempt=2)))
    assert "(attempt 2)" in str(result.message)
    assert told(result)["output"]["attempt"] == 2


@each_row("run", [None, RUNNING, WAITING, COMPLETED])
@each_row(("left", "retry"), [(-5.0, 10.0), (0.0, 10.0), (3.0, 10.0), (25.0, 25.0), (3600.0, 60.0)])
def test_trouble_is_running_and_never_a_long_way_off(run: ObservedRun | None, left: float, retry: float) -> None:
    result = hear(Snapshot(run, trouble=Trouble("the weather", NOW + left)), WANTS_SUCCESS)
    assert (result.status, result.retry_after) == (Status.RUNNING, retry)
    assert "the weather" in str(result.message)
    assert told(result)["output"].get("url") == (None if run is None else URL)


def test_a_longer_poll_interval_is_kept_in_trouble() -> None:
    assert hear(Snapshot(None, trouble=Trouble("x", NOW + 20)), wish(every="300s")).retry_after == 300.0


def test_a_conclusion_that_may_be_out_of_date_is_not_told() -> None:
    for seen in (
        Snapshot(COMPLETED, trouble=Trouble("x", NOW)),
        Snapshot(COMPLETED, failure=f"{REFERENCE}: the token is wrong"),
    ):
        assert "conclusion" not in told(hear(seen))["output"]


def test_a_failure_is_terminal_and_keeps_what_is_known() -> None:
    result = hear(Snapshot(RUNNING, failure=f"{REFERENCE}: the token is wrong"))
    assert (result.status, told(result)["output"]["url"]) == (Status.FAILED, URL)


@pytest.mark.parametrize("run", [None, RUNNING])
def test_a_look_that_takes_long_is_asked_for_again_soon(run: ObservedRun | None) -> None:
    result = tell_slow(wish(every="600s"), Snapshot(run))
    assert (result.status, result.retry_after) == (Status.RUNNING, 5.0)
    assert "api.github.com takes long to answer" in str(result.message)


@pytest.mark.parametrize(
    "seen", [Snapshot(), Snapshot(RUNNING), Snapshot(replace(COMPLETED, conclusion="failure"), (FAILED_JOB,))]
)
def test_an_output_never_holds_links_or_nulls(seen: Snapshot) -> None:
    def nulls(value: Any) -> bool:
        if isinstance(value, dict):
            return any(nulls(each) for each in value.values())
        return any(nulls(each) for each in value) if isinstance(value, list) else value is None

    wire = told(tell(ANY, seen, NOW))
    assert "links" not in wire["output"]
    assert not nulls(wire)
