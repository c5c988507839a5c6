"""Port's API, as far as gha-step uses it. Each method is one request and interprets its response.

Source: facts/port.md 3 and 4. Claims and acks are documented for workflow nodes only, with the organisation in the
path, while Port's own integration uses another form: gha-step uses the one that is served.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

from gha_step.github.messages import Answer, shown
from gha_step.inbound.port.claiming import MOST_NODES
from gha_step.inbound.port.client import MAX_LISTING, PortClient, words
from gha_step.inbound.port.errors import Lost, Refused
from gha_step.inbound.port.kafka_login import KafkaLogin, read_login
from gha_step.inbound.port.messages import Kind
from gha_step.inbound.port.reports import Line, NodeAtPort, RunAtPort, line_body, node_at_port, run_at_port
from gha_step.inbound.port.wire_json import read_json

APP_TYPE: Final = "github-ocean"  # the only one that an action of type "GitHub" can choose
MOST_ACTIVE: Final = 1000  # runs in one listing
PLAIN: Final = "/v1/workflows/runs"
T = TypeVar("T")


@dataclass(frozen=True)
class Registration:
    """An installation at Port. ``objection``: why actions may not come by it; '' where nothing speaks against it."""

    made: bool
    objection: str = ""


class PortApi:
    """See the module. Methods raise what `PortClient.ask` does, and `Refused` for a status that they do not name."""

    def __init__(self, client: PortClient) -> None:
        self._client = client
        self._node_routes: str | None = None  # the beginning of the routes that this Port serves, once known

    def read_run(self, run_id: str) -> RunAtPort | None:
        """An action run; ``None``: Port knows none of this ID, or does not show it yet."""
        route = "get_run"
        found = self._in_2xx(run_at_port, route)
        return self._client.read(
            lambda answer: None if answer.status == 404 else found(answer), route, "GET", _run(run_id)
        )

    def read_node(self, external_id: str) -> NodeAtPort | None:
        """A node run, which can be found by its external ID only; ``None``: there is none."""
        target = f"/v1/workflows/nodes/runs?{urlencode({'external_run_id': external_id})}"
        route = "get_node"
        return self._client.read(self._in_2xx(node_at_port, route), route, "GET", target)

    def patch(self, kind: Kind, run_id: str, body: Mapping[str, Any]) -> Answer:
        """Change a run. Its caller looks at the status: 409 and 422 may mean that the run has ended."""
        where = _run(run_id) if kind == "run" else _node(run_id)
        return self._client.read(_told, f"patch_{kind}", "PATCH", where, body)

    def log(self, kind: Kind, run_id: str, line: Line) -> Answer:
        """Add a line to a run's log. Statuses as for `patch`."""
        where = _run(run_id) if kind == "run" else _node(run_id)
        said = line_body(line, node=kind == "node")
        return self._client.read(_told, f"log_{kind}", "POST", f"{where}/logs", said)

    def ack(self, kind: Kind, run_id: str) -> bool:
        """A claimed run comes no more; done, too, where it had been done before. ``False``: Port knows no such run."""
        if kind == "run":
            body = {"runId": run_id}
            answer = self._client.read(_told, "ack_run", "PATCH", "/v1/actions/runs/ack", body, reserved=True)
        else:
            answer = self._of_nodes(_told, "ack_node", "PATCH", "ack", {"nodeRunIdentifier": run_id})
        if answer.status not in (404, 409):
            self._fine(answer, f"ack_{kind}")
        return answer.status != 404

    def claim_runs(
        self, installation: str, limit: int, visibility: float, exclude: Collection[str] = ()
    ) -> Sequence[Any]:
        """Action runs that wait, hidden from others for ``visibility`` seconds, as `messages.of_claimed_run` reads."""
        body: dict[str, Any] = _claim(installation, limit, visibility)
        if exclude:
            body["exclude"] = sorted(exclude)
        route, path = "claim_runs", "/v1/actions/runs/claim-pending"
        parse = self._in_2xx(_list_of("runs"), route)
        return self._client.read(parse, route, "POST", path, body, reserved=True, max_body=MAX_LISTING)

    def claim_nodes(self, installation: str, limit: int, visibility: float) -> Sequence[Any]:
        """Node runs that wait, as `messages.of_claimed_node` reads them."""
        route, body = "claim_nodes", _claim(installation, min(limit, MOST_NODES), visibility)
        return self._of_nodes(self._in_2xx(_list_of("nodeRuns"), route), route, "POST", "claim-pending", body)

    def active_runs(self) -> frozenset[str]:
        """The IDs of action runs that have not ended, as many as one listing holds."""
        target = f"/v1/actions/runs?{urlencode({'version': 'v2', 'active': 'true', 'limit': MOST_ACTIVE})}"
        route = "list_runs"
        return self._client.read(self._in_2xx(_ids_of_runs, route), route, "GET", target, max_body=MAX_LISTING)

    def register(self, installation: str, version: str) -> "Registration":
        """Make an installation of our own selectable in actions, unless there is one of this ID."""
        found = self._client.ask("get_integration", "GET", f"/v1/integration/{quote(installation, safe='')}")
        if found.status != 404:
            return self._in_2xx(_registration, "get_integration")(found)
        body = {
            "installationId": installation,
            "installationAppType": APP_TYPE,
            "version": version,
            "config": {},
            "changelogDestination": {},
            "actionsProcessingEnabled": True,
        }
        made = self._client.ask("create_integration", "POST", "/v1/integration", body)
        if made.status != 409:  # another replica was quicker
            self._fine(made, "create_integration")
        return Registration(made=True)

    def kafka_login(self) -> KafkaLogin:
        """How to reach the organisation's topic."""
        route = "kafka_credentials"
        return self._client.read(self._in_2xx(read_login, route), route, "GET", "/v1/kafka-credentials")

    def _of_nodes(self, parse: Callable[[Answer], T], route: str, method: str, last: str, body: Mapping[str, Any]) -> T:
        def ask(form: str) -> Answer | T:
            def read(answer: Answer) -> Answer | T:
                if answer.status == 404:
                    return answer
                self._node_routes = form
                return parse(answer)

            path = f"{form}/{last}"
            return self._client.read(read, route, method, path, body, reserved=True, max_body=MAX_LISTING)

        found = ask(self._node_routes or PLAIN)
        grant = self._client.grant
        if self._node_routes is None and grant is not None and grant.org_id:
            found = ask(f"/v1/org/{quote(grant.org_id, safe='')}/workflows/runs")
        return parse(found) if isinstance(found, Answer) else found

    def _fine(self, answer: Answer, route: str) -> Answer:
        if not 200 <= answer.status < 300:
            raise Refused(
                f"{self._client.endpoint.host} refuses {route}: {answer.status} ({words(answer)})", answer.status
            )
        return answer

    def _in_2xx(self, parse: Callable[[bytes], T], route: str) -> Callable[[Answer], T]:
        """What finds it in an answer. An odd 2xx counts as lost: what was claimed comes again after its time-out."""

        def read(answer: Answer) -> T:
            try:
                return parse(self._fine(answer, route).body)
            except ValueError as error:
                raise Lost(
                    f"Port answered {answer.status} to {route}, but the answer cannot be used: {error}"
                ) from None

        return read


def _told(answer: Answer) -> Answer:
    """:raises Lost: it says 2xx, and is not Port's: a proxy's own page does not mean that Port has taken anything."""
    if 200 <= answer.status < 300 and answer.body.strip():
        try:
            body = read_json(answer.body)
        except ValueError as error:
            raise Lost(f"Port answered {answer.status}, but the answer cannot be used: {error}") from None
        if not isinstance(body, dict) or body.get("ok") is False:
            raise Lost(f"Port answered {answer.status}, but does not say that it is done ({words(answer)})")
    return answer


def _registration(body: bytes) -> Registration:
    """The one that a GET has found. :raises ValueError: it is none."""
    answer = read_json(body)
    found = answer.get("integration") if isinstance(answer, dict) else None
    if not isinstance(found, dict):
        raise ValueError("no integration")  # noqa: TRY004  the answer is odd, not a caller's type
    kind, processing = found.get("installationAppType"), found.get("actionsProcessingEnabled")
    if isinstance(kind, str) and kind.lower() != APP_TYPE:
        return Registration(made=False, objection=f"its type is {shown(kind)}, and actions can choose {APP_TYPE} only")
    if processing is False:
        return Registration(made=False, objection="its actionsProcessingEnabled is false, so that it gets no runs")
    return Registration(made=False)


def _run(run_id: str) -> str:
    return f"/v1/actions/runs/{quote(run_id, safe='')}"


def _node(run_id: str) -> str:
    return f"/v1/workflows/nodes/runs/{quote(run_id, safe='')}"


def _claim(installation: str, limit: int, visibility: float) -> dict[str, Any]:
    return {"installationId": installation, "limit": limit, "visibilityTimeoutMs": round(visibility * 1000)}


def _list_of(name: str) -> Callable[[bytes], list[Any]]:
    def parse(body: bytes) -> list[Any]:
        answer = read_json(body)
        listed = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(listed, list):
            raise ValueError(f"no {name}")  # noqa: TRY004  the answer is odd, not a caller's type
        return listed

    return parse


def _ids_of_runs(body: bytes) -> frozenset[str]:
    runs = _list_of("runs")(body)
    return frozenset(run["id"] for run in runs if isinstance(run, dict) and isinstance(run.get("id"), str))
