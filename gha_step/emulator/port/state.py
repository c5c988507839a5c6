"""What the emulated Port holds: credentials and their tokens, installations, actions, runs and workflow node runs.

It refuses to know HTTP: bodies and statuses are `api`'s. Times are seconds since the epoch on Port's own clock
(`State.clock`); durations are seconds.
"""

from __future__ import annotations

import base64
import copy
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Self, TypeAlias, TypeVar

from gha_step.emulator.wire import Json

Status: TypeAlias = Literal["IN_PROGRESS", "WAITING_FOR_APPROVAL", "SUCCESS", "FAILURE"]
Invocation: TypeAlias = Literal["INTEGRATION_ACTION", "GITHUB", "WEBHOOK"]

TOKEN_LIFETIME = 10_800.0  # seconds
EXTERNAL = "external"  # the workflow itself, with a service account of its own
A_PERSON = "auth0|62ceaea697ca00f09d7c4f45"  # people stand as `provider|ID`, machines as their client ID


@dataclass(slots=True, eq=False)
class Credentials:
    """A client ID and secret. There is one active token for them: asking again gives the same one."""

    client_id: str
    client_secret: str = field(repr=False)
    machine: bool = True  # False: a person's own credentials, which may claim nothing
    lifetime: float = TOKEN_LIFETIME
    token: str | None = field(default=None, repr=False)
    token_ends: float = 0.0
    issued: int = 0  # how many tokens there have been


@dataclass(slots=True)
class Installation:
    """An integration's registration, which makes it selectable in an action. Its fields may be set at any time."""

    installation_id: str
    app_type: str = "github-ocean"
    version: str = ""
    actions_processing: bool = True
    config: Mapping[str, Json] = field(default_factory=dict)
    changelog: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Action:
    """A self-service action or automation, with what its templates come to besides the user's inputs."""

    identifier: str
    invocation: Invocation = "INTEGRATION_ACTION"
    installation_id: str = "gha-step"
    integration_action: str = "dispatch_workflow"
    org: str | None = "myorg"
    repo: str | None = "my-app"
    workflow: str | None = "deploy.yml"
    inputs: Mapping[str, Json] | None = field(default_factory=dict)  # None: `workflowInputs` is null
    report: Json = None  # reportWorkflowStatus; None: it is absent
    requires_approval: bool = False
    omit: Mapping[str, bool] = field(default_factory=dict)  # v1: omitPayload, omitUserInputs

    def properties(self, given: Mapping[str, Json]) -> dict[str, Json]:
        """The properties that a backend for GitHub gets: what is None here is left out, as authors leave it out."""
        texts: dict[str, Json] = {"org": self.org, "repo": self.repo, "workflow": self.workflow}
        made: dict[str, Json] = {key: value for key, value in texts.items() if value is not None}
        made["workflowInputs"] = None if self.inputs is None else {**self.inputs, **given}
        if self.report is not None:
            made["reportWorkflowStatus"] = self.report
        return made


@dataclass(frozen=True, slots=True)
class Patch:
    """One PATCH of a run that was taken."""

    by: str
    body: Mapping[str, Json]
    at: float


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a run's log."""

    id: str
    message: str
    by: str
    at: float
    label: str | None = None
    level: str = "INFO"


@dataclass(slots=True, eq=False, kw_only=True)
class Claimable:
    """What action runs and node runs share: they are claimed, hidden until a time-out, and acknowledged."""

    id: str
    installation_id: str | None
    created_at: float
    pending: bool = True  # not acknowledged yet
    claimed_until: float = 0.0
    claims: int = 0
    acked_by: list[str] = field(default_factory=list)
    external_id: str | None = None
    updated_at: float = 0.0
    ended_at: float | None = None
    log: list[LogLine] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)
    past: list[tuple[float, Self]] = field(default_factory=list)  # what it was from each time on

    def patches_by(self, client_id: str) -> int:
        """How many PATCHes of it by this client were taken: each fires Port's RUN_UPDATED automations."""
        return sum(patch.by == client_id for patch in self.patches)

    @property
    def messages(self) -> list[str]:
        """The lines of its log."""
        return [line.message for line in self.log]

    @property
    def labels(self) -> list[str]:
        """The labels that travelled on log lines, in order."""
        return [line.label for line in self.log if line.label is not None]


@dataclass(slots=True, eq=False, kw_only=True)
class ActionRun(Claimable):
    """A run of an action."""

    action: Action
    properties: Mapping[str, Json]
    status: Status
    source: str
    created_by: str
    updated_by: str
    approval: Literal["PENDING", "APPROVED", "DECLINED"] | None = None
    label: str | None = None
    link: str | list[str] | None = None
    summary: str | None = None
    response: Json = None
    entity: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing about it can change any more."""
        return self.status in ("SUCCESS", "FAILURE")

    def payload(self) -> dict[str, Json]:
        """What its backend is to do."""
        properties = self.action.properties(self.properties)
        if self.action.invocation == "INTEGRATION_ACTION":
            return {
                "type": "INTEGRATION_ACTION",
                "installationId": self.installation_id,
                "integrationActionType": self.action.integration_action,
                "integrationActionExecutionProperties": properties,
            }
        return {"type": self.action.invocation, **properties}


@dataclass(slots=True, eq=False, kw_only=True)
class NodeRun(Claimable):
    """A run of one node of a Port workflow."""

    action: Action
    properties: Mapping[str, Json]
    node: str = "deploy"
    status: Literal["IN_PROGRESS", "COMPLETED"] = "IN_PROGRESS"
    result: str | None = None
    label: str | None = None
    output: Mapping[str, Json] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether nothing about it can change any more."""
        return self.status == "COMPLETED"

    def config(self) -> dict[str, Json]:
        """What its backend is to do."""
        return {
            "type": "INTEGRATION_ACTION",
            "installationId": self.installation_id,
            "integrationProvider": "github-ocean",
            "integrationInvocationType": self.action.integration_action,
            "integrationActionExecutionProperties": self.action.properties(self.properties),
        }


Run = TypeVar("Run", ActionRun, NodeRun)


@dataclass(frozen=True, slots=True)
class Kafka:
    """What `GET /v1/kafka-credentials` gives."""

    brokers: tuple[str, ...]
    username: str
    password: str = field(repr=False)


class State:
    """All that one organisation of the emulated Port holds."""

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        skew: float = 0.0,
        read_lag: float = 0.0,
        organisation: str = "org_emulated",
        new_id: Callable[[], str] | None = None,
    ) -> None:
        """`now`, `skew`: Port's clock is `skew` seconds ahead of it. `read_lag`: reads and listings of runs show what
        was so many seconds ago; before that a run is 404. `new_id`: the 16 letters of each new run's ID."""
        self._now = now
        self.skew = skew
        self.read_lag = read_lag
        self.organisation = organisation
        self.lock = threading.RLock()
        self._new_id = new_id or (lambda: secrets.token_hex(8))
        self.credentials: dict[str, Credentials] = {}
        self.installations: dict[str, Installation] = {}
        self.actions: dict[str, Action] = {}
        self.runs: list[ActionRun] = []
        self.nodes: list[NodeRun] = []
        self.settings: dict[str, Json] = {}
        self.kafka: Kafka | None = None

    def clock(self) -> float:
        """Port's time."""
        return self._now() + self.skew

    def add_credentials(self, client_id: str, client_secret: str, *, machine: bool = True) -> Credentials:
        """New credentials of this organisation."""
        with self.lock:
            self.credentials[client_id] = made = Credentials(client_id, client_secret, machine)
        return made

    def token_of(self, credentials: Credentials) -> tuple[str, float]:
        """The one active token, and for how many seconds it still holds."""
        now = self.clock()
        with self.lock:
            if credentials.token is None or credentials.token_ends <= now:
                credentials.issued += 1
                claims: dict[str, Json] = {
                    "orgId": self.organisation,
                    "isMachine": credentials.machine,
                    "personalToken": not credentials.machine,
                    "exp": int(now + credentials.lifetime),
                }
                parts = [{"alg": "HS256", "typ": "JWT"}, claims]
                text = ".".join(_base64(json.dumps(part).encode()) for part in parts)
                credentials.token = f"{text}.{_base64(secrets.token_bytes(32))}"
                credentials.token_ends = now + credentials.lifetime
            return credentials.token, credentials.token_ends - now

    def revoke_token(self, credentials: Credentials) -> None:
        """The active token ends now."""
        with self.lock:
            credentials.token = None

    def owner_of(self, token: str) -> Credentials | None:
        """Whose active token it is."""
        now = self.clock()
        with self.lock:
            return next((one for one in self.credentials.values() if one.token == token and one.token_ends > now), None)

    def press(
        self,
        action: str | Action,
        properties: Mapping[str, Json] | None = None,
        *,
        source: str = "UI",
        by: str = A_PERSON,
        entity: str | None = None,
    ) -> ActionRun:
        """Somebody runs the action. KeyError: there is none of this name."""
        with self.lock:
            if isinstance(action, Action):
                self.actions[action.identifier] = action
            else:
                action = self.actions[action]
            now = self.clock()
            run = ActionRun(
                id=f"r_{self._new_id()}",
                installation_id=action.installation_id if action.invocation == "INTEGRATION_ACTION" else None,
                created_at=now,
                updated_at=now,
                action=action,
                properties=dict(properties or {}),
                status="WAITING_FOR_APPROVAL" if action.requires_approval else "IN_PROGRESS",
                approval="PENDING" if action.requires_approval else None,
                source=source,
                created_by=by,
                updated_by=by,
                entity=entity,
            )
            self.runs.append(run)
            self.changed(run)
            return run

    def start_node(self, action: Action, properties: Mapping[str, Json] | None = None) -> NodeRun:
        """A Port workflow comes to a node that does what `action` does."""
        with self.lock:
            now = self.clock()
            node = NodeRun(
                id=f"wfnr_{self._new_id()}",
                installation_id=action.installation_id,
                created_at=now,
                updated_at=now,
                action=action,
                properties=dict(properties or {}),
            )
            self.nodes.append(node)
            self.changed(node)
            return node

    def changed(self, run: ActionRun | NodeRun) -> None:
        """Every change of a run is announced here: reads may lag behind."""
        run.updated_at = self.clock()
        run.past.append((run.updated_at, copy.copy(run)))  # type: ignore[arg-type]

    def as_read(self, run: Run) -> Run | None:
        """The run as reads and listings show it; None: they do not show it yet."""
        if not self.read_lag:
            return run
        until = self.clock() - self.read_lag
        with self.lock:
            return next((then for at, then in reversed(run.past) if at <= until), None)

    def find_run(self, identifier: str) -> ActionRun | None:
        """The action run of this ID or external ID."""
        with self.lock:
            return next((run for run in self.runs if identifier in (run.id, run.external_id)), None)

    def find_node(self, identifier: str) -> NodeRun | None:
        """The node run of this ID."""
        with self.lock:
            return next((node for node in self.nodes if node.id == identifier), None)

    def set_status(self, run: ActionRun, status: Status, *, by: str = A_PERSON) -> None:
        """Somebody ends the run by hand, as the UI lets people do."""
        with self.lock:
            run.status, run.updated_by = status, by
            if run.ended:
                run.ended_at, run.pending = self.clock(), False
            self.changed(run)

    def approve(self, run: ActionRun, *, by: str = A_PERSON) -> None:
        """The run goes on."""
        with self.lock:
            run.approval = "APPROVED"
            self.set_status(run, "IN_PROGRESS", by=by)

    def decline(self, run: ActionRun, *, by: str = A_PERSON) -> None:
        """The run ends before it began. That it ends as FAILURE is a guess."""
        with self.lock:
            run.approval = "DECLINED"
            self.set_status(run, "FAILURE", by=by)

    def claim(
        self,
        queue: list[Run],
        installation_id: str,
        limit: int,
        visibility: float,
        exclude: frozenset[str] = frozenset(),
    ) -> list[Run]:
        """Those that nobody holds, oldest first; nobody gets them again for `visibility` seconds, or once
        acknowledged."""
        with self.lock:
            now = self.clock()
            taken = [
                one
                for one in queue
                if one.pending
                and one.status == "IN_PROGRESS"
                and one.installation_id == installation_id
                and one.claimed_until <= now
                and one.action.identifier not in exclude
            ][:limit]
            for one in taken:
                one.claimed_until = now + visibility
                one.claims += 1
            return taken

    def ack(self, one: ActionRun | NodeRun, by: str) -> bool:
        """It is claimed no more; False: it was acknowledged before, or has ended."""
        with self.lock:
            if not one.pending:
                return False
            one.pending = False
            one.acked_by.append(by)
            return True


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def timestamp(seconds: float) -> str:
    """As Port writes times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
