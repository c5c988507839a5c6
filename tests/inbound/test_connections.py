"""Connections on which nobody has proved anything: how many there are, and how long they are waited for."""

import asyncio
import select
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gha_step.inbound import connections, process, room, unproved_calls
from gha_step.inbound import door as door_module
from gha_step.inbound.connections import ConnectionLimit
from gha_step.inbound.door import Door
from gha_step.inbound.unproved_calls import UnprovedCalls
from tests.inbound.channels import live
from tests.inbound.wire import connected, head, read_reply
from tests.support.clock import LONG, soon
from tests.support.loops import in_a_loop

CHUNKED = b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Line:
    """A connection, as far as it is counted."""

    def __init__(self) -> None:
        self.closed = False

    def abort(self) -> None:
        self.closed = True


def entered(unproved: ConnectionLimit, peer: str, number: int = 1) -> list[Line]:
    async def play() -> list[Line]:
        lines = [Line() for _ in range(number)]
        for line in lines:
            unproved.enter(line, peer)
        return lines

    return asyncio.run(play())


def test_the_oldest_connection_of_the_address_that_has_most_goes_for_the_newest() -> None:
    unproved = ConnectionLimit(10)
    good, many = entered(unproved, "good", 2), entered(unproved, "many", 8)
    late = entered(unproved, "late", 1)
    assert [line.closed for line in many] == [True] + [False] * 7
    more = entered(unproved, "many", 3)
    assert [line.closed for line in many] == [True] * 4 + [False] * 4
    assert not any(line.closed for line in (*good, *late, *more))


def test_who_has_proved_something_or_is_gone_no_longer_counts(caplog: pytest.LogCaptureFixture) -> None:
    unproved = ConnectionLimit(2)
    (first,) = entered(unproved, "a")
    unproved.leave(first, "a")
    unproved.leave(first, "a")
    others = entered(unproved, "a", 2)
    assert not any(line.closed for line in others)
    assert caplog.text == ""
    entered(unproved, "a")
    assert not first.closed
    assert others[0].closed
    assert "1 connections without a valid bearer were closed" in caplog.text


def test_a_head_that_does_not_end_is_given_up_and_one_that_does_is_not(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack, connected(url) as kept:
        assert answers(kept)
        monkeypatch.setattr(connections, "HEAD_WITHIN", 0.3)  # for what comes now
        silent, half = stack.enter_context(connected(url)), stack.enter_context(connected(url))
        half.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
        assert closed(silent)
        assert closed(half)
        assert answers(kept)
        kept.sendall(b"GET /healthz")
        assert closed(kept)


def test_a_body_may_take_longer_than_a_head(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(url) as slow:
        assert answers(slow)
        monkeypatch.setattr(connections, "HEAD_WITHIN", 0.1)
        slow.sendall(head(Content_Length="2"))
        time.sleep(0.4)
        slow.sendall(b"{}")
        assert read_reply(slow).status == 400


def test_beyond_the_limit_the_oldest_that_has_proved_nothing_goes_and_whoever_has_proved_something_stays(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_allowed", lambda _: 3)
    with ExitStack() as stack:
        good = stack.enter_context(connected(url))
        good.sendall(head(Content_Length="2") + b"{}")
        assert read_reply(good).status == 400
        idle = []
        for _ in range(5):
            idle.append(stack.enter_context(connected(url)))
            assert answers(idle[-1])
        assert closed(idle[0])
        assert closed(idle[1])
        for sock in (good, *idle[2:]):
            assert answers(sock)


def test_of_too_many_with_a_valid_bearer_the_one_goes_whose_last_call_is_the_oldest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PROVED", 2)
    with live(tmp_path) as running, ExitStack() as stack:
        first, second, third = (stack.enter_context(connected(running.url)) for _ in range(3))
        for sock in (first, second, first, third):
            sock.sendall(head(Content_Length="2") + b"{}")
            assert read_reply(sock).status == 400
        assert closed(second)
        for sock in (first, third):
            assert answers(sock)


def test_an_idle_connection_is_closed_after_a_while_and_one_that_was_never_used_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "KEEP_ALIVE", 0.3)
    monkeypatch.setattr(connections, "HEAD_WITHIN", LONG)
    with live(tmp_path) as running, connected(running.url) as idle:
        assert answers(idle)
        assert closed(idle)
        with connected(running.url) as never_used:  # for which HEAD_WITHIN counts
            assert answers(never_used)


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        ("GET /healthz HTTP/1.1\r\nHost: x\r\n", "X: y\r\n"),
        ("GET /healthz HTTP/1.1\r\nHost: x\r\nX: ", "y"),
        ("GET /", "y"),
        ("POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;", "x=y;"),
        ("POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X: y\r\n"),
        ("POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", "y"),
        ("", "\r\n"),
    ],
)
def test_what_has_no_end_is_refused(url: str, begin: str, piece: str) -> None:
    many = (piece * (65_536 // len(piece))).encode()
    with connected(url) as endless, pytest.raises(OSError, match=r"reset|Broken pipe"):  # noqa: PT012
        endless.sendall(begin.encode())
        for _ in range(1000):
            endless.sendall(many)


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        (b"POST /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * (connections.MOST_FIELDS - 1) + b"\r\n", True),
        (b"POST /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * connections.MOST_FIELDS + b"\r\n", False),
        (CHUNKED + b"1\r\n \r\n" * connections.MOST_PARTS + b"0\r\n\r\n", True),
        (CHUNKED + b"1\r\n \r\n" * (connections.MOST_PARTS + 100) + b"0\r\n\r\n", False),
        (CHUNKED + b"100\r\n" + b" " * 256 + b"\r\n" + (b"100\r\n" + b" " * 256 + b"\r\n") * 2000 + b"0\r\n\r\n", True),
    ],
)
def test_a_head_has_so_many_fields_and_a_body_so_many_small_parts(url: str, content: bytes, taken: bool) -> None:
    with connected(url) as sock:
        sock.sendall(content)
        answer = sock.recv(65_536)
        assert (b" 404 " in answer.partition(b"\r\n")[0]) is taken


def test_a_body_that_does_not_come_gives_its_place_to_one_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RECEIVED", 1), ("GRACE", 0.1), ("WITHHELD_AFTER", (0.0, 0.0))):
        monkeypatch.setattr(room, name, value)
    with live(tmp_path) as running, connected(running.url) as withheld, connected(running.url) as good:
        withheld.sendall(head(Content_Length="50000") + b" " * 30_000)
        good.sendall(head(Content_Length="50000") + b" " * 30_000)
        assert read_reply(withheld).status == 503
        good.sendall(b" " * 20_000)
        assert read_reply(good).status == 400


def test_empty_lines_between_requests_keep_no_connection(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(url) as kept:
        assert answers(kept)
        monkeypatch.setattr(connections, "HEAD_WITHIN", 0.1)
        kept.sendall(b"\r\n")
        assert closed(kept)


def test_requests_far_ahead_of_their_answers_end_the_connection_and_a_few_are_answered_in_turn(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HELD_FOR", 0.0)
    one = head("GET", "/healthz", None)
    with connected(url) as eager:
        eager.sendall(one * connections.AHEAD)
        told = b""
        while told.count(b"ok\n") < connections.AHEAD:
            told += eager.recv(65_536)
        assert told.count(b"HTTP/1.1 200 OK\r\n") == connections.AHEAD
        eager.sendall(one * 1000)
        assert closed(eager)


def test_who_sends_far_ahead_of_answers_is_held_for_a_moment_and_then_not_let_in_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HELD_FOR", LONG)
    monkeypatch.setattr(connections, "HELD", 1)
    monkeypatch.setattr(unproved_calls, "SECOND", 10 * LONG)
    monkeypatch.setattr(unproved_calls, "MISUSES", 1)
    with live(tmp_path) as running:
        far_ahead = head("GET", "/healthz", None) * (connections.AHEAD + 2)
        with connected(running.url) as eager, connected(running.url) as another:
            assert answers(another)
            eager.sendall(far_ahead)
            assert select.select([eager], [], [], 0.05)[0] == []
            with connected(running.url) as same:
                assert closed(same)
            another.sendall(far_ahead)
            with soon():
                assert closed(eager)


def test_an_answer_wakes_its_client_once(url: str) -> None:
    with connected(url) as client:
        for _ in range(20):
            client.sendall(head("GET", "/healthz", None))
            assert client.recv(65_536).endswith(b"\r\n\r\nok\n")


@pytest.mark.parametrize("more", [{}, {"Connection": "close"}, {"Expect": "100-continue"}])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_is_the_same_however_it_is_sent(url: str, method: str, more: dict[str, str]) -> None:
    with connected(url) as client:
        client.sendall(head(method, "/healthz", None, **more))
        reply = read_reply(client, method)
    assert (reply.status, reply.body) == (200, b"ok\n" if method == "GET" else b"")
    assert reply.headers.keys() - {"connection"} == {"date", "content-length", "content-type"}
    assert reply.closed is ("Connection" in more)


def test_what_is_no_http_takes_no_answer_from_the_request_before_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HELD_FOR", 0.0)
    with connected(url) as odd:
        odd.sendall(head(Content_Length="2") + b"{}" + b"GARBAGE\r\n\r\n")
        assert closed(odd)


def test_who_shows_no_bearer_hears_after_a_pause_once_it_has_asked_much_and_who_shows_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SECOND", "PAUSE"):
        monkeypatch.setattr(unproved_calls, name, 10 * LONG)
    monkeypatch.setattr(connections, "ANSWERED_AT_ONCE", 2)
    with live(tmp_path) as running, connected(running.url) as polite, connected(running.url) as odd:
        assert answers(polite)
        assert answers(polite)
        polite.sendall(head("GET", "/healthz", None))
        odd.sendall(b"no HTTP\r\n\r\n")
        for _ in range(5):
            with connected(running.url) as good:
                good.sendall(head(Content_Length="2") + b"{}")
                assert read_reply(good).status == 400
        assert select.select([polite, odd], [], [], 0)[0] == []
    # Here the server has stopped: nobody waits any more.


@in_a_loop
async def test_who_asks_very_much_without_a_bearer_is_not_let_in_while_there_is_too_much_to_do_nor_who_breaks_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = UnprovedCalls("HTTP", 1)
    with ExitStack() as stack:
        door = stack.enter_context(Door(socket.create_server(("127.0.0.1", 0)), calls))
        door.setblocking(False)

        def let_in(address: str) -> bool:
            stack.enter_context(socket.create_connection(door.getsockname(), source_address=(address, 0)))
            try:
                stack.enter_context(door.accept()[0])
            except BlockingIOError:
                return False
            return True

        for address in ("127.0.0.2", "127.0.0.3"):
            for _ in range(unproved_calls.MOST + 2):
                calls.came(address)
        calls.proved("127.0.0.3", counted=True)
        assert let_in("127.0.0.2")  # it is idle
        monkeypatch.setattr(door_module, "LATE", -1.0)
        assert [let_in(f"127.0.0.{one}") for one in (1, 2, 3)] == [True, False, True]
        calls.release()  # as if nothing had come
        assert let_in("127.0.0.2")
        await asyncio.sleep(0)
        monkeypatch.undo()  # it is idle again
        for address in ("127.0.0.2", "127.0.0.3"):
            for _ in range(unproved_calls.MISUSES):
                calls.misused(address)
        assert [let_in(f"127.0.0.{one}") for one in (1, 2, 3)] == [True, False, True]


@in_a_loop
async def test_a_few_connections_are_let_in_and_then_those_are_served_that_are_in() -> None:
    with ExitStack() as stack:
        door = stack.enter_context(Door(socket.create_server(("127.0.0.1", 0)), UnprovedCalls("HTTP", 1)))
        door.setblocking(False)
        for _ in range(door_module.AT_A_TIME + 1):
            stack.enter_context(socket.create_connection(door.getsockname()))
        for _ in range(door_module.AT_A_TIME):
            stack.enter_context(door.accept()[0])
        with pytest.raises(BlockingIOError):
            door.accept()
        await asyncio.sleep(0)
        stack.enter_context(door.accept()[0])


@pytest.mark.parametrize("bound", ["UNREAD_WITHIN", "UNREAD"])
def test_an_answer_that_nobody_takes_ends_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(connections, bound, 0.1 if bound == "UNREAD_WITHIN" else 0)
    monkeypatch.setattr(unproved_calls, "SECOND", 10 * LONG)
    monkeypatch.setattr(unproved_calls, "MISUSES", 1)
    bind = process._bind

    def with_a_small_buffer(host: str, port: int) -> socket.socket:
        sock = bind(host, port)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        return sock

    monkeypatch.setattr(process, "_bind", with_a_small_buffer)
    with live(tmp_path) as running, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        parts = urlsplit(running.url)
        sock.connect((parts.hostname, parts.port))
        sock.sendall(head("GET", "/metrics", None))
        with pytest.raises(OSError, match=r"reset|Broken pipe"):  # noqa: PT012
            for _ in range(int(100 * LONG)):
                sock.sendall(b"\r\n")
                time.sleep(0.01)
        with connected(running.url) as same:
            assert closed(same)


def answers(sock: socket.socket) -> bool:
    sock.settimeout(LONG)
    sock.sendall(head("GET", "/healthz", None))
    return read_reply(sock, "GET").status == 200


def closed(sock: socket.socket) -> bool:
    sock.settimeout(LONG)
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_what_is_no_http_is_one_line_of_the_log_in_a_second(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def told(tries: int) -> int:
        caplog.clear()
        for _ in range(tries):
            with connected(url) as odd:
                odd.sendall(b"no HTTP\r\n\r\n")
                assert b" 400 " in odd.recv(65_536)
        return caplog.messages.count("Invalid HTTP request received.")  # others tell of their callers meanwhile

    monkeypatch.setattr(connections, "TOLD_EACH", 0.0)
    assert told(2) == 2
    monkeypatch.setattr(connections, "TOLD_EACH", 10 * LONG)
    assert told(5) == 0
