"""Configs since v1.9, from the step's call to the run, against the emulated GitHub; the last ones over HTTP."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gha_step.contract.result import StepResult
from gha_step.emulator import EXAMPLE_TOKEN, GitHub, serve
from tests.support.app_keys import rsa_key
from tests.support.calls import BEARER, config, output
from tests.support.certificates import Authority
from tests.support.core import Program
from tests.support.github import github_at
from tests.support.host import KargoHost, Promotion, Step
from tests.support.process import served
from tests.support.secrets import write_secret
from tests.support.server import serving

SHARED = "kargo-shared-resources"
Put = Callable[..., None]


@pytest.fixture
def put(tmp_path: Path, github_url: str) -> Put:
    """A Secret with these credentials for the example's repository."""

    def write(name: str = "git", project: str = "demo", /, **data: str) -> None:
        whole: dict[str, Any] = {"repoURL": f"{github_url}/myorg/my-app"} | data
        write_secret(tmp_path / "secrets", project, name, **whole)

    return write


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Empty."""
    (tmp_path / "secrets").mkdir()
    return tmp_path / "secrets"


def by_url(repo_url: str, **changes: Any) -> dict[str, Any]:
    return config(credentials=..., owner=..., repo=..., repoURL=repo_url, **changes)


def assert_dispatched(result: StepResult, github: GitHub) -> None:
    assert result.status == "Succeeded", result.message
    (run,) = github.runs
    assert output(result)["runID"] == run.id


def assert_nothing_dispatched(result: StepResult, github: GitHub, words: str) -> None:
    assert (result.status, result.terminal) == ("Failed", True)
    assert str(result.message).startswith("nothing was dispatched: ")
    assert words in str(result.message)
    assert EXAMPLE_TOKEN not in str(result.message)
    assert "hunter2" not in str(result.message)
    assert not github.runs


@pytest.mark.parametrize("end", ["/myorg/my-app", "/myorg/my-app.git", "/MyOrg/My-App/", "/myorg/my-app.git/"])
def test_a_password_in_the_project_is_used(
    program: Program, github: GitHub, put: Put, github_url: str, end: str
) -> None:
    put(username="x", password=EXAMPLE_TOKEN)
    assert_dispatched(program.follow(by_url(github_url + end)), github)
    assert github.count() == 2  # the baseline of a server that is not known yet, and the dispatch


def test_an_app_is_used(program: Program, github: GitHub, put: Put, github_url: str) -> None:
    github.remove_token(EXAMPLE_TOKEN)
    github.add_installation(github.add_app(rsa_key().public))
    put(githubAppID="4711", githubAppInstallationID="815", githubAppPrivateKey=rsa_key().private)
    assert_dispatched(program.follow(by_url(f"{github_url}/myorg/my-app.git")), github)


def test_a_rotated_password_is_used_at_once(program: Program, github: GitHub, put: Put, github_url: str) -> None:
    put(username="x", password="old")
    assert "401" in str(program.follow(by_url(f"{github_url}/myorg/my-app")).message)
    put(username="x", password=EXAMPLE_TOKEN)
    assert_dispatched(program.follow(by_url(f"{github_url}/myorg/my-app"), promotionUID="uid-2"), github)


def test_the_two_forms_of_one_repository_are_the_same_dispatch(
    program: Program, github: GitHub, put: Put, tmp_path: Path, github_url: str
) -> None:
    put(username="x", password=EXAMPLE_TOKEN)
    write_secret(tmp_path / "secrets", accessToken=EXAMPLE_TOKEN, baseURL=github_url)
    first = program.follow(by_url(f"{github_url}/myorg/my-app.git"))
    assert_dispatched(first, github)
    assert program.follow().message == first.message
    assert github.count("dispatch") == 1


def test_unfit_credentials_dispatch_nothing(program: Program, github: GitHub, put: Put, github_url: str) -> None:
    put(sshPrivateKey="hunter2")
    result = program.follow(by_url(f"{github_url}/myorg/my-app"))
    assert_nothing_dispatched(result, github, "has only an SSH key")
    assert github.count() == 0


# ---------------------------------------------------------------- certificates


@pytest.fixture
def tls_url(github: GitHub, tmp_path: Path) -> Iterator[str]:
    """The same GitHub with a certificate that nobody trusts."""
    issued = Authority(tmp_path / "pki").issue("server")
    with serve(github, tls=(issued.certificate, issued.key)) as at:
        yield at


def test_an_untrusted_certificate_is_refused_and_nothing_sent(
    program: Program, github: GitHub, put: Put, tls_url: str
) -> None:
    put(repoURL=f"{tls_url}/myorg/my-app", username="x", password=EXAMPLE_TOKEN)
    assert_nothing_dispatched(program.follow(by_url(f"{tls_url}/myorg/my-app")), github, "is not trusted")
    assert github.count() == 0


@pytest.mark.parametrize("value", [True, "true"])
def test_an_untrusted_certificate_is_taken_on_request(
    program: Program, github: GitHub, put: Put, tls_url: str, value: object
) -> None:
    put(repoURL=f"{tls_url}/myorg/my-app", username="x", password=EXAMPLE_TOKEN)
    skipping = by_url(f"{tls_url}/myorg/my-app", insecureSkipTLSVerify=value)
    assert_dispatched(program.follow(skipping), github)


def test_one_step_that_skips_the_check_does_not_skip_it_for_others(
    program: Program, github: GitHub, put: Put, tls_url: str
) -> None:
    put(repoURL=f"{tls_url}/myorg/my-app", username="x", password=EXAMPLE_TOKEN)
    program.follow(by_url(f"{tls_url}/myorg/my-app", insecureSkipTLSVerify=True))
    asked = github.count()
    for value in (False, ...):
        result = program.follow(
            by_url(f"{tls_url}/myorg/my-app", insecureSkipTLSVerify=value), promotionUID=f"uid-{value}"
        )
        assert "is not trusted" in str(result.message)
    assert github.count() == asked


def test_an_apps_token_is_fetched_with_the_same_care(program: Program, github: GitHub, put: Put, tls_url: str) -> None:
    github.add_installation(github.add_app(rsa_key().public))
    app = {"githubAppID": "4711", "githubAppInstallationID": "815", "githubAppPrivateKey": rsa_key().private}
    put(repoURL=f"{tls_url}/myorg/my-app", **app)
    assert_nothing_dispatched(program.follow(by_url(f"{tls_url}/myorg/my-app")), github, "is not trusted")
    assert github.count() == 0
    skipping = by_url(f"{tls_url}/myorg/my-app", insecureSkipTLSVerify=True)
    assert_dispatched(program.follow(skipping, promotionUID="uid-2"), github)


# ---------------------------------------------------------------- over HTTP


@pytest.mark.parametrize("namespace", ["demo", SHARED])
def test_a_host_dispatches_with_a_password(
    program: Program, github: GitHub, put: Put, github_url: str, namespace: str
) -> None:
    put("git", namespace, username="x", password=EXAMPLE_TOKEN)
    with serving(program) as server:
        heard = KargoHost(server, BEARER, pace=0.1).run(
            Promotion("demo"), Step("dispatch", by_url(f"{github_url}/myorg/my-app"))
        )
    assert (heard.status, heard.run_id) == ("Succeeded", github.runs[0].id)


@pytest.mark.parametrize(("shared", "status"), [("common", "Succeeded"), ("", "Failed")])
def test_the_shared_namespace_is_a_setting_of_the_server(tmp_path: Path, shared: str, status: str) -> None:
    github = GitHub()
    with github_at(github) as github_url, served(tmp_path, GHA_STEP_SHARED_NAMESPACE=shared) as server:
        github.add_installation(github.add_app(rsa_key().public))
        app = {"githubAppID": "4711", "githubAppInstallationID": "815", "githubAppPrivateKey": rsa_key().private}
        write_secret(server.secrets, "common", "git", repoURL=f"{github_url}/myorg/my-app", **app)
        host = KargoHost(server.url, BEARER, pace=0.1)
        heard = host.run(Promotion("demo"), Step("dispatch", by_url(f"{github_url}/myorg/my-app")))
        assert heard.status == status, heard.message
        written = b"".join(server.written().values()) + b"".join(host.received)
    assert len(github.runs) == (status == "Succeeded")
    for secret in ("ghs_", "eyJ", rsa_key().private.splitlines()[1]):
        assert secret.encode() not in written
