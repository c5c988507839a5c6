"""What Port is told: the end as it was, what the workflow told itself left alone, everything within its bounds."""

import json

import pytest

from gha_step.emulator.port import Action, Port, example
from gha_step.emulator.port.api import apply_node_patch, apply_patch
from gha_step.emulator.port.bodies import action_run, node_run
from gha_step.github.messages import LONGEST_LINK
from gha_step.github.runs import ObservedJob, ObservedRun
from gha_step.inbound.port.reports import (
    KEPT_LINKS,
    KEPT_OUTPUT,
    LONGEST_LINE,
    LONGEST_SUMMARY,
    NodeAtPort,
    RunAtPort,
    dispatched,
    ended,
    label_of,
    line_body,
    link_patch,
    node_at_port,
    not_dispatched,
    progress,
    run_at_port,
    status_alone,
    unknown,
    unknown_end,
)
from gha_step.inbound.port.wire_json import MOST_VALUES
from gha_step.steps.wait.snapshot import Outputs

PAGE = "https://github.com/myorg/my-app/actions/runs/17"
OPEN = RunAtPort("IN_PROGRESS")
NODE = NodeAtPort("IN_PROGRESS")
UNKNOWN = unknown(PAGE, [])
FAILED = ObservedJob("deploy", "failure", "Test", f"{PAGE}/job/1")


def run(conclusion: str | None, status: str = "completed") -> ObservedRun:
    return ObservedRun(status, conclusion, 1, PAGE)


@pytest.mark.parametrize(
    ("conclusion", "status", "result", "label"),
    [
        ("success", "SUCCESS", "SUCCESS", "success"),
        ("skipped", "SUCCESS", "SUCCESS", "skipped"),
        ("neutral", "SUCCESS", "SUCCESS", "neutral"),
        ("failure", "FAILURE", "FAILED", "failure"),
        ("timed_out", "FAILURE", "FAILED", "timed out"),
        ("cancelled", "FAILURE", "CANCELLED", "cancelled"),
        ("action_required", "FAILURE", "FAILED", "action required"),
        ("stale", "FAILURE", "FAILED", "stale"),
        ("startup_failure", "FAILURE", "FAILED", "startup failure"),
        ("invented_tomorrow", "FAILURE", "FAILED", "invented tomorrow"),
    ],
)
def test_a_conclusion_ends_a_run_and_a_node(conclusion: str, status: str, result: str, label: str) -> None:
    of_run = ended(OPEN, run(conclusion), (), wanted=True)
    assert (of_run.patch["status"], of_run.patch["statusLabel"]) == (status, label)
    assert f"Workflow ended: {label}" in of_run.line.message
    assert PAGE in of_run.patch["summary"]
    of_node = ended(NODE, run(conclusion), (), wanted=True)
    assert (of_node.patch["status"], of_node.patch["result"]) == ("COMPLETED", result)
    assert of_node.patch["statusLabel"] == {"text": label}
    assert of_node.patch["output"] == {"workflowRunUrl": PAGE, "workflowRunId": "17", "conclusion": conclusion}
    assert "terminationStatus" not in {**of_run.patch, **of_node.patch}


def test_every_patch_is_one_that_port_takes() -> None:
    port = example()
    for end in (
        ended(OPEN, run("failure"), [FAILED], wanted=True),
        not_dispatched(OPEN, "no such workflow"),
        unknown_end(OPEN, unknown(PAGE, [PAGE])),
    ):
        apply_patch(port, port.press("deploy"), end.patch)
        apply_patch(port, port.press("deploy"), status_alone(end.patch))
    for end in (
        ended(NODE, run("failure"), [FAILED], wanted=True),
        not_dispatched(NODE, "no such workflow"),
        unknown_end(NODE, UNKNOWN),
    ):
        apply_node_patch(port, port.start_node(Action("deploy")), end.patch)
        assert status_alone(end.patch).keys() == {"status", "result"}
    apply_patch(port, port.press("deploy"), link_patch(OPEN, PAGE, "gh_1_2_3"))
    apply_node_patch(port, port.start_node(Action("deploy")), link_patch(NODE, PAGE, "gh_1_2_3"))


def test_the_failed_jobs_stand_in_line_and_summary() -> None:
    end = ended(OPEN, run("failure"), [FAILED, ObservedJob("lint", "timed_out", None, None)], 3, wanted=True)
    assert "job 'deploy' ended with failure in its step 'Test', and 1 more" in end.line.message
    assert f"[job]({PAGE}/job/1)" in end.patch["summary"]
    assert "job 'lint' ended with timed out" in end.patch["summary"]
    assert end.patch["summary"].endswith("- and 3 more")


def test_a_run_cancelled_before_a_job_began_says_by_whom_that_happens() -> None:
    never_began = ObservedJob("deploy", "cancelled", None, None, began=False)
    for jobs in ([], [never_began]):
        end = ended(OPEN, run("cancelled"), jobs, wanted=True)
        for text in (end.line.message, end.patch["summary"]):
            assert "before a job began: by a newer run of its concurrency group, or a person" in text
            assert "queue: max" in text
    began = ended(OPEN, run("cancelled"), [ObservedJob("deploy", "cancelled", "Test", None)], wanted=True)
    assert "before a job began" not in began.line.message


def test_a_good_end_has_no_reason() -> None:
    assert ended(OPEN, run("success"), (), wanted=True).line.message == f"Workflow ended: success ({PAGE})"


def test_a_summary_stays_within_its_bound_and_says_how_many_jobs_are_missing() -> None:
    jobs = [ObservedJob(f"jöb {number} " + "x" * 180, "failure", "y" * 200, PAGE) for number in range(500)]
    end = ended(OPEN, run("failure"), jobs, 7, wanted=True)
    summary = end.patch["summary"]
    assert LONGEST_SUMMARY - 1000 < len(summary.encode()) <= LONGEST_SUMMARY
    shown = summary.count("- job ")
    assert f"- and {507 - shown} more" in summary
    assert len(end.line.message.encode()) <= LONGEST_LINE
    assert len(not_dispatched(OPEN, "ü" * 100_000).patch["summary"].encode()) <= LONGEST_SUMMARY
    assert len(unknown(PAGE, [PAGE] * 10_000).message.encode()) <= LONGEST_LINE


def test_what_the_workflow_told_itself_stays() -> None:
    told = RunAtPort("IN_PROGRESS", links=("https://argo.example",), summary="mine")
    assert link_patch(told, PAGE, "gh_1_2_3") == {"externalRunId": "gh_1_2_3"}
    assert link_patch(told, PAGE, None) == {}
    for end in (
        ended(told, run("failure"), [FAILED], wanted=True),
        not_dispatched(told, "x"),
        unknown_end(told, UNKNOWN),
    ):
        assert "summary" not in end.patch
        assert end.line.message
    node = NodeAtPort("IN_PROGRESS", output={"conclusion": "mine", "image": "a"})
    output = ended(node, run("success"), (), wanted=True).patch["output"]
    assert output == {"workflowRunUrl": PAGE, "workflowRunId": "17", "conclusion": "mine", "image": "a"}


@pytest.mark.parametrize(
    ("outputs", "own", "told", "about"),
    [
        (Outputs(json='{"url":"u","n":1}'), {}, {"url": "u", "n": 1}, ""),
        (Outputs(json='{"url":"u"}', note="of an earlier attempt"), {}, {"url": "u"}, "of an earlier attempt"),
        (Outputs(json='{"url":"u"}'), {"outputs": "mine"}, "mine", ""),
        (Outputs(problem="it has expired"), {}, None, "it has expired"),
        (Outputs(problem="there is none", missing=True), {}, None, ""),
        (None, {}, None, ""),
    ],
)
def test_a_node_tells_the_outputs_of_its_workflow(
    outputs: Outputs | None, own: dict[str, str], told: object, about: str
) -> None:
    end = ended(NodeAtPort("IN_PROGRESS", output=own), run("failure"), (), wanted=True, outputs=outputs)
    assert end.patch["output"].get("outputs") == told
    assert end.patch["output"]["conclusion"] == "failure"
    assert end.line.message.endswith(f"; outputs: {about}" if about else f"({PAGE})")


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ((), [PAGE]),
        (("a", "b"), ["a", "b", PAGE]),
        (("a", "b", "c"), None),
        ((PAGE,), None),
        (("x" * LONGEST_LINK,), None),  # cut off: told back, it would no longer be the workflow's
    ],
)
def test_a_node_has_at_most_three_links(links: tuple[str, ...], expected: list[str] | None) -> None:
    assert link_patch(NodeAtPort("IN_PROGRESS", links), PAGE, None).get("links") == expected


def test_without_reporting_the_line_alone_tells_the_end() -> None:
    for seen in (OPEN, NODE):
        end = ended(seen, run("success"), (), wanted=False)
        assert end.patch == {}
        assert "success" in end.line.message


@pytest.mark.parametrize(
    ("status", "label"),
    [
        ("requested", "queued"),
        ("queued", "queued"),
        ("pending", "queued"),
        ("waiting", "waiting in GitHub"),
        ("in_progress", "in progress"),
        ("invented", "in progress"),
    ],
)
def test_labels(status: str, label: str) -> None:
    seen = run(None, status)
    assert label_of(seen) == label
    assert progress(seen).label == label
    assert dispatched(PAGE, seen).label == label
    assert dispatched(PAGE, None).label is None
    assert line_body(dispatched(PAGE, seen), node=False) == {
        "message": f"Workflow dispatched: {PAGE}",
        "statusLabel": label,
    }
    assert line_body(progress(seen), node=True)["logs"][0]["level"] == "INFO"


def test_a_waiting_run_names_its_environments() -> None:
    assert "environment production, staging" in progress(run(None, "waiting"), ["production", "staging"]).message
    assert len(progress(run(None, "waiting"), ["e" * 200] * 256).message.encode()) <= LONGEST_LINE


def test_unknown_never_says_that_it_failed() -> None:
    line = unknown(PAGE, ["https://a.example"])
    assert "may have been dispatched" in line.message
    assert PAGE in line.message
    assert "https://a.example" in line.message
    assert line.label == "unknown"
    assert unknown_end(OPEN, line).patch["statusLabel"] == "unknown"


def at_port(port: Port, identifier: str) -> RunAtPort:
    found = port.find_run(identifier)
    assert found is not None
    return run_at_port(json.dumps({"ok": True, "run": action_run(found)}).encode())


def test_a_run_is_read_as_port_shows_it() -> None:
    port = example()
    one = port.press("deploy")
    assert at_port(port, one.id) == RunAtPort("IN_PROGRESS", (), "", one.created_by, "")
    port.workflow_patches(one, link=["a", "b"], summary="mine")
    seen = at_port(port, one.id)
    assert (seen.links, seen.summary, seen.ended, seen.by_a_person) == (("a", "b"), "mine", False, False)
    port.set_status(one, "FAILURE")
    assert at_port(port, one.id).ended
    assert at_port(port, one.id).by_a_person


@pytest.mark.parametrize(("status", "over"), [("WAITING_FOR_APPROVAL", False), ("TOMORROW", False), ("SUCCESS", True)])
def test_only_known_ends_and_an_end_time_are_an_end(status: str, over: bool) -> None:
    assert RunAtPort(status).ended is over
    assert RunAtPort(status, ended_at="2026-01-01T00:00:00Z").ended


def test_a_node_is_read_from_a_listing() -> None:
    port = example()
    node = port.start_node(Action("deploy"))
    port.workflow_patches_node(node, output={"image": "a"}, links=["a"])
    listing = json.dumps({"ok": True, "runs": [node_run(node)]}).encode()
    assert node_at_port(listing) == NodeAtPort("IN_PROGRESS", ("a",), {"image": "a"})
    assert node_at_port(b'{"runs":[]}') is None


def test_of_what_port_shows_no_more_is_kept_than_is_needed() -> None:
    links = ["x" * 3 * LONGEST_LINK] * 50
    many = {"link": links, "status": "x" * 9_000, "summary": "s" * 9_000}
    seen = run_at_port(json.dumps({"run": many}).encode())
    assert [len(link) for link in seen.links] == [LONGEST_LINK] * KEPT_LINKS
    assert (len(seen.status), len(seen.summary)) == (200, 200)
    output = "x" * KEPT_OUTPUT
    node = node_at_port(json.dumps({"runs": [{"status": "IN_PROGRESS", "output": {"mine": output}}]}).encode())
    assert node is not None
    assert "output" not in ended(node, run("success"), (), wanted=True).patch  # so that the workflow's own stays
    with pytest.raises(ValueError, match="values"):
        run_at_port(b'{"run": {"link": [' + b"[]," * MOST_VALUES + b"1]}}")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"run":7}', b'{"runs":7}', b'{"runs":[7]}'])
def test_odd_answers_are_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        run_at_port(body)
    with pytest.raises(ValueError):
        node_at_port(body)
