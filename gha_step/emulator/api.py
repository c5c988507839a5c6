"""GitHub's REST operations over the state: who may do what, what is checked in which order, what is answered.

An operation is a function from a `Call` to a `Response`, entered in `OPERATIONS`; it raises a `Refusal` for all
that GitHub refuses. It refuses to know sockets, faults and the limits that hold for every request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, TypeVar
from urllib.parse import unquote, urlencode

from . import bodies, refusal, storage
from .app import authenticated_app
from .bodies import Links, timestamp
from .generation import API_2026, Generation
from .refusal import Refusal
from .state import Repository, Run, State, Token, Unreadable, Workflow
from .wire import Json, Request, Response

OperationName: TypeAlias = Literal[
    "dispatch",
    "list-runs",
    "list-workflow-runs",
    "get-run",
    "get-run-attempt",
    "list-jobs",
    "list-artifacts",
    "download-artifact",
    "list-annotations",
    "get-run-groups",
    "get-group",
    "get-pending-deployments",
    "cancel-run",
    "force-cancel-run",
    "rerun-run",
    "list-workflows",
    "get-workflow",
    "get-contents",
    "get-repository",
    "get-repository-installation",
    "create-installation-token",
    "get-user",
    "get-meta",
    "get-rate-limit",
    "read-storage",
    "unknown",
]

BY_APP: frozenset[OperationName] = frozenset({"get-repository-installation", "create-installation-token"})
INPUTS_CHARACTERS_MAX = 65_535
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The primary limit of one token as it stands."""

    limit: int
    remaining: int
    reset: int  # seconds since the epoch
    used: int


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request on its way to an operation."""

    state: State
    generation: Generation
    request: Request
    params: Mapping[str, str]  # from the path, decoded
    token: Token | None
    version: str
    links: Links
    rate: RateLimit | None  # None: this server limits nobody

    def repository(
        self, permission: Literal["metadata", "actions", "contents", "checks"], *, write: bool = False
    ) -> Repository:
        """The repository of the path, if this token may do that with it."""
        found, former = self.named_repository()
        token = self.token
        if found is None or not self._visible(found):
            raise refusal.not_found()
        if former:
            location = f"{self.links.api}/repositories/{found.id}{self.params['rest']}"
            if self.request.query:
                location += f"?{urlencode(self.request.query)}"
            raise refusal.moved(301 if self.request.method == "GET" else 307, location)
        if token is None:
            if write:
                raise refusal.requires_authentication()
            return found
        if not token.sso_authorized:
            raise refusal.sso_required(found.owner, self.links.site)
        granted = token.actions if permission == "metadata" else getattr(token, permission)
        if token.kind == "classic":
            if write and not {"repo", "public_repo"} & set(token.scopes):
                raise refusal.not_found()
            if write and granted != "write":
                raise refusal.no_admin_rights()
        elif permission != "metadata" and (granted == "none" or (write and granted != "write")):
            raise refusal.not_accessible(token.kind, f"{permission}={'write' if write else 'read'}")
        if write and found.archived:
            raise refusal.archived()
        return found

    def named_repository(self) -> tuple[Repository | None, bool]:
        if number := self.params.get("repository_id"):
            return self.state.repository_by_id(int(number)), False
        return self.state.find_repository(f"{self.params['owner']}/{self.params['repo']}")

    def _visible(self, found: Repository) -> bool:
        if not found.private:
            return True
        token = self.token
        if token is None or (token.repositories is not None and found.full_name not in token.repositories):
            return False
        return token.kind != "classic" or ("repo" in token.scopes and token.actions != "none")

    def workflow(self, repository: Repository) -> Workflow:
        """The workflow of the path, by file name or ID."""
        found = repository.workflow(self.params["workflow"])
        if found is None:
            raise refusal.not_found()
        return found

    def run(self, repository: Repository) -> Run:
        """The run of the path."""
        run_id = self.params["run"]
        found = self.state.find_run(int(run_id)) if run_id.isascii() and run_id.isdigit() else None
        if found is None or found.repository is not repository:
            raise refusal.not_found()
        return found

    def json_object(self) -> Mapping[str, Json]:
        """The body."""
        try:
            body: Json = json.loads(self.request.body or b"{}", parse_constant=_no_json)
        except (ValueError, RecursionError):
            raise Refusal(400, "Problems parsing JSON") from None
        if not isinstance(body, Mapping):
            raise Refusal(400, "Body should be a JSON object")
        return body


def _no_json(constant: str) -> None:
    raise ValueError(constant)


def dispatch(call: Call) -> Response:
    """POST …/dispatches"""
    repository = call.repository("actions", write=True)
    body = call.json_object()
    ref, inputs, details = _dispatch_body(body, call)
    workflow = call.workflow(repository)
    if workflow.state != "active":
        raise refusal.unprocessable("Cannot trigger a 'workflow_dispatch' on a disabled workflow")
    resolved = repository.resolve(ref)
    if resolved is None:
        raise refusal.unprocessable(f"No ref found for: {ref}")
    file = workflow.file_at(ref)
    if file is None:  # GitHub's words for a file that is on the default branch but not on this one
        raise refusal.unprocessable("Workflow does not have 'workflow_dispatch' trigger")
    if isinstance(file, Unreadable):
        raise refusal.unprocessable(f"failed to parse workflow: {file.why}")
    if (objection := file.objection(inputs)) is not None:
        raise refusal.unprocessable(objection)
    assert call.token is not None  # else it might not write
    run = call.state.start_run(repository, workflow, actor=call.token.login, inputs=inputs, ref=ref)
    return Response.of(200, bodies.dispatched(run, call.links)) if details else Response(204)


def _dispatch_body(body: Mapping[str, Json], call: Call) -> tuple[str, Mapping[str, Json], bool]:
    """(ref, inputs, whether run details are to be returned), as the operation's schema has them."""
    generation = call.generation
    always = call.version == API_2026
    permitted = {"ref", "inputs"}
    if generation.permits_key and not always:
        permitted.add("return_run_details")
    if strange := [key for key in body if key not in permitted]:
        raise refusal.invalid(f'"{strange[0]}" is not a permitted key.', generation.refusal)
    if "ref" not in body:
        raise refusal.invalid('"ref" wasn\'t supplied.')
    ref, inputs, wanted = body["ref"], body.get("inputs", {}), body.get("return_run_details", False)
    if not isinstance(ref, str):
        raise refusal.invalid(f"For 'properties/ref', {json.dumps(ref)} is not a string.")
    if not isinstance(inputs, Mapping):
        raise refusal.invalid(f"For 'properties/inputs', {json.dumps(inputs)} is not an object.")
    if not isinstance(wanted, bool):
        raise refusal.invalid(f"For 'properties/return_run_details', {json.dumps(wanted)} is not a boolean.")
    if len(inputs) > generation.inputs_max:
        raise refusal.invalid(
            f"No more than {generation.inputs_max} properties are allowed; {len(inputs)} were supplied."
        )
    if len(json.dumps(inputs, separators=(",", ":"), ensure_ascii=False)) > INPUTS_CHARACTERS_MAX:
        raise refusal.unprocessable("inputs are too large")
    return ref, inputs, generation.run_details and (always or wanted)


_FILTERS = ("actor", "branch", "event", "status", "created", "head_sha")


def list_runs(call: Call) -> Response:
    """GET …/actions/runs"""
    return _list_runs(call, call.repository("actions"), None)


def list_workflow_runs(call: Call) -> Response:
    """GET …/actions/workflows/{id or file}/runs"""
    repository = call.repository("actions")
    return _list_runs(call, repository, call.workflow(repository))


def _list_runs(call: Call, repository: Repository, workflow: Workflow | None) -> Response:
    wanted = {key: call.request.query[key] for key in _FILTERS if call.request.query.get(key)}
    runs = call.state.listed_runs(repository, workflow, filtered=bool(wanted))
    if wanted:
        since, until = _created_bounds(wanted.pop("created", "*..*"))
        runs = [
            run
            for run in runs
            if since <= timestamp(run.created_at) <= until
            and all(value in _filterable(run)[key] for key, value in wanted.items())
        ]
    shown, headers = _page(call, repository, runs)
    body: Json = {
        "total_count": len(runs),
        "workflow_runs": [bodies.workflow_run(run, call.links) for run in shown],
    }
    return Response.of(200, body, headers)


def _filterable(run: Run) -> Mapping[str, tuple[str | None, ...]]:
    phase = run.phase()
    return {
        "actor": (run.actor,),
        "branch": (run.head_branch,),
        "event": (run.event,),
        "status": (phase.status, phase.conclusion),
        "head_sha": (run.head_sha,),
    }


_CREATED = re.compile(r"(?P<sign>>=|<=|>|<)?(?P<time>[^.<>]+)|(?P<since>[^.]+)\.\.(?P<until>[^.]+)")


def _created_bounds(query: str) -> tuple[str, str]:
    """The inclusive bounds of a `created` filter, as texts that compare like time stamps."""
    found = _CREATED.fullmatch(query.replace("+00:00", "Z"))
    if found is None:
        raise Refusal(422, "Validation Failed")
    if found["since"] is not None:
        since, until = found["since"], found["until"]
        return ("" if since == "*" else since), ("9" if until == "*" else _end(until))
    time = found["time"]
    match found["sign"]:
        case ">=":
            return time, "9"
        case ">":
            return _end(time) + "~", "9"
        case "<=":
            return "", _end(time)
        case "<":
            return "", time[:-1] if time.endswith("Z") else time  # a prefix sorts before the whole
        case _:
            return time, _end(time)


def _end(time: str) -> str:
    """A date without a time means the whole day."""
    return f"{time}T23:59:59Z" if len(time) == len("2006-01-02") else time


def _page(call: Call, repository: Repository, every: list[T]) -> tuple[list[T], dict[str, str]]:
    """The page asked for, and its Link header."""
    size = min(_positive(call.request.query.get("per_page"), 30), 100)
    page = _positive(call.request.query.get("page"), 1)
    last = max(1, -(-len(every) // size))
    root = f"{call.links.api}/repositories/{repository.id}{call.params['rest']}"
    near = {"prev": page - 1, "next": page + 1, "last": last, "first": 1}
    wanted = [name for name in near if (page > 1 if name in ("prev", "first") else page < last)]
    links = [
        f'<{root}?{urlencode(dict(call.request.query) | {"page": str(near[name])})}>; rel="{name}"' for name in wanted
    ]
    return every[(page - 1) * size : page * size], {"Link": ", ".join(links)} if links else {}


def _positive(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and int(text) > 0 else default


def get_run(call: Call) -> Response:
    """GET …/actions/runs/{run}"""
    return Response.of(200, bodies.workflow_run(call.run(call.repository("actions")), call.links))


def get_run_attempt(call: Call) -> Response:
    """GET …/actions/runs/{run}/attempts/{attempt}"""
    number = call.params["attempt"]
    run = call.run(call.repository("actions")).of_attempt(int(number) if number.isascii() and number.isdigit() else 0)
    if run is None:
        raise refusal.not_found()
    return Response.of(200, bodies.workflow_run(run, call.links))


def list_artifacts(call: Call) -> Response:
    """GET …/actions/runs/{run}/artifacts, newest first"""
    repository = call.repository("actions")
    name = call.request.query.get("name")
    found = [one for one in reversed(call.run(repository).artifacts) if name in (None, one.name)]
    shown, headers = _page(call, repository, found)
    body: Json = {"total_count": len(found), "artifacts": [bodies.artifact(one, call.links) for one in shown]}
    return Response.of(200, body, headers)


def download_artifact(call: Call) -> Response:
    """GET …/actions/artifacts/{artifact}/zip: a redirect to where it is stored, good for a minute"""
    repository = call.repository("actions")
    number = call.params["artifact"]
    found = call.state.artifact(repository, int(number)) if number.isascii() and number.isdigit() else None
    if found is None:
        raise refusal.not_found()
    if found.expired:
        raise Refusal(410, "Artifact has expired")
    return Response(302, (("Location", storage.signed_url(call.state, found, call.links)),))


def list_annotations(call: Call) -> Response:
    """GET …/check-runs/{job}/annotations"""
    repository = call.repository("checks")
    for run in repository.runs:
        for number in range(len(run.jobs)):
            if str(bodies.job(run, number, call.links)["id"]) == call.params["job"]:
                shown, headers = _page(call, repository, list(run.jobs[number].annotations))
                return Response.of(200, [bodies.annotation(one, run, call.links) for one in shown], headers)
    raise refusal.not_found()


def get_run_groups(call: Call) -> Response:
    """GET …/actions/runs/{run}/concurrency_groups"""
    run = call.run(call.repository("actions"))
    if not call.generation.concurrency:
        raise refusal.not_found()
    return Response.of(200, bodies.concurrency_groups_of(run, call.links))


def get_group(call: Call) -> Response:
    """GET …/actions/concurrency_groups/{group}"""
    repository = call.repository("actions")
    members = [run for run in repository.runs if run.in_group(call.params["group"])]
    if not members or not call.generation.concurrency:
        raise refusal.not_found()
    if (wanted := call.request.query.get("ahead_of_run")) is not None:
        numbers = [str(run.id) for run in members]
        if wanted not in numbers:
            raise Refusal(422, "Validation Failed")
        members = members[: numbers.index(wanted) + 1]
    return Response.of(200, bodies.concurrency_group(call.params["group"], members, call.links))


def list_jobs(call: Call) -> Response:
    """GET …/actions/runs/{run}/jobs, of the latest attempt"""
    repository = call.repository("actions")
    run = call.run(repository)
    shown, headers = _page(call, repository, list(range(len(run.jobs))))
    jobs = [bodies.job(run, number, call.links) for number in shown]
    return Response.of(200, {"total_count": len(run.jobs), "jobs": jobs}, headers)


def get_pending_deployments(call: Call) -> Response:
    """GET …/actions/runs/{run}/pending_deployments"""
    pending = bodies.pending_deployment(call.run(call.repository("actions")), call.links)
    return Response.of(200, [] if pending is None else [pending])


def cancel_run(call: Call) -> Response:
    """POST …/actions/runs/{run}/cancel"""
    run = call.run(call.repository("actions", write=True))
    if run.status == "completed":
        raise Refusal(409, "Cannot cancel a workflow run that is completed.")
    run.cancel()
    return Response.of(202, {})


def force_cancel_run(call: Call) -> Response:
    """POST …/actions/runs/{run}/force-cancel"""
    run = call.run(call.repository("actions", write=True))
    if run.status == "completed":
        raise Refusal(409, "Cannot force cancel a workflow run that is completed.")
    run.force_cancel()
    return Response.of(202, {})


def rerun_run(call: Call) -> Response:
    """POST …/actions/runs/{run}/rerun"""
    run = call.run(call.repository("actions", write=True))
    if run.status != "completed":
        raise Refusal(403, "The workflow run cannot be rerun; This workflow is already running")
    run.rerun(call.token.login if call.token is not None else None)
    return Response.of(201, {})


def list_workflows(call: Call) -> Response:
    """GET …/actions/workflows"""
    repository = call.repository("actions")
    flows = [bodies.workflow(flow, repository, call.links) for flow in repository.workflows]
    return Response.of(200, {"total_count": len(flows), "workflows": flows})


def get_workflow(call: Call) -> Response:
    """GET …/actions/workflows/{id or file}"""
    repository = call.repository("actions")
    return Response.of(200, bodies.workflow(call.workflow(repository), repository, call.links))


def get_contents(call: Call) -> Response:
    """GET …/contents/{path}, of workflow files"""
    repository = call.repository("contents")
    ref = call.request.query.get("ref") or repository.default_branch
    resolved = repository.resolve(ref)
    if resolved is None:
        raise Refusal(404, f"No commit found for the ref {ref}")
    for flow in repository.workflows:
        if flow.path == call.params["path"] and (file := flow.file_at(ref)) is not None:
            return Response.of(200, bodies.file_contents(repository, flow.path, file.text, ref, call.links))
    raise refusal.not_found()


def get_repository(call: Call) -> Response:
    """GET /repos/{owner}/{repo}"""
    repository = call.repository("metadata")
    writable = call.token is not None and call.token.actions == "write"
    return Response.of(200, bodies.full_repository(repository, call.links, writable=writable))


def get_repository_installation(call: Call) -> Response:
    """GET /repos/{owner}/{repo}/installation"""
    app = authenticated_app(call.request.headers.get("authorization"), call.state)
    found, _ = call.named_repository()
    installation = None if found is None else call.state.installation_for(app, found.full_name)
    if found is None or installation is None:
        raise refusal.not_found()
    return Response.of(200, bodies.installation(installation, found.owner, call.state.started_at, call.links))


def create_installation_token(call: Call) -> Response:
    """POST /app/installations/{installation}/access_tokens"""
    app = authenticated_app(call.request.headers.get("authorization"), call.state)
    number = call.params["installation"]
    installation = call.state.installation(int(number)) if number.isascii() and number.isdigit() else None
    if installation is None or installation.app is not app:
        raise refusal.not_found()
    if installation.suspended:
        raise Refusal(403, "This installation has been suspended")
    wanted = call.json_object().get("repositories")
    if wanted is None:
        repositories = installation.repositories
    else:
        visible = [full for full in call.state.repository_names if full in (installation.repositories or {full})]
        by_name = {full.partition("/")[2].lower(): full for full in visible}
        if not isinstance(wanted, list) or not all(
            isinstance(name, str) and name.lower() in by_name for name in wanted
        ):
            raise refusal.unprocessable(
                "There is at least one repository that does not exist or is not accessible to the parent installation."
            )
        repositories = frozenset(by_name[name.lower()] for name in wanted)
    token = call.state.issue_token(installation, repositories)
    return Response.of(201, bodies.installation_token(token, some=wanted is not None))


def get_user(call: Call) -> Response:
    """GET /user"""
    if call.token is None:
        raise refusal.requires_authentication()
    if call.token.kind == "installation":  # an installation is no user
        raise Refusal(403, "Resource not accessible by integration")
    return Response.of(200, bodies.authenticated_user(call.token.login, call.state.started_at, call.links))


def get_meta(call: Call) -> Response:
    """GET /meta"""
    body: dict[str, Json] = {"verifiable_password_authentication": call.generation.enterprise is not None}
    if call.generation.enterprise is not None:
        body["installed_version"] = call.generation.enterprise
    return Response.of(200, body)


def get_rate_limit(call: Call) -> Response:
    """GET /rate_limit, which costs nothing"""
    if call.rate is None:
        raise Refusal(404, "Rate limiting is not enabled.")
    rate = call.rate
    core: Json = {"limit": rate.limit, "remaining": rate.remaining, "reset": rate.reset, "used": rate.used}
    search: Json = {"limit": 30, "remaining": 30, "reset": rate.reset, "used": 0}
    body: dict[str, Json] = {"resources": {"core": core, "search": search}}
    if call.version != API_2026:
        body["rate"] = core
    return Response.of(200, body)


class Operation(NamedTuple):
    """A row of the routing table."""

    name: OperationName
    method: str
    path: re.Pattern[str]
    documentation: str  # under the generation's documentation URL
    answer: Callable[[Call], Response]


_REPOSITORY = r"(?:/repos/(?P<owner>[^/]+)/(?P<repo>[^/]+)|/repositories/(?P<repository_id>\d+))"


def _row(name: OperationName, route: str, documentation: str, answer: Callable[[Call], Response]) -> Operation:
    """`route`: method and path; `{x}` is one segment, `{+x}` takes slashes too; `…` is a repository, under its
    name or its ID."""
    method, _, path = route.partition(" ")
    pattern = re.sub(r"\{(\+?)(\w+)\}", lambda m: f"(?P<{m[2]}>{'.+' if m[1] else '[^/]+'})", path)
    if pattern.startswith("…"):
        pattern = f"{_REPOSITORY}(?P<rest>{pattern[1:]})"
    return Operation(name, method, re.compile(pattern), documentation, answer)


OPERATIONS: tuple[Operation, ...] = (
    _row(
        "dispatch",
        "POST …/actions/workflows/{workflow}/dispatches",
        "/actions/workflows#create-a-workflow-dispatch-event",
        dispatch,
    ),
    _row(
        "list-workflow-runs",
        "GET …/actions/workflows/{workflow}/runs",
        "/actions/workflow-runs#list-workflow-runs-for-a-workflow",
        list_workflow_runs,
    ),
    _row("get-run", "GET …/actions/runs/{run}", "/actions/workflow-runs#get-a-workflow-run", get_run),
    _row(
        "list-jobs",
        "GET …/actions/runs/{run}/jobs",
        "/actions/workflow-jobs#list-jobs-for-a-workflow-run",
        list_jobs,
    ),
    _row(
        "get-pending-deployments",
        "GET …/actions/runs/{run}/pending_deployments",
        "/actions/workflow-runs#get-pending-deployments-for-a-workflow-run",
        get_pending_deployments,
    ),
    _row(
        "cancel-run",
        "POST …/actions/runs/{run}/cancel",
        "/actions/workflow-runs#cancel-a-workflow-run",
        cancel_run,
    ),
    _row(
        "force-cancel-run",
        "POST …/actions/runs/{run}/force-cancel",
        "/actions/workflow-runs#force-cancel-a-workflow-run",
        force_cancel_run,
    ),
    _row(
        "get-run-attempt",
        "GET …/actions/runs/{run}/attempts/{attempt}",
        "/actions/workflow-runs#get-a-workflow-run-attempt",
        get_run_attempt,
    ),
    _row(
        "list-artifacts",
        "GET …/actions/runs/{run}/artifacts",
        "/actions/artifacts#list-workflow-run-artifacts",
        list_artifacts,
    ),
    _row(
        "download-artifact",
        "GET …/actions/artifacts/{artifact}/zip",
        "/actions/artifacts#download-an-artifact",
        download_artifact,
    ),
    _row(
        "list-annotations",
        "GET …/check-runs/{job}/annotations",
        "/checks/runs#list-check-run-annotations",
        list_annotations,
    ),
    _row(
        "get-run-groups",
        "GET …/actions/runs/{run}/concurrency_groups",
        "/actions/concurrency-groups#list-concurrency-groups-for-a-workflow-run",
        get_run_groups,
    ),
    _row(
        "get-group",
        "GET …/actions/concurrency_groups/{group}",
        "/actions/concurrency-groups#get-a-concurrency-group-for-a-repository",
        get_group,
    ),
    _row("rerun-run", "POST …/actions/runs/{run}/rerun", "/actions/workflow-runs#re-run-a-workflow", rerun_run),
    _row(
        "list-runs",
        "GET …/actions/runs",
        "/actions/workflow-runs#list-workflow-runs-for-a-repository",
        list_runs,
    ),
    _row(
        "list-workflows",
        "GET …/actions/workflows",
        "/actions/workflows#list-repository-workflows",
        list_workflows,
    ),
    _row("get-workflow", "GET …/actions/workflows/{workflow}", "/actions/workflows#get-a-workflow", get_workflow),
    _row("get-contents", "GET …/contents/{+path}", "/repos/contents#get-repository-content", get_contents),
    _row("get-repository", "GET …", "/repos/repos#get-a-repository", get_repository),
    _row(
        "get-repository-installation",
        "GET …/installation",
        "/apps/apps#get-a-repository-installation-for-the-authenticated-app",
        get_repository_installation,
    ),
    _row(
        "create-installation-token",
        "POST /app/installations/{installation}/access_tokens",
        "/apps/apps#create-an-installation-access-token-for-an-app",
        create_installation_token,
    ),
    _row("get-user", "GET /user", "/users/users#get-the-authenticated-user", get_user),
    _row("get-meta", "GET /meta", "/meta/meta#get-github-meta-information", get_meta),
    _row(
        "get-rate-limit",
        "GET /rate_limit",
        "/rate-limit/rate-limit#get-rate-limit-status-for-the-authenticated-user",
        get_rate_limit,
    ),
)


def route(method: str, path: str) -> tuple[Operation, Mapping[str, str]] | None:
    """The operation for a path below the API's root, and the path's parameters, decoded."""
    for operation in OPERATIONS:
        if operation.method == method and (found := operation.path.fullmatch(path)) is not None:
            params = {key: text for key, text in found.groupdict().items() if text is not None}
            return operation, {key: text if key == "rest" else unquote(text) for key, text in params.items()}
    return None
