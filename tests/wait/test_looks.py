"""The step against an emulated GitHub over real sockets, by a clock that moves only when told to."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gha_step.contract.errors import CredentialsError, StepError, Unavailable
from gha_step.contract.result import Status, StepResult
from gha_step.contract.secret import Token as Secret
from gha_step.emulator import (
    EXAMPLE_TOKEN,
    Answer,
    Close,
    Delay,
    Endless,
    Fault,
    GitHub,
    Job,
    Request,
    Reset,
    Response,
    Token,
    Truncate,
    bad_gateway,
    redirect,
    serve,
)
from gha_step.github import run_reader
from gha_step.github.endpoint import resolve_endpoint
from gha_step.github.errors import Unreachable, Untrusted
from gha_step.github.runs import RunReference
from gha_step.steps.wait.run_poller import Look
from gha_step.steps.wait.snapshot import Snapshot
from gha_step.steps.wait.step import LookUnderway
from gha_step.steps.waking import Hint
from tests.support.certificates import Authority
from tests.support.clock import LONG, VirtualClock
from tests.support.network import ScriptedConnection
from tests.support.secrets import write_secret

from .follower import RUN, Follower, following, told

FAILED = (Job("build", conclusion="success"), Job("deploy", ("Build", "Test", "Tidy"), "Test"))


# ---------------------------------------------------------------- one look


def test_a_run_is_followed_to_its_end(here: Follower) -> None:
    here.github.start_run(actor="kargo-bot")  # queued 1 s, runs 2 s
    answers = here.follow(expectedConclusion="success")
    assert [answer.status for answer in answers] == ["Running", "Succeeded"]
    assert told(answers[-1])["output"] == {
        "conclusion": "success",
        "status": "completed",
        "url": f"{here.url}/myorg/my-app/actions/runs/{RUN}",
        "attempt": 1,
    }


def test_a_call_is_one_look_and_a_look_one_request(here: Follower) -> None:
    here.run()
    for calls in range(1, 4):
        here.call()
        assert here.github.count() == calls


@pytest.mark.parametrize("generation", ["ghes-3.19", "ghes-3.20", "ghes-3.21"])
def test_enterprise_servers_answer_alike(tmp_path: Path, generation: str) -> None:
    with following(tmp_path, generation) as here:
        here.run().finish("failure", jobs=FAILED)
        assert "'Test'" in str(here.call(expectedConclusion="success").message)


def test_the_repository_may_be_named_by_its_url(tmp_path: Path) -> None:
    issued = Authority(tmp_path / "authority").issue("server")
    clock = VirtualClock()
    github = GitHub(now=clock.now)
    with serve(github, tls=(issued.certificate, issued.key)) as url:
        here = Follower(tmp_path, github, clock, url)
        clone = f"{url}/myorg/my-app.git"
        write_secret(here.folder, name="git", repoURL=clone, username="kargo", password=EXAMPLE_TOKEN)
        here.run().finish()
        v1_8 = {"credentials": ..., "owner": ..., "repo": ...}
        result = here.call(repoURL=clone, insecureSkipTLSVerify=True, expectedConclusion="success", **v1_8)
        assert result.status == "Succeeded", result
        assert "the certificate of 127.0.0.1" in str(here.call(repoURL=clone, **v1_8).message)
        assert "cannot be combined with" in str(here.call(repoURL=clone).message)
        here.close()


def test_a_bad_config_asks_nobody(here: Follower) -> None:
    result = here.call(runID="x", pollInterval="0s")
    assert (result.status, result.terminal) == ("Failed", True)
    assert here.github.count() == 0


def test_a_missing_secret_fails_and_asks_nobody(here: Follower) -> None:
    assert "Secret" in str(here.call(credentials={"secretName": "other"}).message)
    assert here.github.count() == 0


# ---------------------------------------------------------------- conditional requests


def test_what_has_not_changed_costs_nothing_of_the_rate_limit(here: Follower) -> None:
    here.run()
    for _ in range(5):
        assert here.call().status == "Running"
    assert here.statuses() == [200, 304, 304, 304, 304]


def test_a_change_is_seen_at_once_and_the_next_look_is_free_again(here: Follower) -> None:
    run = here.run()
    here.call()
    run.set_status("pending")
    assert told(here.call())["output"]["status"] == "pending"
    here.call()
    assert here.statuses() == [200, 200, 304]


def test_another_token_has_etags_of_its_own(here: Follower) -> None:
    here.github.add_token("second-token")
    here.run()
    for value in (EXAMPLE_TOKEN, "second-token", EXAMPLE_TOKEN, "second-token"):
        here.token(value)
        assert here.call().status == "Running"
    asked = [entry.headers.get("if-none-match") for entry in here.log]
    assert here.statuses() == [200, 200, 304, 304]
    assert asked[:2] == [None, None]
    assert asked[2] != asked[3]


def test_a_lost_process_looks_as_if_for_the_first_time(here: Follower) -> None:
    here.run()
    here.call()
    here.restart()
    assert here.call().status == "Running"
    assert here.statuses() == [200, 200]


def test_a_304_that_nobody_asked_for_is_trouble(here: Follower) -> None:
    here.run()
    here.github.faults.add(Answer(Response(304, ())))
    assert here.call().status == "Running"
    here.clock.forward(10)
    assert "in progress" in str(here.call().message)


@pytest.mark.parametrize("etag", ['"caf\u00e9"', '"a\tb"', ""])
def test_an_etag_that_cannot_be_sent_back_is_not(here: Follower, etag: str) -> None:
    here.run()
    asked = Request.to("GET", f"/repos/myorg/my-app/actions/runs/{RUN}", token=EXAMPLE_TOKEN)
    body = here.github.handle(asked).body
    for _ in range(2):
        headers = (("Content-Type", "application/json"), ("ETag", etag))
        here.github.faults.add(Answer(Response(200, headers, body)))
        assert here.call().status == "Running"
    assert not any("if-none-match" in entry.headers for entry in here.log)


# ---------------------------------------------------------------- approval, failure, re-run


def test_an_approval_names_environment_and_reviewers_with_the_link(here: Follower) -> None:
    run = here.run()
    run.wait_for_approval("production", ["alice", "team:ops"])
    result = here.call()
    assert result.status == "Running"
    message = str(result.message)
    assert "environment production by alice or team ops" in message
    assert message.endswith(f"/myorg/my-app/actions/runs/{RUN}")
    here.call()
    assert here.statuses() == [200, 304]
    assert here.statuses("get-pending-deployments") == [200, 304]
    run.approve()
    assert "in progress" in str(here.call().message)


@pytest.mark.parametrize("status", [403, 404, 429, 500, 502])
def test_who_may_approve_is_worth_no_failure(here: Follower, status: int) -> None:
    here.run().wait_for_approval("production")
    here.github.faults.add(Answer(Response.of(status, {"message": "no"})), "get-pending-deployments", times=None)
    result = here.call(expectedConclusion="success")
    assert result.status == "Running"
    assert "reviewers unknown" in str(result.message)


@pytest.mark.parametrize("conclusion", ["failure", "timed_out", "cancelled"])
def test_a_mismatch_is_told_with_the_failed_jobs(here: Follower, conclusion: str) -> None:
    here.run().finish(conclusion, jobs=FAILED)
    result = here.call(expectedConclusion="success")
    output = told(result)["output"]
    assert (result.status, output["conclusion"]) == ("Failed", conclusion)
    (job,) = output["failedJobs"]
    assert (job["name"], job["failedStep"]) == ("deploy", "Test")
    assert job["url"].startswith(f"{here.url}/myorg/my-app/actions/runs/{RUN}/job/")
    assert job["url"] in str(result.message)
    assert "links" not in output
    assert [entry.operation for entry in here.log] == ["get-run", "list-jobs", "list-annotations"]


@pytest.mark.parametrize("conclusion", ["success", "skipped", "neutral", "stale", "action_required", "startup_failure"])
def test_where_no_job_failed_none_is_asked_for(here: Follower, conclusion: str) -> None:
    here.run().finish(conclusion)
    here.call()
    assert here.github.count("list-jobs") == 0


def test_jobs_are_read_page_by_page(here: Follower) -> None:
    jobs = [Job(f"ok-{number}", conclusion="success") for number in range(230)]
    here.run().finish("failure", jobs=[*jobs, Job("last", conclusion="failure")])
    output = told(here.call())["output"]
    assert [job["name"] for job in output["failedJobs"]] == ["last"]
    assert [entry.query for entry in here.log if entry.operation == "list-jobs"] == [
        {"per_page": "100", "page": str(page)} for page in (1, 2, 3)
    ]


def test_no_more_jobs_of_a_run_are_read_than_may_be(here: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_reader, "MOST_JOBS", 200)
    here.run().finish("failure", jobs=[Job(f"failed-{number}", conclusion="failure") for number in range(230)])
    told(here.call())
    assert here.github.count("list-jobs") == 2


def test_what_is_known_of_a_run_counts_once_a_look_has_shown_it(here: Follower) -> None:
    run = here.run()
    watches = here.program.run_poller._watches
    here.begin(runID=run.id)
    before = watches.size
    here.call(runID=run.id)
    assert watches.size > before + 500


def test_jobs_that_a_server_cannot_list_at_once_are_read_in_smaller_pages_from_the_first_on(here: Follower) -> None:
    here.run().finish("failure", jobs=[Job(f"job-{number}") for number in range(88)])
    here.github.faults.add(
        bad_gateway(), "list-jobs", where=lambda request: int(request.query["per_page"]) > 30, times=None
    )
    assert "and 83 more" in str(here.call().message)
    assert [(entry.query["per_page"], entry.query["page"]) for entry in here.log if entry.operation == "list-jobs"] == [
        ("100", "1"),
        ("50", "1"),
        ("25", "1"),
        ("25", "2"),
        ("25", "3"),
        ("25", "4"),
    ]


def test_jobs_in_trouble_are_asked_for_again_before_the_run_is_told_without(here: Follower) -> None:
    here.run().finish("failure", jobs=FAILED)
    here.github.faults.add(Reset(), "list-jobs")
    answers = here.follow(expectedConclusion="success")
    assert [answer.status for answer in answers] == ["Running", "Failed"]
    assert "'Test'" in str(answers[-1].message)


@pytest.mark.parametrize("fault", [bad_gateway(), Reset(), Truncate(), Answer(Response.of(200, {"jobs": 1}))])
def test_jobs_that_stay_in_trouble_do_not_hold_up_the_answer(here: Follower, fault: Fault) -> None:
    here.run().finish("failure", jobs=FAILED)
    here.github.faults.add(fault, "list-jobs", times=None)
    answers = here.follow(expectedConclusion="success")
    assert [answer.status for answer in answers] == ["Running", "Running", "Failed"]
    assert "its jobs could not be read" in str(answers[-1].message)
    assert told(answers[-1])["output"]["conclusion"] == "failure"


@pytest.mark.parametrize("status", [403, 404, 429])
def test_refused_jobs_do_not_hold_up_the_answer(here: Follower, status: int) -> None:
    here.run().finish("failure", jobs=FAILED)
    here.github.faults.add(Answer(Response.of(status, {"message": "no"})), "list-jobs", times=None)
    assert here.call(expectedConclusion="success").status == "Failed"


def test_a_run_that_is_run_again_is_simply_running_again(here: Follower) -> None:
    run = here.run()
    run.finish("failure", jobs=FAILED)
    assert here.call(expectedConclusion="success").status == "Failed"
    run.rerun(actor="bob")
    result = here.call(expectedConclusion="success")
    assert (result.status, told(result)["output"]["attempt"]) == ("Running", 2)
    assert "conclusion" not in told(result)["output"]
    run.finish("success")
    assert told(here.call(expectedConclusion="success"))["output"]["conclusion"] == "success"


# ---------------------------------------------------------------- refusals


def test_a_run_that_is_missing_once_is_looked_for_again(here: Follower) -> None:
    result = here.call()
    assert (result.status, result.retry_after) == ("Running", 10.0)
    here.run()
    here.clock.forward(10)
    assert "in progress" in str(here.call().message)


def test_a_missing_run_is_final_only_when_two_looks_ten_seconds_apart_saw_it(here: Follower) -> None:
    for seconds in (0.0, 3.0, 3.0, 3.9):
        here.clock.forward(seconds)
        assert here.call().status == "Running"
    here.clock.forward(0.2)
    result = here.call()
    assert (result.status, result.terminal) == ("Failed", True)
    assert f"myorg/my-app has no run {RUN}" in str(result.message)
    assert here.github.count("get-repository") == 1


def test_a_run_that_was_seen_in_between_begins_the_ten_seconds_anew(here: Follower) -> None:
    run = here.run()
    run.visible_at = here.clock.now() + 5
    assert here.call().status == "Running"
    here.clock.forward(6)
    assert "in progress" in str(here.call().message)
    run.visible_at = here.clock.now() + 60
    here.clock.forward(6)
    assert here.call().status == "Running"


def test_an_outage_between_does_not_make_a_missing_run_appear(here: Follower) -> None:
    here.call()
    here.github.faults.add(bad_gateway())
    here.clock.forward(5)
    assert here.call().status == "Running"
    here.clock.forward(6)
    assert here.call().status == "Failed"


def test_an_invisible_repository_is_told_from_a_missing_run(here: Follower) -> None:
    here.github.add_token(Token("blind", repositories=frozenset()))
    here.token("blind")
    here.run()
    answers = here.follow()
    assert [answer.status for answer in answers] == ["Running", "Failed"]
    assert "the token of the Secret github cannot see myorg/my-app at all" in str(answers[-1].message)


def test_why_a_run_is_missing_may_stay_open(here: Follower) -> None:
    here.github.faults.add(bad_gateway(), "get-repository", times=None)
    answers = here.follow()
    assert "correct runID, owner or repo" in str(answers[-1].message)


def test_a_wrong_token_fails_at_once(here: Follower) -> None:
    here.run()
    here.github.remove_token(EXAMPLE_TOKEN)
    result = here.call()
    assert (result.status, result.terminal) == ("Failed", True)
    assert "renew it" in str(result.message)
    assert EXAMPLE_TOKEN not in str(result.message)


def test_a_token_that_is_revoked_meanwhile_keeps_what_was_known(here: Follower) -> None:
    here.run()
    here.call()
    here.github.remove_token(EXAMPLE_TOKEN)
    here.clock.forward(1)
    assert here.call().status == "Running"
    here.clock.forward(10)
    result = here.call()
    assert (result.status, told(result)["output"]["status"]) == ("Failed", "in_progress")


ODD = [
    *(Response.of(status, {"message": "odd"}) for status in (400, 401, 403, 404, 405, 410, 422, 451)),
    Response(302, (("Location", "https://login.example.com/"),), b""),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: str(odd.status))
def test_one_odd_look_after_a_good_one_does_not_end_the_wait(here: Follower, odd: Response) -> None:
    run = here.run()
    assert here.call().status == "Running"
    here.github.faults.add(Answer(odd), "get-run")
    here.clock.forward(20)
    result = here.call()
    assert (result.status, told(result)["output"]["status"]) == ("Running", "in_progress")
    assert "checking once more" in str(result.message)
    run.finish()
    here.clock.forward(10)
    assert here.call().status == "Succeeded"


@pytest.mark.parametrize("first", ODD, ids=lambda odd: str(odd.status))
@pytest.mark.parametrize("second", ODD[2:5], ids=lambda odd: str(odd.status))
def test_two_refused_looks_ten_seconds_apart_end_the_wait_whatever_they_are(
    here: Follower, first: Response, second: Response
) -> None:
    here.run()
    here.call()
    here.github.faults.add(Answer(first), "get-run")
    here.clock.forward(20)
    assert here.call().status == "Running"
    here.github.faults.add(Answer(second), "get-run", times=2)
    here.clock.forward(9)
    assert here.call().status == "Running"
    here.clock.forward(1.5)
    result = here.call()
    assert (result.status, result.terminal) == ("Failed", True)
    assert str(second.status) in str(result.message) or second.status == 404


def test_an_untrusted_certificate_ends_the_wait_at_once_and_after_a_good_look_only_if_it_lasts(here: Follower) -> None:
    def refuse(endpoint: object) -> None:
        raise Untrusted("github.example.com shows a certificate that nobody here trusts")

    here.run()
    here.connector.on_connect = refuse
    assert here.call().status == "Failed", "nothing good was seen yet"
    here.connector.on_connect = lambda endpoint: None
    assert here.call().status == "Running"
    here.connector.on_connect = refuse
    here.clock.forward(20)
    assert here.call().status == "Running"
    here.clock.forward(10)
    assert here.call().status == "Failed"


def test_a_good_look_between_two_refused_ones_begins_anew(here: Follower) -> None:
    here.run()
    for _ in range(3):
        assert "in progress" in str(here.call().message)
        here.github.faults.add(Answer(ODD[1]), "get-run")
        here.clock.forward(20)
        assert here.call().status == "Running"
        here.clock.forward(20)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_what_is_no_refusal_never_counts_as_one(here: Follower, status: int) -> None:
    here.run()
    here.call()
    for _ in range(5):
        here.github.faults.add(Answer(Response.of(status, {"message": "later"})), "get-run")
        here.clock.forward(120)
        assert here.call().status == "Running"
    here.github.faults.add(Answer(ODD[1]), "get-run")
    here.clock.forward(120)
    assert here.call().status == "Running"


def test_the_secret_is_read_again_before_the_second_look(here: Follower) -> None:
    here.run()
    here.call()
    here.github.remove_token(EXAMPLE_TOKEN)
    here.clock.forward(20)
    assert here.call().status == "Running"
    here.github.add_token(Token("rotated-token"))
    here.token("rotated-token")
    here.clock.forward(20)
    assert "in progress" in str(here.call().message)


def test_a_new_token_that_is_refused_once_does_not_end_a_wait_that_has_seen_its_run(here: Follower) -> None:
    here.run()
    here.call()
    here.token("not-yet-known")
    here.clock.forward(20)
    assert here.call().status == "Running"
    here.token("nor-this-one")
    here.clock.forward(11)
    assert here.call().status == "Failed"  # the second refused look, though with another token


def test_what_one_project_has_seen_does_not_make_another_wait(here: Follower) -> None:
    here.run()
    here.call()
    here.token("wrong-token")
    write_secret(here.folder, "other", "github", accessToken="wrong-token", baseURL=here.url)
    assert here.call(project="other").status == "Failed"


@pytest.mark.parametrize(
    ("token", "advice"),
    [
        (
            Token("weak-token", kind="fine-grained", actions="none"),
            "give the token of the Secret github the permission Actions: read",
        ),
        (Token("weak-token", kind="installation", actions="none"), "give the GitHub App the permission Actions: read"),
        (
            Token("weak-token", sso_authorized=False),
            "authorise the token of the Secret github for the organization's single sign-on: http",
        ),
    ],
)
def test_a_missing_permission_fails_at_once_with_advice(here: Follower, token: Token, advice: str) -> None:
    here.run()
    here.github.add_token(token)
    here.token("weak-token")
    result = here.call()
    assert (result.status, result.terminal) == ("Failed", True)
    assert advice in str(result.message)


def test_a_failure_is_the_promotions_own(here: Follower) -> None:
    """A fixed permission works for the next promotion, whatever the last one heard."""
    here.run()
    here.github.add_token(Token("weak-token", kind="fine-grained", actions="none"))
    here.token("weak-token")
    assert here.call().status == "Failed"
    here.github.add_token(Token("weak-token", kind="fine-grained", actions="read"))
    assert here.call().status == "Running"


def test_a_token_that_a_server_repeats_is_told_nowhere(here: Follower) -> None:
    here.run()
    said = f'{{"message": "who is {EXAMPLE_TOKEN}?"}}'.encode()
    sso = (("X-GitHub-SSO", f"required; url=https://sso.example/{EXAMPLE_TOKEN}"),)
    here.github.faults.add(Answer(Response(403, sso, said)))
    message = told(here.call())["message"]
    assert EXAMPLE_TOKEN not in message
    assert "who is ***?" in message


APP, FRESH = Token("app-token", kind="installation"), Token("fresh-token", kind="installation")


def looked(here: Follower, renew: Callable[[Secret], Secret]) -> Snapshot:
    """One look with an App's token, which GitHub refuses."""
    run = RunReference(resolve_endpoint(here.url, allow_http=False), "myorg", "my-app", RUN)
    look = here.program.run_poller.look(run, Secret(APP.value), renew)
    assert isinstance(look, Look)
    look.ready.result(timeout=LONG)
    assert look.seen is not None
    return look.seen


def test_an_apps_token_that_was_revoked_is_renewed_within_the_look(here: Follower) -> None:
    here.run()
    here.github.add_token(FRESH)
    refused: list[Secret] = []

    def renew(token: Secret) -> Secret:
        refused.append(token)
        return Secret(FRESH.value)

    assert looked(here, renew).run is not None
    assert refused == [Secret(APP.value)]
    assert here.statuses() == [401, 200]


def test_an_apps_token_is_renewed_once_and_no_more(here: Follower) -> None:
    here.run()
    numbers = itertools.count()
    seen = looked(here, lambda _: Secret(f"another-token-{next(numbers)}"))
    assert "it refused the App's token (401: 'Bad credentials'), and a fresh one in its place: see" in str(seen.failure)
    assert "renew it" not in str(seen.failure)
    assert here.statuses() == [401, 401]


def test_an_apps_token_that_cannot_be_another_is_not_tried_again(here: Follower) -> None:
    here.run()
    assert "and gives no other: see whether the installation is suspended" in str(
        looked(here, lambda token: token).failure
    )
    assert here.statuses() == [401]


@pytest.mark.parametrize(("error", "final"), [(Unavailable("later"), False), (CredentialsError("suspended"), True)])
def test_an_app_that_gives_no_token_is_told(here: Follower, error: StepError, final: bool) -> None:
    def renew(_: Secret) -> Secret:
        raise error

    here.run()
    seen = looked(here, renew)
    assert (seen.failure is not None, seen.trouble is not None) == (final, not final)
    assert str(error) in str(seen.failure or seen.trouble)
    assert "renew it" not in str(seen.failure or seen.trouble)


def test_a_failure_is_not_told_to_the_next_promotion_while_nothing_may_be_asked(here: Follower) -> None:
    first, second = here.run(), here.run()
    here.github.faults.add(Answer(Response.of(403, {"message": "Forbidden"})))
    assert here.call(runID=first.id).status == "Failed"
    here.github.limit_rate(30, secondary=True)
    here.call(runID=second.id)
    assert here.call(runID=first.id).status == "Running"


def test_a_renamed_repository_is_followed_on_its_server_and_then_costs_one_request(here: Follower) -> None:
    run = here.run()
    here.github.rename_repository("myorg/my-app", "myorg/your-app")
    result = here.call()
    assert result.status == "Running"
    assert told(result)["output"]["url"] == f"{here.url}/myorg/your-app/actions/runs/{RUN}"
    here.call()
    assert here.statuses() == [301, 200, 304]
    run.finish("failure", jobs=FAILED)
    assert "'Test'" in str(here.call().message)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_token_is_never_sent_elsewhere(here: Follower, status: int) -> None:
    here.run()
    elsewhere = GitHub()
    with serve(elsewhere) as other:
        here.github.faults.add(redirect(f"{other}/repositories/1000/actions/runs/{RUN}", status))
        result = here.call()
    assert (result.status, result.terminal) == ("Failed", True)
    assert elsewhere.count() == 0


def test_redirects_in_a_ring_end(here: Follower) -> None:
    here.run()
    target = f"{here.url}/api/v3/repositories/1000/actions/runs/{RUN}"
    here.github.faults.add(redirect(target, 301), times=None)
    assert here.call().status == "Failed"
    assert here.github.count() == 2


def test_what_is_no_github_is_told_when_two_looks_saw_it(here: Follower) -> None:
    page = Response(200, (("Content-Type", "text/html"),), b"<html>Welcome</html>")
    here.github.faults.add(Answer(page), times=None)
    answers = here.follow()
    assert [answer.status for answer in answers] == ["Running", "Failed"]
    assert "the API of a GitHub?" in str(answers[-1].message)


def test_a_404_that_is_no_githubs_asks_for_the_base_url(here: Follower) -> None:
    page = Response(404, (("Content-Type", "text/html"),), b"<html>Not here</html>")
    here.github.faults.add(Answer(page), times=None)
    answers = here.follow()
    assert [answer.status for answer in answers] == ["Running", "Failed"]
    assert "Correct the key baseURL" in str(answers[-1].message)
    assert here.github.count() == 2


def test_a_proxys_page_never_fails_a_run_that_was_seen(here: Follower) -> None:
    here.run()
    here.call()
    page = Response(200, (("Content-Type", "text/html"),), b"<html>Sorry</html>")
    here.github.faults.add(Answer(page), times=None)
    for _ in range(10):
        here.clock.forward(60)
        assert here.call(expectedConclusion="success").status == "Running"


# ---------------------------------------------------------------- what passes


@pytest.mark.parametrize(
    "fault",
    [
        bad_gateway("before"),
        bad_gateway("after"),
        Answer(Response.of(500, {"message": "Server Error"})),
        Answer(Response.of(503, {"message": "Maintenance"})),
        Answer(Response.of(504, None)),
        Answer(Response.of(408, {"message": "Request Timeout"})),
        Answer(Response.of(202, {})),
        Reset("before"),
        Reset("after"),
        Close(),
        Truncate(),
        Truncate(reset=True),
        Endless(chunk=b" " * (8 << 20)),
    ],
)
def test_what_passes_never_fails_the_step(here: Follower, fault: Fault) -> None:
    run = here.run()
    here.github.faults.add(fault, times=3)
    for _ in range(4):
        result = here.call(expectedConclusion="success")
        assert result.status == "Running"
        assert result.retry_after is not None
        assert result.retry_after >= 10
        here.clock.sleep(result.retry_after)
    run.finish()
    assert here.call(expectedConclusion="success").status == "Succeeded"


def test_a_server_that_is_silent_is_running(here: Follower) -> None:
    here.run()
    here.connector.on_connect = lambda endpoint: ScriptedConnection(None, clock=here.clock)
    result = here.call()
    assert result.status == "Running"
    assert "did not answer within 10 s" in str(result.message)


@pytest.mark.parametrize("why", ["the name ghe.example does not resolve", "ghe.example port 443 cannot be reached"])
def test_a_server_that_cannot_be_reached_is_running(here: Follower, why: str) -> None:
    def refuse(endpoint: object) -> None:
        raise Unreachable(why)

    here.connector.on_connect = refuse
    for _ in range(3):
        result = here.call()
        assert result.status == "Running"
        assert why in str(result.message)
        here.clock.sleep(result.retry_after or 0)


def test_an_error_of_our_own_is_running_and_logged(here: Follower, caplog: pytest.LogCaptureFixture) -> None:
    def fail(endpoint: object) -> None:
        raise ZeroDivisionError

    here.connector.on_connect = fail
    result = here.call()
    assert (result.status, "internal error" in str(result.message)) == ("Running", True)
    assert "ZeroDivisionError" in caplog.text


def test_an_outage_is_asked_about_less_and_less_but_not_never(here: Follower) -> None:
    here.run()
    here.call()
    here.github.faults.add(bad_gateway(), times=None)
    begun = here.github.count()
    looks: list[int] = []
    for second in range(600):  # a host that asks every second, for ten minutes
        result = here.call()
        assert result.status == "Running"
        if here.github.count() > begun + len(looks):
            looks.append(second)
        here.clock.forward(1)
    gaps = [later - earlier for earlier, later in itertools.pairwise(looks)]
    assert gaps[:5] == [5, 10, 20, 40, 60]
    assert set(gaps[4:]) == {60}
    here.github.faults.clear()
    here.clock.forward(60)
    assert "in progress" in str(here.call().message)
    here.call()
    assert here.statuses()[-2:] == [304, 304]


def test_after_an_outage_the_next_trouble_is_a_small_one_again(here: Follower) -> None:
    here.run()
    here.github.faults.add(bad_gateway(), times=4)
    for _ in range(5):
        here.clock.sleep(here.call().retry_after or 0)
    assert here.statuses()[-1] == 200
    here.github.faults.add(bad_gateway())
    here.call()
    asked = here.github.count()
    here.clock.forward(6)
    here.call()
    assert here.github.count() == asked + 1


# ---------------------------------------------------------------- rate limits


@pytest.mark.parametrize("secondary", [False, True])
@pytest.mark.parametrize("status", [403, 429])
def test_within_what_github_asks_for_nothing_is_asked_however_often_the_host_calls(
    here: Follower, secondary: bool, status: int
) -> None:
    here.run()
    here.call()
    here.github.limit_rate(120, secondary=secondary, status=status)
    for _ in range(120):
        result = here.call(expectedConclusion="success")
        assert result.status == "Running"
        assert result.retry_after is not None
        assert 10 <= result.retry_after <= 60
        here.clock.forward(1)
    assert here.github.count() == 2
    here.clock.forward(2)
    assert "in progress" in str(here.call().message)


def test_a_reset_counts_by_githubs_clock_not_ours(tmp_path: Path) -> None:
    with following(tmp_path, skew=7_200.0) as here:
        here.run()
        here.github.limit_rate(90)
        here.call()
        here.clock.forward(89)
        here.call()
        assert here.github.count() == 1
        here.clock.forward(3)
        assert "in progress" in str(here.call().message)


def test_all_that_wait_with_one_token_share_the_hold(here: Follower) -> None:
    runs = [here.run() for _ in range(20)]
    here.github.limit_rate(100, secondary=True, status=429)
    here.call(runID=runs[0].id)
    for run in runs:
        result = here.call(runID=run.id)
        assert result.status == "Running"
        assert "asked to wait" in str(result.message)
        assert isinstance(here.begin(runID=run.id), StepResult), "a look was begun that may not ask"
    assert here.github.count() == 1
    here.github.add_token("second-token")
    here.token("second-token", name="other")
    here.call(runID=runs[5].id, credentials={"secretName": "other"})
    assert here.github.count() == 2


def test_a_limit_that_meets_the_jobs_holds_the_token_too(here: Follower) -> None:
    failed, other = here.run(), here.run()
    failed.finish("failure", jobs=FAILED)
    here.github.limit_rate(30, secondary=True, operation="list-jobs")
    assert here.call(expectedConclusion="success").status == "Failed"
    assert "asked to wait" in str(here.call(runID=other.id).message)


def test_looks_that_were_under_way_heed_the_hold_of_another(here: Follower) -> None:
    """Twenty looks begin while one is refused: those that have not asked yet do not."""
    here.restart(threads=1)  # nineteen wait in the queue
    runs = [here.run() for _ in range(20)]
    here.github.faults.add(Delay(1.0))
    here.github.limit_rate(100, secondary=True)
    under_way = [here.begin(runID=run.id) for run in runs]
    for outcome in under_way:
        assert not isinstance(outcome, StepResult)
        outcome.ready.result(timeout=LONG)
        assert outcome.answer().status is Status.RUNNING
    assert here.github.count() == 1


def test_a_503_that_says_how_long_is_heeded(here: Follower) -> None:
    here.run()
    here.github.faults.add(Answer(Response.of(503, {"message": "Maintenance"}, {"Retry-After": "300"})), times=None)
    for _ in range(300):
        assert here.call().status == "Running"
        here.clock.forward(1)
    assert here.github.count() == 1


def test_the_primary_limit_of_an_hour_is_survived(tmp_path: Path) -> None:
    with following(tmp_path, rate_limit=3) as here:
        run = here.run()
        for status in ("queued", "in_progress", "pending", "queued"):  # each change costs one
            run.set_status(status)
            assert here.call(expectedConclusion="success").status == "Running"
        asked = here.github.count()
        run.finish()
        answers = here.follow(expectedConclusion="success")
        assert answers[-1].status == "Succeeded"
        assert here.github.count() == asked + 1


def test_many_waits_take_turns(here: Follower) -> None:
    runs = [here.run() for _ in range(80)]
    results = [here.call(runID=run.id) for run in runs]
    assert {result.status for result in results} == {Status.RUNNING}
    assert here.github.count() == 60
    assert "in its turn" in str(results[-1].message)
    here.clock.forward(10)
    for run in runs:
        here.call(runID=run.id)
    seen = [entry.path for entry in here.log]
    assert {path.rpartition("/")[2] for path in seen} == {str(run.id) for run in runs}


# ---------------------------------------------------------------- looks that take long


def test_a_look_goes_on_after_the_answer_and_serves_the_next_call(here: Follower) -> None:
    here.run().finish()
    here.github.faults.add(Delay(0.2))
    under_way = here.begin()
    assert not isinstance(under_way, StepResult)
    early = under_way.answer()
    assert (early.status, early.retry_after) == ("Running", 5.0)
    under_way.ready.result(timeout=LONG)
    here.clock.forward(29)
    assert here.call().status == "Succeeded"
    assert here.github.count() == 1
    here.call()
    assert here.github.count() == 2


def test_a_result_that_nobody_heard_is_old_after_half_a_minute(here: Follower) -> None:
    here.run()
    under_way = here.begin()
    assert not isinstance(under_way, StepResult)
    under_way.ready.result(timeout=LONG)
    here.clock.forward(31)
    here.call()
    assert here.github.count() == 2


def test_calls_that_come_at_once_share_one_look(here: Follower) -> None:
    here.run()
    here.github.faults.add(Delay(0.2))
    under_way = [here.begin(project="demo") for _ in range(10)]
    for outcome in under_way:
        assert not isinstance(outcome, StepResult)
        outcome.ready.result(timeout=LONG)
        assert "in progress" in str(outcome.answer().message)
    assert here.github.count() == 1


def test_each_call_is_answered_by_its_own_expectation(here: Follower) -> None:
    here.run().finish("cancelled")
    here.github.faults.add(Delay(0.1))
    wishes = (None, "cancelled", "success")
    under_way = [here.begin(expectedConclusion=wish) for wish in wishes]
    heard = []
    for outcome in under_way:
        assert not isinstance(outcome, StepResult)
        outcome.ready.result(timeout=LONG)
        heard.append(outcome.answer().status)
    assert heard == ["Succeeded", "Succeeded", "Failed"]
    assert here.github.count("get-run") == 1


def test_no_message_and_no_log_holds_the_token(here: Follower, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    here.run()
    answers = [here.call()]
    here.github.faults.add(bad_gateway())
    answers.append(here.call())
    here.github.remove_token(EXAMPLE_TOKEN)
    here.clock.forward(60)
    answers.append(here.call())
    assert EXAMPLE_TOKEN not in caplog.text + json.dumps([told(answer) for answer in answers])


def test_names_that_others_chose_cannot_break_an_answer(here: Follower) -> None:
    here.run().wait_for_approval("production")
    reviewer = {"type": "User", "reviewer": {"login": "a\nb"}}
    body = json.dumps([{"environment": {"name": "prod\ud800\x1b[2J"}, "reviewers": [reviewer]}])  # escaped: legal JSON
    here.github.faults.add(Answer(Response(200, (), body.encode())), "get-pending-deployments")
    message = told(here.call())["message"]
    assert "environment prod\ufffd\ufffd[2J by a b" in message


def test_words_of_githubs_that_are_no_text_cannot_break_an_answer(here: Follower) -> None:
    here.run()
    here.github.faults.add(Answer(Response(403, (), b'{"message": "no \\ud800"}')))
    assert "no \ufffd" in told(here.call())["message"]


def test_a_hint_of_githubs_ends_the_pause_after_trouble_and_no_limit(here: Follower) -> None:
    run = here.run()
    here.github.faults.add(bad_gateway())
    assert "502" in str(here.call().message)
    assert "502" in str(here.call().message)  # it is not asked again so soon
    here.program.run_poller.hint(Hint("another", "name", run.id + 1))
    assert "502" in str(here.call().message)
    here.program.run_poller.hint(Hint("another", "name", run.id))
    assert "is in progress" in str(here.call().message)
    here.github.limit_rate(600)
    here.call()
    asked = here.github.count()
    here.program.run_poller.hint(Hint("myorg", "my-app", run.id))
    here.call()
    assert here.github.count() == asked


def test_what_a_look_saw_before_a_hint_and_nobody_has_heard_is_looked_at_again(here: Follower) -> None:
    run = here.run()
    begun = here.begin()
    assert isinstance(begun, LookUnderway)
    begun.ready.result(timeout=LONG)  # after its call was answered: the next one would be told of it
    run.finish()
    here.program.run_poller.hint(Hint("myorg", "my-app", run.id))
    assert here.call().status == "Succeeded"
