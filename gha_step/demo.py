"""The demo: Kargo's own example from the request to the run's end, with a server that is killed in between.

An emulated GitHub in this process, Secrets in a directory, and the real server as a process of its own, on loopback.
The steps are sent as a Kargo host's agent sends them, over HTTP or gRPC; the demo prints what went over the wire.
"""

import json
import os
import secrets as randomness
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from gha_step.contract.duration import parse_duration
from gha_step.contract.errors import StepError
from gha_step.emulator import EXAMPLE_REPOSITORY, EXAMPLE_TOKEN, EXAMPLE_WORKFLOW, GitHub, Hold, serve
from gha_step.settings import PREFIX

FOLLOW_FOR: Final = 120.0  # seconds
START_WITHIN: Final = 90.0  # seconds; it takes one, unless the machine is busy
PROJECT: Final = "kargo-demo"
DISPATCH: Final = "gha-dispatch-workflow"
WAIT: Final = "gha-wait-for-workflow"
INPUTS: Final = {"environment": "test", "image_tag": "v1.2.3"}
MARKED: Final = "gha_step"  # the input that carries the marker
WORKFLOW: Final = f"""\
run-name: "Deploy ${{{{ inputs.image_tag }}}} to ${{{{ inputs.environment }}}} (${{{{ inputs.{MARKED} }}}})"
on:
  workflow_dispatch:
    inputs:
      environment: {{required: true}}
      image_tag: {{required: true}}
      {MARKED}: {{}}
"""
_TARGET: Final = {"credentials": {"secretName": "github-credentials"}, "owner": "myorg", "repo": "my-app"}
_BOLD, _CYAN, _GREEN, _RED, _PLAIN = ("\x1b[1m", "\x1b[36m", "\x1b[32m", "\x1b[31m", "\x1b[0m")


class DemoFailed(StepError):
    """The demo did not end as it should."""


class _Lost(Exception):
    """The connection ended without an answer."""


class Printer:
    """What a person sees: in colours on a terminal."""

    def __init__(self) -> None:
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._asked: set[str] = set()
        self._answered = ""

    def tell(self, text: str) -> None:
        """What happens now, in words."""
        print("\n" + self._in(_CYAN, f"── {text}"), flush=True)

    def ask(self, head: str, request: str) -> None:
        """A request; one that was shown before is not shown again."""
        print(f"\n{self._in('', head)}\n{'(the same request)' if request in self._asked else request}", flush=True)
        self._asked.add(request)

    def answer(self, head: str, answer: str, *, good: bool) -> None:
        """What came back."""
        shown = "(the same answer)" if answer == self._answered else answer
        print(f"\n{self._in(_GREEN if good else _RED, head)}\n{shown}", flush=True)
        self._answered = answer

    def _in(self, colour: str, text: str) -> str:
        return f"{_BOLD}{colour}{text}{_PLAIN}" if self._colours else text


def run_demo(generation: str, *, grpc: bool = False) -> int:
    """Run it, over HTTP or gRPC.

    0 only if the emulated GitHub holds one run: that which the answers name, with the step's inputs.
    """
    try:
        github = GitHub(generation, example=False)
    except ValueError as error:
        raise DemoFailed(str(error)) from None
    github.add_token(EXAMPLE_TOKEN)
    github.add_repository(EXAMPLE_REPOSITORY).add_workflow(EXAMPLE_WORKFLOW, WORKFLOW, queued_for=1, runs_for=3)
    printer = Printer()
    token = randomness.token_hex(16)
    host = (_GrpcHost if grpc else _HttpHost)(token, printer)
    with tempfile.TemporaryDirectory(prefix="gha-step-demo-") as folder, serve(github) as github_url:
        write_secret(Path(folder), PROJECT, "github-credentials", accessToken=EXAMPLE_TOKEN, baseURL=github_url)
        run_id = _play(github, Server(Path(folder), token, grpc=grpc), host, printer)
    held = [{name: value for name, value in run.inputs.items() if name != MARKED} for run in github.runs]
    if [run.id for run in github.runs] != [run_id] or held != [INPUTS]:
        raise DemoFailed(f"the emulated GitHub should have exactly the run {run_id}, but has: {github.runs}")
    printer.tell(f"GitHub (emulated, {generation}) has one run, {run_id}, with the inputs {json.dumps(INPUTS)}.")
    print(f"runID: {run_id}")
    return 0


def _play(github: GitHub, server: "Server", host: "_HttpHost | _GrpcHost", printer: Printer) -> int:
    """The promotion's two steps, with a kill in the first: the run's ID."""
    dispatch = {
        **_TARGET,
        "workflowFile": EXAMPLE_WORKFLOW,
        "ref": "main",
        "inputs": INPUTS,
        "timeout": "120",
        "correlationInput": MARKED,
    }
    hold = Hold(when="after")
    # An old server refuses this key, and gha-step then asks without it: only what is accepted is held back.
    permitted = github.generation.permits_key
    github.faults.add(hold, "dispatch", where=lambda sent: permitted or b"return_run_details" not in sent.body)
    printer.tell("A Kargo host asks gha-step for the first step of a promotion:")
    with ThreadPoolExecutor(1) as pool:
        with server.running() as url:
            asked = pool.submit(host.run, url, DISPATCH, dispatch)
            _await_run(github, asked)
            printer.tell("GitHub has created the run, and its answer is on the way. gha-step is killed now (SIGKILL).")
        hold.release()
        _expect_lost(asked)
    printer.tell("The host got no answer. gha-step is started again, and the host asks again:")
    with server.running() as url:
        output = host.run(url, DISPATCH, dispatch)
        printer.tell("The same run, and nothing was sent twice. The promotion's next step waits for the run's end:")
        wait = {**_TARGET, "runID": str(output["runID"]), "expectedConclusion": "success", "pollInterval": "1s"}
        host.run(url, WAIT, wait)
    return int(output["runID"])


def _await_run(github: GitHub, asked: "Future[dict[str, Any]]") -> None:
    deadline = time.monotonic() + START_WITHIN
    while not github.runs:
        if asked.done():
            asked.result()
        if asked.done() or time.monotonic() > deadline:
            raise DemoFailed("nothing was dispatched")
        time.sleep(0.01)


def _expect_lost(asked: "Future[dict[str, Any]]") -> None:
    try:
        asked.result(START_WITHIN)
    except _Lost:
        return
    raise DemoFailed("the killed server has answered")


def _request(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """A step of Kargo's example, its expressions evaluated, as facts/kargo-host.md A has a host send it."""
    alias = "dispatch-deployment" if kind == DISPATCH else "wait-for-deployment"
    return {
        "context": {
            "uiBaseURL": "https://kargo.example.com",
            "workDir": "/workspace",
            "alias": alias,
            "project": PROJECT,
            "stage": "test",
            "promotion": "test.01jdemo.abc1234",
            "promotionUID": "2f1c1e0a-demo-4e5b-9d3c-0123456789ab",
            "sharedState": {},
            "config": config,
            "freight": {},
            "targetFreightRef": {},
        },
        "step": {"kind": kind, "alias": alias, "config": config},
    }


def write_secret(folder: Path, project: str, name: str, **keys: str) -> None:
    """A Secret as a directory with one file per key."""
    secret = folder / "secrets" / project / name
    secret.mkdir(parents=True)
    for key, value in keys.items():
        (secret / key).write_text(value)


class Server:
    """``gha-step serve`` as a process, again and again over the same files."""

    def __init__(
        self, folder: Path, token: str, *, grpc: bool = False, settings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        (folder / "token").write_text(token)
        self._log = folder / "log"
        self._wire = "GRPC" if grpc else "HTTP"
        # The shell's own settings and proxies are for its own server.
        kept = {k: v for k, v in os.environ.items() if not (k.startswith(PREFIX) or k.lower().endswith("_proxy"))}
        self._environment = kept | {
            f"{PREFIX}HTTP_LISTEN": "off" if grpc else "127.0.0.1:0",
            f"{PREFIX}GRPC_LISTEN": "127.0.0.1:0" if grpc else "off",
            f"{PREFIX}TOKEN_FILE": str(folder / "token"),
            f"{PREFIX}SECRETS": f"dir:{folder / 'secrets'}",
            f"{PREFIX}LEDGER": f"sqlite:{folder / 'ledger.db'}",
            f"{PREFIX}LOG_FORMAT": "text",
            **settings,
        }

    @contextmanager
    def running(self) -> Iterator[str]:
        """Its URL, the same each time; it is killed at the end of the block, without a goodbye."""
        with self._log.open("wb") as log:
            process = subprocess.Popen([sys.executable, "-m", "gha_step", "serve"], env=self._environment, stderr=log)
        try:
            url = self._await_url(process)
            self._environment[f"{PREFIX}{self._wire}_LISTEN"] = urlsplit(url).netloc
            yield url
        finally:
            process.kill()
            process.wait()

    def _await_url(self, process: "subprocess.Popen[bytes]") -> str:
        deadline = time.monotonic() + START_WITHIN
        while process.poll() is None and time.monotonic() < deadline:
            log = self._log.read_text()
            if "listening on " in log and log.endswith("\n"):
                return log.rpartition("listening on ")[2].split()[0]
            time.sleep(0.02)
        raise DemoFailed(f"the server did not start: {self._log.read_text()}")


@dataclass(frozen=True)
class _HttpHost:
    """A caller of the server: each runs a step to its end, and gives its last output.

    :raises _Lost: the server went away. :raises DemoFailed: the step did not succeed.
    """

    token: str
    printer: Printer

    def run(self, server_url: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
        request = _request(kind, config)
        self.printer.ask(f"POST {server_url}/api/v1/step.execute", json.dumps(request, indent=2))
        deadline = time.monotonic() + FOLLOW_FOR
        while time.monotonic() < deadline:
            answer = self._ask(server_url, json.dumps(request))
            output: dict[str, Any] = answer["output"]
            if answer["status"] == "Succeeded":
                return output
            if answer["status"] != "Running":
                raise DemoFailed(answer["message"])
            time.sleep(parse_duration(answer["retryAfter"]))
        raise DemoFailed(f"the step did not finish within {FOLLOW_FOR:.0f} s")

    def _ask(self, server_url: str, body: str) -> dict[str, Any]:
        connection = HTTPConnection(urlsplit(server_url).netloc, timeout=30)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request("POST", "/api/v1/step.execute", body, headers)
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, HTTPException):
            raise _Lost from None
        finally:
            connection.close()
        if response.status != 200:
            raise DemoFailed(f"the server answered {response.status}: {text}")
        answer: dict[str, Any] = json.loads(text)
        self.printer.answer(f"HTTP {response.status}", json.dumps(answer, indent=2), good=answer["status"] != "Failed")
        return answer


@dataclass(frozen=True)
class _GrpcHost:
    token: str
    printer: Printer

    def run(self, server_url: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
        import grpc
        from google.protobuf.json_format import MessageToJson, ParseDict

        from gha_step.pb.v1 import step_pb2 as pb
        from gha_step.pb.v1.step_pb2_grpc import StepServiceStub

        request = _request(kind, config)
        message = ParseDict(request, pb.RunRequest(), ignore_unknown_fields=True)
        message.context.promotion_uid = request["context"]["promotionUID"]
        self.printer.ask(
            f"gha_step.v1.StepService/Run {server_url}", MessageToJson(message, preserving_proto_field_name=True)
        )
        proof = (("authorization", f"Bearer {self.token}"),)
        with grpc.insecure_channel(urlsplit(server_url).netloc, (("grpc.enable_http_proxy", 0),)) as channel:
            try:
                for event in StepServiceStub(channel).Run(message, metadata=proof, timeout=FOLLOW_FOR):
                    good = event.status != pb.STATUS_FAILED
                    self.printer.answer("event", MessageToJson(event, preserving_proto_field_name=True), good=good)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    raise _Lost from None
                raise DemoFailed(f"the server answered {error}") from None
        if event.status != pb.STATUS_SUCCEEDED:
            raise DemoFailed(event.message)
        return {"runID": event.run_id}
