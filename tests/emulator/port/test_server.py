"""An emulated Port on a socket: faults at its routes, Kafka credentials, messages, the command."""

import base64
import hashlib
import hmac
import http.client
import json
import re
import signal
import subprocess
import sys
import urllib.request
from urllib.parse import urlsplit

import pytest

from gha_step.emulator import Answer, Close, Reset, Response, serve
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, Action, Kafka, OperationName, Port, example, kafka_message
from tests.support.clock import LONG

from .asking import RESERVED, answer, ask, token


def send(url: str, method: str, path: str, bearer: str, body: object = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=LONG)
    headers = {"Authorization": f"Bearer {bearer}", "User-Agent": "test", **RESERVED}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("operation", "method", "path", "body", "done"),
    [
        ("ack", "PATCH", "/v1/actions/runs/ack", {"runId": "RUN"}, lambda run: not run.pending),
        ("patch-run", "PATCH", "/v1/actions/runs/RUN", {"link": "https://a.example"}, lambda run: run.link),
        ("create-log", "POST", "/v1/actions/runs/RUN/logs", {"message": "x"}, lambda run: run.messages),
        ("claim", "POST", "/v1/actions/runs/claim-pending", {"installationId": "gha-step"}, lambda run: run.claims),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_request_changes_nothing_and_a_lost_answer_does(
    operation: OperationName, method: str, path: str, body: dict[str, str], done: object, when: str
) -> None:
    assert callable(done)
    port = example()
    run = port.press("deploy")
    port.faults.add(Reset("before" if when == "before" else "after"), operation)
    filled = {key: value.replace("RUN", run.id) for key, value in body.items()}
    with serve(port) as url, pytest.raises((ConnectionError, http.client.HTTPException)):
        send(url, method, path.replace("RUN", run.id), token(port), filled)
    assert bool(done(run)) == (when == "after")
    assert port.count(operation) == 1


def test_other_faults_work_as_for_github() -> None:
    port = example()
    port.faults.add(Answer(Response(503)), "list-runs")
    port.faults.add(Close("after"), "list-runs", skip=1)
    with serve(port) as url:
        assert send(url, "GET", "/v1/actions/runs", token(port))[0] == 503
        with pytest.raises(http.client.RemoteDisconnected):
            send(url, "GET", "/v1/actions/runs", token(port))
        assert send(url, "GET", "/v1/actions/runs", token(port))[0] == 200


def test_kafka_credentials_are_given_once_support_has_set_them_up() -> None:
    port = example()
    port.kafka = Kafka(("b-1.example:9196",), "org_emulated", "secret")
    found = answer(ask(port, "GET", "/v1/kafka-credentials"))["credentials"]
    assert found == {"brokers": ["b-1.example:9196"], "username": "org_emulated", "password": "secret"}


@pytest.mark.parametrize("number", ["1e-7", "1.10", "1e400"])
def test_a_message_is_signed_over_its_text_without_headers(number: str) -> None:
    port = example()
    signer = port.credentials[EXAMPLE_CLIENT_ID]
    run = port.press(Action("k", invocation="GITHUB", report="false"), {"tag": "ünicode", "number": number})
    value = kafka_message(port, run, signer)
    message = json.loads(value)
    headers = message.pop("headers")
    assert message["payload"]["action"]["invocationMethod"]["workflowInputs"] == {"tag": "ünicode", "number": number}
    assert message["context"]["runId"] == run.id
    text = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    digest = hmac.new(
        signer.client_secret.encode(), f"{headers['X-Port-Timestamp']}.{text}".encode(), hashlib.sha256
    ).digest()
    assert headers["X-Port-Signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_a_message_of_a_v1_action_holds_user_inputs_as_properties() -> None:
    port = example()
    run = port.press(Action("k", invocation="GITHUB", omit={"omitPayload": True}), {"tag": "1.10"})
    message = json.loads(kafka_message(port, run, port.credentials[EXAMPLE_CLIENT_ID], version=1, signed="not"))
    assert message["payload"]["properties"] == {"tag": "1.10"}
    method = message["payload"]["action"]["invocationMethod"]
    assert (method["omitPayload"], "workflowInputs" in method, message["headers"]) == (True, False, {})


def test_the_command_prints_how_to_press_and_ends_on_a_signal() -> None:
    command = [sys.executable, "-m", "gha_step", "emulate-port"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        url = re.search(r"http://127\.0\.0\.1:\d+", lines[0])
        assert url is not None
        login = re.search(r"clientId: (\S+), clientSecret: (\S+)", lines[1])
        assert login is not None
        body = json.dumps({"clientId": login[1], "clientSecret": login[2]}).encode()
        asked = urllib.request.Request(f"{url[0]}/v1/auth/access_token", body, {"User-Agent": "test"})
        with urllib.request.urlopen(asked, timeout=LONG) as response:
            bearer = json.load(response)["accessToken"]
        assert send(url[0], "POST", "/v1/actions/deploy/runs", bearer, {"properties": {}})[0] == 202
        process.send_signal(signal.SIGTERM)
        assert process.wait(2 * LONG) == 0


def test_an_empty_port_serves_its_routes_too() -> None:
    port = Port()
    port.add_credentials("id", "secret")
    assert ask(port, "GET", "/v1/organization", bearer=token(port, "id", "secret")).status == 200
