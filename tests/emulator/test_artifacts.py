"""Artifacts, concurrency groups and re-runs of the emulated GitHub, as facts/github-dispatch.md has them."""

import io
import json
import zipfile
from urllib.parse import urlsplit

from gha_step.emulator import GitHub, Request
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
