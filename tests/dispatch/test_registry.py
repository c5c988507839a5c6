"""What becomes of a call that cannot go on."""

import pytest

from gha_step.contract.errors import CredentialsError, LedgerError, LedgerUnavailable, SecretsUnavailable
from gha_step.contract.request import StepRequest
from gha_step.contract.result import StepResult
from gha_step.contract.values import ConfigModel
from gha_step.runtime import SystemClock
from gha_step.steps.kind import Call
from gha_step.steps.registry import Steps
from tests.support.calls import body
from tests.support.core import Program


class Kind:
    """A kind that does as told."""

    kind = "gha-dispatch-workflow"
    config = ConfigModel

    def __init__(self, outcome: StepResult | Exception) -> None:
        self.outcome = outcome
        self.calls = 0

    def execute(self, call: Call) -> StepResult:
        self.calls += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def executed(
    outcome: StepResult | Exception, *, projects: frozenset[str] | None = None, kind: str = Kind.kind
) -> tuple[StepResult, Kind]:
    one = Kind(outcome)
    steps = Steps([one], projects=projects, clock=SystemClock())
    result = steps.execute(StepRequest.parse(body(kind=kind)), 0.0)
    assert isinstance(result, StepResult)
    return result, one


DONE = StepResult.failed("done")


@pytest.mark.parametrize("kind", ["gha-wait-for-workflow", "x", "GHA-DISPATCH-WORKFLOW", "x" * 10_000, "a\nb"])
def test_an_unknown_kind_is_terminal_and_the_known_ones_are_named(kind: str) -> None:
    result, one = executed(DONE, kind=kind)
    assert (result.status, result.terminal, one.calls) == ("Failed", True, 0)
    assert "gha-dispatch-workflow" in str(result.message)
    assert "\n" not in str(result.message)
    assert len(str(result.message)) < 300


def test_a_project_that_is_not_served_is_terminal_and_names_the_setting() -> None:
    result, one = executed(DONE, projects=frozenset({"other"}))
    assert (result.status, one.calls) == ("Failed", 0)
    assert "'demo'" in str(result.message)
    assert "GHA_STEP_PROJECTS" in str(result.message)


@pytest.mark.parametrize("projects", [None, frozenset({"demo"}), frozenset({"a", "demo"})])
def test_a_project_that_is_served_is_executed(projects: frozenset[str] | None) -> None:
    assert executed(DONE, projects=projects)[0] is DONE


@pytest.mark.parametrize("error", [CredentialsError("no Secret"), LedgerError("foreign")])
def test_what_trying_again_cannot_mend_is_terminal(error: Exception) -> None:
    result, _ = executed(error)
    assert (result.status, result.terminal, result.message) == ("Failed", True, str(error))


@pytest.mark.parametrize("error", [SecretsUnavailable("api server away", 4.0), LedgerUnavailable("disk", 10.0)])
def test_what_may_pass_is_running_with_its_own_time(error: SecretsUnavailable | LedgerUnavailable) -> None:
    result, _ = executed(error)
    assert (result.status, result.retry_after) == ("Running", error.retry_after)
    assert str(error) in str(result.message)


def test_a_ledger_that_refuses_for_long_ends_the_step_in_the_same_words() -> None:
    passing, _ = executed(LedgerUnavailable("you may not get workflowdispatches", 5.0))
    lasting, _ = executed(LedgerUnavailable("you may not get workflowdispatches", 5.0, lasting=True))
    assert (passing.status, lasting.status) == ("Running", "Failed")
    assert (
        passing.message == lasting.message == "nothing is sent without the ledger: you may not get workflowdispatches"
    )


@pytest.mark.parametrize("error", [ValueError("ghp_hidden"), KeyError("x"), RuntimeError(), RecursionError("deep")])
def test_a_bug_is_running_and_its_words_are_for_the_log_only(error: Exception) -> None:
    result, _ = executed(error)
    assert result.status == "Running"
    assert result.retry_after == 10
    assert result.message is not None
    assert "ghp_hidden" not in result.message


def test_the_programs_own_kinds_are_known_by_name(program: Program) -> None:
    assert program.steps.kinds == ("gha-dispatch-workflow", "gha-wait-for-workflow", "gha-cancel-workflow")
