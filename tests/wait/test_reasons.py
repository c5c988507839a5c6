"""Why a run failed or was cancelled, and whom a pending one waits for: told where GitHub tells it, asked for once."""

import re
from pathlib import Path
from typing import Any

import pytest

from gha_step.contract.result import StepResult
from gha_step.emulator import (
    EXAMPLE_TOKEN,
    Annotation,
    Answer,
    Close,
    Fault,
    GitHub,
    Job,
    Reset,
    Response,
    Run,
    Token,
    bad_gateway,
)

from .follower import RUN, Follower, following, told

FAILS = {"expectedConclusion": "success"}
EXIT = Annotation("Process completed with exit code 1.")
QUOTA = Annotation("No\nsuch   image", "Deploy", "deploy/run.sh", 12)


def failed(*annotations: Annotation, name: str = "deploy", **changes: Any) -> Job:
    return Job(name, ("Build", "Test"), "Test", annotations=annotations, **changes)


def words(result: StepResult) -> str:
    """What the host is told, on one line."""
    message = str(result.message)
    assert message.isprintable()
    return message


# ---------------------------------------------------------------- annotations


def test_a_failure_says_what_its_jobs_say(here: Follower) -> None:
    here.run().finish("failure", [Job("build", conclusion="success"), failed(EXIT, QUOTA)])
    result = here.call(**FAILS)
    assert ": deploy/run.sh:12: Deploy: No such image (" in words(result)
    assert "exit code" not in words(result)
    assert told(result)["output"]["failedJobs"][0]["errors"] == ["deploy/run.sh:12: Deploy: No such image"]


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ([EXIT], ["Process completed with exit code 1."]),
        ([Annotation("a", level="warning"), Annotation("b", level="notice"), Annotation("c")], ["c"]),
        ([Annotation("same"), Annotation("same")], ["same"]),
        ([Annotation(f"error {n}") for n in range(9)], ["error 0", "error 1", "error 2"]),
        ([Annotation("Quota: exceeded", "Quota")], ["Quota: exceeded"]),
        ([Annotation("", "Only a title", "a.tf", 3)], ["a.tf:3: Only a title"]),
        ([Annotation("")], None),
        ([], None),
    ],
)
def test_errors_alone_are_told_and_three_of_a_job(
    here: Follower, annotations: list[Annotation], said: list[str] | None
) -> None:
    here.run().finish("failure", [failed(*annotations)])
    assert told(here.call(**FAILS))["output"]["failedJobs"][0].get("errors") == said


def test_three_jobs_are_asked_about_and_what_they_say_is_bounded(here: Follower) -> None:
    loud = [
        Annotation("\u202e" + "x" * 9_000 + EXAMPLE_TOKEN, f"{EXAMPLE_TOKEN} {n}" * 99, "p" * 5_000) for n in range(9)
    ]
    here.run().finish("failure", [failed(*loud, name=f"deploy ({number})") for number in range(9)])
    result = here.call(**FAILS)
    assert here.github.count("list-annotations") == 3
    assert len(words(result)) < 10_000
    assert EXAMPLE_TOKEN not in result.to_wire().decode()
    assert [len(job.get("errors", ())) for job in told(result)["output"]["failedJobs"]] == [3, 3, 3, *[0] * 6]


def test_a_token_that_may_not_read_checks_is_asked_once_an_hour(here: Follower) -> None:
    here.github.add_token(Token("no-checks", kind="fine-grained", checks="none"))
    here.token("no-checks")
    for asked, pause in ((1, 1.0), (1, 3_700.0), (2, 0.0)):
        run = here.run()
        run.finish("failure", [failed(QUOTA)])
        result = here.call(runID=run.id, **FAILS)
        assert "job 'deploy' ended with failure in its step 'Test'" in words(result)
        assert not re.search(r"\b403\b", words(result))  # a port may have these digits
        assert here.github.count("list-annotations") == asked
        here.clock.sleep(pause)


ODD_BODIES: list[Any] = [
    None,
    {},
    [1],
    [{}],
    [{"annotation_level": "failure"}],
    "x",
    [{"annotation_level": "failure", "message": "x"}] * 101,
]


@pytest.mark.parametrize(
    "fault",
    [
        *(Reset(), Close(), bad_gateway(), Answer(Response.of(404, {"message": "Not Found"}))),
        *(Answer(Response.of(429, {"message": "rate limit"}, {"Retry-After": "60"})),),
        *(Answer(Response.of(200, body)) for body in ODD_BODIES),
        Answer(Response.of(200, [{"annotation_level": "failure", "message": 1, "path": 2, "start_line": "3"}])),
    ],
)
def test_where_annotations_cannot_be_had_the_end_is_told_at_once_without(here: Follower, fault: Fault) -> None:
    here.github.faults.add(fault, "list-annotations")
    here.run().finish("failure", [failed(QUOTA), failed(QUOTA, name="lint")])
    result = here.call(**FAILS)
    assert (result.status, told(result)["output"]["conclusion"]) == ("Failed", "failure")
    assert "job 'deploy' ended with failure in its step 'Test'" in words(result)


def test_each_attempt_is_asked_about_once_however_often_it_is_looked_at(here: Follower) -> None:
    run = here.run()
    for attempt in (1, 2):
        run.finish("failure", [failed(Annotation(f"error of attempt {attempt}"), name=f"job {n}") for n in range(5)])
        for _ in range(10):
            result = here.call(rerunGrace="5m", **FAILS)
            assert f"error of attempt {attempt}" in words(result)
            here.clock.sleep(10)
        assert here.github.count("list-annotations") == 3 * attempt
        run.rerun()
        run.set_status("in_progress")


# ---------------------------------------------------------------- cancelled before it began


def queue(here: Follower, length: int) -> list[Run]:
    """Runs of one concurrency group, the first of which holds it."""
    runs = [here.run() for _ in range(length)]
    for run in runs:
        run.enter_group("deploy/prod")
    return runs


@pytest.mark.parametrize(
    "changes", [{}, {"jobs": ["deploy"]}, {"outputs": {}}, {"rerunGrace": "5m", "jobs": ["deploy"]}]
)
def test_a_run_that_another_replaced_says_so(here: Follower, changes: dict[str, Any]) -> None:
    _, replaced, _ = queue(here, 3)
    assert replaced.conclusion == "cancelled"
    (result,) = here.follow(1, runID=replaced.id, **FAILS, **changes)
    assert "before a job began" in words(result)
    assert "newer run of its concurrency group" in words(result)
    assert "`queue: max`" in words(result)
    assert "correct the job's name" not in words(result)
    assert told(result)["output"]["conclusion"] == "cancelled"
    assert here.github.count("list-annotations") == 0


def test_so_does_one_whose_jobs_are_listed_though_no_runner_took_them(here: Follower) -> None:
    run = here.github.start_run(actor="kargo-bot")
    run.set_status("queued")
    run.cancel()
    assert "before a job began" in words(here.call(**FAILS))


def test_a_run_that_was_cancelled_while_it_ran_does_not(here: Follower) -> None:
    here.run().finish("cancelled", [Job("deploy", annotations=(Annotation("The run was canceled by @octocat."),))])
    message = words(here.call(**FAILS))
    assert "before a job began" not in message
    assert "The run was canceled by @octocat." in message


def test_jobs_that_were_carried_over_have_not_begun_again(here: Follower) -> None:
    run = here.run()
    run.finish("failure", [Job("build", conclusion="success"), failed()])
    run.rerun(carry_over=["build"])
    run.set_status("queued")
    run.cancel()
    assert "before a job began" in words(here.call(**FAILS))


# ---------------------------------------------------------------- pending


def test_a_pending_run_names_the_run_that_it_waits_for(here: Follower) -> None:
    holder, pending = queue(here, 2)
    message = words(here.call(runID=pending.id))
    assert f"is pending: it waits behind run {holder.id} of its concurrency group 'deploy/prod' (" in message
    assert f"{here.url}{holder.url_path})" in message
    holder.finish()
    pending.set_status("in_progress")
    assert "is in progress" in words(here.call(runID=pending.id))


def test_of_many_it_names_the_one_that_runs_and_counts_the_others(here: Follower) -> None:
    holder, *others, last = [here.run() for _ in range(5)]
    for run in (holder, *others, last):
        run.group = "deploy/prod"
    for run in (*others, last):
        run.set_status("pending")
    assert f"behind run {holder.id}, and 3 more of its concurrency group" in words(here.call(runID=last.id))


def test_an_hour_in_a_busy_group_costs_twelve_requests_with_all_that_follows(here: Follower) -> None:
    *before, pending = [here.run() for _ in range(60)]
    for run in (*before, pending):
        run.group = "deploy/prod"
    pending.set_status("pending")
    for holder in before:  # each minute another one holds the group
        for _ in range(6):
            assert f"behind run {holder.id}" in words(here.call(runID=pending.id)) or holder is not before[0]
            here.clock.sleep(9.9)
        holder.finish()
    pending.set_status("in_progress")
    here.call(runID=pending.id)
    pending.finish("failure", [failed(QUOTA, name=f"job {n}") for n in range(9)])
    assert "No such image" in words(here.call(runID=pending.id))
    (window,) = here.github._windows.values()
    assert window.used == 11  # docs/scaling.md; 12 are allowed


def test_a_server_that_does_not_tell_of_groups_is_asked_once_an_hour(tmp_path: Path) -> None:
    with following(tmp_path, "ghes-3.19") as here:
        for asked in (1, 1, 2):
            run = here.run()
            run.set_status("pending")
            for _ in range(3):
                assert "another run of its concurrency group is before it" in words(here.call(runID=run.id))
                here.clock.sleep(10)
            assert here.github.count("get-run-groups") == asked
            here.clock.sleep(3_600 if asked == 1 and run.id > RUN else 0)


def test_a_group_that_has_gone_meanwhile_is_no_server_without_groups(here: Follower) -> None:
    first = here.run()
    first.group = "deploy/test"
    first.set_status("pending")
    _, second = queue(here, 2)
    here.github.faults.add(Answer(Response.of(404, {"message": "Not Found"})), "get-group")
    assert "another run of its concurrency group is before it" in words(here.call(runID=first.id))
    assert "waits behind run" in words(here.call(runID=second.id))


HOSTILE: list[Any] = [
    *(None, [], {}, {"concurrency_groups": 1}, {"concurrency_groups": [{}]}),
    {"concurrency_groups": [{"group_name": "x" * 5_000, "group_members": [{"run_id": RUN, "status": "pending"}]}]},
    {"concurrency_groups": [{"group_name": "../../../user", "group_members": [{"run_id": RUN, "status": "pending"}]}]},
]


@pytest.mark.parametrize("body", HOSTILE)
def test_odd_groups_are_not_told_and_lead_nowhere(here: Follower, body: Any) -> None:
    here.run().set_status("pending")
    here.github.faults.add(Answer(Response.of(200, body)), "get-run-groups")
    assert "another run of its concurrency group is before it" in words(here.call())
    assert here.github.count("get-user") == 0


@pytest.mark.parametrize(
    "members",
    [
        *(None, [1], [{"run_id": "1"}], [{"run_id": -1}]),
        [{"run_id": 9, "run_html_url": "https://evil.example/", "status": "in_progress"}],
        [{"run_id": 9, "run_html_url": None, "status": 7}],
    ],
)
def test_odd_members_are_not_told_and_links_are_githubs_own(here: Follower, members: Any) -> None:
    _, pending = queue(here, 2)
    here.github.faults.add(Answer(Response.of(200, {"group_members": members})), "get-group")
    message = words(here.call(runID=pending.id))
    assert "evil" not in message
    assert ("behind run 9 " in message) == (f"{here.url}/myorg/my-app/actions/runs/9" in message)


def test_the_emulated_group_answers_as_published(here: Follower) -> None:
    """`ahead_of_run` gives what goes before, then the run itself; 422 where it is not of the group."""
    from tests.emulator.asking import REPO, ask

    github: GitHub = here.github
    runs = queue(here, 2)
    path = f"{REPO}/actions/concurrency_groups/deploy%2Fprod?ahead_of_run="
    assert ask(github, f"{path}{runs[0].id}").status == 200
    assert ask(github, f"{path}1").status == 422
