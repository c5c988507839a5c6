"""Port's REST operations over the state: what is checked, what changes, what is answered.

An operation is a function from a `Call` to a `Response`, entered in `OPERATIONS`; it raises a `Refusal` for all that
Port refuses. It refuses to know sockets, faults, tokens and limits, which hold for every request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import unquote

from gha_step.emulator.wire import Json, Request, Response

from . import bodies
from .bodies import Refusal
from .state import EXTERNAL, ActionRun, Credentials, Installation, LogLine, NodeRun, Patch, State

OperationName: TypeAlias = Literal[
    "token",
    "claim",
    "ack",
    "get-run",
    "patch-run",
    "list-runs",
    "create-run",
    "approve-run",
    "create-log",
    "list-logs",
    "patch-response",
    "claim-nodes",
    "ack-node",
    "list-nodes",
    "patch-node",
    "create-node-log",
    "kafka-credentials",
    "get-integration",
    "create-integration",
    "patch-integration",
    "get-organization",
    "patch-organization",
    "unknown",
]

CLAIM_MAX = 300  # runs in one claim: what Port's own integration asks for at most
NODES_MAX = 100
LINKS_MAX = 3  # on a node


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request on its way to an operation."""

    state: State
    request: Request
    params: Mapping[str, str]  # from the path, decoded
    by: Credentials | None  # None: the operation asks for no token
    ended: int  # the status that says that a run has ended and cannot be changed

    @property
    def who(self) -> str:
        """The client ID that asks."""
        return "" if self.by is None else self.by.client_id

    def fields(
        self, kinds: Mapping[str, type | tuple[type, ...]], *required: str, closed: bool = True
    ) -> dict[str, Json]:
        """The body, an object of these fields and no others."""
        try:
            body = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            raise Refusal(400, "bad_request", "Body is not valid JSON") from None
        if not isinstance(body, dict):
            raise _invalid("body must be object")
        for name in required:
            if name not in body:
                raise _invalid(f"body must have required property '{name}'")
        for name, value in body.items():
            if name not in kinds:
                if closed:
                    raise _invalid("body must NOT have additional properties")
            elif not isinstance(value, kinds[name]) or (isinstance(value, bool) and bool not in _tuple(kinds[name])):
                raise _invalid(f"body/{name} has a wrong type")
        return body

    def run(self) -> ActionRun:
        """The run of the path, by its ID or external ID."""
        if (run := self.state.find_run(self.params["run"])) is None:
            raise _not_found("run", self.params["run"])
        return run

    def node(self) -> NodeRun:
        """The node run of the path."""
        if (node := self.state.find_node(self.params["node"])) is None:
            raise _not_found("nodeRun", self.params["node"])
        return node

    def claims_for(self, installation_id: Json) -> Installation:
        """The installation whose runs are claimed. The refusals' statuses are guesses; Port's own clients only
        know that a claim needs a machine's token and this header."""
        if self.by is None or not self.by.machine:
            raise Refusal(403, "forbidden", "Only machine tokens may claim runs")
        if self.request.headers.get("x-port-reserved-usage") != "true":
            raise Refusal(403, "forbidden", "This route is reserved for internal usage")
        found = self.state.installations.get(str(installation_id))
        if found is None:
            raise _not_found("integration", str(installation_id))
        return found


def _tuple(kinds: type | tuple[type, ...]) -> tuple[type, ...]:
    return kinds if isinstance(kinds, tuple) else (kinds,)


def _invalid(message: str) -> Refusal:
    return Refusal(422, "invalid_request", message)


def _not_found(kind: str, identifier: str) -> Refusal:
    return Refusal(404, "not_found", f'Resource with identifier "{identifier}" of type "{kind}" was not found')


def _one_of(name: str, value: Json, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise _invalid(f"body/{name} must be equal to one of the allowed values")


def create_token(call: Call) -> Response:
    """POST /v1/auth/access_token"""
    body = call.fields({"clientId": str, "clientSecret": str}, "clientId", "clientSecret")
    found = call.state.credentials.get(str(body["clientId"]))
    if found is None or found.client_secret != body["clientSecret"]:
        raise Refusal(401, "invalid_credentials", "Invalid credentials")
    token, left = call.state.token_of(found)
    return Response.of(200, {"ok": True, "accessToken": token, "expiresIn": int(left), "tokenType": "Bearer"})


_CLAIM: dict[str, type] = {"installationId": str, "limit": int, "visibilityTimeoutMs": int}


def claim(call: Call) -> Response:
    """POST /v1/actions/runs/claim-pending"""
    body = call.fields({**_CLAIM, "exclude": list}, "installationId")
    limit, visibility = _claim_bounds(body, CLAIM_MAX)
    exclude = body.get("exclude", [])
    assert isinstance(exclude, list)
    runs: list[ActionRun] = []
    if call.claims_for(body["installationId"]).actions_processing:
        named = frozenset(str(one) for one in exclude)
        runs = call.state.claim(call.state.runs, str(body["installationId"]), limit, visibility, named)
    return Response.of(200, {"ok": True, "runs": [bodies.action_run(run) for run in runs]})


def _claim_bounds(body: Mapping[str, Json], most: int) -> tuple[int, float]:
    limit, milliseconds = body.get("limit", 20), body.get("visibilityTimeoutMs", 60_000)
    assert isinstance(limit, int)
    assert isinstance(milliseconds, int)
    if not 1 <= limit <= most:
        raise _invalid("body/limit is out of range")
    if not 1 <= milliseconds <= 600_000:
        raise _invalid("body/visibilityTimeoutMs is out of range")
    return limit, milliseconds / 1000


def ack(call: Call) -> Response:
    """PATCH /v1/actions/runs/ack"""
    body = call.fields({"runId": str, "runIds": list})
    many = body.get("runIds")
    named = [body["runId"]] if "runId" in body else many if isinstance(many, list) else []
    found = [(str(one), call.state.find_run(str(one))) for one in named]
    acked = 0
    for identifier, run in found:
        if run is None:
            raise _not_found("run", identifier)
        acked += call.state.ack(run, call.who)
    if "runId" in body and not acked:
        raise Refusal(409, "conflict", "The run was acknowledged already")
    return Response.of(200, {"ok": True, "ackedCount": acked})


def get_run(call: Call) -> Response:
    """GET /v1/actions/runs/{run}"""
    run = call.run()
    if (shown := call.state.as_read(run)) is None:
        raise _not_found("run", run.id)
    return Response.of(200, {"ok": True, "run": bodies.action_run(shown)})


_PATCH: dict[str, type | tuple[type, ...]] = {
    "status": str,
    "statusLabel": str,
    "link": (str, list),
    "summary": str,
    "externalRunId": str,
    "message": dict,
}


def patch_run(call: Call) -> Response:
    """PATCH /v1/actions/runs/{run}"""
    run = call.run()
    apply_patch(call.state, run, call.fields(_PATCH), by=call.who, ended=call.ended)
    return Response.of(200, {"ok": True, "run": bodies.action_run(run)})


def apply_patch(
    state: State, run: ActionRun, body: Mapping[str, Json], *, by: str = EXTERNAL, ended: int = 422
) -> None:
    """What a PATCH does; a `Refusal` is raised for what Port does not take."""
    _one_of("status", body.get("status"), ("SUCCESS", "FAILURE"))
    if run.ended:  # the error's name is a guess
        raise Refusal(ended, "run_exhausted", f"Run {run.id} has ended and cannot be updated")
    run.patches.append(Patch(by, dict(body), state.clock()))
    if "statusLabel" in body:
        run.label = str(body["statusLabel"])
    if "link" in body:
        link = body["link"]
        run.link = [str(one) for one in link] if isinstance(link, list) else str(link)
    if "summary" in body:
        run.summary = str(body["summary"])
    if "externalRunId" in body:
        run.external_id = str(body["externalRunId"])
    run.updated_by = by
    match body.get("status"):
        case "SUCCESS" | "FAILURE" as status:
            state.set_status(run, status, by=by)
        case _:
            state.changed(run)


def list_runs(call: Call) -> Response:
    """GET /v1/actions/runs"""
    query = call.request.query
    limit = _whole(query, "limit", 1000, least=1, most=1000)
    shown = [then for run in reversed(call.state.runs) if (then := call.state.as_read(run)) is not None]
    wanted = [
        run
        for run in shown
        if query.get("external_run_id") in (None, run.external_id)
        and query.get("action") in (None, run.action.identifier)
        and query.get("source") in (None, run.source)
        and query.get("entity") in (None, run.entity)
        and query.get("active") in (None, "false" if run.ended else "true")
    ]
    hidden = query.get("exclude", "")
    listed = [{key: value for key, value in bodies.action_run(run).items() if key != hidden} for run in wanted[:limit]]
    return Response.of(200, {"ok": True, "runs": listed})


def _whole(query: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise _invalid(f"querystring/{name} is out of range")
    return int(text)


def create_run(call: Call) -> Response:
    """POST /v1/actions/{action}/runs"""
    body = call.fields({"properties": dict, "entity": str}, "properties")
    if call.params["action"] not in call.state.actions:
        raise _not_found("action", call.params["action"])
    properties, entity = body["properties"], body.get("entity")
    assert isinstance(properties, dict)
    by = call.request.query.get("run_as", call.who)
    run = call.state.press(
        call.params["action"], properties, source="API", by=by, entity=None if entity is None else str(entity)
    )
    return Response.of(202, {"ok": True, "run": bodies.action_run(run)})


def approve_run(call: Call) -> Response:
    """PATCH /v1/actions/runs/{run}/approval"""
    run = call.run()
    body = call.fields({"status": str, "description": str}, "status")
    _one_of("status", body["status"], ("APPROVE", "DECLINE"))
    if run.status != "WAITING_FOR_APPROVAL":
        raise Refusal(422, "run_not_waiting_for_approval", f"Run {run.id} is not waiting for approval")
    (call.state.approve if body["status"] == "APPROVE" else call.state.decline)(run, by=call.who)
    return Response.of(201, {"ok": True, "run": bodies.action_run(run)})


def create_log(call: Call) -> Response:
    """POST /v1/actions/runs/{run}/logs"""
    run = call.run()
    body = call.fields({"message": str, "terminationStatus": str, "statusLabel": str}, "message")
    _one_of("terminationStatus", body.get("terminationStatus"), ("SUCCESS", "FAILURE"))
    if run.ended:
        raise Refusal(call.ended, "run_exhausted", f"Run {run.id} has ended, no logs can be added")
    label = body.get("statusLabel")
    now = call.state.clock()
    number = f"runLog_{len(run.log) + 1}_{run.id}"
    line = LogLine(number, str(body["message"]), call.who, now, None if label is None else str(label))
    run.log.append(line)
    run.label = line.label or run.label
    match body.get("terminationStatus"):
        case "SUCCESS" | "FAILURE" as status:
            call.state.set_status(run, status, by=call.who)
        case _:
            call.state.changed(run)
    return Response.of(201, {"ok": True, "runLog": bodies.log_line(run, line)})


def list_logs(call: Call) -> Response:
    """GET /v1/actions/runs/{run}/logs"""
    run = call.run()
    limit = _whole(call.request.query, "limit", 50, least=1, most=50)
    offset = _whole(call.request.query, "offset", 0, least=0, most=1_000_000)
    lines = [bodies.log_line(run, line) for line in run.log[offset : offset + limit]]
    return Response.of(200, {"ok": True, "runLogs": lines})


def patch_response(call: Call) -> Response:
    """PATCH /v1/actions/runs/{run}/response, which only Port's agent uses"""
    run = call.run()
    run.response = call.fields({}, "response", closed=False)["response"]
    call.state.changed(run)
    return Response.of(200, {"ok": True})


def claim_nodes(call: Call) -> Response:
    """POST /v1/workflows/runs/claim-pending"""
    body = call.fields(_CLAIM, "installationId", closed=False)
    # The description says 1 to 100; Port's own integration asks for up to 300 all the same.
    limit, visibility = _claim_bounds(body, CLAIM_MAX)
    nodes: list[NodeRun] = []
    if call.claims_for(body["installationId"]).actions_processing:
        nodes = call.state.claim(call.state.nodes, str(body["installationId"]), min(limit, NODES_MAX), visibility)
    return Response.of(200, {"ok": True, "nodeRuns": [bodies.node_run(node, claimed=True) for node in nodes]})


def ack_node(call: Call) -> Response:
    """PATCH /v1/workflows/runs/ack"""
    identifier = str(call.fields({"nodeRunIdentifier": str}, "nodeRunIdentifier", closed=False)["nodeRunIdentifier"])
    node = call.state.find_node(identifier)
    if node is None:
        raise _not_found("nodeRun", identifier)
    if not call.state.ack(node, call.who):
        raise Refusal(409, "conflict", "The node run was acknowledged already")
    return Response.of(200, {"ok": True, "acked": True})


def list_nodes(call: Call) -> Response:
    """GET /v1/workflows/nodes/runs"""
    wanted = call.request.query.get("external_run_id")
    shown = [then for node in call.state.nodes if (then := call.state.as_read(node)) is not None]
    full = call.request.query.get("include") == "nodeConfig"
    listed = [
        bodies.node_run(node) | ({"config": node.config()} if full else {})
        for node in shown
        if wanted in (None, node.external_id)
    ]
    return Response.of(200, {"ok": True, "runs": listed})


_NODE_PATCH: dict[str, type | tuple[type, ...]] = {
    "status": str,
    "result": (str, type(None)),
    "externalRunId": str,
    "output": dict,
    "links": list,
    "statusLabel": (dict, type(None)),
    "reauthRequired": bool,
    "logs": list,
}


def patch_node(call: Call) -> Response:
    """PATCH /v1/workflows/nodes/runs/{node}"""
    apply_node_patch(call.state, call.node(), call.fields(_NODE_PATCH, closed=False), by=call.who)
    return Response.of(200, {"ok": True})


def apply_node_patch(state: State, node: NodeRun, body: Mapping[str, Json], *, by: str = EXTERNAL) -> None:
    """What a PATCH does; a `Refusal` is raised for what Port does not take. `output` is replaced whole."""
    _one_of("status", body.get("status"), ("COMPLETED", "IN_PROGRESS"))
    _one_of("result", body.get("result"), ("SUCCESS", "FAILED", "CANCELLED"))
    links, label, output = body.get("links"), body.get("statusLabel"), body.get("output")
    if isinstance(links, list) and len(links) > LINKS_MAX:
        raise _invalid(f"body/links must NOT have more than {LINKS_MAX} items")
    if node.ended:
        raise Refusal(409, "conflict", f"Node run {node.id} has ended")
    node.patches.append(Patch(by, dict(body), state.clock()))
    if isinstance(output, Mapping):
        node.output = dict(output)
    if isinstance(links, list):
        node.links = [str(link) for link in links]
    if isinstance(label, Mapping):
        node.label = str(label.get("text"))
    if "externalRunId" in body:
        node.external_id = str(body["externalRunId"])
    if body.get("result") is not None:
        node.result = str(body["result"])
    if body.get("status") == "COMPLETED":
        node.status, node.ended_at, node.pending = "COMPLETED", state.clock(), False
    state.changed(node)


def create_node_log(call: Call) -> Response:
    """POST /v1/workflows/nodes/runs/{node}/logs"""
    node = call.node()
    lines = call.fields({"logs": list}, "logs")["logs"]
    if node.ended:
        raise Refusal(409, "conflict", f"Node run {node.id} has ended")
    now = call.state.clock()
    assert isinstance(lines, list)
    for line in lines:
        if not isinstance(line, dict) or not isinstance(line.get("message"), str):
            raise _invalid("body/logs/0 must have required property 'message'")
        _one_of("logs/0/level", line.get("level"), ("INFO", "WARN", "ERROR", "DEBUG"))
        number = f"{len(node.log) + 1}"
        node.log.append(LogLine(number, str(line["message"]), call.who, now, None, str(line.get("level", "INFO"))))
    return Response.of(201, {"ok": True})


def kafka_credentials(call: Call) -> Response:
    """GET /v1/kafka-credentials; that it is 404 where Port's support has set up none is a guess."""
    kafka = call.state.kafka
    if kafka is None:
        raise Refusal(404, "not_found", "There are no Kafka credentials for this organization")
    login: Json = {"brokers": list(kafka.brokers), "username": kafka.username, "password": kafka.password}
    return Response.of(200, {"ok": True, "credentials": login})


_INTEGRATION: dict[str, type | tuple[type, ...]] = {
    "installationId": str,
    "installationAppType": str,
    "version": str,
    "config": (dict, type(None)),
    "changelogDestination": dict,
    "actionsProcessingEnabled": bool,
}


def get_integration(call: Call) -> Response:
    """GET /v1/integration/{integration}"""
    return Response.of(200, {"ok": True, "integration": bodies.installation(_installation(call))})


def _installation(call: Call) -> Installation:
    found = call.state.installations.get(call.params["integration"])
    if found is None:
        raise _not_found("integration", call.params["integration"])
    return found


def create_integration(call: Call) -> Response:
    """POST /v1/integration"""
    body = call.fields(_INTEGRATION, "installationId", "installationAppType", closed=False)
    identifier = str(body["installationId"])
    if identifier in call.state.installations:
        raise Refusal(409, "already_exists", f'Integration "{identifier}" exists already')
    made = Installation(identifier, actions_processing=False)
    _set_installation(made, body)
    call.state.installations[identifier] = made
    return Response.of(201, {"ok": True, "integration": bodies.installation(made)})


def patch_integration(call: Call) -> Response:
    """PATCH /v1/integration/{integration}"""
    found = _installation(call)
    _set_installation(found, call.fields(_INTEGRATION, closed=False))
    return Response.of(200, {"ok": True, "integration": bodies.installation(found)})


def _set_installation(one: Installation, body: Mapping[str, Json]) -> None:
    if "installationAppType" in body:
        one.app_type = str(body["installationAppType"])
    if "version" in body:
        one.version = str(body["version"])
    if "actionsProcessingEnabled" in body:
        one.actions_processing = bool(body["actionsProcessingEnabled"])
    config, changelog = body.get("config"), body.get("changelogDestination")
    if isinstance(config, Mapping):
        one.config = dict(config)
    if isinstance(changelog, Mapping):
        one.changelog = dict(changelog)


def get_organization(call: Call) -> Response:
    """GET /v1/organization"""
    body: Json = {"id": call.state.organisation, "name": call.state.organisation, "settings": dict(call.state.settings)}
    return Response.of(200, {"ok": True, "organization": body})


def patch_organization(call: Call) -> Response:
    """PATCH /v1/organization"""
    settings = call.fields({"settings": dict, "name": str}, closed=False).get("settings")
    if isinstance(settings, Mapping):
        call.state.settings.update(settings)
    return Response.of(200, {"ok": True})


class Operation(NamedTuple):
    """A row of the routing table."""

    name: OperationName
    method: str
    path: re.Pattern[str]
    answer: Callable[[Call], Response]


def _row(name: OperationName, route: str, answer: Callable[[Call], Response]) -> Operation:
    """`route`: method and path; `{x}` is one segment."""
    method, _, path = route.partition(" ")
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
    return Operation(name, method, re.compile(pattern), answer)


OPERATIONS: tuple[Operation, ...] = (
    _row("token", "POST /v1/auth/access_token", create_token),
    _row("claim", "POST /v1/actions/runs/claim-pending", claim),
    _row("ack", "PATCH /v1/actions/runs/ack", ack),
    _row("get-run", "GET /v1/actions/runs/{run}", get_run),
    _row("patch-run", "PATCH /v1/actions/runs/{run}", patch_run),
    _row("list-runs", "GET /v1/actions/runs", list_runs),
    _row("create-run", "POST /v1/actions/{action}/runs", create_run),
    _row("approve-run", "PATCH /v1/actions/runs/{run}/approval", approve_run),
    _row("create-log", "POST /v1/actions/runs/{run}/logs", create_log),
    _row("list-logs", "GET /v1/actions/runs/{run}/logs", list_logs),
    _row("patch-response", "PATCH /v1/actions/runs/{run}/response", patch_response),
    _row("claim-nodes", "POST /v1/workflows/runs/claim-pending", claim_nodes),
    _row("claim-nodes", "POST /v1/org/{org}/workflows/runs/claim-pending", claim_nodes),
    _row("ack-node", "PATCH /v1/workflows/runs/ack", ack_node),
    _row("ack-node", "PATCH /v1/org/{org}/workflows/runs/ack", ack_node),
    _row("list-nodes", "GET /v1/workflows/nodes/runs", list_nodes),
    _row("patch-node", "PATCH /v1/workflows/nodes/runs/{node}", patch_node),
    _row("create-node-log", "POST /v1/workflows/nodes/runs/{node}/logs", create_node_log),
    _row("kafka-credentials", "GET /v1/kafka-credentials", kafka_credentials),
    _row("get-integration", "GET /v1/integration/{integration}", get_integration),
    _row("create-integration", "POST /v1/integration", create_integration),
    _row("patch-integration", "PATCH /v1/integration/{integration}", patch_integration),
    _row("get-organization", "GET /v1/organization", get_organization),
    _row("patch-organization", "PATCH /v1/organization", patch_organization),
)


def route(method: str, path: str) -> tuple[Operation, Mapping[str, str]] | None:
    """The operation for a path, and the path's parameters, decoded."""
    for operation in OPERATIONS:
        if operation.method == method and (found := operation.path.fullmatch(path)) is not None:
            return operation, {key: unquote(text) for key, text in found.groupdict().items()}
    return None
