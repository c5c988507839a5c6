"""A real process: its start, its log, and its orderly end."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from gha_step.emulator import EXAMPLE_TOKEN, GitHub, Hold, serve
from tests.inbound.wire import connected, get, head, post, read_reply
from tests.support.calls import BEARER, body
from tests.support.certificates import Authority
from tests.support.clock import LONG, eventually
from tests.support.ports import free_port
from tests.support.process import Served, clean_environment, served
from tests.support.secrets import example_secret


@pytest.fixture
def server(tmp_path: Path, github_url: str) -> Iterator[Served]:
    with served(tmp_path, GHA_STEP_REPLY_WITHIN="20s") as running:
        example_secret(running.secrets, github_url)
        yield running


# ---------------------------------------------------------------- SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once_and_with_success(server: Served, number: signal.Signals) -> None:
    assert server.ask()[0] == 200
    server.process.send_signal(number)
    assert server.process.wait(LONG) == 0


def test_an_idle_connection_holds_up_no_end(tmp_path: Path) -> None:
    """A call whose body does not come is waited for as long as any other call: the reply limit."""
    with (
        served(tmp_path, GHA_STEP_REPLY_WITHIN="2s") as server,
        connected(server.url) as idle,
        connected(server.url) as half,
        connected(server.url) as slow,
    ):
        idle.sendall(head("GET", "/healthz", None))
        assert read_reply(idle).status == 200
        half.sendall(b"POST /api/v1/step.execute HTTP/1.1\r\nHost: x\r\n")
        slow.sendall(head(Content_Length="1000") + b"{")
        time.sleep(0.05)
        assert server.stop() == 0


def test_on_sigterm_it_is_not_ready_first_answers_what_is_in_flight_and_refuses_what_is_new(
    server: Served, github: GitHub
) -> None:
    held = Hold()
    github.faults.add(held, "dispatch")
    with ThreadPoolExecutor(1) as pool, connected(server.url) as kept:
        in_flight = pool.submit(post, server.url, body())
        eventually(lambda: github.count("dispatch") == 1)
        server.terminate()
        eventually(lambda: get(server.url, "/readyz").status == 503)
        assert get(server.url, "/healthz").status == 200
        assert get(server.url, "/metrics").status == 200
        new = post(server.url, body(alias="new"))
        assert (new.status, new.closed) == (503, True)
        content = json.dumps(body(alias="new")).encode()
        kept.sendall(head(Content_Length=str(len(content))) + content)
        assert read_reply(kept).status == 503
        assert post(server.url, body(), token="wrong").status == 403
        server.terminate()  # which does not cut the first one short
        held.release()
        answer = in_flight.result()
        assert (answer.status, answer.json["status"]) == (200, "Succeeded")
        assert answer.json["output"]["runID"] == github.runs[0].id
    assert server.process.wait(LONG) == 0
    assert github.count("dispatch") == 1


def test_a_post_on_the_wire_is_waited_for_and_its_run_is_in_the_ledger(
    tmp_path: Path, github: GitHub, github_url: str
) -> None:
    held = Hold()
    github.faults.add(held, "dispatch")
    with served(tmp_path, GHA_STEP_REPLY_WITHIN="300ms") as server:
        example_secret(server.secrets, github_url)
        assert post(server.url, body()).json["status"] == "Running"
        eventually(lambda: github.count("dispatch") == 1)
        server.terminate()
        eventually(lambda: get(server.url, "/readyz").status == 503)
        held.release()
        assert server.process.wait(LONG) == 0
    with served(tmp_path) as again:
        answer = post(again.url, body()).json
    assert (answer["status"], answer["output"]["runID"]) == ("Succeeded", github.runs[0].id)
    assert github.count("dispatch") == 1


# ---------------------------------------------------------------- crashes


def test_a_process_killed_after_its_answer_has_the_run_in_its_ledger(
    tmp_path: Path, server: Served, github: GitHub
) -> None:
    first = post(server.url, body()).json
    server.kill()
    with served(tmp_path) as again:
        assert post(again.url, body()).json["output"] == first["output"]
    assert github.count("dispatch") == 1


# ---------------------------------------------------------------- what it writes


def test_every_line_of_the_log_is_json_and_names_its_subject(server: Served) -> None:
    answer = post(server.url, body(promotion="test.01abc")).json
    assert server.stop() == 0
    lines = server.lines()
    assert all({"time", "level", "message", "project", "promotion", "alias", "run"} <= set(line) for line in lines)
    (told,) = [line for line in lines if "Succeeded" in line["message"]]
    assert (told["project"], told["promotion"], told["alias"]) == ("demo", "test.01abc", "dispatch")
    assert told["run"] == answer["output"]["runID"]
    assert any(line["message"].startswith("dispatch accepted") for line in lines)


def test_no_name_can_forge_a_line_of_the_log(server: Served) -> None:
    forged = 'x"}\n{"level": "ERROR", "message": "forged\r\n\x1b[31m\u2028'
    post(server.url, body(promotion=forged, alias=forged, kind=forged))
    post(server.url, body({forged: forged}, alias=forged))
    assert server.stop() == 0
    assert all(not str(line["message"]).startswith("forged") for line in server.lines())


def test_no_name_can_forge_a_line_of_the_log_as_text(tmp_path: Path, github_url: str) -> None:
    with served(tmp_path, GHA_STEP_LOG_FORMAT="text") as server:
        example_secret(server.secrets, github_url)
        post(server.url, body(alias="x\nforged"))
        server.stop()
    assert not any(line.startswith("forged") for line in server.log.read_text().splitlines())


@contextmanager
def unread(folder: Path, github_url: str, **settings: str) -> Iterator[tuple[str, list[bytes]]]:
    """The URL of a server whose log nobody reads; at the end it is stopped, and the list gets what was in the pipe."""
    url, log = f"http://127.0.0.1:{free_port()}", list[bytes]()
    environment = {
        "GHA_STEP_HTTP_LISTEN": url.removeprefix("http://"),
        "GHA_STEP_TOKEN_FILE": "none",
        "GHA_STEP_SECRETS": f"dir:{example_secret(folder / 'secrets', github_url)}",
        "GHA_STEP_LEDGER": f"sqlite:{folder / 'ledger.db'}",
    }
    command, variables = [sys.executable, "-m", "gha_step", "serve"], clean_environment(**environment, **settings)
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE) as process:

        def ready() -> bool:
            try:
                return get(url, "/readyz").status == 200
            except OSError:
                return False

        eventually(ready)
        yield url, log
        process.terminate()
        assert process.wait(LONG) == 0
        assert process.stderr is not None
        log.append(process.stderr.read())


def test_the_log_level_hides_what_is_below_it(tmp_path: Path, github_url: str) -> None:
    for number, level in enumerate(("info", "error")):
        folder = tmp_path / level
        folder.mkdir()
        with unread(folder, github_url, GHA_STEP_LOG_LEVEL=level) as (url, log):
            assert post(url, body(alias=f"a{number}")).json["status"] == "Succeeded"
        assert (log == [b""]) is (level == "error")


def test_nothing_that_is_written_holds_a_token(server: Served) -> None:
    answers = [
        post(server.url, body()),
        post(server.url, body(), token="wrong"),
        post(server.url, b"{"),
        post(server.url, body({}, alias="b")),
        get(server.url, "/metrics"),
    ]
    assert server.stop() == 0
    for name, content in server.written().items():
        assert EXAMPLE_TOKEN.encode() not in content, name
        assert BEARER.encode() not in content, name
    assert all(EXAMPLE_TOKEN.encode() not in answer.body for answer in answers)
    assert all(BEARER.encode() not in answer.body for answer in answers)


def test_a_server_without_file_descriptors_is_not_ready_and_is_again_once_there_are_some(server: Served) -> None:
    number, own = server.process.pid, resource.RLIMIT_NOFILE
    before = resource.prlimit(number, own)
    # Asked over a connection that is there already: no other would be accepted.
    with closing(HTTPConnection(server.url.removeprefix("http://"))) as connection:

        def ready() -> tuple[int, bytes]:
            connection.request("GET", "/readyz")
            answered = connection.getresponse()
            return answered.status, answered.read()

        assert ready() == (200, b"ready\n")
        open_ones = [int(name) for name in os.listdir(f"/proc/{number}/fd")]
        resource.prlimit(number, own, (max(open_ones) + 2, before[1]))
        assert ready() == (503, b"not ready: no file descriptors are left\n")
        resource.prlimit(number, own, before)
        assert ready() == (200, b"ready\n")


def test_a_server_whose_log_nobody_reads_goes_on(tmp_path: Path, github_url: str) -> None:
    with unread(tmp_path, github_url) as (url, log):
        long = "x" * 4_000  # of which a line of the log holds some
        for number in range(300):  # a pipe takes 64 KiB
            assert post(url, body({long: number}, alias=f"bad-{number}")).json["status"] == "Failed"
        assert post(url, body(alias="good")).json["status"] == "Succeeded"
        assert get(url, "/readyz").status == 200
    assert 30_000 < len(log[0]) <= 1 << 17


@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_what_fails_for_lack_of_a_descriptor_is_tried_again_and_no_context_without_authorities_is_kept(
    left: int, tmp_path: Path, github: GitHub
) -> None:
    authority = Authority(tmp_path / "ca")
    issued = authority.issue("github")
    with (
        serve(github, tls=(issued.certificate, issued.key)) as url,
        served(tmp_path / "server", SSL_CERT_FILE=str(authority.certificate)) as running,
    ):
        example_secret(running.secrets, url.replace("127.0.0.1", "localhost"))
        number, own = running.process.pid, resource.RLIMIT_NOFILE
        before = resource.prlimit(number, own)
        content = json.dumps(body()).encode()
        with connected(running.url) as kept:  # no other would be accepted
            kept.sendall(head("GET", "/healthz", None))
            assert read_reply(kept, "GET").status == 200
            open_ones = {int(name) for name in os.listdir(f"/proc/{number}/fd")}
            free = (number for number in range(1 << 16) if number not in open_ones)
            most = [next(free) for _ in range(left + 1)][-1]  # the first that must not be had
            resource.prlimit(number, own, (most, before[1]))
            kept.settimeout(LONG)
            kept.sendall(head(Content_Length=str(len(content))) + content)
            first = read_reply(kept).json
            assert first["status"] in ("Running", "Succeeded"), first
            resource.prlimit(number, own, before)
        eventually(lambda: post(running.url, body()).json["status"] == "Succeeded")
        assert github.count("dispatch") == 1
