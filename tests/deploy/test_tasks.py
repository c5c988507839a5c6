"""The tasks for stock Kargo name what the steps know, and nothing that they do not.

What Kargo makes of their expressions only Kargo can tell: docs/install.md has the results of its real controllers.
"""

import re
from pathlib import Path

import pytest

from gha_step.steps.cancel.config import CancelWorkflowConfig
from gha_step.steps.dispatch.config import DispatchWorkflowConfig
from gha_step.steps.repository import RepositoryConfig
from gha_step.steps.wait.config import WaitForWorkflowConfig
from tests.deploy.manifests import DEPLOY, Manifest, documents

STEPS: dict[str, tuple[type[RepositoryConfig], str]] = {
    "gha-dispatch-workflow": (DispatchWorkflowConfig, "dispatches"),
    "gha-wait-for-workflow": (WaitForWorkflowConfig, "waits"),
    "gha-cancel-workflow": (CancelWorkflowConfig, "cancels"),
}
TASKS = sorted((DEPLOY / "tasks").rglob("gha-*.yaml"))
PAIRS = [(task, DEPLOY / "tasks" / "kargo-1.8" / task.name) for task in sorted((DEPLOY / "tasks").glob("gha-*.yaml"))]
NOT_IN_THE_BODY = {"secretName", "serviceURL", "pollInterval"}


def task_of(path: Path) -> Manifest:
    (task,) = documents(path)
    return task


def name_of(path: Path) -> str:
    return str(path.relative_to(DEPLOY / "tasks"))


def body_of(task: Manifest) -> list[str]:
    """The names that the request's body may have."""
    return re.findall(r'^ *"([A-Za-z]+)": ', task["spec"]["steps"][0]["config"]["body"], re.MULTILINE)


@pytest.mark.parametrize("path", TASKS, ids=name_of)
def test_the_body_holds_just_fields_that_the_step_knows(path: Path) -> None:
    task = task_of(path)
    model, _ = STEPS[task["metadata"]["name"]]
    known = {info.alias for info in model.model_fields.values()}
    body = body_of(task)
    assert set(body) <= known
    assert known - set(body) <= {"pollInterval"}, "every field can be given, but for what the host itself decides"
    assert len(set(body)) == len(body)


@pytest.mark.parametrize("path", TASKS, ids=name_of)
def test_every_variable_is_used_and_every_used_one_declared(path: Path) -> None:
    task = task_of(path)
    declared = {variable["name"] for variable in task["spec"]["vars"]}
    assert declared == set(re.findall(r"vars\.([A-Za-z]+)", str(task["spec"]["steps"])))
    assert declared - NOT_IN_THE_BODY <= set(body_of(task))


@pytest.mark.parametrize("path", TASKS, ids=name_of)
def test_only_what_the_step_requires_is_required(path: Path) -> None:
    task = task_of(path)
    model, _ = STEPS[task["metadata"]["name"]]
    required = {info.alias for info in model.model_fields.values() if info.is_required()}
    assert {variable["name"] for variable in task["spec"]["vars"] if not variable.get("value")} == required


@pytest.mark.parametrize("path", TASKS, ids=name_of)
def test_no_expression_ends_before_its_end(path: Path) -> None:
    for text in re.findall(r"\$\{\{(.*?)\}\}", path.read_text(), re.DOTALL):
        assert text.count("{") == text.count("}"), "Kargo takes the first }} for the end"


@pytest.mark.parametrize("path", TASKS, ids=name_of)
def test_the_call_is_idempotent_names_the_step_and_outlives_an_outage(path: Path) -> None:
    task = task_of(path)
    call = task["spec"]["steps"][0]
    _, resource = STEPS[task["metadata"]["name"]]
    assert call["uses"] == "http"
    assert call["config"]["method"] == "PUT"
    assert f"/projects/${{{{ ctx.project }}}}/{resource}/${{{{ ctx.promotion }}}}/" in call["config"]["url"]
    assert call["retry"]["errorThreshold"] >= 100
    assert call["config"]["timeout"] == "25s"


@pytest.mark.parametrize("path", TASKS, ids=name_of)
def test_no_step_is_conditional_so_that_none_hides_why_an_earlier_one_has_failed(path: Path) -> None:
    assert not any("if" in step for step in task_of(path)["spec"]["steps"])


@pytest.mark.parametrize(("new", "old"), PAIRS, ids=lambda path: path.parent.name)
def test_the_tasks_for_older_hosts_take_the_same_variables_and_send_the_same_body(new: Path, old: Path) -> None:
    ours, theirs = task_of(new), task_of(old)
    assert ours["metadata"] == theirs["metadata"]
    variables = [variable for variable in ours["spec"]["vars"] if variable["name"] != "pollInterval"]
    assert variables == theirs["spec"]["vars"]
    call, older = (task["spec"]["steps"][0] for task in (ours, theirs))
    assert call["retry"] == older["retry"]
    assert call["config"]["body"] == older["config"]["body"]
    assert "pollInterval" not in older["config"], "older hosts refuse it"
