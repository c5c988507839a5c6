"""What Port describes is answered as described, and every refusal has Port's error body."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gha_step.emulator import Json, Response
from gha_step.emulator.port import Action, Port
from gha_step.emulator.port.api import OPERATIONS

from .asking import CLAIM, RESERVED, ask, claim, patch, token
from .published import MODELS, judge, judge_refusal

NOT_DESCRIBED = {
    "claim",
    "ack",
    "patch-response",
    "list-nodes",
    "create-node-log",
    "kafka-credentials",
    "get-integration",
    "create-integration",
    "patch-integration",
    "get-organization",
}


def test_every_operation_is_judged_or_known_to_be_described_nowhere() -> None:
    assert {operation.name for operation in OPERATIONS} == set(MODELS) | NOT_DESCRIBED
    assert not set(MODELS) & NOT_DESCRIBED


@pytest.mark.parametrize("body", [{"ok": True}, {"ok": True, "run": {"id": 1}}, {"ok": True, "run": {}, "more": 1}])
def test_the_judge_finds_what_is_missing_wrong_or_too_much(body: Json) -> None:
    with pytest.raises(ValidationError):
        judge("get-run", Response.of(200, body))


def test_a_run_from_press_to_end_answers_as_described(port: Port) -> None:
    run = port.press("deploy", {"environment": "prod"}, entity="my-service")
    path = f"/v1/actions/runs/{run.id}"
    judge("get-run", ask(port, "GET", path))
    assert claim(port) == [run.id]
    judge("patch-run", patch(port, run.id, link=["https://a.example", "https://b.example"], externalRunId="gh_1_2_3"))
    judge("create-log", ask(port, "POST", f"{path}/logs", {"message": "hello", "statusLabel": "queued"}))
    judge("list-logs", ask(port, "GET", f"{path}/logs?limit=50"))
    judge("patch-run", patch(port, run.id, status="SUCCESS", summary="done", statusLabel="success"))
    judge("get-run", ask(port, "GET", path))
    judge("list-runs", ask(port, "GET", "/v1/actions/runs?version=v2&limit=1000"))


def test_what_people_do_answers_as_described(port: Port) -> None:
    waiting = port.press(Action("careful", requires_approval=True))
    judge("create-run", ask(port, "POST", "/v1/actions/deploy/runs", {"properties": {}}))
    judge("approve-run", ask(port, "PATCH", f"/v1/actions/runs/{waiting.id}/approval", {"status": "APPROVE"}))
    body: Json = {"settings": {"portAgentStreamerName": "POLLING"}}
    judge("patch-organization", ask(port, "PATCH", "/v1/organization", body))


def test_nodes_answer_as_described(port: Port) -> None:
    node = port.start_node(port.actions["deploy"])
    claimed = ask(port, "POST", "/v1/workflows/runs/claim-pending", CLAIM, headers=RESERVED)
    judge("claim-nodes", claimed)
    judge("ack-node", ask(port, "PATCH", "/v1/workflows/runs/ack", {"nodeRunIdentifier": node.id}, headers=RESERVED))
    logs: Json = {"logs": [{"level": "INFO", "message": "hello"}]}
    assert ask(port, "POST", f"/v1/workflows/nodes/runs/{node.id}/logs", logs).status == 201
    judge("patch-node", ask(port, "PATCH", f"/v1/workflows/nodes/runs/{node.id}", {"status": "COMPLETED"}))


def test_a_token_is_as_described(port: Port) -> None:
    body: Json = {"clientId": "emulator-client", "clientSecret": "emulator-client-secret-of-32-byte"}
    judge("token", ask(port, "POST", "/v1/auth/access_token", body))


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("POST", "/v1/auth/access_token", {"clientId": "emulator-client", "clientSecret": "x"}, 401, None),
        ("POST", "/v1/auth/access_token", {"clientId": "nobody", "clientSecret": "x"}, 401, None),
        ("POST", "/v1/auth/access_token", {"clientId": "nobody"}, 422, "invalid_request"),
        ("POST", "/v1/auth/access_token", {"clientId": "n", "clientSecret": "x", "y": 1}, 422, "invalid_request"),
        ("GET", "/v1/actions/runs/r_0", b"", 404, "not_found"),
        ("PATCH", "/v1/actions/runs/r_0", {}, 404, "not_found"),
        ("PATCH", "/v1/actions/runs/RUN", {"status": "IN_PROGRESS"}, 422, "invalid_request"),
        ("PATCH", "/v1/actions/runs/RUN", {"state": "SUCCESS"}, 422, "invalid_request"),
        ("PATCH", "/v1/actions/runs/RUN", {"summary": 1}, 422, "invalid_request"),
        ("PATCH", "/v1/actions/runs/RUN", b"{", 400, None),
        ("PATCH", "/v1/actions/runs/RUN", {"summary": "x" * (1 << 20)}, 413, None),
        ("POST", "/v1/actions/runs/RUN/logs", {}, 422, "invalid_request"),
        ("POST", "/v1/actions/runs/RUN/logs", {"message": "x", "terminationStatus": "DONE"}, 422, "invalid_request"),
        ("GET", "/v1/actions/runs/RUN/logs?limit=51", b"", 422, "invalid_request"),
        ("GET", "/v1/actions/runs?limit=1001", b"", 422, "invalid_request"),
        ("PATCH", "/v1/actions/runs/RUN/approval", {"status": "APPROVE"}, 422, "run_not_waiting_for_approval"),
        ("POST", "/v1/actions/nothing/runs", {"properties": {}}, 404, "not_found"),
        ("GET", "/v1/integration/nothing", b"", 404, "not_found"),
        ("GET", "/v1/kafka-credentials", b"", 404, "not_found"),
        ("GET", "/v1/nothing", b"", 404, "not_found"),
    ],
)
def test_refusals(port: Port, method: str, path: str, body: Json | bytes, status: int, error: str | None) -> None:
    run = port.press("deploy")
    judge_refusal(ask(port, method, path.replace("RUN", run.id), body), status, error)
    assert not run.patches
    assert not run.log


def test_no_token_and_a_wrong_one_are_refused(port: Port) -> None:
    judge_refusal(ask(port, "GET", "/v1/actions/runs", bearer="wrong"), 401)
    port.revoke_token(port.credentials["emulator-client"])
    assert token(port)
