"""Every status code of the HTTP interface, over a real socket."""

import json
import socket
import struct
import time
from typing import Any

import pytest

from gha_step.contract.errors import LedgerUnavailable
from gha_step.emulator import EXAMPLE_TOKEN, GitHub, Hold
from gha_step.inbound.body import MAX_BODY
from gha_step.inbound.room import REFUSED_AFTER, SMALL
from gha_step.ledger.store import Standing
from tests.inbound.wire import EXECUTE, Reply, connected, get, head, post, raw, read_reply
from tests.support.calls import BEARER, body, config
from tests.support.clock import LONG, eventually, soon
from tests.support.core import Program, Start
from tests.support.ledger import FaultyStore
from tests.support.server import serving


def refused(reply: Reply, words: str) -> None:
    assert reply.status == 400, reply
    assert words in reply.error


# ---------------------------------------------------------------- 200


def test_a_call_is_answered_with_the_run_id_as_a_json_integer(live: str, github: GitHub) -> None:
    reply = post(live, body())
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json["status"] == "Succeeded"
    assert reply.json["output"]["runID"] == github.runs[0].id
    assert f'"runID":{github.runs[0].id}'.encode() in reply.body


def test_the_connection_is_kept_for_the_next_call(live: str, github: GitHub) -> None:
    content = json.dumps(body()).encode()
    call = head(Content_Length=str(len(content))) + content
    with connected(live) as sock:
        for _ in range(3):
            sock.sendall(call)
            reply = read_reply(sock)
            assert (reply.status, reply.closed) == (200, False)
            sock.settimeout(LONG)
    assert len(github.runs) == 1


@pytest.mark.parametrize(
    "step_config",
    [
        {},
        {"x": 1},
        config(owner="a/b"),
        config(inputs=[1]),
        config(inputs={"a": 1.5}),
        config(inputs='{"a": NaN}'),
        config(timeout=10**400),
        config(ref="\ud800"),
        config(inputs={"a": "\ud800"}),
        config(inputs={"\ud800": "a"}),
        config(**{"\ud800": 1}),
        config(credentials={"secretName": "\ud800"}),
        config(credentials={"secretName": "../x"}),
    ],
)
def test_anything_wrong_inside_config_is_a_terminal_answer(url: str, step_config: Any) -> None:
    reply = post(url, body(step_config))
    assert reply.status == 200
    assert (reply.json["status"], reply.json["terminal"], reply.json["output"]) == ("Failed", True, {})
    assert "config" in reply.json["message"]


def test_unknown_context_keys_are_tolerated_and_unknown_config_keys_are_not(live: str) -> None:
    request = body(newTomorrow={"deep": [1, {"x": None}]}, promotionActor=5)
    request["alsoNew"] = True
    request["step"]["alias"] = 7
    assert post(live, request).json["status"] == "Succeeded"
    reply = post(live, body(config(newTomorrow=1), alias="second"))
    assert "config.newTomorrow: is not a field" in reply.json["message"]


@pytest.mark.parametrize(
    ("once", "twice"),
    [
        ('"image_tag": "1.10"', '"image_tag": "1.9", "image_tag": "1.10"'),
        ('"alias": "dispatch"', '"alias": "other", "alias": "dispatch"'),
        ('"step": {', '"step": {}, "step": {'),
    ],
)
def test_a_key_that_is_there_twice_is_refused_by_name(live: str, github: GitHub, once: str, twice: str) -> None:
    request = json.dumps(body())
    assert once in request
    name = once.split('"')[1]
    refused(post(live, request.replace(once, twice).encode()), f"the key '{name}' is there twice")
    assert github.count("dispatch") == 0


def test_two_authorization_headers_are_refused_even_if_both_are_right(live: str, github: GitHub) -> None:
    content = json.dumps(body()).encode()
    for other in (BEARER, "wrong"):
        reply = raw(live, head(Authorization=f"Bearer {other}", Content_Length=str(len(content))) + content)
        assert (reply.status, reply.closed) == (403, True)
    assert github.count("dispatch") == 0


def test_a_content_length_beside_chunked_is_refused_and_ends_the_connection(live: str, github: GitHub) -> None:
    content = json.dumps(body()).encode()
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    hidden = head(path="/readyz")  # what a proxy that goes by the length would not see as a request of its own
    both = [("Transfer_Encoding", "chunked"), ("Content_Length", str(len(chunk) + len(hidden)))]
    for lines in (both, both[::-1]):
        reply = raw(live, head(**dict(lines)) + chunk + hidden)
        assert (reply.status, reply.closed) == (400, True)
    assert github.count("dispatch") == 0


def test_a_query_string_and_odd_headers_change_nothing(live: str) -> None:
    content = json.dumps(body()).encode()
    reply = raw(
        live,
        head(path=f"{EXECUTE}?a=b#c", Content_Length=str(len(content)), Content_Type="text/plain", X_Odd="\xff")
        + content,
    )
    assert reply.json["status"] == "Succeeded"


def test_a_body_in_chunks_is_read(live: str) -> None:
    content = json.dumps(body()).encode()
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (content[:10], content[10:])]
    reply = raw(live, head(Transfer_Encoding="chunked"), *chunks, b"0\r\n\r\n")
    assert reply.json["status"] == "Succeeded"


def test_a_call_by_the_word_expect_is_told_to_go_on(live: str) -> None:
    content = json.dumps(body()).encode()
    with connected(live) as sock:
        sock.sendall(head(Content_Length=str(len(content)), Expect="100-continue"))
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(content)
        assert read_reply(sock).json["status"] == "Succeeded"


# ---------------------------------------------------------------- 400


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"{}{}", "not JSON"),
        (b'{"context": NaN}', "NaN"),
        (b'{"context": {"x": Infinity}}', "Infinity"),
        (b'{"context": {"x": -Infinity}}', "Infinity"),
        (b'{"context": {"x": 1e999}}', "too large"),
        (b'{"context": {"x": ' + b"9" * 10_000 + b"}}", "4300"),
        (b"[" * 40_000, "nested too deeply"),
        (b'{"a":' * 20_000, "nested too deeply"),
        (b"null", "JSON object"),
        (b"[]", "JSON object"),
        (b'"x"', "JSON object"),
        (b"{}", "context: is required"),
        ({"context": {}, "step": None}, "step: is required"),
        (body(project=...), "context.project: is required"),
        (body(project=""), "context.project: must not be empty"),
        (body(project=5), "context.project: must be a string"),
        (body(promotionUID=None), "context.promotionUID: is required"),
        (body(promotionUID=""), "context.promotionUID: must not be empty"),
        (body(alias=[]), "context.alias: must be a string"),
        (body(alias="\ud800"), "context.alias"),
        (body(promotionUID="\udfff"), "context.promotionUID"),
        (body(sharedState=[]), "context.sharedState: must be an object"),
        (body(kind=""), "step.kind: must not be empty"),
        (body("x"), "step.config: must be an object"),
        (body([]), "step.config: must be an object"),
    ],
)
def test_a_wrong_envelope_is_400_and_names_the_field(url: str, content: Any, words: str) -> None:
    refused(post(url, content), words)


def test_a_large_body_that_is_refused_is_answered_after_a_pause(live: str) -> None:
    begun = time.monotonic()
    assert post(live, b" " * SMALL + b"{").status == 400
    assert time.monotonic() - begun >= REFUSED_AFTER


def test_a_400_leaves_the_connection_usable(url: str) -> None:
    with connected(url) as sock:
        sock.sendall(head(Content_Length="1") + b"{")
        assert (read_reply(sock).status, get(url, "/healthz").status) == (400, 200)


def test_bodies_nested_as_deep_as_may_be_are_no_crash(url: str) -> None:
    for depth in (50, 400, 900, 990, 1_000, 1_100):
        nested: Any = "x"
        for _ in range(depth):
            nested = {"a": nested}
        request = json.dumps(body(config(ref=1.5, inputs={"deep": "@"}), sharedState={"other": "@"}))
        deep = '{"a":' * depth + "1" + "}" * depth
        reply = post(url, request.replace('"@"', deep).encode())
        assert reply.status in (200, 400)
        assert reply.json


@pytest.mark.parametrize("piece", [b"GARBAGE\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"])
def test_what_is_no_http_is_400(url: str, piece: bytes) -> None:
    assert raw(url, piece).status == 400


@pytest.mark.parametrize(
    "lines",
    [
        *("Content-Length: x", "Content-Length: -1", "Content-Length: 5\r\nContent-Length: 6", "Bad Header: x"),
        *("Host: y", "X: a\r\n b", "Transfer-Encoding: chunked, gzip", "X:\0"),
    ],
)
def test_headers_that_contradict_http_are_400(url: str, lines: str) -> None:
    assert raw(url, f"POST {EXECUTE} HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n".encode()).status == 400


def test_a_client_that_leaves_in_the_middle_of_its_body_dispatches_nothing(url: str) -> None:
    content = json.dumps(body()).encode()
    with connected(url) as sock:
        sock.sendall(head(Content_Length=str(len(content))) + content[:-1])
    with connected(url) as sock:
        sock.sendall(head(Content_Length=str(len(content))) + content[:-1])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.1)
    assert get(url, "/healthz").status == 200


# ---------------------------------------------------------------- 403


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Bearer ",
        f"Bearer {BEARER}x",
        f"Bearer {BEARER[:-1]}",
        f"Basic {BEARER}",
        "Bearer \xff\xfe",
        f"Bearer {BEARER} {BEARER}",
        "Bearer " + "x" * 10_000,
    ],
)
def test_a_bad_or_missing_bearer_is_403_before_the_body_is_read(url: str, authorization: str | None) -> None:
    lines = {} if authorization is None else {"Authorization": authorization}
    reply = raw(url, head(token=None, Content_Length="1000", **lines))  # and no body
    assert reply.status == 403
    assert "bearer token" in reply.error
    assert reply.closed
    assert reply.headers["connection"] == "close"
    assert BEARER.encode() not in reply.body


def test_a_stranger_is_not_told_to_go_on_sending(url: str) -> None:
    with connected(url) as sock:
        sock.sendall(head(token="wrong", Content_Length="10", Expect="100-continue"))
        assert sock.recv(1000).startswith(b"HTTP/1.1 403 ")


def test_a_stranger_learns_nothing_of_a_wrong_or_huge_body(url: str) -> None:
    assert post(url, b"{", token="wrong").status == 403
    assert raw(url, head(token="wrong", Content_Length=str(MAX_BODY * 100))).status == 403


def test_the_scheme_may_be_written_in_any_case(url: str) -> None:
    content = json.dumps(body({})).encode()
    reply = raw(url, head(token=None, Authorization=f"bEARER   {BEARER} ", Content_Length=str(len(content))) + content)
    assert reply.status == 200


def test_without_a_token_none_is_asked(program: Program) -> None:
    with serving(program, token=None) as url:
        assert post(url, body(), token=None).json["status"] == "Succeeded"
        assert post(url, body(), token="anything").json["status"] == "Succeeded"


# ---------------------------------------------------------------- 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", EXECUTE),
        ("PUT", EXECUTE),
        ("DELETE", EXECUTE),
        ("HEAD", EXECUTE),
        ("OPTIONS", EXECUTE),
        ("BREW", EXECUTE),
        ("POST", f"{EXECUTE}/"),
        ("POST", f"/{EXECUTE}"),
        ("POST", "/api/v1/step.Execute"),
        ("POST", "/api/v1/"),
        ("POST", "/api/v1/health.check"),
        ("PUT", "/api/v1/projects/demo/dispatches/p/a"),
        ("POST", "/"),
        ("POST", "/healthz"),
        ("GET", "/api/v2/step.execute"),
        ("GET", "/favicon.ico"),
        ("GET", "/metrics/"),
    ],
)
def test_another_path_or_method_is_404(url: str, method: str, path: str) -> None:
    reply = raw(url, head(method, path))
    assert reply.status == 404
    if method != "HEAD":
        assert path in reply.error


@pytest.mark.parametrize("path", ["/healthz%3Fx", "/api/v1/step.execute%23x", "/readyz%23"])
def test_a_path_with_an_escaped_question_mark_is_another_path(url: str, path: str) -> None:
    assert raw(url, head("POST" if "step" in path else "GET", path, Content_Length="0")).status == 404


@pytest.mark.parametrize("host", ["[", "[::1", "a]b", "x[y]"])
def test_an_odd_host_header_does_no_harm(url: str, host: str) -> None:
    assert raw(url, f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).status in (200, 400)


def test_the_host_header_does_not_choose_the_path(url: str) -> None:
    reply = raw(url, f"GET /nowhere HTTP/1.1\r\nHost: x/healthz?\r\n\r\n".encode())  # noqa: F541
    assert reply.status in (400, 404)


# ---------------------------------------------------------------- 413


def test_a_body_announced_over_four_mebibytes_is_413_before_it_is_read(url: str) -> None:
    reply = raw(url, head(Content_Length=str(MAX_BODY + 1)))
    assert reply.status == 413
    assert "4 MiB" in reply.error
    assert reply.closed
    assert reply.headers["connection"] == "close"


@pytest.mark.parametrize("length", ["9" * 30, "9" * 5000, "00000000000000099999999999"])
def test_an_absurd_length_is_413_or_400(url: str, length: str) -> None:
    assert raw(url, head(Content_Length=length)).status in (413, 400)


def test_a_body_that_grows_over_four_mebibytes_is_413_and_the_connection_closed(url: str) -> None:
    chunk = b"%x\r\n%b\r\n" % (1 << 20, b" " * (1 << 20))
    with connected(url) as sock:
        sock.sendall(head(Transfer_Encoding="chunked"))
        try:
            for _ in range(5):
                sock.sendall(chunk)
        except OSError:
            pass  # it may have closed already
        reply = read_reply(sock)
    assert reply.status == 413
    assert reply.closed


def test_a_body_of_exactly_four_mebibytes_is_read(live: str) -> None:
    content = json.dumps(body()).encode()
    padded = content + b" " * (MAX_BODY - len(content))
    eventually(lambda: post(live, padded).json.get("status") == "Succeeded")


# ---------------------------------------------------------------- health and metrics


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_health_and_metrics_ask_for_no_bearer(url: str, path: str) -> None:
    assert get(url, path).status == 200
    assert get(url, path, "HEAD").body == b""


def test_metrics_tell_of_steps_dispatches_requests_and_records(live: str) -> None:
    post(live, body())
    post(live, body(kind="x" * 100))
    text = get(live, "/metrics").body.decode()
    for line in (
        'gha_step_steps_total{kind="gha-dispatch-workflow",status="Succeeded"} 1.0',
        'gha_step_steps_total{kind="unknown",status="Failed"} 1.0',
        'gha_step_dispatches_total{outcome="accepted"} 1.0',
        'gha_step_github_requests_total{request="dispatch",status="200"} 1.0',
        'gha_step_ledger_records{state="accepted"} 1.0',
        'gha_step_ledger_records{state="unresolved"} 0.0',
        'gha_step_ledger_oldest_record_timestamp_seconds{state="accepted"} 1.',
    ):
        assert line in text
    assert "gha_step_step_seconds_bucket" in text
    assert EXAMPLE_TOKEN not in text
    assert BEARER not in text


def test_metrics_are_told_though_the_ledger_cannot_be_read(process: Start, store: FaultyStore) -> None:
    class Unreadable(FaultyStore):
        def census(self) -> dict[str, Standing]:
            if self.down:
                raise LedgerUnavailable("disk I/O error")
            return {}

        down = False

    ledger = Unreadable(store)
    program = process(store=ledger)
    ledger.down = True
    with serving(program) as url:
        reply = get(url, "/metrics")
    assert reply.status == 200
    assert b"gha_step_steps" in reply.body


# ---------------------------------------------------------------- answers in time


def test_a_slow_post_is_answered_within_the_limit_and_goes_on(program: Program, github: GitHub) -> None:
    held = Hold()
    planned = github.faults.add(held, "dispatch")
    with serving(program, reply_within=0.3) as url:
        with soon():
            first = post(url, body())
        assert first.json["status"] == "Running"
        assert first.json["retryAfter"]
        eventually(lambda: github.count("dispatch"))
        eventually(lambda: "may have been dispatched" in post(url, body()).json["message"])
        held.release()
        joined = post(url, body()).json
        while joined["status"] == "Running":
            joined = post(url, body()).json
        assert joined["output"]["runID"] == github.runs[0].id
    assert (planned.used, github.count("dispatch"), len(github.runs)) == (1, 1, 1)


def test_a_caller_that_left_does_not_stop_its_dispatch(program: Program, github: GitHub) -> None:
    held = Hold()
    github.faults.add(held, "dispatch")
    content = json.dumps(body()).encode()
    with serving(program) as url:
        with connected(url) as sock:
            sock.sendall(head(Content_Length=str(len(content))) + content)
            eventually(lambda: github.count("dispatch"))
        held.release()
        assert post(url, body()).json["output"]["runID"] == github.runs[0].id
    assert github.count("dispatch") == 1
