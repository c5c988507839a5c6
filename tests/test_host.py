"""The Kargo host of the tests does what facts/kargo-host.md says of the real one."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.clock import LONG, eventually
from tests.support.host import Heard, KargoHost, Promotion, Step

STEP = Step("dispatch", {"a": "b"})


class Plugin:
    """Answers what it is told, one answer after the other; the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.requests: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.silent = 0  # so many requests get no answer

    def will(self, *answers: Any, status: int = 200) -> None:
        self.answers += [(status, a if isinstance(a, bytes) else json.dumps(a).encode()) for a in answers]


@pytest.fixture
def plugin() -> Plugin:
    return Plugin()


@pytest.fixture
def url(plugin: Plugin) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            plugin.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            plugin.tokens.append(self.headers["Authorization"])
            if plugin.silent > 0:
                plugin.silent -= 1
                stop.wait(5)
                self.close_connection = True
                return
            status, content = plugin.answers.pop(0) if len(plugin.answers) > 1 else plugin.answers[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    stop = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            stop.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def host(url: str, slept: list[float]) -> KargoHost:
    return KargoHost(url, "the-token", timeout=LONG, sleep=slept.append)


@pytest.fixture
def promotion() -> Promotion:
    return Promotion("demo")


def test_a_request_has_the_hosts_shape(host: KargoHost, plugin: Plugin, promotion: Promotion) -> None:
    plugin.will({"status": "Succeeded"})
    host.call(promotion, STEP)
    (request,) = plugin.requests
    assert request["step"] == {"kind": "gha-dispatch-workflow", "alias": "dispatch", "config": {"a": "b"}}
    assert request["context"]["config"] == request["step"]["config"]
    assert {"freight", "targetFreightRef", "promotionUID", "project", "workDir"} <= set(request["context"])
    assert "promotionActor" not in request["context"], "empty strings are left out"
    assert plugin.tokens == ["Bearer the-token"]


@pytest.mark.parametrize(
    ("answer", "status", "final"),
    [
        ({"status": "Succeeded"}, "Succeeded", True),
        ({"status": "Running", "retryAfter": "2s"}, "Running", False),
        ({"status": "Skipped"}, "Skipped", True),
        ({"status": "Aborted"}, "Aborted", True),
        ({"status": "Failed", "message": "m"}, "Failed", True),
        ({"status": "Failed", "error": "e", "terminal": True}, "Failed", True),
        ({"status": "Failed", "error": "e"}, "Failed", True),
        ({"status": "Failed"}, "Running", False),
        ({"status": "Errored", "message": "m"}, "Errored", True),
        ({"status": "Succeeded", "error": "e"}, "Errored", True),
        ({"status": "Done"}, "Errored", True),
        ({}, "Errored", True),
        ({"status": "Running", "retryAfter": 2}, "Errored", True),
        ({"status": "Running", "retryAfter": "soon"}, "Errored", True),
        ({"status": "Running", "output": []}, "Errored", True),
        ([], "Errored", True),
        (b"{", "Errored", True),
    ],
)
def test_an_answer_has_the_effect_that_the_table_says(
    host: KargoHost, plugin: Plugin, promotion: Promotion, answer: Any, status: str, final: bool
) -> None:
    plugin.will(answer)
    heard = host.call(promotion, STEP)
    assert (heard.status, heard.final) == (status, final)


def test_counted_errors_are_retried_almost_at_once_up_to_the_threshold(
    url: str, plugin: Plugin, promotion: Promotion, slept: list[float]
) -> None:
    plugin.will({"status": "Errored", "message": "m"})
    host = KargoHost(url, None, error_threshold=3, sleep=slept.append)
    assert host.run(promotion, STEP).final
    assert (len(plugin.requests), slept) == (3, [0.1, 0.1])


@pytest.mark.parametrize(("status", "calls"), [(503, 3), (404, 1), (400, 1), (403, 1), (413, 1), (500, 1), (502, 1)])
def test_only_a_503_is_tried_again(
    host: KargoHost, plugin: Plugin, promotion: Promotion, slept: list[float], status: int, calls: int
) -> None:
    plugin.will(b"", status=status)
    heard = host.call(promotion, STEP)
    assert len(plugin.requests) == calls
    assert (heard.status, heard.final) == (("Running", False) if status == 503 else ("Errored", True))
    assert slept == [0.25, 0.5][: calls - 1]
    assert heard.retry_after == (2.0 if status == 503 else None)


def test_a_call_that_takes_too_long_is_posted_three_times(
    url: str, plugin: Plugin, promotion: Promotion, slept: list[float]
) -> None:
    plugin.silent = 3
    plugin.will({"status": "Succeeded"})
    assert KargoHost(url, None, timeout=0.2, sleep=slept.append).call(promotion, STEP).status == "Running"
    eventually(lambda: len(plugin.requests) == 3)


def test_a_refused_connection_is_transient(promotion: Promotion, slept: list[float]) -> None:
    heard = KargoHost("http://127.0.0.1:1", None, sleep=slept.append).call(promotion, STEP)
    assert (heard.status, heard.final, slept) == ("Running", False, [0.25, 0.5])


def test_the_output_replaces_the_shared_state_and_a_lost_call_loses_it(
    host: KargoHost, plugin: Plugin, promotion: Promotion
) -> None:
    plugin.will({"status": "Running", "retryAfter": "1s", "output": {"x": 1}})
    host.call(promotion, STEP)
    host.call(promotion, STEP)
    assert plugin.requests[1]["context"]["sharedState"] == {"dispatch": {"x": 1}}
    plugin.answers = [(503, b"")]
    host.call(promotion, STEP)
    assert promotion.shared_state == {"dispatch": None}
    plugin.answers = [(200, b'{"status": "Running", "retryAfter": "1s"}')]
    host.call(promotion, STEP)
    assert plugin.requests[-1]["context"]["sharedState"] == {"dispatch": None}
    plugin.answers = [(503, b"")]
    promotion.shared_state = {"dispatch": None}
    host.request(promotion, STEP)
    assert "sharedState" not in host.request(promotion, STEP)["context"], "and then it is absent"


def test_waits_are_those_that_the_plugin_asks_for_or_five_minutes(
    host: KargoHost, plugin: Plugin, promotion: Promotion, slept: list[float]
) -> None:
    plugin.will(
        {"status": "Running", "retryAfter": "1m30s"},
        {"status": "Running"},
        {"status": "Running", "retryAfter": "250ms"},
        {"status": "Succeeded"},
    )
    host.run(promotion, STEP)
    assert slept == [90, 300, 0.25]


def test_a_wait_of_zero_is_never_asked_again(host: KargoHost, plugin: Plugin, promotion: Promotion) -> None:
    plugin.will({"status": "Running", "retryAfter": "0s"})
    heard = host.run(promotion, STEP)
    assert isinstance(heard, Heard)
    assert heard.retry_after is None
    assert len(plugin.requests) == 1


def test_a_lost_pod_begins_again_from_step_zero_with_nothing_remembered(
    host: KargoHost, plugin: Plugin, promotion: Promotion
) -> None:
    plugin.will({"status": "Succeeded", "output": {"x": 1}})
    steps = [STEP, Step("second", {"c": "d"})]
    assert len(host.promote(promotion, steps)) == 2
    promotion.lose_pod()
    host.promote(promotion, steps)
    first, _, again, _ = plugin.requests
    assert "sharedState" not in again["context"]
    assert again["context"]["promotionUID"] == first["context"]["promotionUID"]
