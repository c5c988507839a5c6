"""Port's JSON bodies: runs, log lines, node runs, installations, errors.

Sources: Port's published API description for runs and log lines, what Port's own integration reads for claims and
nodes. What neither tells is a guess, and marked as one where it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gha_step.emulator.wire import Json

from .state import ActionRun, Installation, LogLine, NodeRun, timestamp


@dataclass(frozen=True)
class Refusal(Exception):
    """Raised by an operation, answered as Port's error body: `ok`, `error` and `message`, nothing else."""

    status: int
    error: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


def action_run(run: ActionRun) -> dict[str, Json]:
    """A run as it is read and listed."""
    body: dict[str, Json] = {
        "id": run.id,
        "status": run.status,
        "action": {"identifier": run.action.identifier, "title": None, "icon": None, "deleted": False},
        "properties": dict(run.properties),
        "source": run.source,
        "requiredApproval": run.action.requires_approval,
        "payload": run.payload(),
        "pendingExecution": run.pending,
        "createdBy": run.created_by,
        "updatedBy": run.updated_by,
        "createdAt": timestamp(run.created_at),
        "updatedAt": timestamp(run.updated_at),
    }
    optional: dict[str, Json] = {
        "statusLabel": run.label,
        "link": run.link,
        "summary": run.summary,
        "response": run.response,
        "approval": None if run.approval is None else {"state": run.approval, "userId": None},
        "entity": None if run.entity is None else {"identifier": run.entity},
        "installationId": run.installation_id,
        "claimedUntil": timestamp(run.claimed_until) if run.claimed_until else None,
        "endedAt": None if run.ended_at is None else timestamp(run.ended_at),
    }
    return body | {key: value for key, value in optional.items() if value is not None}


def log_line(run: ActionRun, line: LogLine) -> Json:
    """A line of a run's log."""
    return {
        "id": line.id,
        "runId": run.id,
        "message": line.message,
        "createdBy": line.by,
        "createdAt": timestamp(line.at),
    }


def node_run(node: NodeRun, *, claimed: bool = False) -> dict[str, Json]:
    """A node run. `config` comes with a claim, which the older description of it did not have yet."""
    body: dict[str, Json] = {
        "identifier": node.id,
        "nodeTitle": node.node,
        "nodeConfigType": "INTEGRATION_ACTION",
        "output": dict(node.output),
        "status": node.status,
        "result": node.result,
        "createdAt": timestamp(node.created_at),
        "updatedAt": timestamp(node.updated_at),
        "completedAt": None if node.ended_at is None else timestamp(node.ended_at),
        "nodeRunLogs": [
            {"logLevel": line.level, "log": line.message, "tags": {}, "createdAt": at, "updatedAt": at}
            for line in node.log
            for at in [timestamp(line.at)]
        ],
        "pendingExecution": node.pending,
        "claimedUntil": timestamp(node.claimed_until) if node.claimed_until else None,
        "installationId": node.installation_id,
    }
    if claimed:
        return body | {"nodeUid": node.node, "config": node.config()}
    # That a read shows links and label under the names that a PATCH gives them is a guess.
    label: Json = None if node.label is None else {"text": node.label}
    return body | {"links": list(node.links), "statusLabel": label, "externalRunId": node.external_id}


def installation(one: Installation) -> dict[str, Json]:
    """A registration; its fields are those that are sent."""
    return {
        "installationId": one.installation_id,
        "installationAppType": one.app_type,
        "version": one.version,
        "config": dict(one.config),
        "changelogDestination": dict(one.changelog),
        "actionsProcessingEnabled": one.actions_processing,
    }
