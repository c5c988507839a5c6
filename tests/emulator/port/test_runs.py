"""Action runs: claimed, hidden, acknowledged, reported, ended by the first who asks."""

import json

import pytest

from gha_step.emulator import Json, Request
from gha_step.emulator.port import A_PERSON, EXAMPLE_CLIENT_ID, Action, Port, Refusal
from tests.support.clock import VirtualClock

from .asking import CLAIM, RESERVED, answer, ask, claim, patch, token
from .published import judge_refusal

ACK = "/v1/actions/runs/ack"


def read(port: Port, run: str) -> dict[str, object]:
    found = answer(ask(port, "GET", f"/v1/actions/runs/{run}"))["run"]
    assert isinstance(found, dict)
    return found


def test_a_claimed_run_is_hidden_until_its_visibility_ends(port: Port, clock: VirtualClock) -> None:
    run = port.press("deploy", {"environment": "prod"})
    assert claim(port) == [run.id]
    assert claim(port) == []
    clock.forward(4)
    assert claim(port) == [run.id]
    assert run.claims == 2


def test_an_acknowledged_run_is_never_claimed_again(port: Port, clock: VirtualClock) -> None:
    run = port.press("deploy")
    assert claim(port) == [run.id]
    assert answer(ask(port, "PATCH", ACK, {"runId": run.id}))["ackedCount"] == 1
    clock.forward(1000)
    assert claim(port) == []
    judge_refusal(ask(port, "PATCH", ACK, {"runId": run.id}), 409)
    assert answer(ask(port, "PATCH", ACK, {"runIds": [run.id]}))["ackedCount"] == 0


def test_a_claim_takes_no_more_than_asked_and_leaves_out_what_is_excluded(port: Port) -> None:
    runs = [port.press(Action(name)).id for name in ("busy", "busy", "quiet", "busy")]
    assert claim(port, limit=1) == runs[:1]
    assert claim(port, exclude=["busy"]) == [runs[2]]
    assert claim(port) == [runs[1], runs[3]]


@pytest.mark.parametrize(
    "action", [Action("k", invocation="GITHUB"), Action("w", requires_approval=True), Action("o", installation_id="o")]
)
def test_what_is_not_ours_or_not_yet_in_progress_is_not_claimed(port: Port, action: Action) -> None:
    run = port.press(action)
    assert claim(port) == []
    if action.requires_approval:
        port.approve(run)
        assert claim(port) == [run.id]


def test_only_a_machine_with_the_reserved_header_claims_for_a_known_installation(port: Port) -> None:
    port.press("deploy")
    port.add_credentials("person", "s", machine=False)
    path = "/v1/actions/runs/claim-pending"
    judge_refusal(ask(port, "POST", path, CLAIM, bearer=token(port, "person", "s"), headers=RESERVED), 403)
    judge_refusal(ask(port, "POST", path, CLAIM), 403)
    judge_refusal(ask(port, "POST", path, {**CLAIM, "installationId": "other"}, headers=RESERVED), 404)
    judge_refusal(ask(port, "POST", path, {**CLAIM, "limit": 0}, headers=RESERVED), 422)
    judge_refusal(ask(port, "POST", path, {**CLAIM, "visibilityTimeoutMs": 600_001}, headers=RESERVED), 422)


def test_an_installation_without_actions_processing_gets_nothing(port: Port) -> None:
    run = port.press("deploy")
    body: dict[str, bool] = {"actionsProcessingEnabled": False}
    answer(ask(port, "PATCH", "/v1/integration/gha-step", body))
    assert claim(port) == []
    answer(ask(port, "PATCH", "/v1/integration/gha-step", {"actionsProcessingEnabled": True}))
    assert claim(port) == [run.id]


def test_an_installation_registers_itself_once(port: Port) -> None:
    body: dict[str, Json] = {
        "installationId": "mine",
        "installationAppType": "github-ocean",
        "actionsProcessingEnabled": True,
    }
    assert ask(port, "POST", "/v1/integration", body).status == 201
    judge_refusal(ask(port, "POST", "/v1/integration", body), 409)
    found = answer(ask(port, "GET", "/v1/integration/mine"))["integration"]
    assert {key: found[key] for key in body} == body


def test_a_later_value_replaces_an_earlier_one_until_the_end(port: Port) -> None:
    run = port.press("deploy")
    answer(patch(port, run.id, link="https://a.example", statusLabel="one"))
    answer(patch(port, run.id, link="https://b.example"))
    answer(patch(port, run.id, status="SUCCESS", summary="done"))
    assert (run.link, run.label, run.summary) == ("https://b.example", "one", "done")
    assert run.ended_at is not None
    assert run.patches_by(EXAMPLE_CLIENT_ID) == 3


@pytest.mark.parametrize("status", [422, 409])
def test_nothing_changes_after_the_end(port: Port, status: int) -> None:
    port.ended_status = status
    run = port.press("deploy")
    answer(patch(port, run.id, status="FAILURE"))
    judge_refusal(patch(port, run.id, status="SUCCESS"), status)
    judge_refusal(patch(port, run.id, link="https://late.example"), status)
    judge_refusal(ask(port, "POST", f"/v1/actions/runs/{run.id}/logs", {"message": "late"}), status, "run_exhausted")
    assert (run.status, run.link, run.messages) == ("FAILURE", None, [])
    assert run.patches_by(EXAMPLE_CLIENT_ID) == 1


def test_a_log_line_carries_a_label_and_may_end_the_run(port: Port) -> None:
    run = port.press("deploy")
    path = f"/v1/actions/runs/{run.id}/logs"
    answer(ask(port, "POST", path, {"message": "one", "statusLabel": "queued"}))
    answer(ask(port, "POST", path, {"message": "two", "terminationStatus": "FAILURE"}))
    assert (run.messages, run.labels, run.label, run.status) == (["one", "two"], ["queued"], "queued", "FAILURE")
    assert run.patches == []


def test_the_external_id_stands_for_the_run(port: Port) -> None:
    run = port.press("deploy")
    answer(patch(port, run.id, externalRunId="gh_1_2_3"))
    assert read(port, "gh_1_2_3")["id"] == run.id
    answer(patch(port, "gh_1_2_3", status="SUCCESS"))
    assert run.status == "SUCCESS"
    listed = answer(ask(port, "GET", "/v1/actions/runs?external_run_id=gh_1_2_3"))["runs"]
    assert [one["id"] for one in listed] == [run.id]


def test_a_person_may_end_a_run_and_shows_in_updated_by(port: Port) -> None:
    run = port.press("deploy", by="auth0|other")
    port.set_status(run, "FAILURE")
    assert (read(port, run.id)["status"], read(port, run.id)["updatedBy"]) == ("FAILURE", A_PERSON)
    assert claim(port) == []
    judge_refusal(ask(port, "PATCH", ACK, {"runId": run.id}), 409)


def test_a_workflow_reports_itself_and_fails_after_the_end(port: Port) -> None:
    run = port.press("deploy")
    port.workflow_patches(run, link="https://argo.example", summary="mine")
    port.workflow_patches(run, status="SUCCESS")
    with pytest.raises(Refusal):
        port.workflow_patches(run, summary="late")
    assert (run.status, run.link, run.summary) == ("SUCCESS", "https://argo.example", "mine")
    assert run.patches_by(EXAMPLE_CLIENT_ID) == 0


def test_reads_and_listings_lag_behind_while_claims_do_not(port: Port, clock: VirtualClock) -> None:
    port.read_lag = 1.0
    run = port.press("deploy")
    judge_refusal(ask(port, "GET", f"/v1/actions/runs/{run.id}"), 404)
    assert answer(ask(port, "GET", "/v1/actions/runs"))["runs"] == []
    assert claim(port) == [run.id]
    clock.forward(1)
    answer(patch(port, run.id, status="SUCCESS"))
    assert read(port, run.id)["status"] == "IN_PROGRESS"
    clock.forward(1)
    assert read(port, run.id)["status"] == "SUCCESS"


def test_a_declined_run_ends(port: Port) -> None:
    run = port.press(Action("careful", requires_approval=True))
    answer(ask(port, "PATCH", f"/v1/actions/runs/{run.id}/approval", {"status": "DECLINE"}))
    assert run.status == "FAILURE"


def test_active_runs_are_listed_newest_first(port: Port) -> None:
    ended, waiting, running = (
        port.press("deploy"),
        port.press(Action("w", requires_approval=True)),
        port.press("deploy"),
    )
    port.set_status(ended, "FAILURE")
    listed = answer(ask(port, "GET", "/v1/actions/runs?active=true"))["runs"]
    assert [run["id"] for run in listed] == [running.id, waiting.id]
    assert len(answer(ask(port, "GET", "/v1/actions/runs?limit=2"))["runs"]) == 2


def test_the_log_holds_no_secret(port: Port) -> None:
    secret = token(port)
    claim(port)
    text = json.dumps([[dict(one.headers), one.body.decode()] for one in port.log])
    assert secret not in text
    assert "emulator-client-secret" not in text
    assert port.log[-1].headers["authorization"] == EXAMPLE_CLIENT_ID
    assert port.count("claim") == 1


def test_one_token_per_credentials_until_it_ends(port: Port, clock: VirtualClock) -> None:
    first = token(port)
    clock.forward(10_000)
    body = {"clientId": EXAMPLE_CLIENT_ID, "clientSecret": port.credentials[EXAMPLE_CLIENT_ID].client_secret}
    again = answer(port.handle(Request.to("POST", "/v1/auth/access_token", body=body)))
    assert (again["accessToken"], again["expiresIn"]) == (first, 800)
    clock.forward(800)
    assert token(port) != first
    judge_refusal(ask(port, "GET", "/v1/actions/runs", bearer=first), 401)
    assert port.credentials[EXAMPLE_CLIENT_ID].issued == 2


def test_limits_hold_for_the_organisation_and_for_tokens_apart(port: Port, clock: VirtualClock) -> None:
    port = Port(rate_limit=3, token_limit=2, now=clock.now)
    port.add_credentials(EXAMPLE_CLIENT_ID, "emulator-client-secret-of-32-byte")
    bearer = token(port)
    assert [ask(port, "GET", "/v1/actions/runs", bearer=bearer).status for _ in range(4)] == [200, 200, 200, 429]
    token(port)
    refused = port.handle(Request.to("POST", "/v1/auth/access_token", body={"clientId": "a", "clientSecret": "b"}))
    judge_refusal(refused, 429)
    assert (refused.header("x-ratelimit-remaining"), refused.header("x-ratelimit-reset")) == ("0", "300")
    clock.forward(300)
    assert ask(port, "GET", "/v1/actions/runs", bearer=bearer).status == 200


@pytest.mark.parametrize("style", ["seconds", "epoch"])
def test_a_limit_on_request_tells_its_end(port: Port, clock: VirtualClock, style: str) -> None:
    port.reset = "epoch" if style == "epoch" else "seconds"
    run = port.press("deploy")
    port.limit_rate(60, "patch-run")
    refused = patch(port, run.id, link="https://a.example")
    judge_refusal(refused, 429)
    assert refused.header("x-ratelimit-reset") == ("60" if style == "seconds" else str(int(clock.now()) + 60))
    clock.forward(60)
    answer(patch(port, run.id, link="https://a.example"))
