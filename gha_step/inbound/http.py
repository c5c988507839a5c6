"""The HTTP server: ``POST /api/v1/step.execute``, health and metrics, and the resources that are mounted beside them.

Source: facts/kargo-host.md A. The bearer is proved before the body is read.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from gha_step.contract.errors import EnvelopeError
from gha_step.contract.json_text import parse_json
from gha_step.contract.request import StepRequest
from gha_step.contract.result import StepResult
from gha_step.contract.secret import Token
from gha_step.inbound.bearer import HOSTS_BEARER, UNPROVED, bearer, only, subject_of
from gha_step.inbound.body import MAX_VALUES, BodyRefused, give, is_light, json_answer, making, peer_of, read_body
from gha_step.inbound.connections import proved
from gha_step.inbound.execution import Execution
from gha_step.inbound.readiness import Readiness
from gha_step.inbound.refused_callers import RefusedCallers
from gha_step.inbound.room import Place
from gha_step.inbound.scrapes import Scrapes
from gha_step.inbound.web import ASGIApp, AtOnce, Receive, Request, Response, Scope, Send, read_already
from gha_step.runtime import shortage
from gha_step.telemetry import log

EXECUTE: Final = "/api/v1/step.execute"


class Resource(Protocol):
    """Paths below ``/api/v1/`` that another way in answers; `gha_step.wiring` mounts it."""

    def owns(self, raw_path: bytes) -> bool:
        """Whether a request is this resource's to answer."""

    async def answer(self, request: Request) -> Response:
        """The answer to such a request."""


def http_app(
    *,
    execution: Execution | None,
    token: Token | None,
    readiness: Readiness,
    refused: RefusedCallers,
    collect: Callable[[], bytes],
    resources: Sequence[Resource] = (),
) -> ASGIApp:
    """The server's ASGI application.

    :param execution: ``None``: step.execute is not served.
    :param token: the bearer that step.execute asks for; ``None``: none.
    :param refused: told of calls that are not executed.
    :param resources: what other ways in answer below ``/api/v1/``.
    :param collect: gives the metrics; it may read the ledger, so it runs on a thread.
    """

    scrapes = Scrapes(collect)

    async def answer(request: Request) -> Response:
        path, method = request.scope["path"], request.method
        if path == EXECUTE and method == "POST" and execution is not None:
            return await _execute(request, execution, token, readiness, refused)
        for resource in resources:
            if resource.owns(request.scope["raw_path"]):
                return await resource.answer(request)
        if method in ("GET", "HEAD"):
            if path == "/healthz":
                return _text(200, "ok")
            if path == "/readyz":
                missing = shortage() if readiness.serving else "it starts or stops"
                return _text(200, "ready") if missing is None else _text(503, f"not ready: {missing}")
            if path == "/metrics":
                content = await scrapes.read()
                return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")
        unknown = f"there is no {method} {path[:200]} here"
        # The callers of either interface look for their own key.
        return json_answer(404, {"error": unknown, "message": unknown} if resources else {"error": unknown})

    def at_once(scope: Scope, body: bytes, tell: Callable[[Response], None]) -> bool:
        is_call = scope["path"] == EXECUTE and scope["method"] == "POST" and not readiness.draining
        return is_call and execution is not None and _begin(Request(scope, read_already), body, execution, token, tell)

    return _App(answer, at_once)


class _App:
    """The application; what it can begin `at_once` needs no task."""

    def __init__(self, answer: Callable[[Request], Awaitable[Response]], at_once: AtOnce) -> None:
        self._answer = answer
        self.at_once = at_once

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # lifespan and websockets are not for us
            return
        await give(await self._answer(Request(scope, receive)), scope, receive, send)


def _begin(
    request: Request, body: bytes, execution: Execution, token: Token | None, tell: Callable[[Response], None]
) -> bool:
    """`_execute`, where nothing has to be refused and nothing but the step to be waited for; whether that is so."""
    subject = _let_in(request, token)
    if subject is None or not is_light(body):
        return False
    try:
        step = _parsed(request, body, subject)
    except (EnvelopeError, ValueError):
        return False

    def told(result: StepResult) -> None:
        try:
            response = Response(result.to_wire())
        except Exception:  # noqa: BLE001  there is no task that would tell
            log.exception("a call failed")
            response = _error(500, "internal error; see gha-step's log", close=True)
        tell(response)

    return execution.begin(step, told)


async def _execute(
    request: Request, execution: Execution, token: Token | None, readiness: Readiness, refused: RefusedCallers
) -> Response:
    subject = _let_in(request, token)
    if subject is None:
        refused.unproved("http", peer_of(request), UNPROVED)
        return _error(403, UNPROVED, close=True)
    if readiness.draining:
        return _error(503, "this server is stopping; call again", close=True)
    # From here on, so that a stop waits for a body that is still arriving.
    with execution.counted(), execution.room.place("") as place:
        try:
            step = await _step(request, execution.reply_within, place, subject)
        except BodyRefused as error:
            refused.refused(peer_of(request), error)
            answer = _error(error.status, str(error), close=True)
        except (EnvelopeError, ValueError) as error:
            refused.malformed("http", peer_of(request), f"not a step.execute request: {error}")
            answer = _error(400, f"not a step.execute request: {error}")
        else:
            result = await execution.execute(step, worked=place.worked)
            return Response(result.to_wire())
        await place.put_off()
        return answer


def _let_in(request: Request, token: Token | None) -> str | None:
    """Whose bearer a host's call shows, '' where none is asked for; ``None``: it is not let in."""
    if token is None:
        proved(request)
        return ""
    given = bearer(only(request.headers.getlist("authorization")))
    if given is None or not token.matches(given):
        return None
    proved(request)
    return subject_of(given, HOSTS_BEARER)


async def _step(request: Request, within: float, place: Place, subject: str) -> StepRequest:
    """:raises BodyRefused, EnvelopeError, ValueError: the body cannot be read, or is no such request."""
    body = await read_body(request, within, place=place)
    async with making(place, within):
        return _parsed(request, body, subject)


def _parsed(request: Request, body: bytes | bytearray, subject: str) -> StepRequest:
    content = parse_json(body, unique=True, most=MAX_VALUES)
    return StepRequest.parse(content, f"step.execute from {peer_of(request)}", subject)


def _text(status: int, text: str) -> Response:
    return Response(text + "\n", status, media_type="text/plain; charset=utf-8")


def _error(status: int, message: str, *, close: bool = False) -> Response:
    return json_answer(status, {"error": message}, close=close)
