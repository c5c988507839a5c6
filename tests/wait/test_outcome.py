"""Status × conclusion → phase, and what an answer about a run proves."""

from typing import Any

import pytest

from gha_step.contract.secret import Token
from gha_step.github.endpoint import resolve_endpoint
from gha_step.github.errors import Refused, Unclear
from gha_step.github.messages import MOST_ENTRIES, shown, when
from gha_step.github.refusals import read_refusal
from gha_step.github.runs import (
    CONCLUSIONS,
    STATUSES,
    ObservedJob,
    ObservedRun,
    PendingDeployment,
    Phase,
    RunReference,
    failed_jobs,
    jobs_page,
    moved_to,
    observed_run,
    pending_deployments,
)
from tests.github.answers import answer, said
from tests.support.rows import each_row

from .follower import RUN

TOKEN = Token("ghp_hidden", "the token of the Secret github")
REFERENCE = RunReference(resolve_endpoint(None, allow_http=False), "myorg", "my-app", RUN)
URL = f"https://github.com/myorg/my-app/actions/runs/{RUN}"
BODY: dict[str, Any] = {
    "id": RUN,
    "status": "completed",
    "conclusion": "failure",
    "run_attempt": 2,
    "html_url": URL,
    "path": ".github/workflows/deploy.yml",
    "head_branch": "main",
}
JOB: dict[str, Any] = {
    "name": "deploy",
    "conclusion": "failure",
    "html_url": f"{URL}/job/1",
    "steps": [
        {"name": "Build", "conclusion": "success", "number": 1},
        {"name": "Test", "conclusion": "failure", "number": 2},
        {"name": "Tidy", "conclusion": "failure", "number": 3},
    ],
}
FACTS_STATUSES = ("requested", "queued", "pending", "waiting", "in_progress", "completed")
FACTS_CONCLUSIONS = (
    "success",
    "failure",
    "neutral",
    "cancelled",
    "skipped",
    "timed_out",
    "action_required",
    "stale",
    "startup_failure",
)


def observed(status: str, conclusion: str | None) -> ObservedRun:
    return ObservedRun(status, conclusion, 1, URL)


def test_the_tables_hold_what_github_has_today() -> None:
    assert set(STATUSES) == set(FACTS_STATUSES)
    assert set(CONCLUSIONS) == set(FACTS_CONCLUSIONS)


@each_row("conclusion", [*FACTS_CONCLUSIONS, "invented_tomorrow", None])
@each_row("status", [*FACTS_STATUSES, "invented_tomorrow", "", "COMPLETED", "success"])
def test_a_run_has_ended_only_when_its_status_is_completed(status: str, conclusion: str | None) -> None:
    phase = observed(status, conclusion).phase
    assert (phase is Phase.COMPLETED) == (status == "completed" and conclusion is not None)
    assert (phase is Phase.AWAITING_APPROVAL) == (status == "waiting")


@each_row("conclusion", [*FACTS_CONCLUSIONS, "invented_tomorrow"])
def test_jobs_are_asked_for_where_they_can_tell_why(conclusion: str) -> None:
    fail = conclusion in ("failure", "timed_out", "cancelled", "invented_tomorrow")
    assert observed("completed", conclusion).meaning.by_jobs is fail


def test_a_run_is_read() -> None:
    run = observed_run(answer(200, BODY | {"new_tomorrow": 1}), REFERENCE)
    assert run == ObservedRun("completed", "failure", 2, URL, ".github/workflows/deploy.yml", "main")


@each_row(
    "body",
    [
        b"",
        b"<html>a proxy's page</html>",
        b"\xff",
        b"[" * 100_000,
        None,
        [],
        "run",
        {},
        BODY | {"id": RUN + 1},
        BODY | {"id": str(RUN)},
        BODY | {"id": float(RUN)},
        BODY | {"id": True},
        {"id": RUN},
        BODY | {"status": None},
        BODY | {"status": 1},
    ],
)
def test_what_is_not_this_run_is_unclear(body: Any) -> None:
    with pytest.raises(Unclear, match=r"is https://api\.github\.com the API of a GitHub"):
        observed_run(answer(200, body), REFERENCE)


@pytest.mark.parametrize("conclusion", [None, "", 5, []])
def test_no_conclusion_is_none(conclusion: object) -> None:
    assert observed_run(answer(200, BODY | {"conclusion": conclusion}), REFERENCE).conclusion is None


@pytest.mark.parametrize("attempt", [None, 0, -1, "2", True, 2.0, 10**30])
def test_an_attempt_that_is_not_told_is_the_first(attempt: object) -> None:
    assert observed_run(answer(200, BODY | {"run_attempt": attempt}), REFERENCE).attempt == 1


@each_row(
    "url",
    [
        None,
        "",
        5,
        "javascript:alert(1)",
        "/actions/runs/1",
        "https://x/\x1b[2J",
        "https://x y",
        "https://" + "x" * 5000,
        "https://pages.example/run",
        "http://github.com/myorg/my-app/actions/runs/1",
        "https://github.com.evil.example/x",
        "https://github.com@evil.example/x",
        "https://github.com\\@evil.example/x",
        "https://github.com:8443/x",
        "https://github.com/\ud800",
    ],
)
def test_a_link_is_made_up_only_where_github_gives_none_to_its_own_pages(url: object) -> None:
    assert observed_run(answer(200, BODY | {"html_url": url}), REFERENCE).url == URL
    other = "https://github.com/myorg/renamed/actions/runs/1"
    assert observed_run(answer(200, BODY | {"html_url": other}), REFERENCE).url == other


def test_a_job_names_its_first_failed_step() -> None:
    page = jobs_page(answer(200, {"total_count": 7, "jobs": [JOB]}), REFERENCE)
    assert (page.total, page.jobs) == (7, (ObservedJob("deploy", "failure", "Test", f"{URL}/job/1"),))


@pytest.mark.parametrize(
    ("steps", "failed"),
    [
        ([], None),
        (None, None),
        ([{"name": "A", "conclusion": "cancelled"}, {"name": "B", "conclusion": "failure"}], "B"),
        ([{"name": "A", "conclusion": "success"}, {"name": "B", "conclusion": "cancelled"}], "B"),
        ([{"name": "A", "conclusion": "timed_out"}], "A"),
        ([{"name": None, "conclusion": "failure", "number": 3}], "step 3"),
        ([{"conclusion": None}], None),
    ],
)
def test_which_step_failed_first(steps: Any, failed: str | None) -> None:
    (job,) = jobs_page(answer(200, {"total_count": 1, "jobs": [JOB | {"steps": steps}]}), REFERENCE).jobs
    assert job.failed_step == failed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        [],
        {},
        {"jobs": []},
        {"jobs": None, "total_count": 0},
        {"jobs": [None], "total_count": 1},
        {"jobs": [{}], "total_count": 1},
        {"jobs": [JOB] * (MOST_ENTRIES + 1), "total_count": 1},
    ],
)
def test_what_are_no_jobs_is_unclear(body: Any) -> None:
    with pytest.raises(Unclear):
        jobs_page(answer(200, body), REFERENCE)


@pytest.mark.parametrize(
    ("conclusions", "failed"),
    [
        ([], []),
        (["success", "neutral", "skipped", None], []),
        (["success", "failure"], ["failure"]),
        (["cancelled", "failure", "cancelled"], ["failure"]),
        (["cancelled", "success", "cancelled"], ["cancelled", "cancelled"]),
        (["timed_out", "invented_tomorrow"], ["timed_out", "invented_tomorrow"]),
    ],
)
def test_which_jobs_failed(conclusions: list[str | None], failed: list[str]) -> None:
    jobs = tuple(ObservedJob("x", conclusion, None, None) for conclusion in conclusions)
    assert [job.conclusion for job in failed_jobs(jobs)] == failed


PENDING = {
    "environment": {"name": "production"},
    "wait_timer": 30,
    "reviewers": [
        {"type": "User", "reviewer": {"login": "alice"}},
        {"type": "Team", "reviewer": {"slug": "ops", "name": "Operations"}},
    ],
}


@pytest.mark.parametrize("odd", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1969-12-31T23:59:59Z"])
def test_a_moment_of_which_no_date_can_be_made_is_none(odd: str) -> None:
    assert when(odd) is None


def test_a_pending_deployment_names_environment_and_reviewers() -> None:
    entry = PENDING
    assert pending_deployments(answer(200, [entry])) == (PendingDeployment("production", ("alice", "team ops"), 30),)
    assert pending_deployments(answer(200, [entry | {"reviewers": None, "wait_timer": None}])) == (
        PendingDeployment("production", (), 0),
    )
    assert pending_deployments(answer(200, [])) == ()


@pytest.mark.parametrize("body", [b"", {"message": "x"}, [None], [{}], [{"environment": None}], 5, [PENDING] * 257])
def test_what_are_no_pending_deployments_is_unclear(body: Any) -> None:
    with pytest.raises(Unclear):
        pending_deployments(answer(200, body))


@each_row("status", [202, 204, 206, 304, 408, 409, 425, 500, 502, 503, 504, 599])
def test_what_may_pass_is_unclear(status: int) -> None:
    error = read_refusal(said(status, "Oops"), REFERENCE.asked, TOKEN)
    assert isinstance(error, Unclear)
    assert error.retry_after is None
    assert str(status) in str(error)


def test_a_503_may_say_how_long() -> None:
    assert read_refusal(said(503, "Maintenance", retry_after="120"), REFERENCE.asked, TOKEN).retry_after == 120
    assert read_refusal(said(503, "Maintenance", retry_after="soon"), REFERENCE.asked, TOKEN).retry_after is None


@pytest.mark.parametrize(
    ("status", "words", "headers", "advice"),
    [
        (401, "Bad credentials", {}, "renew it"),
        (403, "Resource not accessible by integration", {}, "GitHub App the permission Actions: read"),
        (403, "Resource not accessible by personal access token", {}, "the Secret github the permission Actions: read"),
        (403, "Forbidden", {"x_ratelimit_remaining": "17"}, "needs Actions: read"),
        (
            403,
            "Protected",
            {"x_github_sso": "required; url=https://github.com/orgs/o/sso?a=1"},
            "single sign-on: https://",
        ),
        (404, "Not Found", {}, "correct runID, owner or repo"),
        (404, "", {}, "is https://api.github.com the API of a GitHub? Correct the base URL"),
        (301, "Moved Permanently", {}, "renamed or moved"),
        (410, "Gone", {}, "correct runID, owner or repo"),
        (422, "Unprocessable", {}, "correct the step's config"),
        (403, "", {}, "is https://api.github.com the API of a GitHub? Correct the base URL"),
    ],
)
def test_a_refusal_says_whose_run_why_and_what_to_do(
    status: int, words: str, headers: dict[str, str], advice: str
) -> None:
    error = read_refusal(said(status, words, **headers), REFERENCE.asked, TOKEN)
    assert isinstance(error, Refused)
    assert f"run {RUN} of myorg/my-app" in str(error)
    assert advice in str(error)
    assert str(status) in str(error)


@each_row(
    ("status", "location", "root"),
    [
        (301, f"https://api.github.com/repositories/42/actions/runs/{RUN}", "/repositories/42"),
        (308, f"https://api.github.com/repositories/42/actions/runs/{RUN}", "/repositories/42"),
        (404, f"https://api.github.com/repositories/42/actions/runs/{RUN}", None),
        (301, None, None),
        (301, "", None),
        (301, f"https://elsewhere.example/repositories/42/actions/runs/{RUN}", None),
        (301, f"http://api.github.com/repositories/42/actions/runs/{RUN}", None),
        (301, f"https://api.github.com.evil.example/repositories/42/actions/runs/{RUN}", None),
        (301, f"https://api.github.com@evil.example/repositories/42/actions/runs/{RUN}", None),
        (301, "https://api.github.com/repositories/42/actions/runs/1", None),
        (301, f"https://api.github.com/repositories/../user/actions/runs/{RUN}", None),
        (301, f"https://api.github.com/repos/myorg/new/actions/runs/{RUN}", None),
        (301, f"/repositories/42/actions/runs/{RUN}", None),
    ],
)
def test_a_redirect_is_followed_only_to_the_same_run_on_the_same_server(
    status: int, location: str | None, root: str | None
) -> None:
    assert moved_to(Refused("x", status, "", location), REFERENCE) == root


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb\tc", "a b c"),
        ("\x1b[31mred", "\ufffd[31mred"),
        ("half \ud800", "half \ufffd"),
        ("x" * 300, "x" * 199 + "…"),
        ("Prüfung ✔", "Prüfung ✔"),
    ],
)
def test_what_others_wrote_is_one_printable_line(text: str, line: str) -> None:
    assert shown(text) == line
