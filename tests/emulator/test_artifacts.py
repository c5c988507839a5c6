"""Artifacts, concurrency groups and re-runs of the emulated GitHub, as facts/github-dispatch.md has them."""

import io
import json
import zipfile
from urllib.parse import urlsplit

import pytest

from gha_step.emulator import GitHub, Job, Request, Token
from tests.support.clock import VirtualClock

from .asking import REPO, ask, dispatch

RUN = f"{REPO}/actions/runs/17000000001"


def location(github: GitHub, token: str = "emulator-token") -> str:
    dispatch(github)
    artifact = github.runs[0].upload({"url": "https://example.com"})
    response = ask(github, f"{REPO}/actions/artifacts/{artifact.id}/zip", token=token)
    assert (response.status, response.body) == (302, b"")
    found = response.header("Location")
    assert found is not None
    return found


def test_an_artifact_is_a_zip_behind_a_redirect_to_a_signed_address(github: GitHub) -> None:
    stored = github.handle(Request.to("GET", location(github).removeprefix("https://github.com")))
    with zipfile.ZipFile(io.BytesIO(stored.body)) as archive:
        assert json.loads(archive.read("kargo-outputs.json")) == {"url": "https://example.com"}


def test_one_that_was_uploaded_without_an_archive_is_the_file(github: GitHub) -> None:
    dispatch(github)
    artifact = github.runs[0].upload({"a": 1}, "out.json", archive=False)
    found = ask(github, f"{REPO}/actions/artifacts/{artifact.id}/zip").header("Location")
    assert github.handle(Request.to("GET", str(found).removeprefix("https://github.com"))).body == b'{"a": 1}'


def test_storage_takes_no_token(github: GitHub) -> None:
    target = location(github).removeprefix("https://github.com")
    assert github.handle(Request.to("GET", target, token="emulator-token")).status == 400


def test_an_address_is_good_for_a_minute_and_for_one_artifact(github: GitHub, clock: VirtualClock) -> None:
    target = location(github).removeprefix("https://github.com")
    assert github.handle(Request.to("GET", target[:-1])).status == 403
    assert (
        github.handle(Request.to("GET", target.replace(urlsplit(target).path, "/_storage/artifacts/1"))).status == 404
    )
    clock.forward(61)
    assert github.handle(Request.to("GET", target)).status == 403


def test_an_expired_artifact_is_listed_and_gone(github: GitHub) -> None:
    dispatch(github)
    artifact = github.runs[0].upload({})
    artifact.expired = True
    assert json.loads(ask(github, f"{RUN}/artifacts").body)["artifacts"][0]["expired"] is True
    assert ask(github, f"{REPO}/actions/artifacts/{artifact.id}/zip").status == 410


def test_artifacts_are_filtered_by_their_whole_name(github: GitHub) -> None:
    dispatch(github)
    for name in ("kargo", "kargo-outputs", "kargo"):
        github.runs[0].upload({}, name)
    assert json.loads(ask(github, f"{RUN}/artifacts?name=kargo").body)["total_count"] == 2


def test_annotations_need_checks(github: GitHub) -> None:
    github.add_token(Token("no-checks", kind="fine-grained", checks="none"))
    dispatch(github)
    job = json.loads(ask(github, f"{RUN}/jobs").body)["jobs"][0]["id"]
    assert ask(github, f"{REPO}/check-runs/{job}/annotations", token="no-checks").status == 403
    assert json.loads(ask(github, f"{REPO}/check-runs/{job}/annotations").body) == []


def test_a_carried_over_job_keeps_its_attempt_and_result(github: GitHub) -> None:
    dispatch(github)
    run = github.runs[0]
    run.finish("failure", [Job("build", conclusion="success"), Job("deploy", conclusion="failure")])
    run.rerun(jobs=[Job("build"), Job("deploy")], carry_over=["build"])
    jobs = json.loads(ask(github, f"{RUN}/jobs").body)["jobs"]
    assert [(job["name"], job["run_attempt"], job["conclusion"]) for job in jobs] == [
        ("build", 1, "success"),
        ("deploy", 2, None),
    ]


def test_the_pending_run_of_a_group_is_replaced(github: GitHub) -> None:
    for _ in range(3):
        dispatch(github)
        github.runs[-1].enter_group("deploy")
    assert [run.status for run in github.runs] == ["queued", "completed", "pending"]
    assert github.runs[1].conclusion == "cancelled"


@pytest.mark.parametrize("path", ["runs/17000000001/concurrency_groups", "concurrency_groups/deploy"])
def test_enterprise_servers_tell_of_no_groups(path: str) -> None:
    github = GitHub("ghes-3.21")
    dispatch(github)
    github.runs[0].enter_group("deploy")
    assert ask(github, f"{REPO}/actions/{path}").status == 404


def test_a_cancelled_run_cleans_up_unless_it_is_forced(github: GitHub, clock: VirtualClock) -> None:
    github.repository("myorg/my-app").workflows[0].cleans_up_for = 30.0
    dispatch(github)
    run = github.runs[0]
    run.set_status("in_progress")
    assert ask(github, f"{RUN}/cancel", method="POST").status == 202
    assert run.status == "in_progress"
    clock.forward(10)
    assert ask(github, f"{RUN}/force-cancel", method="POST").status == 202
    assert (run.status, run.conclusion) == ("completed", "cancelled")
    assert ask(github, f"{RUN}/force-cancel", method="POST").status == 409
