"""One table of cases, over HTTP and over gRPC: the same statuses, outputs and messages."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from gha_step.contract.duration import parse_duration
from gha_step.emulator import Answer, GitHub
from gha_step.emulator.wire import Response
from gha_step.pb.v1 import step_pb2 as pb
from tests.inbound.channels import PROOF, WITHIN, Live, as_http, live, refusal, request, stub
from tests.inbound.wire import post
from tests.support.calls import body, config
from tests.support.github import github_at
from tests.support.secrets import example_secret, write_secret

WAIT = "gha-wait-for-workflow"


@dataclass(frozen=True)
class Case:
    """``prepare``: done for each of the two calls, so that both meet the same GitHub."""

    name: str
    status: str
    config: dict[str, Any] = field(default_factory=config)
    kind: str = "gha-dispatch-workflow"
    context: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[GitHub], object] = lambda github: None


def refuse(status: int, words: str) -> Callable[[GitHub], object]:
    return lambda github: github.faults.add(Answer(Response.of(status, {"message": words})), "dispatch")


def run(status: str, conclusion: str | None = None) -> Callable[[GitHub], object]:
    def prepare(github: GitHub) -> None:
        if not github.runs:
            github.start_run(actor="kargo-bot", inputs={"environment": "x", "image_tag": "1"})
        github.runs[0].set_status(status, conclusion)

    return prepare


CANCEL = "gha-cancel-workflow"


def waiting(**changes: Any) -> dict[str, Any]:
    whole = config(workflowFile=..., ref=..., inputs=..., timeout=..., runID="17000000001")
    return {name: value for name, value in (whole | changes).items() if value is not ...}


def uploaded(content: Any) -> Callable[[GitHub], None]:
    def prepare(github: GitHub) -> None:
        ended = github.start_run(actor="kargo-bot")
        ended.upload(content)
        ended.finish()

    return prepare


def nested(levels: int) -> Any:
    return {"a": nested(levels - 1)} if levels else 1


WITNESS = {"runID": 17000000009, "url": "https://github.com/x", "dispatch": {"record": "r", "target": "t"}}

CASES = (
    Case("dispatched", "Succeeded"),
    Case("typed inputs", "Succeeded", config(inputs={"environment": True, "image_tag": 42})),
    Case(
        "nested inputs", "Succeeded", config(inputs={"environment": {"a": {}, "b": [1, 2.5, None]}, "image_tag": "ü🚀"})
    ),
    Case("inputs as text", "Succeeded", config(inputs='{"environment": "a", "image_tag": "b"}')),
    Case("null leaves an input out", "Failed", config(inputs={"environment": "a", "image_tag": None})),
    Case("a number that lost its spelling", "Failed", config(inputs={"environment": "a", "image_tag": 1.1})),
    Case("a great number", "Failed", config(inputs={"environment": "a", "image_tag": 1e30})),
    Case("timeout as a double", "Succeeded", config(timeout=30)),
    Case("timeout out of range", "Failed", config(timeout=301)),
    Case("timeout with a fraction", "Failed", config(timeout=1.5)),
    Case("all problems at once", "Failed", config(ref=1.1, owner="a/b", workflowFile=..., timeout="x")),
    Case("an empty config", "Failed", {}),
    Case("a typo", "Failed", config(workflowfile="deploy.yml")),
    Case("null for the credentials", "Failed", config(credentials=None)),
    Case("control characters", "Failed", config(ref="a\0b")),
    Case("no Secret", "Failed", config(credentials={"secretName": "absent"})),
    Case("no ref", "Failed", config(ref="absent")),
    Case("no workflow", "Failed", config(workflowFile="absent.yml")),
    Case("refused", "Failed", prepare=refuse(403, "Resource not accessible by integration")),
    Case(
        "a rate limit",
        "Running",
        config(timeout=60),
        prepare=lambda github: github.limit_rate(30, secondary=True, operation="dispatch"),
    ),
    Case("an unknown kind", "Failed", kind="gha-rerun-workflow"),
    Case("a run that is cancelled", "Running", waiting(), CANCEL, prepare=run("in_progress")),
    Case("a run that had ended", "Succeeded", waiting(), CANCEL, prepare=run("completed", "success")),
    Case("a kind of another case", "Failed", kind="GHA-Dispatch-Workflow"),
    Case("a ledger that is gone", "Failed", context={"sharedState": {"dispatch": WITNESS}}),
    Case("a witness of nothing", "Failed", {}, context={"sharedState": {"dispatch": WITNESS}}),
    Case(
        "names in any script",
        "Succeeded",
        context={"stage": "ステージ", "promotion": "prömotion", "alias": "täsk::stép"},
    ),
    Case("a run in progress", "Running", waiting(), WAIT, prepare=run("in_progress")),
    Case("a run that succeeded", "Succeeded", waiting(), WAIT, prepare=run("completed", "success")),
    Case(
        "a run that failed", "Failed", waiting(expectedConclusion="success"), WAIT, prepare=run("completed", "failure")
    ),
    Case("a run ID as a double", "Succeeded", waiting(runID=17000000001), WAIT, prepare=run("completed", "success")),
    Case("a run ID with a fraction", "Failed", waiting(runID=1.5), WAIT),
    Case("no run ID", "Failed", waiting(runID=...), WAIT),
    Case("outputs", "Succeeded", waiting(outputs={}), WAIT, prepare=uploaded({"a": "ü🚀", "b": True, "c": [1, 2.5]})),
    Case("outputs of 20 levels", "Succeeded", waiting(outputs={}), WAIT, prepare=uploaded(nested(20))),
    Case("outputs with great numbers", "Succeeded", waiting(outputs={}), WAIT, prepare=uploaded({"n": 2**70})),
    Case("no outputs", "Failed", waiting(outputs={}), WAIT, prepare=run("completed", "success")),
    Case("outputs misspelled", "Failed", waiting(outputs={"artefact": 1}), WAIT),
    Case("a pollInterval of 90 s", "Running", waiting(pollInterval="1m30s"), WAIT, prepare=run("queued")),
)


World = Callable[[str], tuple[Live, GitHub, str]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The server of this name, each time with a GitHub that nobody has met: none ends before the last, so that no port
    comes twice."""
    folder = tmp_path_factory.mktemp("wires")
    with ExitStack() as stack:
        servers = {name: stack.enter_context(live(folder / name)) for name in ("http", "grpc")}

        def make(name: str) -> tuple[Live, GitHub, str]:
            github = GitHub()
            github_url = stack.enter_context(github_at(github))
            example_secret(servers[name].secrets, github_url)
            write_secret(servers[name].secrets, name="unused", other="x")
            return servers[name], github, github_url

        yield make


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_wires_tell_the_same(case: Case, world: World) -> None:
    content = body(case.config, kind=case.kind, promotionUID=case.name, **case.context)
    at, github, github_url = world("http")
    case.prepare(github)
    reply = post(at.url, content)
    assert reply.status == 200
    over_http = reply.json
    if "retryAfter" in over_http:
        over_http["retryAfter"] = parse_duration(over_http["retryAfter"])

    also_at, also_github, also_url = world("grpc")
    case.prepare(also_github)
    with stub(also_at.target) as client:
        answer = client.Execute(request(pb.ExecuteRequest, content), timeout=WITHIN, metadata=PROOF)
        first = next(client.Run(request(pb.RunRequest, content), timeout=WITHIN, metadata=PROOF))

    assert over_http["status"] == case.status, over_http
    assert plain(as_http(answer), also_at, also_url) == plain(over_http, at, github_url)
    assert [one.sent_inputs for one in also_github.runs] == [one.sent_inputs for one in github.runs]
    if case.status != "Running":
        assert as_http(first) == as_http(answer)


def plain(told: dict[str, Any], at: Live, github_url: str) -> Any:
    """Without what differs from GitHub to GitHub: its port, its clock, and what is left of a wait."""
    port = github_url.rpartition(":")[2]
    text = json.dumps(told, sort_keys=True).replace(port, "PORT").replace(str(at.secrets), "SECRETS")
    text = re.sub(r"[0-9]{2}:[0-9]{2}:[0-9]{2}Z", "TIME", text)
    decoded = json.loads(text)
    if "retryAfter" in decoded:
        decoded["retryAfter"] = round(decoded["retryAfter"])
    if "output" in decoded and "dispatch" in decoded["output"]:
        decoded["output"]["dispatch"].pop("target", None)  # a hash of GitHub's address, the port included
    return decoded


MALFORMED: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
    ({}, ("context", "step")),
    ({"context": body()["context"]}, ("step",)),
    (body(project=...), ("context.project",)),
    (body(promotionUID=..., alias=...), ("context.promotion_uid", "context.alias")),
)


@pytest.mark.parametrize(("content", "fields"), MALFORMED)
def test_both_wires_refuse_the_same_requests(content: dict[str, Any], fields: tuple[str, ...], world: World) -> None:
    at, github, _ = world("http")
    reply = post(at.url, content)
    assert reply.status == 400
    with stub(at.target) as client, pytest.raises(grpc.RpcError) as caught:
        client.Execute(request(pb.ExecuteRequest, content), timeout=WITHIN, metadata=PROOF)
    code, said, named = refusal(caught.value)
    assert (code, tuple(named)) == (grpc.StatusCode.INVALID_ARGUMENT, fields)
    assert said.replace("promotion_uid", "promotionUID") in reply.error
    assert github.count() == 0
