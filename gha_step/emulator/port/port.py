"""A Port without sockets: `Port.handle` takes a request and gives the response.

What holds for every request is here: the request log, tokens, rate limits, sizes, headers. With the clock and the IDs
given, everything it answers is determined by what it was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gha_step.emulator.receiver import Logged, Receiver
from gha_step.emulator.wire import Json, Request, Response

from .api import Call, Operation, OperationName, apply_node_patch, apply_patch, route
from .bodies import Refusal
from .state import ActionRun, Credentials, Installation, NodeRun, State

Reset: TypeAlias = Literal["seconds", "epoch"]
NodeRoutes: TypeAlias = Literal["plain", "described", "none"]

BODY_MAX = 1 << 20
PERIOD = 300  # seconds: the window of both limits
AUTHENTICATED = 15_000 + 1_500  # requests of one organisation in it, with the burst
UNAUTHENTICATED = 100 + 10  # of which asking for a token is one
_LOG_LENGTH = 50_000


@dataclass(slots=True)
class _Window:
    limit: int
    ends: float = 0.0
    used: int = 0


class Port(State, Receiver[OperationName]):
    """One organisation of a Port: its state (see `State`), its answers, its log and its fault plan.

    Plain attributes that may be set at any time: `ended_status` (the answer to a PATCH or a log line of a run that
    has ended: 422, or 409), `reset` (how x-ratelimit-reset is written), `node_routes` (which form of the routes for
    workflow nodes there is: as Port's own integration asks, as described with the organisation in it, or none)."""

    def __init__(
        self,
        *,
        rate_limit: int = AUTHENTICATED,
        token_limit: int = UNAUTHENTICATED,
        ended_status: int = 422,
        reset: Reset = "seconds",
        node_routes: NodeRoutes = "plain",
        now: Callable[[], float] | None = None,
        skew: float = 0.0,
        read_lag: float = 0.0,
        organisation: str = "org_emulated",
        new_id: Callable[[], str] | None = None,
    ) -> None:
        """`rate_limit`, `token_limit`: requests in five minutes, with and without a token. The rest as in `State`."""
        time = {} if now is None else {"now": now}
        super().__init__(**time, skew=skew, read_lag=read_lag, organisation=organisation, new_id=new_id)
        self.ended_status = ended_status
        self.reset: Reset = reset
        self.node_routes: NodeRoutes = node_routes
        Receiver.__init__(self, _LOG_LENGTH)
        self._with_token = _Window(rate_limit)
        self._without = _Window(token_limit)
        self._blocked_until = 0.0
        self._blocked: frozenset[OperationName] | None = None

    def limit_rate(self, seconds: float, *operations: OperationName) -> None:
        """For so long every request (of these operations) is answered 429."""
        with self.lock:
            self._blocked_until = self.clock() + seconds
            self._blocked = frozenset(operations) or None

    def register(self, installation_id: str, *, actions_processing: bool = True) -> Installation:
        """An installation, as an integration would register itself."""
        with self.lock:
            made = Installation(installation_id, actions_processing=actions_processing)
            self.installations[installation_id] = made
        return made

    def workflow_patches(self, run: ActionRun, **fields: Json) -> None:
        """What a PATCH_RUN step inside the workflow does; a `Refusal` is raised where that step would fail."""
        with self.lock:
            apply_patch(self, run, fields, ended=self.ended_status)

    def workflow_patches_node(self, node: NodeRun, **fields: Json) -> None:
        """The same for a node run."""
        with self.lock:
            apply_node_patch(self, node, fields)

    def receive(self, request: Request) -> Logged[OperationName]:
        found = route(request.method, request.path)
        operation: OperationName = "unknown" if found is None else found[0].name
        headers = dict(request.headers)
        if "authorization" in headers:
            by = self._authenticated(request)
            headers["authorization"] = "not a token" if by is None else by.client_id
        body = b"***" if operation == "token" else request.body
        return self._enter(request, operation, headers, body)

    def answer(self, request: Request, entry: Logged[OperationName]) -> Response:
        with self.lock:
            window = self._without if entry.operation == "token" else self._with_token
            try:
                response = self._process(request, entry.operation, window)
            except Refusal as refused:
                body: Json = {"ok": False, "error": refused.error, "message": refused.message}
                response = Response.of(refused.status, body, refused.headers)
            entry.status = response.status
            return response.with_headers(self.plain_headers() | self._rate_headers(window))

    def _process(self, request: Request, name: OperationName, window: _Window) -> Response:
        if len(request.body) > BODY_MAX:
            raise Refusal(413, "payload_too_large", "Request body is too large")
        self._spend(window, name)
        by = self._authenticated(request)
        if name != "token" and by is None:
            raise Refusal(401, "unauthorized", "Unauthorized")
        found = route(request.method, request.path)
        if found is None or not self._serves(*found):
            raise Refusal(404, "not_found", f"Route {request.method}:{request.path} not found")
        operation, params = found
        return operation.answer(Call(self, request, params, by, self.ended_status))

    def _serves(self, operation: Operation, params: Mapping[str, str]) -> bool:
        if operation.name not in ("claim-nodes", "ack-node"):
            return True
        if "org" in params:
            return self.node_routes == "described" and params["org"] == self.organisation
        return self.node_routes == "plain"

    def _authenticated(self, request: Request) -> Credentials | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self.owner_of(token.strip()) if scheme.lower() == "bearer" else None

    def _spend(self, window: _Window, name: OperationName) -> None:
        now = self.clock()
        if now >= window.ends:
            window.ends, window.used = float(int(now) + PERIOD), 0
        if now < self._blocked_until and (self._blocked is None or name in self._blocked):
            window.ends, window.used = max(now, self._blocked_until), window.limit
        if window.used >= window.limit:  # the error's name is a guess
            raise Refusal(429, "rate_limit_exceeded", "Too many requests, please try again later")
        window.used += 1

    def _rate_headers(self, window: _Window) -> dict[str, str]:
        left = max(0, round(window.ends - self.clock()))
        return {
            "x-ratelimit-period": str(PERIOD),
            "x-ratelimit-limit": str(window.limit),
            "x-ratelimit-remaining": str(window.limit - window.used),
            "x-ratelimit-reset": str(left if self.reset == "seconds" else round(window.ends)),
        }

    def describe(self, url: str) -> str:
        """As `server.Emulated` asks for it: the first credentials and action, and how to press."""
        client = next(iter(self.credentials.values()))
        action = next(iter(self.actions.values()))
        return (
            f"Port emulated at {url}\n"
            f"clientId: {client.client_id}, clientSecret: {client.client_secret}\n"
            f"installation: {action.installation_id}, action: {action.identifier}, for {action.org}/{action.repo}, "
            f"workflow {action.workflow}\n"
            f"press it: POST {url}/v1/actions/{action.identifier}/runs with "
            '{"properties": {"environment": "prod", "image_tag": "1.10"}} and a token of '
            f"POST {url}/v1/auth/access_token\n"
            f"look at it: GET {url}/v1/actions/runs"
        )
