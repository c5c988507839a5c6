"""From the press to the end: one dispatch, two PATCHes, and what Port is told is true."""

import pytest

from gha_step.emulator import EXAMPLE_REPOSITORY, Answer, GitHub, Response
from gha_step.emulator.port import A_PERSON, EXAMPLE_CLIENT_ID, EXAMPLE_INSTALLATION, Action, ActionRun, Port
from gha_step.inbound.port import follower, following
from gha_step.inbound.port import github as github_of_port
from gha_step.inbound.port.intake import Press
from gha_step.inbound.port.messages import PortRun
from gha_step.ledger.record import State
from tests.support.clock import eventually
from tests.support.ledger import FaultyStore
from tests.support.port import PortProcess

from .conftest import Begin

INPUTS = {"environment": "prod", "image_tag": "1.10"}


def action(**changes: object) -> Action:
    """The example's, with changes."""
    return Action("deploy", installation_id=EXAMPLE_INSTALLATION, **changes)  # type: ignore[arg-type]


def told(process: PortProcess, run: ActionRun) -> None:
    """Wait until nothing more is owed for the run."""

    def closed() -> bool:
        records = [record for record in process.records() if record.promotion == run.id]
        return bool(records) and not any(record.owes for record in records)

    eventually(closed)


def test_a_press_is_one_dispatch_and_ends_as_the_workflow_does(begin: Begin, port: Port, github: GitHub) -> None:
    process = begin()
    pressed = port.press("deploy", INPUTS)
    eventually(lambda: github.runs and pressed.link)
    (run,) = github.runs
    assert run.inputs == INPUTS
    run.finish("success")
    told(process, pressed)
    assert (pressed.status, github.count("dispatch")) == ("SUCCESS", 1)
    assert pressed.patches_by(EXAMPLE_CLIENT_ID) == 2
    assert pressed.acked_by == [EXAMPLE_CLIENT_ID]
    assert str(run.id) in str(pressed.link)
    assert str(pressed.external_id).endswith(f"_{run.id}")
    assert len(pressed.messages) == len(set(pressed.messages))


def test_the_failed_job_is_named(begin: Begin, port: Port, github: GitHub) -> None:
    process = begin()
    pressed = port.press("deploy", INPUTS)
    eventually(lambda: github.runs and pressed.link)
    github.runs[0].finish("failure")
    told(process, pressed)
    assert pressed.status == "FAILURE"
    assert pressed.label == "failure"
    assert "job" in str(pressed.summary)


@pytest.mark.parametrize(
    ("made", "settings", "words"),
    [
        (action(integration_action="create_issue"), {}, "only starts workflows"),
        (action(org=None), {}, "GHA_STEP_PORTIO_GITHUB_ORG"),
        (action(), {"repos": "other/*, myorg/x-*"}, "GHA_STEP_PORTIO_REPOS allows other/*, myorg/x-*"),
        (action(workflow="missing.yml"), {}, "missing.yml"),
        (action(repo="nowhere"), {}, "nowhere"),
        (action(inputs={f"i{number}": "x" for number in range(30)}), {}, "GitHub takes at most"),
        (action(report="maybe"), {}, "reportWorkflowStatus"),
        (action(inputs={"ref": "no-such-branch"}), {}, "no-such-branch"),
    ],
)
def test_what_cannot_be_dispatched_ends_with_the_reason(
    begin: Begin, port: Port, github: GitHub, made: Action, settings: dict[str, str], words: str
) -> None:
    process = begin(**settings)
    pressed = port.press(made, INPUTS)
    told(process, pressed)
    assert (pressed.status, pressed.label) == ("FAILURE", "not dispatched")
    assert words in str(pressed.summary)
    assert any(words in line for line in pressed.messages)
    assert pressed.acked_by == [EXAMPLE_CLIENT_ID]
    assert github.runs == []


def test_an_organisation_that_the_action_does_not_name_is_the_configured_one(
    begin: Begin, port: Port, github: GitHub
) -> None:
    begin(github_org="myorg", repos="MyOrg/my-*")
    port.press(action(org=None), INPUTS)
    eventually(lambda: github.runs)


def test_without_a_ref_the_default_branch_is_asked_for_once_and_conditionally_then(
    begin: Begin, port: Port, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_of_port, "BRANCH_FOR", 0.0)
    begin()
    for _ in range(3):
        pressed = port.press(action(inputs={"ref": None}), INPUTS)
        eventually(lambda pressed=pressed: pressed.link)  # type: ignore[misc]
    statuses = [entry.status for entry in github.log if entry.operation == "get-repository"]
    assert len(statuses) >= 3
    assert (statuses[0], set(statuses[1:])) == (200, {304})
    assert {run.head_branch for run in github.runs} == {"main"}


@pytest.mark.parametrize("cancel", ["on", "force"])
def test_a_run_that_a_person_withdraws_is_cancelled_at_github(
    begin: Begin, port: Port, github: GitHub, cancel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "FORCE_AFTER", 10.0)
    monkeypatch.setattr(follower, "LISTED_AFTER", 0.0)
    (workflow,) = github._repositories[EXAMPLE_REPOSITORY].workflows
    workflow.cleans_up_for = 100_000.0 if cancel == "force" else 1.0
    process = begin(cancel=cancel)
    pressed = port.press("deploy", INPUTS)
    eventually(lambda: github.runs and pressed.link)
    github.runs[0].set_status("in_progress")
    port.set_status(pressed, "FAILURE", by=A_PERSON)
    process.parts.reports.each_minute()
    eventually(lambda: github.count("cancel-run"))
    told(process, pressed)
    assert (github.count("cancel-run"), github.count("force-cancel-run")) == (1, int(cancel == "force"))
    eventually(lambda: github.runs[0].conclusion == "cancelled")


def test_a_node_ends_with_result_links_and_output(begin: Begin, port: Port, github: GitHub) -> None:
    process = begin()
    node = port.start_node(Action("deploy"), INPUTS)
    eventually(lambda: github.runs and node.links)
    (run,) = github.runs
    run.upload({"url": "https://app.example.com", "replicas": 3, "skipped": None})
    run.finish("success")
    eventually(lambda: node.status == "COMPLETED")
    eventually(lambda: not any(record.owes for record in process.records()))
    assert node.result == "SUCCESS"
    assert node.output["workflowRunId"] == str(run.id)
    assert node.output["outputs"] == {"url": "https://app.example.com", "replicas": 3}
    assert node.acked_by == [EXAMPLE_CLIENT_ID]


def test_a_rate_limit_takes_no_place_and_its_end_sends_from_memory(begin: Begin, port: Port, github: GitHub) -> None:
    limit = Response.of(403, {"message": "You have exceeded a secondary rate limit"}, {"Retry-After": "30"})
    github.faults.add(Answer(limit), "dispatch", where=lambda request: b'"first"' in request.body)
    process = begin(places="1")
    first = port.press("deploy", {"environment": "prod", "image_tag": "first"})
    eventually(lambda: any(held.waiting for held in process.parts.intake._held.values()))
    assert process.parts.intake.free == 1
    eventually(lambda: github.runs)
    told_run = github.runs[0]
    assert told_run.inputs["image_tag"] == "first"
    assert first.claims == 1


def test_what_port_does_not_show_in_progress_yet_is_recorded_and_sent_once_it_does(
    begin: Begin, port: Port, github: GitHub
) -> None:
    process = begin(claims=False)
    pressed = port.press(action(requires_approval=True, invocation="GITHUB"), INPUTS)
    run = PortRun("run", pressed.id, "deploy", "myorg", "my-app", "deploy.yml", None, INPUTS, wanted=True)
    held = process.parts.intake.take(Press(run, "kafka", None))
    eventually(lambda: held.decided)
    assert held.waiting
    assert [record.state for record in process.records()] == [State.RESERVED]
    assert process.parts.intake.free == 200
    port.approve(pressed)
    eventually(lambda: github.runs)
    eventually(lambda: pressed.link)
    assert pressed.acked_by == []


def test_what_waits_longer_than_the_queue_ends_and_is_not_sent_later(begin: Begin, port: Port, github: GitHub) -> None:
    process = begin(claims=False, queue="20s")
    pressed = port.press(action(requires_approval=True, invocation="GITHUB"), INPUTS)
    run = PortRun("run", pressed.id, "deploy", "myorg", "my-app", "deploy.yml", None, INPUTS, wanted=True)
    process.parts.intake.take(Press(run, "kafka", None))
    eventually(lambda: [record.state for record in process.records()] == [State.REJECTED])
    port.approve(pressed)
    told(process, pressed)
    assert (pressed.status, pressed.label) == ("FAILURE", "not dispatched")
    assert "WAITING_FOR_APPROVAL" in str(pressed.summary)
    assert github.runs == []


def test_a_run_that_was_withdrawn_before_its_send_is_not_sent(begin: Begin, port: Port, github: GitHub) -> None:
    process = begin(claims=False)
    pressed = port.press(action(invocation="GITHUB"), INPUTS)
    old = process.clock.monotonic() - 11
    port.set_status(pressed, "FAILURE")
    run = PortRun("run", pressed.id, "deploy", "myorg", "my-app", "deploy.yml", None, INPUTS, wanted=True)
    held = process.parts.intake.take(Press(run, "kafka", old))
    eventually(lambda: held.decided)
    told(process, pressed)
    assert [(record.state, record.reason) for record in process.records()] == [(State.REJECTED, "withdrawn")]
    assert github.count("dispatch") == 0
    assert pressed.patches == []


def test_a_process_that_begins_anew_follows_from_the_ledger_alone(
    begin: Begin, port: Port, github: GitHub, store: FaultyStore
) -> None:
    first = begin()
    pressed = port.press("deploy", INPUTS)
    eventually(lambda: github.runs)
    first.stop()
    second = begin(claims=False)
    eventually(lambda: pressed.link)
    github.runs[0].finish("success")
    told(second, pressed)
    assert pressed.status == "SUCCESS"
    assert len(github.runs) == 1


def test_no_secret_is_in_any_line(begin: Begin, port: Port, github: GitHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="gha_step")
    process = begin()
    pressed = port.press("deploy", {**INPUTS, "image_tag": "an-input-value"})
    eventually(lambda: github.runs and pressed.link)
    github.runs[0].finish("success")
    told(process, pressed)
    secrets = ("emulator-token", "emulator-client-secret", "an-input-value", "Bearer")
    assert not [line for line in caplog.messages if any(secret in line for secret in secrets)]
