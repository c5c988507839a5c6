"""A wait that ends with some jobs of its run."""

from typing import Any

import pytest

from gha_step.emulator import Answer, Job, Response, bad_gateway
from gha_step.github.runs import ObservedJob
from gha_step.steps.wait.ending import is_named, named
from tests.support.rows import each_row

from .follower import Follower, told


@each_row(
    ("job", "name", "meant"),
    [
        ("deploy", "deploy", True),
        ("deploy (eu)", "deploy", True),
        ("deploy (eu, (large))", "deploy", True),
        ("deploy (eu)", "deploy (eu)", True),
        ("deploy / release", "deploy / release", True),
        ("deploy / release (eu)", "deploy / release", True),
        ("deploy / release", "deploy", False),
        ("deploy (eu) / release", "deploy", False),
        ("deployment", "deploy", False),
        ("deploy(eu)", "deploy", False),
        ("Deploy", "deploy", False),
        ("re deploy", "deploy", False),
    ],
)
def test_a_name_is_the_whole_name_or_that_of_a_matrix(job: str, name: str, *, meant: bool) -> None:
    assert is_named(job, name) is meant


@pytest.mark.parametrize(
    ("conclusions", "conclusion"),
    [
        (["success"], "success"),
        (["success", "skipped"], "success"),
        (["skipped", "skipped"], "skipped"),
        (["success", "failure", "cancelled"], "failure"),
        (["success", "cancelled"], "cancelled"),
        (["success", "invented_tomorrow"], "invented_tomorrow"),
        (["neutral", "success"], "neutral"),
        (["failure", None], None),
        ([None], None),
    ],
)
def test_several_jobs_come_to_the_worst(conclusions: list[str | None], conclusion: str | None) -> None:
    jobs = [ObservedJob(f"a ({number})", one, None, None) for number, one in enumerate(conclusions)]
    assert named(jobs, ("a",)).conclusion == conclusion


def test_a_job_that_ran_again_counts_by_its_latest_attempt() -> None:
    jobs = [ObservedJob("a", "success", None, None, attempt=2), ObservedJob("a", "failure", None, None, attempt=1)]
    assert named(jobs, ("a",)).conclusion == named(jobs[::-1], ("a",)).conclusion == "success"


def test_the_step_ends_as_its_jobs_end_though_the_run_goes_on(here: Follower) -> None:
    run = here.run()
    run.jobs = (Job("deploy"), Job("tests"))
    assert here.call(jobs=["deploy"]).status == "Running"
    run.set_job("deploy", "completed", "success")
    result = told(here.call(jobs=["deploy"], expectedConclusion="success"))
    assert (result["status"], result["output"]["conclusion"]) == ("Succeeded", "success")
    assert result["output"]["status"] == "in_progress"
    assert result["output"]["jobs"][0]["name"] == "deploy"
    assert "job 'deploy' of run 17000000001 of myorg/my-app ended with success" in result["message"]


def test_a_job_that_is_not_there_yet_is_waited_for(here: Follower) -> None:
    run = here.run()
    run.jobs = (Job("build"),)
    assert here.call(jobs=["deploy"]).status == "Running"
    run.set_job("deploy", "completed", "success")
    assert here.call(jobs=["deploy"]).status == "Succeeded"


def test_a_failed_job_fails_the_step_with_its_step_and_link(here: Follower) -> None:
    run = here.run()
    run.jobs = (Job("deploy", ("Build", "Test"), "Test", conclusion="failure", status="completed"), Job("tests"))
    result = told(here.call(jobs="deploy", expectedConclusion="success"))
    assert result["status"] == "Failed"
    assert "but success was expected: job 'deploy' ended with failure in its step 'Test'" in result["message"]
    assert result["output"]["failedJobs"][0]["name"] == "deploy"


def test_a_failure_elsewhere_in_the_run_is_no_failure_of_these_jobs(here: Follower) -> None:
    here.run().finish("failure", [Job("deploy", conclusion="success"), Job("tests", conclusion="failure")])
    assert here.call(jobs=["deploy"], expectedConclusion="success").status == "Succeeded"


def test_a_skipped_job_counts_as_ended_and_is_named(here: Follower) -> None:
    run = here.run()
    run.jobs = (
        Job("deploy (eu)", conclusion="success", status="completed"),
        Job("deploy (us)", conclusion="skipped", status="completed"),
    )
    result = here.call(jobs=["deploy"], expectedConclusion="success")
    assert result.status == "Succeeded"
    assert "skipped: 'deploy (us)'" in str(result.message)


def test_a_name_that_was_never_seen_fails_at_the_end_with_those_that_there_were(here: Follower) -> None:
    run = here.run()
    run.jobs = (Job("build"), Job("deploy"))
    assert here.call(jobs=["deploy", "deplyo"]).status == "Running"
    run.finish()
    result = told(here.call(jobs=["deploy", "deplyo"]))
    assert result["status"] == "Failed"
    assert "had no job 'deplyo'; its jobs are 'build', 'deploy'" in result["message"]


def test_what_has_not_changed_costs_nothing_of_the_rate_limit(here: Follower) -> None:
    here.run().jobs = (Job("deploy"),)
    for _ in range(4):
        here.call(jobs=["deploy"])
        here.clock.sleep(10)
    assert here.statuses() == here.statuses("list-jobs") == [200, 304, 304, 304]


def test_outputs_are_read_as_the_jobs_end(here: Follower) -> None:
    run = here.run()
    run.upload({"n": 1})
    run.set_job("deploy", "completed", "success")
    assert told(here.call(jobs=["deploy"], outputs={}))["output"]["outputs"] == {"n": 1}


def test_trouble_with_the_jobs_is_waited_out(here: Follower) -> None:
    here.run().finish("success", [Job("deploy")])
    here.github.faults.add(bad_gateway(), "list-jobs", times=8)
    answers = here.follow(jobs=["deploy"])
    assert answers[-1].status == "Succeeded"
    assert len(answers) == 3


def test_jobs_that_may_not_be_read_end_the_wait_after_two_looks(here: Follower) -> None:
    here.run().finish("success", [Job("deploy")])
    here.github.faults.add(Answer(Response.of(403, {"message": "no"})), "list-jobs", times=None)
    answers = here.follow(jobs=["deploy"])
    assert [answer.status for answer in answers][-2:] == ["Running", "Failed"]
    assert "the jobs of run 17000000001 of myorg/my-app cannot be read" in str(answers[-1].message)


def test_a_matrix_of_hundreds_leaves_a_short_output(here: Follower) -> None:
    here.run().finish("failure", [Job(f"deploy ({n})", conclusion="failure") for n in range(256)])
    result = told(here.call(jobs=["deploy"], expectedConclusion="success"))
    assert len(result["output"]["jobs"]) == len(result["output"]["failedJobs"]) == 50
    assert "and 251 more" in result["message"]


@pytest.mark.parametrize("written", ["deploy", ["deploy"], '["deploy"]'])
def test_names_may_be_written_as_tasks_pass_them_on(here: Follower, written: Any) -> None:
    here.run().finish("success", [Job("deploy")])
    assert here.call(jobs=written).status == "Succeeded"


@pytest.mark.parametrize("written", [[], None, 1, {}, [1], [""], ["a"] * 21, "[", ["a\n"]])
def test_other_shapes_are_refused_by_name(here: Follower, written: Any) -> None:
    result = here.call(jobs=written)
    assert result.status == "Failed"
    assert "config.jobs" in str(result.message)
    assert here.github.count() == 0
