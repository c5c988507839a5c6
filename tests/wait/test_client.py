"""The one thing that waiting needs of the client: conditional requests."""

import json
from collections.abc import Iterator

import pytest

from gha_step.contract.secret import Token
from gha_step.emulator import EXAMPLE_TOKEN, GitHub, serve
from gha_step.github.connection import SocketConnector
from gha_step.github.endpoint import Endpoint, resolve_endpoint
from gha_step.runtime import SystemClock
from tests.github.answers import asking, client_over

from .follower import RUN

PATH = f"/repos/myorg/my-app/actions/runs/{RUN}"


@pytest.fixture
def github() -> GitHub:
    github = GitHub()
    github.start_run(actor="kargo-bot").set_status("in_progress")
    return github


@pytest.fixture
def endpoint(github: GitHub) -> Iterator[Endpoint]:
    with serve(github) as url:
        yield resolve_endpoint(url, allow_http=False)


def test_an_etag_makes_a_request_conditional(github: GitHub, endpoint: Endpoint) -> None:
    client = client_over(SocketConnector(), SystemClock())
    first = client.get("run", asking(endpoint.base), PATH, Token(EXAMPLE_TOKEN))
    assert (first.status, json.loads(first.body)["id"]) == (200, RUN)
    second = client.get("run", asking(endpoint.base), PATH, Token(EXAMPLE_TOKEN), etag=first.headers["etag"])
    assert (second.status, second.body) == (304, b"")
    assert client.get("run", asking(endpoint.base), PATH, Token(EXAMPLE_TOKEN), etag='"another"').status == 200
    assert [entry.headers.get("if-none-match") for entry in github.log] == [None, first.headers["etag"], '"another"']


def test_without_an_etag_nothing_is_conditional(github: GitHub, endpoint: Endpoint) -> None:
    client = client_over(SocketConnector(), SystemClock())
    for _ in range(2):
        assert client.get("run", asking(endpoint.base), PATH, Token(EXAMPLE_TOKEN)).status == 200
    assert not any("if-none-match" in entry.headers for entry in github.log)
