"""Where the token for GitHub comes from: a Secret with a token or an App's keys, the installation looked up."""

from pathlib import Path
from typing import Final

import jwt  # noqa: F401  the first import of it takes longer than a call waits, on a busy machine

from gha_step.emulator import EXAMPLE_TOKEN, GitHub
from gha_step.emulator.port import EXAMPLE_INSTALLATION, Action, Port
from gha_step.github.connection import SocketConnector
from gha_step.github.endpoint import resolve_endpoint
from tests.support.app_keys import rsa_key
from tests.support.clock import eventually
from tests.support.github import WORKFLOW
from tests.support.network import FaultyConnector
from tests.support.port import PROJECT
from tests.support.secrets import write_secret

from .conftest import Begin

INPUTS = {"environment": "prod", "image_tag": "1.10"}
LOOKUP: Final = "get-repository-installation"


def app_secret(root: Path, url: str, **more: str) -> None:
    """An App's keys in place of the token."""
    keys = {"githubAppClientID": "Iv23example", "githubAppPrivateKey": rsa_key().private}
    write_secret(root, PROJECT, "github-credentials", baseURL=url, **keys, **more)


def test_an_app_s_installation_is_looked_up_once_for_an_owner(
    begin: Begin, port: Port, github: GitHub, github_url: str, tmp_path: Path
) -> None:
    github.remove_token(EXAMPLE_TOKEN)
    github.add_installation(github.add_app(rsa_key().public), 4711)
    app_secret(tmp_path / "secrets", github_url)
    begin()
    port.press("deploy", INPUTS)
    eventually(lambda: github.runs)
    port.press("deploy", INPUTS)
    eventually(lambda: len(github.runs) == 2)
    assert github.count(LOOKUP) == 1
    assert {run.actor for run in github.runs} == {"gha-step[bot]"}


def test_the_installation_of_the_secret_is_a_first_guess(
    begin: Begin, port: Port, github: GitHub, github_url: str, tmp_path: Path
) -> None:
    github.remove_token(EXAMPLE_TOKEN)
    app = github.add_app(rsa_key().public)
    github.add_installation(app, 815, repositories=["other/thing"])
    github.add_installation(app, 4711, repositories=["myorg/my-app"])
    app_secret(tmp_path / "secrets", github_url, githubAppInstallationID="815")
    begin()
    port.press("deploy", INPUTS)
    eventually(lambda: github.runs)
    assert github.count(LOOKUP) == 1


def test_an_app_that_is_installed_anew_is_looked_up_again(
    begin: Begin, port: Port, github: GitHub, github_url: str, tmp_path: Path
) -> None:
    github.remove_token(EXAMPLE_TOKEN)
    app = github.add_app(rsa_key().public)
    github.add_installation(app, 4711)
    github.add_repository("myorg/other-app").add_workflow("deploy.yml", WORKFLOW.format(title="Deploy"))
    app_secret(tmp_path / "secrets", github_url)
    begin()
    port.press("deploy", INPUTS)
    eventually(lambda: github.runs)
    github.add_installation(app, 4711, repositories=["other/thing"])
    github.add_installation(app, 4712)
    port.press(Action("other", installation_id=EXAMPLE_INSTALLATION, repo="other-app"), {"image_tag": "1.10"})
    eventually(lambda: len(github.runs) == 2)
    assert github.count(LOOKUP) == 2


def test_kargo_s_git_credentials_serve_the_repository_of_their_url(
    begin: Begin, port: Port, github: GitHub, github_url: str, tmp_path: Path
) -> None:
    """They lead to github.com: here to the emulated one."""
    connector = FaultyConnector()
    here = resolve_endpoint(github_url, allow_http=False)
    connector.on_connect = lambda endpoint: (
        SocketConnector().connect(here) if endpoint.host == "api.github.com" else None
    )
    url = "https://github.com/myorg/my-app.git"
    write_secret(tmp_path / "secrets", PROJECT, "git", repoURL=url, username="x", password=EXAMPLE_TOKEN)
    process = begin(connector=connector, github_secret="git")
    pressed = port.press("deploy", INPUTS)
    eventually(lambda: github.runs and pressed.link)
    (record,) = process.records()
    assert record.target.api_base == "https://api.github.com"
    missing = port.press(Action("other", installation_id=EXAMPLE_INSTALLATION, repo="other-app"), INPUTS)
    eventually(lambda: missing.ended)
    assert missing.label == "not dispatched"
    assert "myorg/other-app" in str(missing.summary)
    github.runs[0].finish("success")
    eventually(lambda: pressed.status == "SUCCESS")


def test_an_app_that_is_not_installed_there_ends_the_run_and_names_both(
    begin: Begin, port: Port, github: GitHub, github_url: str, tmp_path: Path
) -> None:
    github.add_installation(github.add_app(rsa_key().public), 815, repositories=["other/thing"])
    app_secret(tmp_path / "secrets", github_url)
    begin()
    pressed = port.press("deploy", INPUTS)
    eventually(lambda: pressed.ended)
    assert pressed.label == "not dispatched"
    assert "the GitHub App Iv23example is not installed for myorg/my-app" in str(pressed.summary)


def test_a_missing_secret_ends_the_run_with_its_name(begin: Begin, port: Port, github: GitHub, tmp_path: Path) -> None:
    begin(github_secret="elsewhere")
    pressed = port.press("deploy", INPUTS)
    eventually(lambda: pressed.ended)
    assert "elsewhere" in str(pressed.summary)
    assert github.count("dispatch") == 0


def test_a_wrong_client_secret_stops_nothing_and_is_read_anew(
    begin: Begin, port: Port, github: GitHub, tmp_path: Path
) -> None:
    write_secret(tmp_path / "secrets", PROJECT, "port-credentials", clientId="emulator-client", clientSecret="wrong")
    process = begin()
    pressed = port.press("deploy", INPUTS)
    eventually(lambda: process.parts.refused)
    write_secret(
        tmp_path / "secrets",
        PROJECT,
        "port-credentials",
        clientId="emulator-client",
        clientSecret="emulator-client-secret-of-32-byte",
    )
    eventually(lambda: github.runs and pressed.link)
    assert not process.parts.refused
