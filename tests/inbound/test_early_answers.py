"""An answer that comes before the body has arrived reaches clients that send everything before they read."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gha_step.inbound import dropping
from gha_step.inbound.body import MAX_BODY
from gha_step.inbound.dropping import Dropping
from gha_step.inbound.readiness import Readiness
from tests.inbound.wire import EXECUTE, PROJECT_TOKEN, Reply, connected, get, head, read_reply
from tests.support.calls import BEARER
from tests.support.clock import LONG, soon
from tests.support.core import Program
from tests.support.loops import in_a_loop
from tests.support.secrets import write_secret
from tests.support.server import serving

REST = "/api/v1/projects/demo/dispatches/p/a"
LARGE = MAX_BODY - 4096


@pytest.fixture
def live(program: Program, secrets: Path) -> Iterator[str]:
    write_secret(secrets, "demo", "gha-step", token=PROJECT_TOKEN)
    with serving(program, projects=True) as at:
        yield at


def send_all_then_read(url: str, request: bytes, size: int, *, pieces: int = 8) -> Reply:
    """As `http.client` and many others do: the whole body first, then the answer."""
    with connected(url) as sock:
        sock.sendall(request)
        for _ in range(pieces):
            sock.sendall(b" " * (size // pieces))
            time.sleep(0.01)
        time.sleep(0.05)  # by now a reset would have come, and taken the answer with it
        return read_reply(sock)


@pytest.mark.parametrize(
    ("method", "path", "token", "status"),
    [
        ("POST", EXECUTE, "wrong", 403),
        ("PUT", REST, "wrong", 401),
        ("PUT", REST, None, 401),
        ("PUT", "/api/v1/projects/nowhere/dispatches/p/a", PROJECT_TOKEN, 401),
        ("PUT", "/api/v1/projects/Nowhere/dispatches/p/a", PROJECT_TOKEN, 404),
        ("POST", "/api/v1/nothing", None, 404),
    ],
)
def test_a_refusal_reaches_a_client_that_still_sends(
    live: str, method: str, path: str, token: str | None, status: int
) -> None:
    for _ in range(3):
        reply = send_all_then_read(live, head(method, path, token, Content_Length=str(LARGE)), LARGE)
        assert reply.status == status
    assert get(live, "/healthz").status == 200


@pytest.mark.parametrize(("method", "path", "token"), [("POST", EXECUTE, BEARER), ("PUT", REST, PROJECT_TOKEN)])
@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_told_so(live: str, method: str, path: str, token: str, announced: bool) -> None:
    size = MAX_BODY + 1024 * 64
    start = head(method, path, token)
    if announced:
        request = start[:-2] + f"Content-Length: {size}\r\n\r\n".encode()
    else:  # one chunk
        request = start[:-2] + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size
    assert send_all_then_read(live, request, size).status == 413


def test_while_it_stops_a_large_call_hears_so(program: Program, secrets: Path) -> None:
    write_secret(secrets, "demo", "gha-step", token=PROJECT_TOKEN)
    readiness = Readiness()
    with serving(program, projects=True, readiness=readiness) as url:
        readiness.draining = True  # as between SIGTERM and the last answer
        for method, path in (("POST", EXECUTE), ("PUT", REST)):
            assert send_all_then_read(url, head(method, path, Content_Length=str(LARGE)), LARGE).status == 503


def test_the_answer_does_not_wait_for_the_body(live: str) -> None:
    with soon(), connected(live) as sock:
        sock.sendall(head(token="wrong", Content_Length=str(LARGE)))
        assert sock.recv(12) == b"HTTP/1.1 403"


def test_a_client_that_stays_silent_is_let_go_at_once(live: str) -> None:
    with connected(live) as sock:
        sock.sendall(head(token="wrong", Content_Length=str(LARGE)))
        with soon():
            while sock.recv(1000):
                pass


def test_a_client_that_never_ends_is_let_go_soon(live: str) -> None:
    with connected(live) as sock:
        sock.sendall(head(token="wrong", Content_Length=str(MAX_BODY)))
        with soon(), pytest.raises(OSError, match=r"reset|Broken pipe"):  # noqa: PT012
            while True:
                sock.sendall(b"x")
                time.sleep(0.02)


def test_a_client_that_sends_more_than_it_said_is_let_go(live: str) -> None:
    with connected(live) as sock:
        sock.sendall(head(token="wrong", Transfer_Encoding="chunked"))
        chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
        with pytest.raises(OSError, match=r"reset|Broken pipe"):  # noqa: PT012
            for _ in range(16 * MAX_BODY // 65_536):
                sock.sendall(chunk)


@in_a_loop
async def test_the_rest_of_bodies_is_dropped_on_a_few_connections_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("AT_ONCE", 1), ("SILENCE", LONG), ("LINGER", 10 * LONG)):
        monkeypatch.setattr(dropping, name, value)
    rests = Dropping()
    with ExitStack() as stack:

        async def refused() -> tuple[asyncio.Task[None], socket.socket]:
            ours, theirs = socket.socketpair()
            stack.enter_context(theirs)
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, ours)
            stack.callback(transport.abort)
            return asyncio.create_task(rests.drop(transport, 10)), theirs

        (first, one), (second, two) = await refused(), await refused()
        two.sendall(bytes(10))
        assert await asyncio.wait([first, second], timeout=0.05) == (set(), {first, second})
        with soon():
            one.sendall(bytes(10))
            await asyncio.gather(first, second)
