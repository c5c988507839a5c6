"""Refused callers are told in the log once per second and peer, and counted; no line repeats what they have shown."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from gha_step.inbound.refused_callers import RefusedCallers
from gha_step.pb.v1 import step_pb2 as pb
from gha_step.pb.v1.step_pb2_grpc import StepServiceStub
from gha_step.telemetry import Telemetry
from tests.inbound.channels import WITHIN
from tests.inbound.wire import get, post
from tests.support.calls import BEARER, body, config
from tests.support.clock import VirtualClock, eventually
from tests.support.core import Program
from tests.support.process import served
from tests.support.secrets import write_secret
from tests.support.server import serving

GUESS = "guessed-by-somebody"


def test_a_peer_is_told_once_a_second_and_the_next_line_says_how_often_it_came(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, telemetry = VirtualClock(), Telemetry()
    refused = RefusedCallers(clock, telemetry)
    with caplog.at_level(logging.WARNING, "gha_step"):
        for _ in range(50):
            refused.unproved("http", "10.0.0.7", "no")
        refused.unproved("http", "10.0.0.8", "no")
        clock.forward(1.0)
        refused.unproved("rest", "10.0.0.7", "no")
    assert [record.getMessage() for record in caplog.records] == [
        "a call from 10.0.0.7 was refused: no",
        "a call from 10.0.0.8 was refused: no",
        "a call from 10.0.0.7 was refused: no (49 more of this caller before)",
    ]
    text = telemetry.exposition().decode()
    assert 'gha_step_refused_callers_total{wire="http"} 51.0' in text
    assert 'gha_step_refused_callers_total{wire="rest"} 1.0' in text
    assert 'gha_step_refused_callers_total{wire="grpc"} 0.0' in text


@pytest.fixture
def live(program: Program, secrets: Path) -> Iterator[str]:
    write_secret(secrets, "demo", "gha-step", token=BEARER)
    with serving(program, projects=True) as url:
        yield url


def warned(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """The warnings, none of which repeats what somebody has guessed."""
    assert GUESS not in caplog.text
    return [record for record in caplog.records if record.levelno == logging.WARNING]


def metrics(url: str) -> str:
    return get(url, "/metrics").body.decode()


@pytest.mark.parametrize("token", [None, GUESS])
def test_over_http_a_caller_without_the_token_is_told_by_its_address(
    live: str, caplog: pytest.LogCaptureFixture, token: str | None
) -> None:
    assert post(live, body(), token=token).status == 403
    assert 'refused_callers_total{wire="http"} 1.0' in metrics(live)
    (line,) = warned(caplog)
    assert line.getMessage() == "a call from 127.0.0.1 was refused: the bearer token is missing or wrong"


@pytest.mark.parametrize("envelope", [{}, "[", {"context": {}}])
def test_a_request_that_is_none_is_told(live: str, caplog: pytest.LogCaptureFixture, envelope: object) -> None:
    assert post(live, envelope).status == 400
    (line,) = warned(caplog)
    assert line.getMessage().startswith("a call from 127.0.0.1 was refused: not a step.execute request")
    assert 'malformed_calls_total{wire="http"} 1.0' in metrics(live)


def test_over_grpc_a_caller_without_the_token_is_told_by_its_address(tmp_path: Path) -> None:
    with served(tmp_path, GHA_STEP_GRPC_LISTEN="127.0.0.1:0") as server:
        plain = (("grpc.enable_http_proxy", 0),)
        with grpc.insecure_channel(server.grpc_target, plain) as channel, pytest.raises(grpc.RpcError):
            StepServiceStub(channel).ListKinds(
                pb.ListKindsRequest(), metadata=(("authorization", f"Bearer {GUESS}"),), timeout=WITHIN
            )
        assert b'refused_callers_total{wire="grpc"} 1.0' in server.ask(path="/metrics")[1]
        (line,) = [line["message"] for line in server.lines() if line["level"] == "WARNING"]
        assert line == "a call from 127.0.0.1 was refused: the bearer token is missing or wrong"
        assert GUESS not in server.log.read_text()


def test_over_grpc_messages_that_are_none_are_told_once_a_second_and_all_counted(tmp_path: Path) -> None:
    with served(tmp_path, GHA_STEP_GRPC_LISTEN="127.0.0.1:0") as server:
        plain = (("grpc.enable_http_proxy", 0),)
        with grpc.insecure_channel(server.grpc_target, plain) as channel:
            for method, sent in (("Execute", b"\xff\xff"), ("Execute", b""), ("Run", b""), ("Execute", b"")):
                call: Any = channel.unary_stream(f"/gha_step.v1.StepService/{method}")
                with pytest.raises(grpc.RpcError):
                    list(call(sent, metadata=(("authorization", f"Bearer {BEARER}"),), timeout=WITHIN))
            health: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
            with pytest.raises(grpc.RpcError):
                health(b"\xff", timeout=WITHIN)
        metrics = server.ask(path="/metrics")[1]
        assert b'malformed_calls_total{wire="grpc"} 5.0' in metrics
        assert b'refused_callers_total{wire="grpc"} 0.0' in metrics
        first, *_ = lines = [line["message"] for line in server.lines() if line["level"] == "WARNING"]
        assert first.startswith(
            "a call from 127.0.0.1 was refused: gha_step.v1.StepService/Execute: the message is not"
        )
        told = [int(more[1]) for line in lines if (more := re.search(r"\((\d+) more of this caller before\)", line))]
        assert len(lines) + sum(told) <= 5


@pytest.mark.parametrize(
    ("token", "project", "path", "content", "status", "words"),
    [
        (None, "demo", "dispatches/p/a", {}, 401, "project demo: it sent no bearer token"),
        (GUESS, "demo", "dispatches/p/a", {}, 401, "project demo: another token than the Secret's"),
        (GUESS, "other", "dispatches/p/a", {}, 401, "project other: the Secret gha-step does not exist"),
        (BEARER, "demo", "nothing/p/a", {}, 404, "there is no such resource"),
        (BEARER, "demo", "dispatches/p/a?x=1", {}, 404, "must not have a query"),
        (BEARER, "demo", "dispatches/p/a", [], 200, "gha-dispatch-workflow: Failed the body must be the step's config"),
        (BEARER, "demo", "waits/p/a", {"runID": "x"}, 200, "gha-wait-for-workflow: Failed config."),
    ],
)
def test_over_rest_every_refusal_is_in_the_log_and_counted(
    live: str,
    caplog: pytest.LogCaptureFixture,
    token: str | None,
    project: str,
    path: str,
    content: object,
    status: int,
    words: str,
) -> None:
    assert post(live, content, token=token, path=f"/api/v1/projects/{project}/{path}", method="PUT").status == status
    eventually(lambda: warned(caplog))
    (line,) = map(vars, warned(caplog))
    assert words in line["message"]
    counted = metrics(live)
    assert f'refused_callers_total{{wire="rest"}} {float(status == 401)}' in counted
    assert f'malformed_calls_total{{wire="rest"}} {float(status == 404)}' in counted
    if status == 401:
        assert line["project"] == project
    if status == 200:
        kind = words.partition(":")[0]
        assert f'gha_step_steps_total{{kind="{kind}",status="Failed"}} 1.0' in counted
        assert (line["project"], line["promotion"], line["alias"]) == ("demo", "p", "a")


def test_a_step_that_fails_is_a_warning_and_one_that_succeeds_is_none(
    live: str, caplog: pytest.LogCaptureFixture
) -> None:
    post(live, body(config()))
    assert warned(caplog) == []
    post(live, body(config(ref="nowhere"), alias="refused"))
    eventually(lambda: len(warned(caplog)) == 2)  # they are written once the answer is on its way
    refusal, failed = [line.getMessage() for line in warned(caplog)]
    assert refusal.startswith("dispatch rejected: ")
    assert failed.startswith("gha-dispatch-workflow: Failed nothing was dispatched: ")
    assert BEARER not in failed
