"""Workflow nodes: claimed by their own routes, reported with result, output and links."""

import pytest

from gha_step.emulator import Response
from gha_step.emulator.port import Action, NodeRun, Port
from tests.support.clock import VirtualClock

from .asking import CLAIM, RESERVED, answer, ask, claim
from .published import judge_refusal

CLAIM_PATH = "/v1/workflows/runs/claim-pending"


def claim_nodes(port: Port, path: str = CLAIM_PATH) -> list[str]:
    return [node["identifier"] for node in answer(ask(port, "POST", path, CLAIM, headers=RESERVED))["nodeRuns"]]


def patch(port: Port, node: NodeRun, **body: object) -> Response:
    return ask(port, "PATCH", f"/v1/workflows/nodes/runs/{node.id}", body)  # type: ignore[arg-type]  # JSON all the same


def test_nodes_and_runs_are_claimed_apart(port: Port, clock: VirtualClock) -> None:
    run, node = port.press("deploy"), port.start_node(Action("deploy"))
    assert claim(port) == [run.id]
    assert claim_nodes(port) == [node.id]
    assert claim_nodes(port) == []
    clock.forward(4)
    assert claim_nodes(port) == [node.id]


def test_a_claimed_node_says_what_is_to_be_done(port: Port) -> None:
    port.start_node(Action("deploy", report="false"), {"environment": "prod"})
    (node,) = answer(ask(port, "POST", CLAIM_PATH, CLAIM, headers=RESERVED))["nodeRuns"]
    assert node["config"]["integrationInvocationType"] == "dispatch_workflow"
    properties = node["config"]["integrationActionExecutionProperties"]
    assert (properties["workflowInputs"], properties["reportWorkflowStatus"]) == ({"environment": "prod"}, "false")


def test_an_acknowledged_node_is_not_claimed_again(port: Port, clock: VirtualClock) -> None:
    node = port.start_node(Action("deploy"))
    body = {"nodeRunIdentifier": node.id}
    assert answer(ask(port, "PATCH", "/v1/workflows/runs/ack", body))["acked"] is True
    judge_refusal(ask(port, "PATCH", "/v1/workflows/runs/ack", body), 409)
    judge_refusal(ask(port, "PATCH", "/v1/workflows/runs/ack", {"nodeRunIdentifier": "wfnr_x"}), 404)
    clock.forward(1000)
    assert claim_nodes(port) == []


def test_output_is_replaced_whole_and_nothing_changes_after_the_end(port: Port) -> None:
    node = port.start_node(Action("deploy"))
    port.workflow_patches_node(node, output={"image": "a"})
    answer(patch(port, node, externalRunId="gh_1_2_3", links=["https://a.example"], statusLabel={"text": "queued"}))
    assert node.output == {"image": "a"}
    found = answer(ask(port, "GET", "/v1/workflows/nodes/runs?external_run_id=gh_1_2_3&include=nodeConfig"))["runs"]
    assert [(one["identifier"], one["output"], one["links"]) for one in found] == [
        (node.id, {"image": "a"}, ["https://a.example"])
    ]
    answer(patch(port, node, status="COMPLETED", result="SUCCESS", output={"runId": "1"}))
    assert (node.output, node.result, node.label) == ({"runId": "1"}, "SUCCESS", "queued")
    judge_refusal(patch(port, node, result="FAILED"), 409)
    logs = {"logs": [{"level": "INFO", "message": "late"}]}
    judge_refusal(ask(port, "POST", f"/v1/workflows/nodes/runs/{node.id}/logs", logs), 409)
    assert node.patches_by("emulator-client") == 2


@pytest.mark.parametrize(
    "body",
    [{"status": "SUCCESS"}, {"result": "FAILURE"}, {"links": ["a", "b", "c", "d"]}, {"output": "x"}, {"status": 1}],
)
def test_odd_patches_are_refused(port: Port, body: dict[str, object]) -> None:
    node = port.start_node(Action("deploy"))
    judge_refusal(patch(port, node, **body), 422, "invalid_request")
    assert node.patches == []


def test_log_lines_have_a_level(port: Port) -> None:
    node = port.start_node(Action("deploy"))
    path = f"/v1/workflows/nodes/runs/{node.id}/logs"
    answer(ask(port, "POST", path, {"logs": [{"level": "WARN", "message": "a"}, {"message": "b"}]}))
    assert [(line.level, line.message) for line in node.log] == [("WARN", "a"), ("INFO", "b")]
    judge_refusal(ask(port, "POST", path, {"logs": [{"level": "LOUD", "message": "c"}]}), 422)
    judge_refusal(ask(port, "POST", path, {"logs": [{"level": "INFO"}]}), 422)


def test_the_form_of_the_routes_can_be_chosen(port: Port) -> None:
    node = port.start_node(Action("deploy"))
    described = f"/v1/org/{port.organisation}/workflows/runs/claim-pending"
    judge_refusal(ask(port, "POST", described, CLAIM, headers=RESERVED), 404)
    port.node_routes = "described"
    judge_refusal(ask(port, "POST", CLAIM_PATH, CLAIM, headers=RESERVED), 404)
    judge_refusal(ask(port, "POST", "/v1/org/other/workflows/runs/claim-pending", CLAIM, headers=RESERVED), 404)
    assert claim_nodes(port, described) == [node.id]
    port.node_routes = "none"
    judge_refusal(ask(port, "POST", described, CLAIM, headers=RESERVED), 404)
