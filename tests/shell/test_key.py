"""Whose dispatch a command is: said, derived from the CI, or made."""

from typing import Any

import pytest

from gha_step.contract.request import Asked
from gha_step.inbound.shell.errors import UsageError
from gha_step.inbound.shell.key import ShellKey, key_of
from gha_step.ledger.keys import step_key

ACTIONS = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "o/r",
    "GITHUB_RUN_ID": "7",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_JOB": "deploy",
    "GITHUB_ACTION": "__run",
    "RUNNER_NAME": "one",
}
ARGO = {"ARGO_WORKFLOW_UID": "u-1", "ARGO_NODE_ID": "n-1"}


def key(
    environment: dict[str, str] | None = None,
    *,
    said: str | None = None,
    promotion: str | None = None,
    alias: str | None = None,
) -> ShellKey:
    return key_of(
        key=said, promotion=promotion, alias=alias, project="p", environment=environment or {}, new_key="made-1"
    )


def test_what_is_said_counts_before_what_the_ci_says() -> None:
    assert key(ACTIONS, said="mine").origin == "said"
    assert key(ACTIONS, said="mine") == key(said="mine")


@pytest.mark.parametrize("environment", [ACTIONS, ARGO])
def test_one_step_of_a_ci_has_one_key_and_saying_it_gives_the_same(environment: dict[str, str]) -> None:
    derived = key(environment)
    assert derived.origin == "derived"
    assert derived.caller == key(environment).caller == key(said=derived.text).caller


@pytest.mark.parametrize(
    ("environment", "name"),
    [(ACTIONS, name) for name in ACTIONS if name != "GITHUB_ACTIONS"] + [(ARGO, name) for name in ARGO],
)
def test_another_run_attempt_job_step_or_runner_has_another_key(environment: dict[str, str], name: str) -> None:
    other = key({**environment, name: "https://ghe.example.com" if "URL" in name else "other"})
    assert step_key(*other.caller.key_parts) != step_key(*key(environment).caller.key_parts)


@pytest.mark.parametrize(
    ("environment", "name"),
    [(ACTIONS, name) for name in ACTIONS if name not in ("GITHUB_SERVER_URL", "RUNNER_NAME")]
    + [(ARGO, name) for name in ARGO],
)
def test_a_ci_that_does_not_say_all_of_it_is_refused_by_the_missing_variable(
    environment: dict[str, str], name: str
) -> None:
    if name == "GITHUB_ACTIONS":  # then it is none
        assert key({**environment, name: ""}).origin == "made"
        return
    with pytest.raises(UsageError, match=rf"^{name}: not set.*--key"):
        key({**environment, name: ""})
    assert key({**environment, name: ""}, said="mine").origin == "said"


@pytest.mark.parametrize("value", ["x" * 500, "a\nb"])
def test_a_ci_whose_variables_make_no_key_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="--key"):
        key({**ACTIONS, "GITHUB_JOB": value})


@pytest.mark.parametrize("said", [{"said": "k"}, {"promotion": "p", "alias": "a"}, {}])
def test_the_record_will_say_that_a_shell_asked(said: dict[str, Any]) -> None:
    assert key(**said).caller.asked == Asked(via="gha-step run")


def test_where_there_is_no_ci_a_key_is_made() -> None:
    assert (key().origin, key().text) == ("made", "made-1")


def test_a_promotion_and_its_alias_are_a_key_that_names_the_promotion() -> None:
    found = key(promotion="test.abc", alias="deploy")
    assert found.caller.key_parts == ("p", "caller", "test.abc", "deploy")
    assert found.caller.promotion == "test.abc"


def test_flags_are_quoted_for_the_shell() -> None:
    assert key(said="it's; rm").flags == """--key 'it'"'"'s; rm'"""


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"said": " "}, "--key"),
        ({"said": "a\nb"}, "--key"),
        ({"said": "x" * 501}, "--key"),
        ({"said": "a", "promotion": "p", "alias": "b"}, "--key"),
        ({"promotion": "p"}, "--alias"),
        ({"alias": "p"}, "--promotion"),
        ({"promotion": "p", "alias": "\x1b"}, "--alias"),
    ],
)
def test_what_is_no_key_is_refused_by_the_flag(given: dict[str, str], named: str) -> None:
    with pytest.raises(UsageError, match=f"^{named}: "):
        key(**given)  # type: ignore[arg-type]
