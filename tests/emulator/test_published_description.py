"""Every successful answer fits GitHub's published API description and has no field that it does not know."""

import json

import pytest
from pydantic import ValidationError

from gha_step.emulator import API_2022, API_2026, Annotation, Approval, GitHub, Job, Json, Request, Response, Token
from gha_step.emulator.api import OPERATIONS
from tests.support.clock import VirtualClock

from .asking import FLOW, REPO, ask, dispatch
from .published import BODILESS, ENTERPRISE, MODELS, judge, published_model

VERSIONS = (API_2022, API_2026)
SEEN_STATUSES = ("requested", "queued", "pending", "waiting", "in_progress")


def test_every_operation_has_a_published_model() -> None:
    assert {operation.name for operation in OPERATIONS} == set(MODELS) | BODILESS


@pytest.mark.parametrize("change", [{"id": None}, {"status": 1}, {"surprise": 1}, {"actor": {"login": "x"}}])
def test_the_judge_finds_missing_wrong_and_unknown_fields(github: GitHub, change: dict[str, Json]) -> None:
    dispatch(github)
    run = json.loads(ask(github, f"{REPO}/actions/runs/17000000001").body)
    with pytest.raises((AssertionError, ValidationError)):
        judge(Response.of(200, {**run, **change}), published_model("get-run", API_2022))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("operation", "target"),
    [
        ("get-repository", REPO),
        ("list-workflows", f"{REPO}/actions/workflows"),
        ("get-workflow", FLOW),
        ("get-workflow", f"{REPO}/actions/workflows/1000001"),
        ("list-runs", f"{REPO}/actions/runs"),
        ("list-workflow-runs", f"{FLOW}/runs?per_page=1"),
        ("get-run", f"{REPO}/actions/runs/17000000001"),
        ("list-jobs", f"{REPO}/actions/runs/17000000001/jobs"),
        ("get-pending-deployments", f"{REPO}/actions/runs/17000000001/pending_deployments"),
        ("get-contents", f"{REPO}/contents/.github/workflows/deploy.yml"),
        ("get-user", "/user"),
        ("get-meta", "/meta"),
        ("get-rate-limit", "/rate_limit"),
    ],
)
def test_reading_answers_as_published(github: GitHub, version: str, operation: str, target: str) -> None:
    dispatch(github)
    dispatch(github)
    response = ask(github, target, version=version)
    assert response.status == 200
    judge(response, published_model(operation, version))


@pytest.mark.parametrize("version", VERSIONS)
def test_writing_answers_as_published(github: GitHub, clock: VirtualClock, version: str) -> None:
    run = f"{REPO}/actions/runs/17000000001"
    details = dispatch(github, details=None if version == API_2026 else True, version=version)
    judge(details, published_model("dispatch", version))
    cancelled = ask(github, f"{run}/cancel", method="POST", version=version)
    assert cancelled.status == 202
    judge(cancelled, published_model("cancel-run", version))
    again = ask(github, f"{run}/rerun", method="POST", version=version)
    assert again.status == 201
    judge(again, published_model("rerun-run", version))
    forced = ask(github, f"{run}/force-cancel", method="POST", version=version)
    assert forced.status == 202
    judge(forced, published_model("force-cancel-run", version))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("status", SEEN_STATUSES)
def test_a_run_and_its_jobs_are_as_published_in_every_status(github: GitHub, version: str, status: str) -> None:
    dispatch(github)
    github.runs[0].set_status(status)
    judge(ask(github, f"{REPO}/actions/runs/17000000001", version=version), published_model("get-run", version))
    judge(ask(github, f"{REPO}/actions/runs/17000000001/jobs", version=version), published_model("list-jobs", version))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("conclusion", ["success", "failure", "cancelled", "timed_out", "skipped", "action_required"])
def test_a_completed_run_and_its_jobs_are_as_published(github: GitHub, version: str, conclusion: str) -> None:
    dispatch(github)
    github.runs[0].rerun(actor="my-app[bot]", jobs=[Job("build"), Job("deploy", ("Build", "Test", "Tidy"), "Test")])
    github.runs[0].finish(conclusion)
    judge(ask(github, f"{REPO}/actions/runs/17000000001", version=version), published_model("get-run", version))
    judge(ask(github, f"{REPO}/actions/runs/17000000001/jobs", version=version), published_model("list-jobs", version))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_pending_deployment_is_as_published(github: GitHub, clock: VirtualClock, version: str) -> None:
    github.repository("myorg/my-app").workflows[0].approval = Approval("production", ("alice", "team:ops"))
    dispatch(github)
    clock.forward(5)
    response = ask(github, f"{REPO}/actions/runs/17000000001/pending_deployments", version=version)
    assert json.loads(response.body)[0]["environment"]["name"] == "production"
    judge(response, published_model("get-pending-deployments", version))


@pytest.mark.parametrize("version", VERSIONS)
def test_artifacts_are_as_published(github: GitHub, version: str) -> None:
    dispatch(github)
    github.runs[0].upload({"url": "https://example.com"})
    github.runs[0].upload(b"{}", "kargo-outputs.json", archive=False)
    response = ask(github, f"{REPO}/actions/runs/17000000001/artifacts", version=version)
    assert json.loads(response.body)["total_count"] == 2
    judge(response, published_model("list-artifacts", version))


@pytest.mark.parametrize("version", VERSIONS)
def test_annotations_are_as_published(github: GitHub, version: str) -> None:
    dispatch(github)
    github.runs[0].finish("failure", [Job("deploy", annotations=(Annotation("No such image", "Deploy", "a.sh", 3),))])
    job = json.loads(ask(github, f"{REPO}/actions/runs/17000000001/jobs").body)["jobs"][0]
    response = ask(github, f"{REPO}/check-runs/{job['id']}/annotations", version=version)
    assert [one["message"] for one in json.loads(response.body)] == ["No such image"]
    judge(response, published_model("list-annotations", version))


@pytest.mark.parametrize("version", VERSIONS)
def test_concurrency_groups_are_as_published(github: GitHub, version: str) -> None:
    for _ in range(2):
        dispatch(github)
        github.runs[-1].enter_group("deploy/prod")
    of_run = ask(github, f"{REPO}/actions/runs/17000000002/concurrency_groups", version=version)
    judge(of_run, published_model("get-run-groups", version))
    (entry,) = json.loads(of_run.body)["concurrency_groups"]
    assert [(one["status"], one["position"]) for one in entry["group_members"]] == [("pending", 1)]
    group = ask(github, entry["group_url"].removeprefix("https://api.github.com"), version=version)
    assert [one["run_id"] for one in json.loads(group.body)["group_members"]] == [17_000_000_001, 17_000_000_002]
    judge(group, published_model("get-group", version))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_earlier_attempt_is_as_published(github: GitHub, version: str) -> None:
    dispatch(github)
    github.runs[0].finish("failure")
    github.runs[0].rerun()
    response = ask(github, f"{REPO}/actions/runs/17000000001/attempts/1", version=version)
    body = json.loads(response.body)
    assert (body["run_attempt"], body["conclusion"]) == (1, "failure")
    judge(response, published_model("get-run-attempt", version))


def test_a_refusal_is_a_published_basic_error(github: GitHub) -> None:
    github.add_token(Token("weak", actions="read"))
    body = json.loads(dispatch(github, token="weak").body)
    assert set(body) == {"message", "documentation_url", "status"}
    assert all(isinstance(value, str) for value in body.values())


@pytest.mark.parametrize("generation", ["ghes-3.19", "ghes-3.20", "ghes-3.21"])
@pytest.mark.parametrize(
    ("operation", "target"),
    [
        ("list-workflow-runs", f"{FLOW}/runs"),
        ("get-run", f"{REPO}/actions/runs/17000000001"),
        ("list-jobs", f"{REPO}/actions/runs/17000000001/jobs"),
        ("get-pending-deployments", f"{REPO}/actions/runs/17000000001/pending_deployments"),
        ("get-meta", "/meta"),
    ],
)
def test_an_enterprise_server_answers_as_the_facts_say(generation: str, operation: str, target: str) -> None:
    github = GitHub(generation)
    dispatch(github)
    github.runs[0].wait_for_approval("production")
    response = ask(github, f"/api/v3{target}")
    assert response.status == 200
    ENTERPRISE[operation].validate_python(json.loads(response.body))


def test_an_enterprise_server_that_gives_run_details_gives_the_published_ones() -> None:
    response = dispatch(GitHub("ghes-3.21"), details=True, target=f"/api/v3{FLOW}/dispatches")
    assert response.status == 200
    ENTERPRISE["dispatch"].validate_python(json.loads(response.body))


def test_urls_of_an_answer_lie_under_the_root_that_was_asked(github: GitHub) -> None:
    dispatch(github)
    asked = Request.to("GET", f"/api/v3{REPO}/actions/runs/17000000001", token="emulator-token", host="ghe.example")
    body = json.loads(github.handle(asked).body)
    assert body["url"] == "https://ghe.example/api/v3/repos/myorg/my-app/actions/runs/17000000001"
    assert body["html_url"] == "https://ghe.example/myorg/my-app/actions/runs/17000000001"
