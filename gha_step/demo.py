"""The demo: Kargo's own example, from the request to the run ID, on this machine alone.

An emulated GitHub, Secrets in a directory and the real server, all on loopback; the step is sent through the HTTP API
as a Kargo host's agent sends it, and followed to its end; or over gRPC, where the server follows it. What is printed is
what went over the wire.
"""

import json
import secrets as randomness
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gha_step.contract.duration import parse_duration
from gha_step.contract.errors import StepError
from gha_step.emulator import EXAMPLE_TOKEN, GitHub, serve
from gha_step.settings import Settings
from gha_step.wiring.server import build

FOLLOW_FOR: Final = 120.0  # seconds
PROJECT: Final = "kargo-demo"
INPUTS: Final = {"environment": "test", "image_tag": "v1.2.3"}


class DemoFailed(StepError):
    """The demo did not end as it should."""


def run_demo(generation: str, *, grpc: bool = False) -> int:
    """Run it, over HTTP or gRPC.

    0 only if the emulated GitHub really holds the run that the answer names, with the step's inputs.
    """
    try:
        github = GitHub(generation)
    except ValueError as error:
        raise DemoFailed(str(error)) from None
    with tempfile.TemporaryDirectory(prefix="gha-step-demo-") as folder, serve(github) as github_url:
        _write_secret(Path(folder), github_url)
        request = _request()
        with _server(Path(folder), grpc=grpc) as (server_url, token):
            run_id = (_follow_over_grpc if grpc else _follow)(server_url, token, request)
    held = [run for run in github.runs if run.id == run_id]
    if len(github.runs) != 1 or not held or dict(held[0].inputs) != INPUTS:
        raise DemoFailed(f"the emulated GitHub should have exactly the run {run_id}, but has: {github.runs}")
    print(f"\nGitHub (emulated, {generation}) has one run, {run_id}, with the inputs {json.dumps(INPUTS)}.")
    print(f"runID: {run_id}")
    return 0


def _request() -> dict[str, Any]:
    """The seed example, its expressions evaluated, as facts/kargo-host.md A has a host send it."""
    config = {
        "credentials": {"secretName": "github-credentials"},
        "owner": "myorg",
        "repo": "my-app",
        "workflowFile": "deploy.yml",
        "ref": "main",
        "inputs": INPUTS,
        "timeout": "120",
    }
    return {
        "context": {
            "uiBaseURL": "https://kargo.example.com",
            "workDir": "/workspace",
            "alias": "dispatch-deployment",
            "project": PROJECT,
            "stage": "test",
            "promotion": "test.01jdemo.abc1234",
            "promotionUID": "2f1c1e0a-demo-4e5b-9d3c-0123456789ab",
            "sharedState": {},
            "config": config,
            "freight": {},
            "targetFreightRef": {},
        },
        "step": {"kind": "gha-dispatch-workflow", "alias": "dispatch-deployment", "config": config},
    }


def _write_secret(folder: Path, github_url: str) -> None:
    secret = folder / "secrets" / PROJECT / "github-credentials"
    secret.mkdir(parents=True)
    (secret / "accessToken").write_text(EXAMPLE_TOKEN)
    (secret / "baseURL").write_text(github_url)


@contextmanager
def _server(folder: Path, *, grpc: bool) -> Iterator[tuple[str, str]]:
    """The real server on a free loopback port; its URL and bearer token."""
    token = randomness.token_hex(16)
    token_file = folder / "token"
    token_file.write_text(token)
    settings = Settings.parse(
        {
            "GHA_STEP_HTTP_LISTEN": "off" if grpc else "127.0.0.1:0",
            "GHA_STEP_GRPC_LISTEN": "127.0.0.1:0" if grpc else "off",
            "GHA_STEP_TOKEN_FILE": str(token_file),
            "GHA_STEP_SECRETS": f"dir:{folder / 'secrets'}",
            "GHA_STEP_LEDGER": f"sqlite:{folder / 'ledger.db'}",
        }
    )
    server = build(settings, {})
    thread = threading.Thread(target=lambda: server.run(signals=False), name="demo-server")
    thread.start()
    try:
        yield server.urls[0], token
    finally:
        server.stop()
        thread.join()
        server.close()


def _follow(server_url: str, token: str, request: dict[str, Any]) -> int:
    print(f"POST {server_url}/api/v1/step.execute")
    print(json.dumps(request, indent=2))
    body = json.dumps(request)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    deadline = time.monotonic() + FOLLOW_FOR
    while time.monotonic() < deadline:
        connection = HTTPConnection(urlsplit(server_url).netloc, timeout=30)
        try:
            connection.request("POST", "/api/v1/step.execute", body, headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        print(f"\nHTTP {response.status}")
        if response.status != 200:
            raise DemoFailed(f"the server answered {response.status}: {text}")
        answer = json.loads(text)
        print(json.dumps(answer, indent=2))
        if answer["status"] == "Succeeded":
            return int(answer["output"]["runID"])
        if answer["status"] != "Running":
            raise DemoFailed(answer["message"])
        time.sleep(parse_duration(answer["retryAfter"]))
    raise DemoFailed(f"the step did not finish within {FOLLOW_FOR:.0f} s")


def _follow_over_grpc(server_url: str, token: str, request: dict[str, Any]) -> int:
    import grpc
    from google.protobuf.json_format import MessageToJson

    from gha_step.pb.v1 import step_pb2 as pb
    from gha_step.pb.v1.step_pb2_grpc import StepServiceStub

    message = pb.RunRequest()
    context, step = request["context"], request["step"]
    message.context.project, message.context.alias = context["project"], context["alias"]
    message.context.promotion, message.context.promotion_uid = context["promotion"], context["promotionUID"]
    message.context.stage = context["stage"]
    message.step.kind = step["kind"]
    message.step.config.update(step["config"])
    print(f"gha_step.v1.StepService/Run {server_url}")
    print(MessageToJson(message, preserving_proto_field_name=True))
    proof = (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(urlsplit(server_url).netloc, (("grpc.enable_http_proxy", 0),)) as channel:
        try:
            for event in StepServiceStub(channel).Run(message, metadata=proof, timeout=FOLLOW_FOR):
                print(f"\n{MessageToJson(event, preserving_proto_field_name=True)}")
        except grpc.RpcError as error:
            raise DemoFailed(f"the server answered {error}") from None
    if event.status != pb.STATUS_SUCCEEDED:
        raise DemoFailed(event.message)
    return event.run_id
