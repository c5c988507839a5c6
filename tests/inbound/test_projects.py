"""The REST resource as stock Kargo's `http` step uses it, over a real socket."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from gha_step.emulator import GitHub
from gha_step.inbound.rest.resource import MAX_CONFIG, UNPROVED
from gha_step.inbound.room import REFUSED_AFTER, SMALL
from tests.inbound.slow_secrets import Slow
from tests.inbound.wire import EXECUTE, PROJECT_TOKEN, Reply, connected, get, head, post, put, raw, read_reply
from tests.support.calls import BEARER, INPUTS, body, config
from tests.support.clock import soon
from tests.support.core import Program, Start
from tests.support.secrets import write_secret
from tests.support.server import serving

HOST = 60.0  # seconds that a host waits; the answer of this resource takes one, because Kargo blocks a worker
PATH = "/api/v1/projects/demo/dispatches/test.01abc.def5678/dispatch::call"


def wait_config(github: GitHub, **changes: Any) -> dict[str, Any]:
    whole = {"credentials": {"secretName": "github"}, "owner": "myorg", "repo": "my-app", "runID": github.runs[0].id}
    return whole | changes


@pytest.fixture
def live(program: Program, secrets: Path) -> Iterator[str]:
    """As a service is run: the resource of projects, and nothing for hosts."""
    write_secret(secrets, "demo", "gha-step", token=PROJECT_TOKEN)
    with serving(program, served=False, projects=True, reply_within=HOST) as at:
        yield at


def timed(url: str, content: Any, **names: Any) -> Reply:
    """An answer that came at once."""
    with soon():
        return put(url, content, **names)


def ended(url: str, content: Any, **names: Any) -> Reply:
    """PUT until the answer is final, as a host does, though faster; on a busy machine the first may be too early."""
    for _ in range(200):
        reply = timed(url, content, **names)
        assert reply.status == 200, reply
        if reply.json["status"] != "Running":
            return reply
        time.sleep(0.05)
    raise AssertionError("the step did not end")


def follow(url: str, content: Any, **names: Any) -> dict[str, Any]:
    return ended(url, content, **names).json


# ---------------------------------------------------------------- 200


def test_a_dispatch_is_answered_flat_with_the_run_id_as_text(live: str, github: GitHub) -> None:
    reply = ended(live, config())
    assert (reply.status, reply.headers["content-type"], reply.closed) == (200, "application/json", False)
    (run,) = github.runs
    assert reply.json["status"] == "Succeeded"
    assert reply.json["runID"] == str(run.id)
    assert reply.json["runIDSource"] == "response"
    assert reply.json["url"].endswith(f"/myorg/my-app/actions/runs/{run.id}")
    assert reply.json["links"] == [{"url": reply.json["url"], "label": "GitHub Actions run", "icon": "github"}]
    assert run.sent_inputs == INPUTS


def test_each_alias_promotion_and_project_is_a_step_of_its_own(
    live: str, github: GitHub, secrets: Path, github_url: str
) -> None:
    write_secret(secrets, "other", accessToken="emulator-token", baseURL=github_url)
    write_secret(secrets, "other", "gha-step", token="of-other")
    follow(live, config())
    follow(live, config(), alias="task-1::call")
    follow(live, config(), promotion="test.02abc.def5678")
    follow(live, config(), project="other", token="of-other")
    assert len(github.runs) == 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[" * 40_000, "nested too deeply"),
        (b'{"ref": NaN}', "NaN"),
        (b"null", "JSON object"),
        (b"[]", "JSON object"),
        (b'"{}"', "JSON object"),
        ({}, "config.ref"),
        (config(ref=1.1), "quote("),
        (config(repo=True), "config.repo"),
        (config(surprise=1), "config.surprise: is not a field"),
        (config(credentials={"secretName": "nowhere"}), "the Secret nowhere does not exist"),
        (config(credentials={"secretName": "../other/github"}), "config.credentials.secretName"),
    ],
)
def test_a_malformed_body_or_config_is_200_and_failed(live: str, github: GitHub, content: Any, words: str) -> None:
    reply = put(live, content)
    assert (reply.status, reply.json["status"]) == (200, "Failed")
    assert words in reply.json["message"]
    assert github.count("dispatch") == 0


# ---------------------------------------------------------------- waits


def test_a_wait_follows_the_run_to_its_conclusion(live: str, github: GitHub) -> None:
    run_id = follow(live, config())["runID"]
    running = put(live, wait_config(github, runID=run_id), resource="waits", alias="wait::call").json
    assert (running["status"], running["runStatus"]) == ("Running", "queued")
    github.runs[0].finish()
    answer = follow(live, wait_config(github, runID=run_id), resource="waits", alias="wait::call")
    assert (answer["status"], answer["conclusion"]) == ("Succeeded", "success")
    assert "runID" not in answer


# ---------------------------------------------------------------- at once


def test_a_token_that_takes_long_to_read_is_503_and_the_next_call_is_served(
    secrets: Path, process: Start, github: GitHub, slow: Slow
) -> None:
    write_secret(secrets, "demo", "gha-step", token=PROJECT_TOKEN)
    with serving(process(secrets=slow), served=False, projects=True, reply_within=HOST) as url:
        for _ in range(2):
            reply = timed(url, config())
            assert (reply.status, reply.closed) == (503, True)
            assert "call again" in reply.message
        assert slow.reads == 1
        slow.free.set()
        assert follow(url, config())["runID"] == str(github.runs[0].id)


def test_where_no_worker_is_free_it_is_503_or_running(process: Start, github: GitHub, slow: Slow) -> None:
    program = process(secrets=slow)
    with (
        serving(program, served=False, projects=True, workers=2, reply_within=HOST) as url,
        ThreadPoolExecutor(6) as pool,
    ):
        replies = list(pool.map(lambda number: timed(url, config(), project=f"project-{number}"), range(6)))
        assert [reply.status for reply in replies] == [503] * 6
        slow.free.set()
    assert github.count() == 0


# ---------------------------------------------------------------- 401, before the body is read


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        f"Bearer {PROJECT_TOKEN}x",
        f"Bearer {BEARER}",
        f"Basic {PROJECT_TOKEN}",
        "Bearer \xff\xfe",
        f"Bearer {PROJECT_TOKEN} {PROJECT_TOKEN}",
    ],
)
def test_a_failed_proof_is_401(live: str, authorization: str | None) -> None:
    lines = {} if authorization is None else {"Authorization": authorization}
    reply = raw(live, head("PUT", PATH, token=None, Content_Length="1000", **lines))  # and no body
    assert (reply.status, reply.message, reply.closed) == (HTTPStatus.UNAUTHORIZED, UNPROVED, True)


def test_a_proved_call_may_be_written_in_any_case(live: str) -> None:
    content = json.dumps(config()).encode()
    lines = {"Authorization": f"bEARER  {PROJECT_TOKEN} ", "Content_Length": str(len(content))}
    assert raw(live, head("PUT", PATH, token=None, **lines) + content).status == 200


def test_a_call_by_the_word_expect_is_told_to_go_on_only_with_a_proof(live: str) -> None:
    content = json.dumps(config()).encode()
    with connected(live) as sock:
        sock.sendall(head("PUT", PATH, PROJECT_TOKEN, Content_Length=str(len(content)), Expect="100-continue"))
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(content)
        assert read_reply(sock, "PUT").status == 200
    with connected(live) as sock:
        sock.sendall(head("PUT", PATH, "wrong", Content_Length=str(len(content)), Expect="100-continue"))
        assert sock.recv(1000).startswith(b"HTTP/1.1 401 ")


# ---------------------------------------------------------------- 404, 413, 503


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_another_method_is_404(live: str, method: str) -> None:
    reply = raw(live, head(method, PATH, PROJECT_TOKEN))
    assert reply.status == 404
    if method != "HEAD":
        assert "use PUT" in reply.message


def test_step_execute_is_not_served_beside_it(live: str) -> None:
    reply = post(live, {"context": {}}, token=PROJECT_TOKEN, path=EXECUTE)
    assert reply.status == 404
    assert set(reply.json) == {"error", "message"}


def test_a_sidecar_does_not_offer_it(program: Program, secrets: Path, github: GitHub) -> None:
    write_secret(secrets, "demo", "gha-step", token=PROJECT_TOKEN)
    with serving(program) as url:
        assert put(url, config()).status == 404
        assert put(url, config(), token=BEARER).status == 404
    assert github.count() == 0


def test_the_projects_that_hosts_are_served_for_do_not_narrow_it(secrets: Path, process: Start, github: GitHub) -> None:
    write_secret(secrets, "demo", "gha-step", token=PROJECT_TOKEN)
    with serving(process(projects=frozenset({"another"})), projects=True) as url:
        assert "GHA_STEP_PROJECTS" in post(url, body()).json["message"]
        assert follow(url, config())["runID"] == str(github.runs[0].id)


def test_a_large_body_that_is_refused_is_answered_after_a_pause(live: str) -> None:
    begun = time.monotonic()
    assert put(live, "x" * (SMALL + 1)).json["status"] == "Failed"
    assert time.monotonic() - begun >= REFUSED_AFTER


def test_a_body_over_one_mebibyte_is_413(live: str) -> None:
    reply = raw(live, head("PUT", PATH, PROJECT_TOKEN, Content_Length=str(MAX_CONFIG + 1)))
    assert (reply.status, reply.closed) == (413, True)
    assert "1 MiB" in reply.message


def test_a_body_that_does_not_come_is_503(program: Program, secrets: Path) -> None:
    write_secret(secrets, "demo", "gha-step", token=PROJECT_TOKEN)
    with serving(program, served=False, projects=True, reply_within=0.3) as url:
        reply = raw(url, head("PUT", PATH, PROJECT_TOKEN, Content_Length="1000"))
        assert (reply.status, reply.closed) == (503, True)


def test_a_slow_body_does_not_eat_up_the_time_for_the_answer(live: str, github: GitHub) -> None:
    content = json.dumps(config()).encode()
    with connected(live) as sock:
        sock.sendall(head("PUT", PATH, PROJECT_TOKEN, Content_Length=str(len(content))) + content[:10])
        time.sleep(1.2)
        sock.sendall(content[10:])
        assert read_reply(sock, "PUT").status == 200
    assert follow(live, config())["runID"] == str(github.runs[0].id)


# ---------------------------------------------------------------- what operators see


def test_requests_are_counted_by_status(live: str) -> None:
    put(live, config())
    put(live, config(), token="wrong")
    put(live, {}, alias="%00")
    put(live, {}, resource="waits", promotion="another")
    text = get(live, "/metrics").body.decode()
    for line in (
        'gha_step_project_requests_total{resource="dispatches",status="200"} 1.0',
        'gha_step_project_requests_total{resource="dispatches",status="401"} 1.0',
        'gha_step_project_requests_total{resource="none",status="404"} 1.0',
        'gha_step_project_requests_total{resource="waits",status="200"} 1.0',
    ):
        assert line in text
