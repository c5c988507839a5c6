"""What a dispatch does and what GitHub refuses, on every generation."""

import json
from collections.abc import Mapping

import pytest

from gha_step.emulator import API_2022, API_2026, EXAMPLE_TOKEN, Generation, GitHub, Json, Request, Token
from tests.support.rows import each_row

from .asking import DISPATCH, INPUTS, REPO, ask, dispatch, message

TYPED = """
name: Typed
run-name: ${{ inputs.size }}
on:
  workflow_dispatch:
    inputs:
      size: {type: choice, options: [small, large], default: small}
      dry_run: {type: boolean}
      count: {type: number, required: true, default: 3}
      place: {type: environment}
      note: {}
jobs: {build: {}}
"""


def typed(github: GitHub, inputs: Json) -> str | None:
    """GitHub's objection to these inputs of TYPED, or None."""
    if github.repository("myorg/my-app").workflow("typed.yml") is None:
        github.repository("myorg/my-app").add_workflow("typed.yml", TYPED)
    response = dispatch(github, inputs, target=f"{REPO}/actions/workflows/typed.yml/dispatches")
    assert response.status in (204, 422)
    return None if response.status == 204 else message(response)


def test_a_dispatch_starts_one_run_with_exactly_the_inputs_sent(github: GitHub) -> None:
    response = dispatch(github, details=True)
    assert response.status == 200
    assert json.loads(response.body) == {
        "workflow_run_id": 17_000_000_001,
        "run_url": "https://api.github.com/repos/myorg/my-app/actions/runs/17000000001",
        "html_url": "https://github.com/myorg/my-app/actions/runs/17000000001",
    }
    [run] = github.runs
    assert (run.id, run.inputs, run.sent_inputs) == (17_000_000_001, INPUTS, INPUTS)
    assert (run.display_title, run.actor, run.head_branch) == ("Deploy 1.10 to prod", "kargo-bot", "main")


def test_run_ids_start_and_step_as_configured() -> None:
    github = GitHub(first_run_id=5, run_id_step=7)
    for _ in range(3):
        dispatch(github)
    assert [run.id for run in github.runs] == [5, 12, 19]


def test_the_same_requests_at_the_same_times_get_the_same_answers() -> None:
    def history() -> list[object]:
        github = GitHub(now=lambda: 1_700_000_000.0)
        return [dispatch(github, details=True), ask(github, f"{REPO}/actions/runs"), ask(github, "/nowhere")]

    assert history() == history()


@pytest.mark.parametrize("name", ["ghes", "ghes-2.22", "ghes-3", "ghes-3.x", "github", "", "ghes-3.19 "])
def test_an_unknown_generation_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match=r"^unknown generation .* use github\.com, ghes-3\.19[^\n]*$"):
        GitHub(name)


@each_row(
    ("generation", "version", "details", "status"),
    [
        ("github.com", API_2022, None, 204),
        ("github.com", API_2022, False, 204),
        ("github.com", API_2022, True, 200),
        ("github.com", API_2026, None, 200),
        ("github.com", API_2026, True, 422),
        ("github.com", "2025-01-01", None, 400),
        ("ghes-3.18", API_2022, None, 204),
        ("ghes-3.19", API_2022, None, 204),
        ("ghes-3.19", API_2022, True, 422),
        ("ghes-3.19", API_2022, False, 422),
        ("ghes-3.19", API_2026, None, 400),
        ("ghes-3.20", API_2022, None, 204),
        ("ghes-3.20", API_2022, True, 204),
        ("ghes-3.20", API_2026, None, 400),
        ("ghes-3.21", API_2022, None, 204),
        ("ghes-3.21", API_2022, True, 200),
        ("ghes-3.21", API_2026, None, 200),
        ("ghes-3.22", API_2022, True, 200),
    ],
)
def test_generations_differ_in_run_details(generation: str, version: str, details: bool | None, status: int) -> None:
    github = GitHub(generation)
    response = dispatch(github, details=details, version=version)
    assert response.status == status
    assert len(github.runs) == (status in (200, 204))
    assert (response.body == b"") == (status == 204)


@pytest.mark.parametrize("refusal", [400, 422])
def test_a_server_that_does_not_know_run_details_refuses_the_key(refusal: int) -> None:
    response = dispatch(GitHub(Generation.named("ghes-3.20", permits_key=False, refusal=refusal)), details=True)
    assert response.status == refusal
    assert message(response) == 'Invalid request.\n\n"return_run_details" is not a permitted key.'


def test_an_unknown_api_version_is_named_with_those_that_exist(github: GitHub) -> None:
    response = dispatch(github, version="2099-01-01")
    assert (response.status, message(response)) == (400, "Bad Request")
    errors = json.loads(response.body)["errors"]  # a string, as nowhere else
    assert '"2099-01-01", is not a supported version' in errors
    assert API_2022 in errors
    assert API_2026 in errors


@pytest.mark.parametrize(("generation", "most"), [("ghes-3.19", 10), ("ghes-3.20", 25), ("github.com", 25)])
def test_too_many_inputs_are_refused(generation: str, most: int) -> None:
    github = GitHub(generation)
    inputs = {f"i{number}": "" for number in range(most + 1)}
    refused = dispatch(github, inputs)
    assert refused.status == 422
    assert message(refused).endswith(f"No more than {most} properties are allowed; {most + 1} were supplied.")
    del inputs["i0"]
    assert message(dispatch(github, inputs)).startswith("Unexpected inputs provided")


@pytest.mark.parametrize("generation", ["github.com", "ghes-3.19"])
@pytest.mark.parametrize("prefix", ["", "/api/v3"])
def test_every_generation_answers_with_and_without_the_enterprise_prefix(generation: str, prefix: str) -> None:
    response = dispatch(github := GitHub(generation), target=prefix + DISPATCH)
    assert response.status == 204
    assert len(github.runs) == 1
    assert response.header("X-GitHub-Enterprise-Version") == ("3.19.0" if generation == "ghes-3.19" else None)


@pytest.mark.parametrize("ref", ["nowhere", "refs/heads/v1", "refs/pull/1/head", "", "MAIN", "COMMIT"])
def test_anything_else_is_no_ref_not_even_a_commit(github: GitHub, ref: str) -> None:
    repository = github.repository("myorg/my-app")
    repository.add_tag("v1")
    ref = repository.branches["main"] if ref == "COMMIT" else ref
    response = dispatch(github, ref=ref)
    assert (response.status, message(response)) == (422, f"No ref found for: {ref}")
    assert github.runs == []


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "Required input 'environment' not provided"),
        ({"environment": "prod"}, "Required input 'image_tag' not provided"),
        ({"environment": "prod", "image_tag": None}, "Required input 'image_tag' not provided"),
        ({**INPUTS, "x": "1"}, 'Unexpected inputs provided: ["x"]'),
        ({**INPUTS, "x": "1", "y": 2}, 'Unexpected inputs provided: ["x", "y"]'),
        ({**INPUTS, "environment": "e" * 65_536}, "inputs are too large"),
        (["prod"], "Invalid request.\n\nFor 'properties/inputs', [\"prod\"] is not an object."),
    ],
)
def test_inputs_that_do_not_fit_the_declaration_are_refused(github: GitHub, inputs: Json, words: str) -> None:
    response = dispatch(github, inputs)
    assert (response.status, message(response)) == (422, words)
    assert github.runs == []


@pytest.mark.parametrize(
    ("inputs", "name", "value"),
    [
        ({"size": "huge"}, "size", "huge"),
        ({"size": ""}, "size", ""),
        ({"dry_run": ""}, "dry_run", ""),
        ({"dry_run": "yes"}, "dry_run", "yes"),
        ({"dry_run": "True"}, "dry_run", "True"),
        ({"dry_run": 1}, "dry_run", "1"),
    ],
)
def test_a_value_outside_the_list_is_refused(github: GitHub, inputs: Json, name: str, value: str) -> None:
    assert typed(github, inputs) == f"Provided value '{value}' for input '{name}' not in the list of allowed values"
    assert github.runs == []


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ({}, {"size": "small", "count": "3"}),
        ({"size": "large", "dry_run": True}, {"size": "large", "dry_run": "true", "count": "3"}),
        ({"dry_run": "false", "count": 4}, {"size": "small", "dry_run": "false", "count": "4"}),
        ({"note": "", "place": ""}, {"size": "small", "count": "3", "place": "", "note": ""}),
        ({"note": {"a": [1.5]}}, {"size": "small", "count": "3", "note": '{"a":[1.5]}'}),
        ({"note": None}, {"size": "small", "count": "3"}),
    ],
)
def test_the_workflow_sees_strings_and_defaults(github: GitHub, sent: Json, seen: Mapping[str, str]) -> None:
    assert typed(github, sent) is None
    assert github.runs[0].inputs == seen
    assert github.runs[0].sent_inputs == sent


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 422, 'Invalid request.\n\n"ref" wasn\'t supplied.'),
        (b"{}", 422, 'Invalid request.\n\n"ref" wasn\'t supplied.'),
        (b'{"ref":1}', 422, "Invalid request.\n\nFor 'properties/ref', 1 is not a string."),
        (b'{"ref":"main","return_run_details":"yes"}', 422, '"yes" is not a boolean.'),
        (b'{"ref":"main","input":{}}', 422, 'Invalid request.\n\n"input" is not a permitted key.'),
        (b"{", 400, "Problems parsing JSON"),
        (b"\xff", 400, "Problems parsing JSON"),
        (b"[" * 100_000, 400, "Problems parsing JSON"),
        (b'{"ref":"main","inputs":{"environment":NaN}}', 400, "Problems parsing JSON"),
        (b"[]", 400, "Body should be a JSON object"),
    ],
)
def test_a_malformed_body_starts_nothing(github: GitHub, body: bytes, status: int, words: str) -> None:
    response = ask(github, DISPATCH, method="POST", body=body)
    assert response.status == status
    assert message(response).endswith(words)
    assert github.runs == []


def test_a_workflow_without_the_trigger_is_not_dispatched(github: GitHub) -> None:
    repository = github.repository("myorg/my-app")
    repository.add_workflow("push.yml", "on: [push]\njobs: {}")
    repository.add_workflow("bare.yml", "on: workflow_dispatch\njobs: {}")
    words = "Workflow does not have 'workflow_dispatch' trigger"
    assert message(dispatch(github, {}, target=f"{REPO}/actions/workflows/push.yml/dispatches")) == words
    assert dispatch(github, {}, target=f"{REPO}/actions/workflows/bare.yml/dispatches").status == 204


def test_the_file_at_the_ref_decides(github: GitHub) -> None:
    repository = github.repository("myorg/my-app")
    for name in ("old", "gone", "broken"):
        repository.add_branch(name)
    workflow = repository.workflows[0]
    workflow.set_text("on: {workflow_dispatch: {inputs: {tag: {}}}}\nrun-name: Old ${{ inputs.tag }}", ref="old")
    workflow.set_text(None, ref="gone")
    workflow.set_text("on: [", ref="broken")
    assert message(dispatch(github, ref="old")) == 'Unexpected inputs provided: ["environment", "image_tag"]'
    assert message(dispatch(github, ref="gone")) == "Workflow does not have 'workflow_dispatch' trigger"
    assert message(dispatch(github, ref="broken")).startswith("failed to parse workflow: ")
    assert github.runs == []
    assert dispatch(github, {"tag": "7"}, ref="old").status == 204
    assert github.runs[0].display_title == "Old 7"


def test_a_workflow_must_exist_on_the_default_branch(github: GitHub) -> None:
    repository = github.repository("myorg/my-app")
    repository.add_branch("dev")
    repository.workflows[0].set_text(None, ref="main")
    assert dispatch(github, ref="dev").status == 404
    assert dispatch(github, target=f"{REPO}/actions/workflows/other.yml/dispatches").status == 404
    assert dispatch(github, target=f"{REPO}/actions/workflows/x%2Fdeploy.yml/dispatches").status == 404


def test_a_disabled_workflow_is_not_dispatched(github: GitHub) -> None:
    github.repository("myorg/my-app").workflows[0].state = "disabled_manually"
    response = dispatch(github)
    assert response.status == 422
    assert message(response) == "Cannot trigger a 'workflow_dispatch' on a disabled workflow"
    assert github.runs == []


def test_an_archived_repository_is_read_only(github: GitHub) -> None:
    github.repository("myorg/my-app").archived = True
    response = dispatch(github)
    assert (response.status, message(response)) == (403, "Repository was archived so is read-only.")
    assert ask(github, REPO).status == 200


def test_names_are_case_insensitive_and_the_id_of_a_workflow_serves_too(github: GitHub) -> None:
    assert dispatch(github, target="/repos/MyOrg/My-App/actions/workflows/1000001/dispatches").status == 204


def test_the_log_counts_requests_and_holds_no_token(github: GitHub) -> None:
    github.add_token(Token("s3cret", login="x", name="the app"))
    dispatch(github, token="s3cret")
    dispatch(github, token="unknown-s3cret")
    dispatch(github, token=None)
    ask(github, "/nowhere")
    assert (github.count("dispatch"), github.count(), github.count("get-run")) == (3, 4, 0)
    assert [entry.status for entry in github.log] == [204, 401, 404, 404]
    assert [entry.headers.get("authorization") for entry in github.log[:3]] == ["the app", "not a token", None]
    assert json.loads(github.log[0].body)["inputs"] == INPUTS
    assert "s3cret" not in repr(github.log)
    assert "s3cret" not in repr(github.token("s3cret"))
    github.forget_log()
    assert (github.count(), github.log) == (0, [])


def test_a_request_without_user_agent_is_forbidden(github: GitHub) -> None:
    body: Json = {"ref": "main", "inputs": INPUTS}
    request = Request.to("POST", DISPATCH, token=EXAMPLE_TOKEN, body=body, headers={"User-Agent": ""})
    response = github.handle(request)
    assert response.status == 403
    assert b"User-Agent header" in response.body
    assert github.runs == []
