"""The emulated GitHub on real sockets: what a client meets there, faults carried out, start and stop."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gha_step.emulator import (
    EXAMPLE_TOKEN,
    Close,
    Delay,
    Endless,
    GitHub,
    Reset,
    Silence,
    Truncate,
    bad_gateway,
    run,
    serve,
)
from tests.support.certificates import Authority
from tests.support.clock import LONG, eventually
from tests.support.ports import has_ipv6

from .asking import DISPATCH, INPUTS, REPO

BODY = json.dumps({"ref": "main", "inputs": INPUTS, "return_run_details": True}).encode()
HEADERS = {"Authorization": f"Bearer {EXAMPLE_TOKEN}", "User-Agent": "test", "Content-Type": "application/json"}


@pytest.fixture
def github() -> GitHub:
    return GitHub()


@pytest.fixture
def url(github: GitHub) -> Iterator[str]:
    with serve(github) as at:
        yield at


def connect(url: str, timeout: float = 5) -> http.client.HTTPConnection:
    """A connection that never reopens by itself."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    connection.connect()
    connection.auto_open = 0
    return connection


def post(url: str, timeout: float = 5, target: str = DISPATCH) -> http.client.HTTPResponse:
    """One dispatch; the answer's head, its body still to be read."""
    connection = connect(url, timeout)
    try:
        connection.request("POST", target, BODY, HEADERS | {"Connection": "close"})
        return connection.getresponse()  # has the socket to itself, as the connection is not to be kept
    finally:
        connection.close()


def posted(url: str, timeout: float = 5) -> tuple[int, bytes]:
    """(status, body) of one dispatch."""
    with post(url, timeout) as response:
        return response.status, response.read()


def test_a_dispatch_over_a_socket_is_a_dispatch(github: GitHub, url: str) -> None:
    status, body = posted(url)
    assert status == 200
    assert json.loads(body) == {
        "workflow_run_id": 17_000_000_001,
        "run_url": f"{url}{REPO}/actions/runs/17000000001",
        "html_url": f"{url}/myorg/my-app/actions/runs/17000000001",
    }
    assert [one.inputs for one in github.runs] == [INPUTS]


def test_one_connection_serves_many_requests(github: GitHub, url: str) -> None:
    connection = connect(url)
    for expected in (200, 200, 404):
        connection.request("GET", "/nowhere" if expected == 404 else REPO, headers=HEADERS)
        with connection.getresponse() as response:
            assert response.status == expected
            assert int(response.headers["content-length"]) == len(response.read())
    connection.close()


def test_answers_without_a_body_have_none(github: GitHub, url: str) -> None:
    connection = connect(url)
    connection.request("GET", REPO, headers=HEADERS)
    with connection.getresponse() as response:
        response.read()
        etag = response.headers["ETag"]
    connection.request("GET", REPO, headers={**HEADERS, "If-None-Match": etag})
    with connection.getresponse() as response:
        assert (response.status, response.read(), response.headers["Content-Length"]) == (304, b"", None)
    connection.request("POST", DISPATCH, BODY.replace(b"true", b"false"), HEADERS)
    with connection.getresponse() as response:
        assert (response.status, response.read(), response.headers["Content-Length"]) == (204, b"", None)
    connection.close()


def test_the_path_stays_encoded_until_it_is_split(github: GitHub, url: str) -> None:
    with post(url, target=f"{REPO}/actions/workflows/a%2Fdeploy.yml/dispatches") as response:
        assert response.status == 404
    assert github.log[0].path.endswith("/a%2Fdeploy.yml/dispatches")
    assert github.log[0].operation == "dispatch"


def test_a_hundred_clients_at_once_get_a_hundred_runs(github: GitHub, url: str) -> None:
    with ThreadPoolExecutor(50) as pool:
        ids = {json.loads(body)["workflow_run_id"] for _, body in pool.map(lambda _: posted(url), range(100))}
    assert len(ids) == len(github.runs) == github.count("dispatch") == 100


def test_a_request_whose_body_never_comes_whole_is_no_request(github: GitHub, url: str) -> None:
    address = urlsplit(url)
    with socket.create_connection((str(address.hostname), address.port or 0)) as peer:
        head = f"POST {DISPATCH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
        peer.sendall(head + BODY[:-1])
    time.sleep(0.05)
    assert (github.count(), github.runs) == (0, [])


@pytest.mark.parametrize(("when", "runs"), [("before", 0), ("after", 1)])
def test_a_reset_is_seen_as_a_reset(github: GitHub, url: str, when: str, runs: int) -> None:
    github.faults.add(Reset("after" if when == "after" else "before"), "dispatch")
    with pytest.raises(ConnectionResetError):
        posted(url)
    assert (len(github.runs), github.count("dispatch")) == (runs, 1)
    assert posted(url)[0] == 200


@pytest.mark.parametrize(("when", "runs"), [("before", 0), ("after", 1)])
def test_a_close_is_seen_as_an_end_of_file(github: GitHub, url: str, when: str, runs: int) -> None:
    github.faults.add(Close("after" if when == "after" else "before"), "dispatch")
    with pytest.raises(http.client.RemoteDisconnected) as caught:
        posted(url)
    assert caught.value.errno is None  # an end of file, no ECONNRESET
    assert (len(github.runs), github.count("dispatch")) == (runs, 1)


@pytest.mark.parametrize(("when", "runs"), [("before", 0), ("after", 1)])
def test_silence_lasts_until_the_client_gives_up(github: GitHub, url: str, when: str, runs: int) -> None:
    github.faults.add(Silence("after" if when == "after" else "before"), "dispatch")
    with pytest.raises(TimeoutError):
        posted(url, timeout=0.15)
    eventually(lambda: github.count() == 1 and len(github.runs) == runs)


def test_a_delay_before_processing_survives_the_client(github: GitHub, url: str) -> None:
    github.faults.add(Delay(2.0), "dispatch")
    with pytest.raises(TimeoutError):
        posted(url, timeout=0.05)
    assert github.runs == []
    eventually(lambda: len(github.runs) == 1)


def test_a_delay_after_processing_holds_back_the_answer(github: GitHub, url: str) -> None:
    github.faults.add(Delay(0.5, "after"), "dispatch")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(posted, url)
        eventually(lambda: len(github.runs) == 1)
        assert not answer.done()
        assert answer.result()[0] == 200


@pytest.mark.parametrize(("when", "runs"), [("before", 0), ("after", 1)])
def test_another_answer_may_come_with_or_without_a_run(github: GitHub, url: str, when: str, runs: int) -> None:
    github.faults.add(bad_gateway("after" if when == "after" else "before"), "dispatch")
    with post(url) as response:
        assert response.status == 502
        assert response.headers["Date"]
        assert b"Bad Gateway" in response.read()
    assert len(github.runs) == runs
    assert posted(url)[0] == 200


@pytest.mark.parametrize("reset", [False, True])
def test_a_truncated_answer_promises_more_than_it_gives(github: GitHub, url: str, reset: bool) -> None:
    github.faults.add(Truncate(keep=12, reset=reset), "dispatch")
    with post(url) as response:
        assert (response.status, response.read(12)) == (200, b'{"workflow_r')
        with pytest.raises(ConnectionResetError if reset else http.client.IncompleteRead):
            response.read()
    assert len(github.runs) == 1


def test_an_endless_body_ends_when_the_client_leaves(github: GitHub, url: str) -> None:
    github.faults.add(Endless(), "dispatch")
    with post(url) as response:
        assert response.status == 200
        assert len(response.read(2_000_000)) == 2_000_000
    assert len(github.runs) == 1
    assert posted(url)[0] == 200


def test_stopping_does_not_wait_for_anybody(github: GitHub) -> None:
    github.faults.add(Silence())
    github.faults.add(Delay(60), skip=1)
    github.faults.add(Endless(interval=60), skip=2)
    with ThreadPoolExecutor(3) as pool:
        with serve(github) as url:
            idle = connect(url)
            calls = []
            for number in range(3):
                calls.append(pool.submit(posted, url))
                eventually(lambda number=number: github.count() == number + 1)  # type: ignore[misc]  # bound now
            begun = time.monotonic()
        assert time.monotonic() - begun < LONG / 2
        for call in calls:
            assert isinstance(call.exception(), OSError | http.client.HTTPException)
        idle.close()
    assert len(github.runs) == 1  # the endless answer's
    assert not any(thread.name == "github-emulator" for thread in threading.enumerate())


def test_the_port_is_free_again_at_once(github: GitHub) -> None:
    with serve(github) as url:
        posted(url)
        port = urlsplit(url).port or 0
        with pytest.raises(OSError, match="in use"), serve(github, port=port):
            pass
    with serve(github, port=port) as again:
        assert again == url
        assert posted(again)[0] == 200


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_it_listens_on_ipv6_too(github: GitHub) -> None:
    with serve(github, host="::1") as url:
        assert url.startswith("http://[::1]:")
        assert posted(url)[0] == 200


def test_tls_by_certificate_files_with_faults_and_urls_to_match(github: GitHub, tmp_path: Path) -> None:
    def over_tls(url: str) -> bytes:
        connection = http.client.HTTPSConnection(urlsplit(url).netloc, timeout=LONG, context=trusting)
        try:
            connection.request("POST", DISPATCH, BODY, HEADERS)
            with connection.getresponse() as response:
                return response.read()
        finally:
            connection.close()

    authority = Authority(tmp_path)
    issued = authority.issue("github")
    trusting = ssl.create_default_context(cafile=authority.certificate)
    with serve(github, tls=(issued.certificate, issued.key)) as url:
        stranger = http.client.HTTPSConnection(urlsplit(url).netloc, context=ssl.create_default_context())
        with pytest.raises(ssl.SSLCertVerificationError):
            stranger.request("POST", DISPATCH, BODY, HEADERS)
        stranger.close()
        assert github.count() == 0
        assert json.loads(over_tls(url))["run_url"].startswith(f"{url}{REPO}/actions/runs/")
        github.faults.add(Reset("after"), "dispatch")
        with pytest.raises(ConnectionResetError):
            over_tls(url)
        github.faults.add(Close("after"), "dispatch")
        with pytest.raises((http.client.RemoteDisconnected, ssl.SSLEOFError)):
            over_tls(url)
    assert len(github.runs) == 3


@pytest.mark.parametrize("listen", ["", "8080", "localhost", "localhost:", ":80", "h:99999", "h:-1", "h:x", "[x]:1"])
def test_a_bad_address_is_refused_in_one_line(github: GitHub, listen: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        run(github, listen)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_run_prints_its_url_and_ends_on_a_signal(ending: signal.Signals) -> None:
    code = "from gha_step.emulator import GitHub, run; run(GitHub('ghes-3.19'), '127.0.0.1:0')"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        found = re.fullmatch(r"ghes-3\.19 emulated at (http://127\.0\.0\.1:\d+)\n", first)
        assert found is not None
        with post(found[1]) as response:
            assert response.status == 422
        process.send_signal(ending)
        assert process.wait(LONG) == 0
