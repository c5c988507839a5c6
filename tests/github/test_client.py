"""Every other request to GitHub: sent once, never elsewhere, metered, and held back by rate limits."""

import json
import logging
from collections.abc import Iterator

import pytest

from gha_step.contract.secret import Token
from gha_step.emulator import (
    EXAMPLE_TOKEN,
    Answer,
    Close,
    Endless,
    GitHub,
    Reset,
    Response,
    Truncate,
    redirect,
    refusal,
    serve,
)
from gha_step.github.client import MAX_BODY, PAGES, Client, in_smaller_pages
from gha_step.github.connection import SocketConnector
from gha_step.github.endpoint import Endpoint, resolve_endpoint
from gha_step.github.errors import RateLimited, TooLarge, Unclear, Unreachable
from gha_step.github.server_capabilities import AGAIN_AFTER
from gha_step.runtime import SystemClock
from gha_step.telemetry import Telemetry
from tests.github.answers import asking, client_over
from tests.support.clock import VirtualClock
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
def client(connector: FaultyConnector) -> Client:
    return client_over(connector, SystemClock())


def test_one_call_is_one_request_over_one_connection(
    github: GitHub, endpoint: Endpoint, client: Client, connector: FaultyConnector
) -> None:
    answer = client.get("runs", asking(endpoint.base), f"{RUNS}?per_page=100", Token(EXAMPLE_TOKEN))
    assert (answer.status, json.loads(answer.body)["total_count"]) == (200, 0)
    assert (github.count(), connector.connects) == (1, 1)
    (logged,) = github.log
    assert logged.query == {"per_page": "100"}
    assert logged.headers["x-github-api-version"] == "2022-11-28"
    assert logged.headers["authorization"] == "kargo-bot"
    assert logged.path == f"/api/v3{RUNS}"


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        ((), ["2022-11-28", "2026-03-10", None]),
        (("2026-03-10",), ["2022-11-28", "2026-03-10"]),
        (("2022-11-28", "2026-03-10"), ["2022-11-28"]),
    ],
)
def test_an_api_version_that_the_server_refuses_is_asked_once_and_never_again(
    github: GitHub, endpoint: Endpoint, client: Client, known: tuple[str, ...], asked: list[str | None]
) -> None:
    for version in {"2022-11-28", "2026-03-10"} - set(known):
        refused = refusal.unknown_version(version, ("2030-01-01",))
        body = {"message": refused.message, "status": "400", **refused.more}
        github.faults.add(
            Answer(Response.of(400, body)),
            where=lambda request, version=version: request.headers.get("x-github-api-version") == version,  # type: ignore[misc]
            times=None,
        )
    for _ in range(2):
        assert client.get("runs", asking(endpoint.base), RUNS, Token(EXAMPLE_TOKEN)).status == 200
    assert [entry.headers.get("x-github-api-version") for entry in github.log] == [*asked, asked[-1]]


@pytest.mark.parametrize(("times", "later"), [(1, ["2022-11-28"] * 2), (None, ["2022-11-28", *["2026-03-10"] * 2])])
def test_an_api_version_that_the_server_refused_is_asked_for_again_after_an_hour(
    github: GitHub, endpoint: Endpoint, times: int | None, later: list[str]
) -> None:
    refused = refusal.unknown_version("2022-11-28", ("2026-03-10",))
    github.faults.add(
        Answer(Response.of(400, {"message": refused.message, "status": "400", **refused.more})),
        where=lambda request: request.headers.get("x-github-api-version") == "2022-11-28",
        times=times,
    )
    clock = VirtualClock()
    client = client_over(SocketConnector(), clock)
    for _ in range(2):
        client.get("runs", asking(endpoint.base), RUNS, Token(EXAMPLE_TOKEN))
    clock.forward(AGAIN_AFTER)
    for _ in range(2):
        assert client.get("runs", asking(endpoint.base), RUNS, Token(EXAMPLE_TOKEN)).status == 200
    asked = [entry.headers["x-github-api-version"] for entry in github.log]
    assert asked == ["2022-11-28", "2026-03-10", "2026-03-10", *later]


def test_a_server_that_is_known_to_have_it_is_asked_with_the_new_version() -> None:
    github = GitHub("ghes-3.21")
    with serve(github) as url:
        client = client_over(FaultyConnector(SocketConnector()), SystemClock())
        for _ in range(2):
            assert client.get("runs", asking(url), RUNS, Token(EXAMPLE_TOKEN)).status == 200
    assert [entry.headers["x-github-api-version"] for entry in github.log] == ["2022-11-28", "2026-03-10"]


def test_nothing_is_asked_before_the_end_of_a_rate_limit(github: GitHub, endpoint: Endpoint) -> None:
    clock, telemetry = VirtualClock(), Telemetry()
    client = client_over(FaultyConnector(SocketConnector()), clock, telemetry=telemetry)
    github.faults.add(Answer(Response.of(429, {"message": "Slow down"}, {"Retry-After": "0"})), times=3)
    waits = []
    for _ in range(3):
        with pytest.raises(RateLimited, match=r"rate limited by 127\.0\.0\.1") as caught:
            client.get("runs", asking(endpoint.base), RUNS, Token(EXAMPLE_TOKEN))
        with pytest.raises(RateLimited, match=r"no requests until [0-9:]{8}Z"):
            client.get("runs", asking(endpoint.base), RUNS, Token(EXAMPLE_TOKEN))
        assert caught.value.retry_after is not None
        waits.append(round(caught.value.retry_after))
        clock.forward(caught.value.retry_after)
    assert client.get("runs", asking(endpoint.base), RUNS, Token(EXAMPLE_TOKEN)).status == 200
    assert (waits, github.count()) == ([2, 3, 5], 4)
    metrics = telemetry.exposition().decode()
    assert 'gha_step_github_requests_total{request="runs",status="429"} 3.0' in metrics
    assert 'gha_step_github_budget_ratio{host="127.0.0.1"}' in metrics


def test_pages_that_a_server_cannot_serve_are_halved() -> None:
    asked: list[int] = []

    def read(size: int) -> str:
        asked.append(size)
        if size > 30:
            raise TooLarge("502")
        return "read"

    assert (in_smaller_pages(read), asked) == ("read", [100, 50, 25])


def test_the_smallest_page_that_fails_is_the_end() -> None:
    asked: list[int] = []

    def read(size: int) -> str:
        asked.append(size)
        raise TooLarge("502")

    with pytest.raises(TooLarge):
        in_smaller_pages(read)
    assert asked == list(PAGES)


@pytest.mark.parametrize("status", [202, 301, 302, 307, 308, 400, 401, 404, 422, 500, 502, 503])
def test_every_status_is_handed_over_and_nothing_is_asked_twice(
    github: GitHub, endpoint: Endpoint, client: Client, status: int
) -> None:
    told = {"Location": f"{endpoint.base}/user", "X-RateLimit-Remaining": "0"}
    github.faults.add(Answer(Response.of(status, {"message": "x"}, told)), times=None)
    assert client.get("runs", asking(endpoint.base), RUNS, Token(EXAMPLE_TOKEN)).status == status
    assert github.count() == 1


def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else(
    github: GitHub, endpoint: Endpoint, client: Client
) -> None:
    elsewhere = GitHub()
    with serve(elsewhere) as other:
        github.faults.add(redirect(f"{other}{RUNS}", status=301))
        assert client.get("runs", asking(endpoint.base), RUNS, Token(EXAMPLE_TOKEN)).status == 301
    assert elsewhere.count() == 0


@pytest.mark.parametrize("fault", [Reset("before"), Reset("after"), Close(), Truncate(), Truncate(reset=True)])
def test_a_broken_answer_is_unclear_and_nothing_is_asked_twice(
    github: GitHub, endpoint: Endpoint, client: Client, fault: Reset | Close | Truncate
) -> None:
    github.faults.add(fault, times=None)
    with pytest.raises(Unclear):
        client.get("runs", asking(endpoint.base), RUNS, Token(EXAMPLE_TOKEN))
    assert github.count() == 1


def test_an_endless_answer_ends_at_its_limit(github: GitHub, endpoint: Endpoint, client: Client) -> None:
    github.faults.add(Endless(chunk=b" " * (4 << 20)))
    with pytest.raises(TooLarge, match=f"{MAX_BODY['runs'] >> 20} MiB"):
        client.get("runs", asking(endpoint.base), RUNS, Token(EXAMPLE_TOKEN))


def test_an_unreachable_server_is_told_as_such(client: Client) -> None:
    with pytest.raises(Unreachable):
        client.get("runs", asking("http://127.0.0.1:1"), RUNS, Token(EXAMPLE_TOKEN))


def test_nothing_logs_a_token(endpoint: Endpoint, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client.get("runs", asking(endpoint.base), RUNS, Token(EXAMPLE_TOKEN))
    assert EXAMPLE_TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("status", "words", "made_ago", "asked"),
    [
        (401, "Bad credentials", 0.0, 3),
        (403, "Resource not accessible by integration", 0.0, 3),
        (403, "Must have admin rights to Repository.", 0.0, 1),
        (404, "Not Found", 0.0, 1),
        (401, "Bad credentials", 11.0, 1),
        (403, "Resource not accessible by integration", 11.0, 1),
        (401, "Bad credentials", None, 1),
    ],
)
def test_a_refusal_of_a_new_app_token_is_asked_again_and_any_other_is_the_answer(
    github: GitHub,
    endpoint: Endpoint,
    connector: FaultyConnector,
    status: int,
    words: str,
    made_ago: float | None,
    asked: int,
) -> None:
    clock = VirtualClock()
    made_at = None if made_ago is None else clock.monotonic() - made_ago
    github.faults.add(Answer(Response.of(status, {"message": words})), "list-workflow-runs", times=2)
    token = Token(EXAMPLE_TOKEN, made_at=made_at)
    answer = client_over(connector, clock).get("runs", asking(endpoint.base), RUNS, token)
    assert answer.status == (200 if asked == 3 else status)
    assert github.count("list-workflow-runs") == asked


def test_a_new_app_token_that_stays_refused_is_asked_for_ten_seconds(
    github: GitHub, endpoint: Endpoint, connector: FaultyConnector
) -> None:
    clock = VirtualClock()
    begun = clock.monotonic()
    token = Token("unknown", made_at=begun)
    assert client_over(connector, clock).get("runs", asking(endpoint.base), RUNS, token).status == 401
    assert (github.count(), clock.monotonic() - begun) == (5, 11.0)
