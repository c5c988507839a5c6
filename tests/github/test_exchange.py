"""One request and its answer: framing that breaks, drips, and comes late."""

from functools import partial
from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_step.github.errors import Unclear
from gha_step.github.exchange import (
    MAX_BODY,
    MAX_EVENTS,
    MAX_FIELDS,
    MAX_FRAMING,
    MAX_INFORMATIONAL,
    MAX_KEPT,
    Exchange,
    Unfit,
)
from gha_step.github.messages import Answer, Request
from tests.support.clock import VirtualClock
from tests.support.network import ScriptedConnection
from tests.support.rows import each_row

REQUEST = Request("POST", "/x", [("Host", "ghe.example.com"), ("Content-Length", "2")], b"{}")
WHOLE = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nTrailer: t\r\n\r\n"


def exchange(*chunks: bytes | OSError | None, max_body: int = MAX_BODY) -> tuple[Exchange, ScriptedConnection]:
    clock = VirtualClock()
    connection = ScriptedConnection(*chunks, clock=clock)
    made = Exchange(connection, clock, max_body=max_body)
    made.send(REQUEST)
    return made, connection


def received(*chunks: bytes | OSError | None, seconds: float = 30, max_body: int = MAX_BODY) -> Answer | None:
    return exchange(*chunks, max_body=max_body)[0].receive(seconds)


def unclear(*chunks: bytes | OSError | None, max_body: int = MAX_BODY) -> str:
    with pytest.raises(Unclear) as caught:
        received(*chunks, max_body=max_body)
    return str(caught.value)


def test_the_request_is_handed_over_whole_and_in_one_piece() -> None:
    _, connection = exchange()
    assert connection.sent == b"POST /x HTTP/1.1\r\nHost: ghe.example.com\r\nContent-Length: 2\r\n\r\n{}"


def test_an_answer_has_status_lower_case_headers_and_body() -> None:
    assert received(WHOLE) == Answer(200, {"date": "now", "content-length": "2"}, b"{}")


@given(st.lists(st.integers(min_value=1, max_value=30), max_size=12), st.sampled_from([WHOLE, CHUNKED]))
def test_it_does_not_matter_in_which_pieces_an_answer_comes(sizes: list[int], whole: bytes) -> None:
    pieces, rest = [], whole
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    answer = received(*[piece for piece in [*pieces, rest] if piece])
    assert answer is not None
    assert (answer.status, answer.body) == (200, b"{}")


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    answer = received(b"HTTP/1.1 200 OK\r\n\r\n{", b"}", b"")
    assert answer is not None
    assert answer.body == b"{}"


@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_informational_answers_are_passed_over(status: bytes) -> None:
    answer = received(b"HTTP/1.1 " + status + b"\r\n\r\n", b"HTTP/1.1 " + status + b"\r\n\r\n" + WHOLE)
    assert answer is not None
    assert answer.status == 200


def test_of_informational_answers_and_of_what_follows_the_body_no_header_is_kept() -> None:
    answer = received(b"HTTP/1.1 103 Early Hints\r\nA: 1\r\n\r\n", CHUNKED)
    assert answer is not None
    assert answer.headers == {"transfer-encoding": "chunked"}


@pytest.mark.parametrize("extra", [b"", b"more", WHOLE])
@pytest.mark.parametrize(
    ("whole", "keeps"), [(WHOLE, True), (WHOLE.replace(b"Date: now", b"Connection: close"), False), (CHUNKED, True)]
)
def test_an_answer_ends_with_its_length_and_its_connection_carries_another_request_only_if_nothing_follows(
    whole: bytes, keeps: bool, extra: bytes
) -> None:
    made, _ = exchange(whole + extra)
    answer = made.receive(30)
    assert answer is not None
    assert (answer.status, answer.body) == (200, b"{}")
    assert made.may_go_on is (keeps and not extra)


def test_a_connection_whose_answer_ends_with_it_carries_no_other_request() -> None:
    made, _ = exchange(b"HTTP/1.1 200 OK\r\n\r\n{}", b"")
    assert made.receive(30) is not None
    assert not made.may_go_on


@pytest.mark.parametrize(
    ("target", "header", "odd"),
    [
        ("/x\r\nEvil: 1", "1", "path"),
        ("/x y", "1", "path"),
        ("/ä", "1", "path"),
        ("/x", "1\r\nEvil: 1", "Odd"),
        ("/x", "1\nEvil: 1", "Odd"),
        ("/x", "\0", "Odd"),
        ("/x", "ä", "Odd"),
    ],
)
def test_a_request_that_would_be_another_one_is_not_sent(target: str, header: str, odd: str) -> None:
    connection = ScriptedConnection()
    with pytest.raises(Unfit, match=f"^its {odd} contains"):
        Exchange(connection, VirtualClock()).send(Request("GET", target, [("Host", "x"), ("Odd", header)], b""))
    assert connection.sent == b""


def test_a_204_has_no_body_even_if_a_server_sends_one() -> None:
    answer = received(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}")
    assert answer is not None
    assert (answer.status, answer.body) == (204, b"")


def test_http_1_0_is_understood() -> None:
    answer = received(b"HTTP/1.0 404 Not Found\r\n\r\nno", b"")
    assert answer is not None
    assert (answer.status, answer.body) == (404, b"no")


@each_row(
    "chunks",
    [
        (b"",),
        (ConnectionResetError(104, "Connection reset by peer"),),
        (BrokenPipeError(32, "Broken pipe"),),
        (OSError("no errno"),),
        (b"HTTP/1.1 200 OK\r\nContent-Le", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", ConnectionResetError(104, "reset")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b""),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b""),
        (b"SSH-2.0-OpenSSH_9.0\r\n",),
        (b"\x15\x03\x01\x00\x02\x02\x46",),
        (b"HTTP/2 200\r\n\r\n",),
        (b"HTTP/1.1 99 Low\r\n\r\n",),
        (b"HTTP/1.1 2000 High\r\n\r\n",),
        (b"<html>" * 100, b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}", b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b""),
        (b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000,),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1;x=" + b"y" * 70_000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"Trailer: " + b"y" * 70_000),
        (b"\0" * 70_000,),
    ],
)
def test_an_answer_that_breaks_off_or_is_no_http_is_unclear(chunks: tuple[bytes | OSError, ...]) -> None:
    assert "\n" not in unclear(*chunks)


def test_an_unclear_answer_does_not_repeat_the_request() -> None:
    assert "POST" not in unclear(b"garbage\r\n\r\n")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_unclear(chunked: bool) -> None:
    for size in (1000, 1001):
        head = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % size
            if chunked
            else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
        )
        whole = head + b"x" * size + (b"\r\n0\r\n\r\n" if chunked else b"")
        if size == 1000:
            answer = received(whole, max_body=1000)
            assert answer is not None
            assert len(answer.body) == 1000
        else:
            unclear(whole, max_body=1000)


def test_a_body_over_one_mebibyte_is_unclear_before_it_is_read_whole() -> None:
    made, connection = exchange(b"HTTP/1.1 200 OK\r\n\r\n", *[b" " * 65_536] * 100)
    with pytest.raises(Unclear, match="1 MiB"):
        made.receive(30)
    assert connection._chunks, "the rest was not asked for"


def test_silence_is_no_answer_and_a_later_look_reads_on() -> None:
    made, _ = exchange(b"HTTP/1.1 200 OK\r\nContent-", None, b"Length: 2\r\n\r\n{", None, None, b"}")
    assert made.receive(30) is None
    assert made.receive(30) is None
    assert made.receive(300) is None
    answer = made.receive(300)
    assert answer is not None
    assert answer.body == b"{}"


def test_an_answer_that_drips_is_not_waited_for_longer_than_allowed() -> None:
    clock = VirtualClock()
    drops = chain(b"HTTP/1.1 200 OK\r\nA: ", repeat(ord("x")))

    class Dripping(ScriptedConnection):
        def receive(self, seconds: float) -> bytes | None:
            clock.forward(1)
            return bytes([next(drops)])

    dripping = Exchange(Dripping(), clock)
    begun = clock.monotonic()
    assert dripping.receive(30) is None
    assert 30 <= clock.monotonic() - begun < 32


def test_no_time_left_means_one_look_at_what_is_there_already() -> None:
    assert received(WHOLE, seconds=0) is None


def test_a_connection_that_breaks_while_sending_leaves_it_unclear() -> None:
    class Breaking(ScriptedConnection):
        def send(self, data: bytes) -> None:
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(Unclear, match="Broken pipe"):
        Exchange(Breaking(), VirtualClock()).send(REQUEST)


def test_closing_lets_go_of_the_connection() -> None:
    made, connection = exchange(WHOLE)
    made.close()
    assert connection.closed


# ---------------------------------------------------------------- bounds


def test_informational_answers_without_end_are_no_answer() -> None:
    assert "again and again" in unclear(b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INFORMATIONAL + 1), WHOLE)


def test_a_server_may_say_every_second_that_it_is_at_work() -> None:
    processing = b"HTTP/1.1 102 Processing\r\n\r\n"
    parts = [part for _ in range(3 * MAX_INFORMATIONAL) for part in (processing, None)]
    made, _ = exchange(*parts, WHOLE)
    for _ in range(3 * MAX_INFORMATIONAL):
        assert made.receive(1.0) is None
    answer = made.receive(1.0)
    assert answer is not None
    assert answer.status == 200


def test_an_answer_in_ever_so_small_parts_is_no_answer() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert "too many parts" in unclear(head + b"1\r\n \r\n" * (MAX_EVENTS + 1))


@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found"])
def test_of_an_answer_no_more_is_kept_than_it_can_need(status: bytes) -> None:
    body = b"x" * (3 * MAX_KEPT)
    answer = received(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert answer is not None
    assert answer.body == b"x" * MAX_KEPT


@pytest.mark.parametrize(("status", "ends"), [(b"404 Not Found", True), (b"200 OK", False)])
def test_a_long_error_need_not_be_read_to_its_end(status: bytes, ends: bool) -> None:
    body = b"x" * (MAX_KEPT + 1)
    head = b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % MAX_BODY
    made = Exchange(ScriptedConnection(head + body, None), VirtualClock(), errors_whole=False)
    made.send(REQUEST)
    answer = made.receive(30.0)
    assert (answer is not None) == ends
    assert answer is None or answer.body == body[:MAX_KEPT]


@pytest.mark.parametrize(
    "part",
    [
        b"1;" + b"x" * (MAX_KEPT - 10) + b"\r\n \r\n",
        b"1" + b";x=y" * (MAX_KEPT // 4 - 10) + b"\r\n \r\n",
        b"0" * (MAX_KEPT - 10) + b"1\r\n \r\n",
    ],
)
def test_an_answer_with_much_around_little_is_no_answer(part: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert "too much around its body" in unclear(head, *[part] * (MAX_FRAMING // MAX_KEPT + 1))


def test_heads_that_announce_an_answer_count_as_what_is_around_it() -> None:
    announced = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * (MAX_KEPT - 100) + b"\r\n\r\n"
    assert "too much around its body" in unclear(*[announced] * (MAX_FRAMING // MAX_KEPT + 1), WHOLE)


@pytest.mark.parametrize("status", [b"200 OK", b"103 Early Hints"])
def test_a_head_of_ever_so_many_fields_is_no_answer(status: bytes) -> None:
    head = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n" + b"a:b\r\n" * MAX_FIELDS + b"\r\n"
    assert "not HTTP" in unclear(head)


def test_neither_do_fields_without_end_follow_the_last_chunk() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\n0\r\n"
    assert received(head + b"a:b\r\n" * MAX_FIELDS + b"\r\n") is not None
    assert "not HTTP" in unclear(head + b"a:b\r\n" * (MAX_FIELDS + 1) + b"\r\n")


def _note(room: list[tuple[int, float]], size: int, left: float) -> bool:
    room.append((size, left))
    return True


def test_for_a_long_answer_room_is_asked_for_once_it_is_long_and_not_for_an_error() -> None:
    for status, asked_for in ((b"200 OK", [(MAX_BODY, 30.0)]), (b"404 Not Found", [])):
        room: list[tuple[int, float]] = []
        body = b"x" * (2 * MAX_KEPT)
        clock = VirtualClock()
        connection = ScriptedConnection(
            b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body, clock=clock
        )
        made = Exchange(connection, clock, max_kept=MAX_BODY, grow=partial(_note, room))
        made.send(REQUEST)
        answer = made.receive(30.0)
        assert answer is not None
        assert room[:1] == asked_for
