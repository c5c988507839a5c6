"""Port's published API description as a judge of answers: small models of the operations used, written from it.

Source: port-labs/port-docs `static/apispec.yaml` (2026-01-28) for runs and logs, the same file at 9ad3cc3 for workflow
nodes. Closed where the description is closed. Kafka credentials, claims and acks of action runs, integrations and the
organisation are described nowhere, or without their answers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from gha_step.emulator import Response


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


_Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")]
_Ok = Literal[True]


class Error(_Closed):
    """401 and 413 need no message; the others do."""

    ok: Literal[False] = False
    error: str
    message: str


class _Token(_Closed):
    ok: _Ok = True
    accessToken: str  # noqa: N815
    expiresIn: int | float  # noqa: N815
    tokenType: str  # noqa: N815


class _Named(_Open):
    identifier: str
    title: str | None = None
    icon: str | None = None
    deleted: bool = False


class _Approval(_Open):
    userId: str | None = None  # noqa: N815
    state: str = ""


class _Run(_Open):
    id: str
    action: _Named
    properties: dict[str, Any]
    requiredApproval: bool | dict[str, Any]  # noqa: N815
    source: str | dict[str, Any]
    status: str
    statusLabel: str | None = None  # noqa: N815
    link: str | list[str] = ""
    summary: str = ""
    blueprint: _Named | None = None
    entity: _Named | None = None
    approval: _Approval | None = None
    payload: dict[str, Any] | None = None
    response: str | list[Any] | dict[str, Any] = ""
    pendingExecution: bool = False  # noqa: N815
    claimedUntil: _Time = "2026-01-01T00:00:00Z"  # noqa: N815
    installationId: str = ""  # noqa: N815
    createdBy: str = ""  # noqa: N815
    updatedBy: str = ""  # noqa: N815
    createdAt: _Time = "2026-01-01T00:00:00Z"  # noqa: N815
    updatedAt: _Time = "2026-01-01T00:00:00Z"  # noqa: N815
    endedAt: _Time = "2026-01-01T00:00:00Z"  # noqa: N815


class _OneRun(_Closed):
    ok: _Ok
    run: _Run


class _Runs(_Closed):
    ok: _Ok
    runs: list[_Run]


class _Line(_Open):
    id: str
    runId: str  # noqa: N815
    message: str
    createdBy: str  # noqa: N815
    createdAt: _Time  # noqa: N815


class _OneLine(_Closed):
    ok: _Ok
    runLog: _Line  # noqa: N815


class _Lines(_Closed):
    ok: _Ok
    runLogs: list[_Line]  # noqa: N815


class _NodeLine(_Closed):
    logLevel: Literal["DEBUG", "INFO", "WARN", "ERROR"]  # noqa: N815
    log: str
    tags: dict[str, str]
    createdAt: _Time  # noqa: N815
    updatedAt: _Time  # noqa: N815


class _Node(_Closed):
    identifier: Annotated[str, Field(pattern=r"^wfnr_[a-zA-Z0-9]{16}$")]
    nodeTitle: str | None = None  # noqa: N815
    nodeIcon: str | None = None  # noqa: N815
    nodeConfigType: str | None = None  # noqa: N815
    output: dict[str, Any]
    status: Literal["COMPLETED", "IN_PROGRESS"]
    result: str | None = None
    createdAt: _Time  # noqa: N815
    updatedAt: _Time  # noqa: N815
    completedAt: str | None = None  # noqa: N815
    nodeRunLogs: list[_NodeLine]  # noqa: N815
    pendingExecution: bool | None = None  # noqa: N815
    claimedUntil: str | None = None  # noqa: N815
    installationId: str | None = None  # noqa: N815
    # What the description does not have yet, and Port's own integration reads.
    nodeUid: str  # noqa: N815
    config: dict[str, Any]


class _Nodes(_Closed):
    ok: _Ok
    nodeRuns: list[_Node]  # noqa: N815


class _Acked(_Closed):
    ok: _Ok
    acked: bool


class _Fine(_Closed):
    ok: _Ok


MODELS: dict[str, tuple[int, type[BaseModel]]] = {
    "token": (200, _Token),
    "get-run": (200, _OneRun),
    "patch-run": (200, _OneRun),
    "create-run": (202, _OneRun),
    "approve-run": (201, _OneRun),
    "list-runs": (200, _Runs),
    "create-log": (201, _OneLine),
    "list-logs": (200, _Lines),
    "claim-nodes": (200, _Nodes),
    "ack-node": (200, _Acked),
    "patch-node": (200, _Fine),
    "patch-organization": (200, _Fine),
}


def judge(operation: str, response: Response) -> None:
    """Fails unless status and body are as described."""
    status, model = MODELS[operation]
    assert response.status == status, response.body
    TypeAdapter(model).validate_json(response.body)


def judge_refusal(response: Response, status: int, error: str | None = None) -> None:
    """Fails unless it is this refusal, in Port's error body."""
    assert response.status == status, response.body
    found = TypeAdapter(Error).validate_json(response.body)
    assert error in (None, found.error)
