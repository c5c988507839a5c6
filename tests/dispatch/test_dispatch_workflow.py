"""From a call to an order: configs and Secrets that cannot be used dispatch nothing, and say why."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gha_step.contract.errors import SecretsUnavailable
from gha_step.contract.result import StepResult
from gha_step.emulator import EXAMPLE_TOKEN, EXAMPLE_WORKFLOW_TEXT, GitHub
from gha_step.github.connection import Connection
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import Unreachable
from gha_step.ledger.keys import marker_of
from gha_step.ledger.record import State
from tests.support.calls import INPUTS, config, output
from tests.support.core import Program, Start
from tests.support.ledger import FaultyStore
from tests.support.network import FaultyConnector
from tests.support.secrets import example_secret, write_secret


def words(result: StepResult) -> str:
    assert result.message is not None
    return result.message


def assert_nothing_dispatched(result: StepResult, github: GitHub) -> None:
    assert (result.status, result.terminal, output(result)) == ("Failed", True, {})
    assert words(result).startswith("nothing was dispatched: ")
    assert EXAMPLE_TOKEN not in words(result)
    assert github.count() == 0


# ---------------------------------------------------------------- Secrets


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "the key accessToken is missing"),
        ({"accessToken": "ghp_ hidden"}, "contains white space"),
        ({"accessToken": "t", "baseURL": "http://ghe.example.com"}, "the key baseURL must start with https://"),
        ({"accessToken": "t", "baseURL": "https://ghe.example.com/é"}, "the key baseURL "),
        ({"accessToken": "t", "baseURL": "https://u:hunter2@ghe"}, "the key baseURL must not contain a user name"),
        ({"accessToken": "t", "uploadURL": "ftp://x"}, "the key uploadURL must start with https://"),
    ],
)
def test_an_unfit_secret_is_named_with_project_and_key(
    program: Program, github: GitHub, secrets: Path, data: dict[str, str | bytes], said: str
) -> None:
    write_secret(secrets, **data)  # type: ignore[arg-type]  # project and name keep their defaults
    result = program.call()
    assert_nothing_dispatched(result, github)
    assert "project demo: the Secret github" in words(result)
    assert said in words(result)
    assert "hidden" not in words(result)
    assert "hunter2" not in words(result)


@pytest.mark.parametrize(
    "name", ["../other/github", "..", ".", "a/b", "/etc", "UPPER", "a b", "-a", "a.", "x" * 254, "ä", "a\\b"]
)
def test_a_secrets_name_cannot_leave_its_project(
    program: Program, github: GitHub, secrets: Path, github_url: str, name: str
) -> None:
    example_secret(secrets, github_url, project="other")
    result = program.call(config(credentials={"secretName": name}))
    assert_nothing_dispatched(result, github)
    assert "secretName" in words(result)


@pytest.mark.parametrize("project", ["../demo", "demo/../demo", ".", "DEMO", "demo/github", "x" * 64, "/", "a b"])
def test_a_projects_name_cannot_leave_the_secrets(program: Program, github: GitHub, project: str) -> None:
    result = program.call(project=project)
    assert_nothing_dispatched(result, github)
    assert "context.project" in words(result)


def test_a_rotated_token_works_at_once(program: Program, github: GitHub, secrets: Path, github_url: str) -> None:
    github.add_token("rotated")
    program.call()
    github.remove_token(EXAMPLE_TOKEN)
    example_secret(secrets, github_url, token="rotated")
    assert program.call(alias="second").status == "Succeeded"


def test_a_failure_told_as_final_stays_one_when_the_secret_is_mended(
    program: Program, github: GitHub, secrets: Path, github_url: str, store: FaultyStore
) -> None:
    write_secret(secrets)
    told = program.call()
    example_secret(secrets, github_url)
    assert program.call().status == told.status == "Failed"
    assert [record.state for record in store.records()] == [State.REJECTED]
    assert github.count() == 0


def test_a_config_that_cannot_be_read_leaves_no_record(program: Program, github: GitHub, store: FaultyStore) -> None:
    assert_nothing_dispatched(program.call(config(ref=1.5)), github)
    assert list(store.records()) == []


def test_secrets_that_cannot_be_read_now_are_waited_for_and_do_not_hide_a_run(
    process: Start, program: Program, github: GitHub
) -> None:
    class Away:
        def read(self, project: str, name: str) -> Mapping[str, bytes]:
            raise SecretsUnavailable(f"project {project}: the Secret {name} cannot be read now", 4.0)

    without_secrets = process(secrets=Away())
    result = without_secrets.call()
    assert (result.status, result.retry_after) == ("Running", 4)
    assert words(result) == "nothing dispatched yet: project demo: the Secret github cannot be read now"
    assert github.count() == 0
    assert output(program.call()) == output(without_secrets.call())


def test_a_page_of_ghe_com_is_taken_for_its_api_and_the_log_says_so_once(
    program: Program, secrets: Path, connector: FaultyConnector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    asked: set[str] = set()

    def refuse(endpoint: Endpoint) -> Connection | None:
        asked.add(endpoint.base)
        raise Unreachable("down")

    connector.on_connect = refuse
    write_secret(secrets, accessToken="x", baseURL="https://ACME.ghe.com")
    for alias in ("first", "second"):
        program.call(config(), alias=alias)
    assert asked == {"https://api.acme.ghe.com"}
    (line,) = [message for message in caplog.messages if "its API is" in message]
    assert "https://acme.ghe.com; its API is https://api.acme.ghe.com" in line


# ---------------------------------------------------------------- config


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"owner": ...}, "config.owner: is required"),
        ({"inputs": {"gha_step": "x"}, "correlationInput": "gha_step"}, "leave it out of inputs"),
        ({"inputs": {"GHA_STEP": "x"}, "correlationInput": "gha_step"}, "'GHA_STEP' is filled by this step"),
        ({"inputs": {f"i{n}": "x" for n in range(25)}, "correlationInput": "gha_step"}, "has 26 inputs"),
        ({"inputs": {"x": "a" * 65_500}, "correlationInput": "gha_step"}, "characters as JSON"),
    ],
)
def test_a_config_that_cannot_be_used_dispatches_nothing(
    program: Program, github: GitHub, changes: dict[str, Any], said: str
) -> None:
    result = program.call(config(**changes))
    assert_nothing_dispatched(result, github)
    assert said in words(result)


def test_the_correlation_input_is_filled_with_the_marker_of_the_step(
    program: Program, github: GitHub, store: FaultyStore
) -> None:
    text = EXAMPLE_WORKFLOW_TEXT.replace("    inputs:\n", "    inputs:\n      gha_step:\n        type: string\n")
    github.repository("myorg/my-app").add_workflow("marked.yml", text)
    result = program.call(config(workflowFile="marked.yml", correlationInput="gha_step"))
    assert result.status == "Succeeded"
    (run,) = github.runs
    (record,) = store.records()
    assert run.sent_inputs == INPUTS | {"gha_step": marker_of(record.key)}
    assert github.count() == 1, "with a marker no first contact is needed"


@pytest.mark.parametrize("ref", ["v1.10", "refs/tags/v1.10", "dev", "refs/heads/dev"])
def test_branches_and_tags_are_refs_in_either_spelling(program: Program, github: GitHub, ref: str) -> None:
    repository = github.repository("myorg/my-app")
    repository.add_branch("dev")
    repository.add_tag("v1.10")
    assert program.call(config(ref=ref)).status == "Succeeded"
    assert github.runs[0].head_branch == ref.rpartition("/")[2]
