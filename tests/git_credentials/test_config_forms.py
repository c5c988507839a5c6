"""A config names its repository in one of two forms, of v1.8 or since v1.9, and never in both."""

from typing import Any

import pytest

from gha_step.contract.errors import ConfigError
from gha_step.contract.quoting import quoted
from gha_step.steps.dispatch.config import DispatchWorkflowConfig
from gha_step.steps.repository import RepositoryByUrl, RepositoryConfig
from gha_step.steps.wait.config import WaitForWorkflowConfig

URL = "https://github.com/myorg/my-app.git"
OLD: dict[str, Any] = {"credentials": {"secretName": "github"}, "owner": "myorg", "repo": "my-app"}
RESTS: dict[type[RepositoryConfig], dict[str, Any]] = {
    DispatchWorkflowConfig: {"workflowFile": "deploy.yml", "ref": "main"},
    WaitForWorkflowConfig: {"runID": "17000000001"},
}


@pytest.fixture(params=RESTS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type[RepositoryConfig]:
    found: type[RepositoryConfig] = request.param
    return found


def problem(kind: type[RepositoryConfig], **config: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        kind.parse({**RESTS[kind], **config})
    return str(caught.value)


def test_the_new_form_is_accepted(kind: type[RepositoryConfig]) -> None:
    named = kind.parse({**RESTS[kind], "repoURL": URL})
    assert isinstance(named.repository, RepositoryByUrl)
    assert named.full_name == "myorg/my-app"
    assert named.repository.skip_verify is False


@pytest.mark.parametrize(("value", "meant"), [(True, True), (False, False), ("true", True), ("false", False)])
def test_a_certificate_is_unchecked_only_on_request(kind: type[RepositoryConfig], value: object, meant: bool) -> None:
    named = kind.parse({**RESTS[kind], "repoURL": URL, "insecureSkipTLSVerify": value}).repository
    assert isinstance(named, RepositoryByUrl)
    assert named.skip_verify is meant


@pytest.mark.parametrize("value", [1, 0, "yes", "True", "", None, [], {}])
def test_a_switch_is_strict(kind: type[RepositoryConfig], value: object) -> None:
    said = problem(kind, repoURL=URL, insecureSkipTLSVerify=value)
    assert said == f"config.insecureSkipTLSVerify: must be true or false, but is {quoted(value)}"


@pytest.mark.parametrize("names", [["owner"], ["repo", "owner"], ["credentials"], ["credentials", "owner", "repo"]])
def test_a_mixture_is_refused_by_name(kind: type[RepositoryConfig], names: list[str]) -> None:
    said = problem(kind, repoURL=URL, **{name: OLD[name] for name in names})
    assert said.startswith("config.repoURL: cannot be combined with ")
    beside = said.partition("with ")[2].partition(";")[0]
    assert sorted(beside.replace(" and ", ", ").split(", ")) == sorted(names)


@pytest.mark.parametrize("missing", [["owner"], ["repo"], ["credentials"], ["owner", "repo"], ["credentials", "repo"]])
def test_a_missing_part_of_the_old_form_is_named(kind: type[RepositoryConfig], missing: list[str]) -> None:
    said = problem(kind, **{name: value for name, value in OLD.items() if name not in missing})
    assert said.split("; ") == [f"config.{name}: is required" for name in OLD if name in missing]


def test_without_either_form_both_are_told(kind: type[RepositoryConfig]) -> None:
    said = problem(kind)
    assert said.startswith("config.repoURL: is required")
    assert "credentials, owner and repo (v1.8)" in said


@pytest.mark.parametrize("value", [True, False, "true"])
def test_the_old_form_has_no_switch_for_certificates(kind: type[RepositoryConfig], value: object) -> None:
    said = problem(kind, **OLD, insecureSkipTLSVerify=value)
    assert said.startswith("config.insecureSkipTLSVerify: only works with repoURL (v1.9 and later)")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "must be a string, but is null"),
        (1, "1 is a number, not a string"),
        (True, "true is a boolean, not a string"),
        (["x"], "must be a string, but is a list"),
        ("", "must not be empty"),
        (" ", "must not be empty"),
        ("a\nb", "control character"),
        ("\ud800", "surrogate"),
        ("myorg/my-app", "'myorg/my-app' is not a repository URL"),
        ("https://u:hunter2@github.com/o", "owner and name"),
    ],
)
def test_what_is_no_repository_url_is_refused(kind: type[RepositoryConfig], value: object, words: str) -> None:
    said = problem(kind, repoURL=value)
    assert said.startswith("config.repoURL: ")
    assert words in said
    assert "hunter2" not in said


def test_all_problems_are_told_at_once(kind: type[RepositoryConfig]) -> None:
    said = problem(kind, repoURL="x", owner=1, insecureSkipTLSVerify=2, repoUrl="y")
    assert "config.repoURL: 'x' is not a repository URL" in said
    assert "config.owner: 1 is a number, not a string" in said
    assert "config.insecureSkipTLSVerify: must be true or false, but is 2" in said
    assert "config.repoUrl: is not a field of this step; did you mean repoURL?" in said
    assert "config.repoURL: cannot be combined with owner" in said


def test_no_repr_of_a_config_holds_the_password_of_its_url(kind: type[RepositoryConfig]) -> None:
    parsed = kind.parse({**RESTS[kind], "repoURL": "https://user:hunter2@github.com/myorg/my-app"})
    assert "hunter2" not in repr(parsed)
