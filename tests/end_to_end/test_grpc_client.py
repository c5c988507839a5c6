"""A client that knows nothing of gha_step but what the server's reflection tells it, and the one of docs/grpc.md."""

import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from gha_step.emulator import Delay, GitHub, serve
from tests.support.calls import BEARER
from tests.support.clock import LONG
from tests.support.process import Served, clean_environment, served
from tests.support.secrets import example_secret, write_secret

ROOT = Path(__file__).resolve().parents[2]
PROOF = (("authorization", f"Bearer {BEARER}"),)
CONFIG = {"credentials": {"secretName": "github"}, "owner": "myorg", "repo": "my-app"}


class Stranger:
    """Calls methods by name, with messages that reflection describes."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        self._methods = pool.FindServiceByName("gha_step.v1.StepService").methods_by_name

    def call(self, name: str, content: dict[str, Any]) -> list[dict[str, Any]]:
        """All that is answered, as JSON."""
        method = self._methods[name]
        request = ParseDict(content, GetMessageClass(method.input_type)())
        path, answer = f"/gha_step.v1.StepService/{name}", GetMessageClass(method.output_type)
        open_call: Any = (self._channel.unary_stream if method.server_streaming else self._channel.unary_unary)(
            path, lambda message: message.SerializeToString(), answer.FromString
        )
        answered = open_call(request, metadata=PROOF, timeout=2 * LONG)
        return [MessageToDict(one) for one in (answered if method.server_streaming else [answered])]


@pytest.fixture
def github() -> GitHub:
    return GitHub()


@pytest.fixture
def server(tmp_path: Path, github: GitHub) -> Iterator[Served]:
    with serve(github) as url, served(tmp_path, GHA_STEP_GRPC_LISTEN="127.0.0.1:0") as running:
        example_secret(running.secrets, url)
        write_secret(running.secrets, "kargo-demo", "github-credentials", accessToken="emulator-token", baseURL=url)
        yield running


def step(kind: str, alias: str, **config: Any) -> dict[str, Any]:
    context = {"project": "demo", "promotionUid": "uid-1", "alias": alias}
    return {"context": context, "step": {"kind": kind, "config": CONFIG | config}}


def test_a_client_made_from_reflection_dispatches_and_waits(server: Served, github: GitHub) -> None:
    github.faults.add(Delay(0.2), "dispatch")
    with grpc.insecure_channel(server.grpc_target) as channel:
        stranger = Stranger(channel)
        (listed,) = stranger.call("ListKinds", {})
        dispatch, wait, _ = (one["kind"] for one in listed["kinds"])
        inputs = {"environment": "prod", "image_tag": "1.10"}
        ordered = step(dispatch, "dispatch", workflowFile="deploy.yml", ref="main", inputs=inputs, timeout=60)
        (told,) = stranger.call("Execute", ordered)
        assert told["status"] == "STATUS_SUCCEEDED", told
        (run,) = github.runs
        assert (int(told["runId"]), told["output"]["runID"], run.sent_inputs) == (run.id, run.id, inputs)
        github.runs[0].finish("success")
        # As a template hands it on: the integer of the output, which a Struct has as a double.
        waited = step(wait, "wait", runID=told["output"]["runID"], expectedConclusion="success", pollInterval="1s")
        *_, last = stranger.call("Run", waited)
        assert (last["status"], last["output"]["conclusion"]) == ("STATUS_SUCCEEDED", "success")
        (again,) = stranger.call("Execute", ordered)
        assert again["runId"] == told["runId"]
    assert github.count("dispatch") == 1


# ---------------------------------------------------------------- the clients of docs/grpc.md


PAGE = ROOT / "docs/grpc.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def placed(text: str, server: Served) -> str:
    """An example of docs/grpc.md, for this server."""
    assert "127.0.0.1:9791" in text
    assert "my-token" in text
    return text.replace("127.0.0.1:9791", server.grpc_target).replace("my-token", BEARER)


def test_the_documented_python_client_follows_a_step_to_its_run(server: Served, github: GitHub, tmp_path: Path) -> None:
    (client,) = (block for block in blocks("python") if "import grpc" in block)
    (generate,) = re.findall(r"python -m (grpc_tools\.protoc .*gha_step/v1/step\.proto)", PAGE.read_text())
    made = tmp_path / "client"
    made.mkdir()
    (made / "proto").symlink_to(ROOT / "proto")

    # Without the site's .pth files: the client must find the generated gha_step, and not this project's.
    def python(*arguments: str) -> "subprocess.CompletedProcess[str]":
        found = f"{made}:{sysconfig.get_path('purelib')}"
        return subprocess.run(
            [sys.executable, "-S", *arguments],
            cwd=made,
            env=clean_environment(PYTHONPATH=found),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

    python("-m", *generate.split())
    done = python("-c", placed(client, server))
    (run,) = github.runs
    assert done.stdout.splitlines()[-1].startswith("STATUS_SUCCEEDED")
    assert str(run.id) in done.stdout.splitlines()[-1]


def test_the_documented_grpcurl_request_is_one(server: Served, github: GitHub) -> None:
    (command,) = (block for block in blocks("sh") if "grpcurl" in block and "-d" in block)
    (method,) = re.findall(r"127\.0\.0\.1:9791 (gha_step\.v1\.StepService/\w+)", command)
    (data,) = re.findall(r"-d '(\{.*?\})'", command, re.DOTALL)
    assert "-H 'authorization: Bearer my-token'" in command
    with grpc.insecure_channel(server.grpc_target) as channel:
        stranger = Stranger(channel)
        *_, last = stranger.call(method.partition("/")[2], json.loads(data))
    assert last["status"] == "STATUS_SUCCEEDED"
    assert int(last["runId"]) == github.runs[0].id
