"""GitHub's published API description as a judge of answers, by githubkit's generated models; for the Enterprise
Servers, which githubkit does not have, small models of the operations used, written from the facts."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from gha_step.emulator import API_2022, API_2026, Response

PACKAGES = {API_2022: "githubkit_schemas.v2022_11_28.models", API_2026: "githubkit_schemas.v2026_03_10.models"}

# Per operation of the emulator the model of its successful answer.
MODELS = {
    "dispatch": "WorkflowDispatchResponse",
    "list-runs": "ReposOwnerRepoActionsRunsGetResponse200",
    "list-workflow-runs": "ReposOwnerRepoActionsWorkflowsWorkflowIdRunsGetResponse200",
    "get-run": "WorkflowRun",
    "get-run-attempt": "WorkflowRun",
    "list-jobs": "ReposOwnerRepoActionsRunsRunIdJobsGetResponse200",
    "list-artifacts": "ReposOwnerRepoActionsRunsRunIdArtifactsGetResponse200",
    "list-annotations": "CheckAnnotation",
    "get-run-groups": "ConcurrencyGroupRunList",
    "get-group": "ConcurrencyGroup",
    "get-pending-deployments": "PendingDeployment",
    "cancel-run": "EmptyObject",
    "force-cancel-run": "EmptyObject",
    "rerun-run": "EmptyObject",
    "list-workflows": "ReposOwnerRepoActionsWorkflowsGetResponse200",
    "get-workflow": "Workflow",
    "get-contents": "ContentFile",
    "get-repository": "FullRepository",
    "get-repository-installation": "Installation",
    "create-installation-token": "InstallationToken",
    "get-user": "PublicUser",
    "get-meta": "ApiOverview",
    "get-rate-limit": "RateLimitOverview",
}
LISTS = {"get-pending-deployments", "list-annotations"}
BODILESS = {"download-artifact"}  # a redirect


def _models_without_the_client() -> None:
    """Lets githubkit_schemas be imported without githubkit's client: its models need three leaf modules of
    githubkit, whose `__init__` imports an HTTP client and its cache (and fails with hishel 2)."""
    if "githubkit" not in sys.modules:
        spec = importlib.util.find_spec("githubkit")
        assert spec is not None
        sys.modules["githubkit"] = importlib.util.module_from_spec(spec)
        importlib.import_module("githubkit.module_hooks.lazy_module").apply()


def published_model(operation: str, version: str) -> TypeAdapter[object]:
    """The model of an operation's answer in this API version."""
    _models_without_the_client()
    model = getattr(importlib.import_module(PACKAGES[version]), MODELS[operation])
    return TypeAdapter(list[model] if operation in LISTS else model)  # type: ignore[valid-type]  # known at run time


def judge(response: Response, model: TypeAdapter[object]) -> None:
    """Fails if the body does not fit the model, or has a field that the model does not know."""
    body = json.loads(response.body)
    known = model.dump_python(model.validate_python(body), mode="json", by_alias=True, exclude_unset=True)
    assert list(_strangers(body, known)) == []


def _strangers(sent: object, known: object, path: str = "") -> list[str]:
    if isinstance(sent, list) and isinstance(known, list):
        return [name for one, other in zip(sent, known, strict=True) for name in _strangers(one, other, f"{path}[]")]
    if isinstance(sent, Mapping) and isinstance(known, Mapping):
        names = [f"{path}.{key}" for key in sent if key not in known]
        return names + [
            name for key in sent if key in known for name in _strangers(sent[key], known[key], f"{path}.{key}")
        ]
    return []


class _Enterprise(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


_Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
_Status = Literal["requested", "queued", "pending", "waiting", "in_progress", "completed"]
_Conclusion = Literal[
    "success",
    "failure",
    "neutral",
    "cancelled",
    "skipped",
    "timed_out",
    "action_required",
    "stale",
    "startup_failure",
]


class _Actor(_Enterprise):
    login: str
    id: int
    type: Literal["User", "Bot", "Organization"]


class _Run(_Enterprise):
    id: int
    head_branch: str
    head_sha: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    path: str
    display_title: str
    run_number: int
    run_attempt: int
    event: str
    status: _Status
    conclusion: _Conclusion | None
    workflow_id: int
    created_at: _Time
    updated_at: _Time
    actor: _Actor
    triggering_actor: _Actor
    html_url: str
    url: str
    jobs_url: str


class _Runs(_Enterprise):
    total_count: int
    workflow_runs: list[_Run]


class _Step(_Enterprise):
    name: str
    number: int
    status: Literal["queued", "in_progress", "completed"]
    conclusion: str | None


class _Job(_Enterprise):
    id: int
    run_id: int
    name: str
    status: _Status
    conclusion: _Conclusion | None
    html_url: str
    steps: list[_Step]


class _Jobs(_Enterprise):
    total_count: int
    jobs: list[_Job]


class _Details(_Enterprise):
    workflow_run_id: int
    run_url: str
    html_url: str


class _Environment(_Enterprise):
    id: int
    name: str


class _Reviewer(_Enterprise):
    type: Literal["User", "Team"]
    reviewer: dict[str, object]


class _Pending(_Enterprise):
    environment: _Environment
    reviewers: list[_Reviewer]


class _Meta(_Enterprise):
    installed_version: str


ENTERPRISE: Mapping[str, TypeAdapter[object]] = {
    "dispatch": TypeAdapter(_Details),
    "list-workflow-runs": TypeAdapter(_Runs),
    "get-run": TypeAdapter(_Run),
    "list-jobs": TypeAdapter(_Jobs),
    "get-pending-deployments": TypeAdapter(list[_Pending]),
    "get-meta": TypeAdapter(_Meta),
}
