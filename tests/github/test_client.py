"""Every other request to GitHub: through PyGithub's requester, but sent once and never elsewhere."""

import json
import logging
from collections.abc import Iterator

import pytest

from gha_step.contract.secret import Token
from gha_step.emulator import EXAMPLE_TOKEN, Answer, Close, Endless, GitHub, Reset, Response, Truncate, redirect, serve
from gha_step.github.client import PyGithubClient
from gha_step.github.connection import SocketConnector
from gha_step.github.endpoint import Endpoint, resolve_endpoint
from gha_step.github.errors import Unclear, Unreachable
from gha_step.github.messages import VERSION_HEADER
from gha_step.runtime import SystemClock
from tests.support.network import FaultyConnector

RUNS = "/repos/myorg/my-app/actions/workflows/deploy.yml/runs"


@pytest.fixture
def github() -> GitHub:
    return GitHub()


@pytest.fixture
def endpoint(github: GitHub) -> Iterator[Endpoint]:
    with serve(github) as url:
        yield resolve_endpoint(url, allow_http=False)


@pytest.fixture
def connector() -> FaultyConnector:
    return FaultyConnector(SocketConnector())


@pytest.fixture
def client(connector: FaultyConnector) -> PyGithubClient:
    return PyGithubClient(connector, SystemClock())


def test_one_call_is_one_request_over_one_connection(
    github: GitHub, endpoint: Endpoint, client: PyGithubClient, connector: FaultyConnector
) -> None:
    answer = client.get(endpoint, RUNS, Token(EXAMPLE_TOKEN), {"per_page": "100"})
    assert (answer.status, json.loads(answer.body)["total_count"]) == (200, 0)
    assert (github.count(), connector.connects) == (1, 1)
    (logged,) = github.log
    assert logged.query == {"per_page": "100"}
    assert logged.headers["x-github-api-version"] == "2022-11-28"
    assert logged.headers["authorization"] == "kargo-bot"
    assert logged.path == f"/api/v3{RUNS}"


def test_a_server_that_knows_no_api_version_is_asked_without(
    github: GitHub, endpoint: Endpoint, client: PyGithubClient
) -> None:
    client.get(endpoint, RUNS, Token(EXAMPLE_TOKEN), without=frozenset({VERSION_HEADER}))
    assert "x-github-api-version" not in github.log[0].headers


@pytest.mark.parametrize("status", [202, 301, 302, 307, 308, 400, 401, 403, 404, 429, 500, 502, 503])
def test_every_status_is_handed_over_and_nothing_is_asked_twice(
    github: GitHub, endpoint: Endpoint, client: PyGithubClient, status: int
) -> None:
    told = {"Location": f"{endpoint.base}/user", "Retry-After": "1", "X-RateLimit-Remaining": "0"}
    github.faults.add(Answer(Response.of(status, {"message": "x"}, told)), times=None)
    assert client.get(endpoint, RUNS, Token(EXAMPLE_TOKEN)).status == status
    assert github.count() == 1


def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else(
    github: GitHub, endpoint: Endpoint, client: PyGithubClient
) -> None:
    elsewhere = GitHub()
    with serve(elsewhere) as other:
        github.faults.add(redirect(f"{other}{RUNS}", status=301))
        assert client.get(endpoint, RUNS, Token(EXAMPLE_TOKEN)).status == 301
    assert elsewhere.count() == 0


@pytest.mark.parametrize("fault", [Reset("before"), Reset("after"), Close(), Truncate(), Truncate(reset=True)])
def test_a_broken_answer_is_unclear_and_nothing_is_asked_twice(
    github: GitHub, endpoint: Endpoint, client: PyGithubClient, fault: Reset | Close | Truncate
) -> None:
    github.faults.add(fault, times=None)
    with pytest.raises(Unclear):
        client.get(endpoint, RUNS, Token(EXAMPLE_TOKEN))
    assert github.count() == 1


def test_an_endless_answer_ends_at_its_limit(github: GitHub, endpoint: Endpoint, client: PyGithubClient) -> None:
    github.faults.add(Endless(chunk=b" " * (4 << 20)))
    with pytest.raises(Unclear, match="32 MiB"):
        client.get(endpoint, RUNS, Token(EXAMPLE_TOKEN))


def test_an_unreachable_server_is_told_as_such(client: PyGithubClient) -> None:
    with pytest.raises(Unreachable):
        client.get(resolve_endpoint("http://127.0.0.1:1", allow_http=False), RUNS, Token(EXAMPLE_TOKEN))


def test_pygithub_logs_no_token(endpoint: Endpoint, client: PyGithubClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client.get(endpoint, RUNS, Token(EXAMPLE_TOKEN))
    assert EXAMPLE_TOKEN not in caplog.text
