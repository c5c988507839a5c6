"""The REST resource that stock Kargo's ``http`` step calls: one promotion step per path, re-sent until it is over.

    PUT /api/v1/projects/{project}/dispatches/{promotion}/{alias}
    PUT /api/v1/projects/{project}/waits/{promotion}/{alias}
    PUT /api/v1/projects/{project}/cancels/{promotion}/{alias}

Source: facts/stock-kargo.md. Final results are answered with 200, or with 4xx if the caller is not authenticated; 503
makes the ``http`` step ask again. The path is decoded once and checked first; the bearer is checked before the body is
read.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import unquote_to_bytes

from gha_step.contract.errors import SecretsUnavailable, Unavailable
from gha_step.contract.json_text import parse_json
from gha_step.contract.memory import Memory
from gha_step.contract.request import Asked, Caller, Step, StepRequest
from gha_step.contract.result import Status, StepResult
from gha_step.credentials.secrets import is_namespace_name, is_object_name
from gha_step.inbound.bearer import bearer, only, subject_of
from gha_step.inbound.body import MAX_VALUES, BodyRefused, json_answer, making, peer_of, read_body
from gha_step.inbound.connections import proved
from gha_step.inbound.execution import Execution
from gha_step.inbound.promotions import NoPromotion, Promotions
from gha_step.inbound.refused_callers import RefusedCallers
from gha_step.inbound.rest.project_tokens import KEY, SECRET, ProjectTokens
from gha_step.inbound.room import Place
from gha_step.inbound.web import Request, Response
from gha_step.runtime import Clock, Workers
from gha_step.steps.cancel import config as cancel_workflow
from gha_step.steps.dispatch import config as dispatch_workflow
from gha_step.steps.wait import config as wait_for_workflow
from gha_step.telemetry import Telemetry, log, subject

ROOT: Final = b"/api/v1/projects/"
ACTOR: Final = "x-promotion-actor"  # a template may send ctx.meta.promotion.actor: Kargo's http step sends nothing
ANSWER_WITHIN: Final = 0.9  # seconds, without the time to read the body: Kargo blocks one of four workers meanwhile
MAX_CONFIG: Final = 1 << 20  # bytes of a step's config, whose inputs have 65,535 characters: memory is shared by all
LATE_UID: Final = 30.0  # seconds for which a UID that came too late serves the next call: Kargo's comes after 10
MAX_ALIAS: Final = 253  # characters
KINDS: Final = {
    b"dispatches": dispatch_workflow.KIND,
    b"waits": wait_for_workflow.KIND,
    b"cancels": cancel_workflow.KIND,
}
RECORDED: Final = (dispatch_workflow.KIND, cancel_workflow.KIND)  # in the ledger, where a record is one Promotion's

UNPROVED: Final = (
    "the bearer token is missing, or is not that of this project: send the value of the key "
    f"{KEY} of the Secret {SECRET} in the project's own namespace"
)
_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
T = TypeVar("T")


@dataclass(frozen=True)
class Address:
    """Which promotion step a path names."""

    resource: str
    kind: str
    project: str
    promotion: str
    alias: str

    @classmethod
    def parse(cls, raw_path: bytes) -> "Address":
        """The address in a path as it came over the wire.

        :raises ValueError: with what is wrong; the caller's text is not repeated.
        """
        parts = raw_path.removeprefix(ROOT).split(b"/")
        if not raw_path.startswith(ROOT) or len(parts) != 4 or parts[1] not in KINDS:
            known = " or ".join(f"{ROOT.decode()}PROJECT/{name.decode()}/PROMOTION/ALIAS" for name in KINDS)
            raise ValueError(f"there is no such resource; the paths are {known}")
        project, promotion, alias = (_decoded(parts[n]) for n in (0, 2, 3))
        if project is None or not is_namespace_name(project):
            raise ValueError("the project in the path is not a valid namespace name")
        if promotion is None or not is_object_name(promotion):
            raise ValueError("the promotion in the path is not a valid Promotion name")
        if alias is None or not _is_alias(alias):
            raise ValueError(
                f"the alias in the path is not valid: at most {MAX_ALIAS} printable characters without / \\ and %"
            )
        return cls(parts[1].decode(), KINDS[parts[1]], project, promotion, alias)

    def caller(self, promotion_uid: str, asked: Asked) -> Caller:
        """The caller, whose project is proved. Stock Kargo sends only the name of its Promotion."""
        parts = (self.project, "caller", self.promotion, self.alias)
        return Caller(parts, self.promotion, promotion_uid, proved=True, asked=asked)


def _decoded(segment: bytes) -> str | None:
    if _ESCAPE.search(segment):
        return None
    try:
        return unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        return None


def _is_alias(text: str) -> bool:
    # Kargo accepts any text as an alias; inside a task it is TASK::STEP.
    return 0 < len(text) <= MAX_ALIAS and text.isprintable() and not set(text) & set("/\\%") and text.strip(".") != ""


class ProjectApi:
    """The resource.

    :param promotions: reads UIDs of Promotions; ``None``: they stay unknown.
    :param draining: whether this server is about to stop.
    :param waits: is told of each Promotion that waits for a run.
    """

    def __init__(
        self,
        execution: Execution,
        tokens: ProjectTokens,
        promotions: Promotions | None,
        *,
        workers: Workers,
        clock: Clock,
        telemetry: Telemetry,
        refused: RefusedCallers,
        draining: Callable[[], bool],
        waits: Callable[[int, str, str], None] = lambda run_id, project, promotion: None,
    ) -> None:
        self._execution = execution
        self._tokens = tokens
        self._promotions = promotions
        self._workers = workers
        self._clock = clock
        self._telemetry = telemetry
        self._refused = refused
        self._draining = draining
        self._waits = waits
        self._late: dict[str, tuple[float, str]] = Memory()  # UIDs that arrived after their call, and when it asked
        self._within = min(ANSWER_WITHIN, execution.reply_within)

    def owns(self, raw_path: bytes) -> bool:
        """Whether a request is this resource's to answer."""
        return raw_path.startswith(ROOT)

    async def answer(self, request: Request) -> Response:
        """The answer to any request below ``/api/v1/projects/``."""
        response, resource = await self._answer(request)
        self._telemetry.project_requests.add(resource, str(response.status))
        return response

    async def _answer(self, request: Request) -> tuple[Response, str]:
        try:
            address = Address.parse(request.scope["raw_path"])
        except ValueError as error:
            return self._no_call(request, str(error)), "none"
        if request.scope["query_string"]:  # `as: a?1` and `as: a?2` would be one step, and the second never sent
            why = "the path must not have a query; write a ? in an alias as %3F, or do not use it"
            return self._no_call(request, why), address.resource
        if request.method != "PUT":
            return self._no_call(request, f"{request.method[:20]} is not supported; use PUT"), address.resource
        if self._draining():
            return _told(503, "this server is stopping; call again", close=True), address.resource
        with self._execution.counted(), self._execution.room.place(address.project) as place:
            return await self._put(request, address, place), address.resource

    def _no_call(self, request: Request, why: str) -> Response:
        self._refused.malformed("rest", peer_of(request), why)
        return _told(404, why)

    async def _put(self, request: Request, address: Address, place: Place) -> Response:
        peer, whose = peer_of(request), subject((address.project, address.alias), address.promotion)
        deadline = self._clock.monotonic() + self._within
        given = bearer(only(request.headers.getlist("authorization")))
        try:
            why = await self._tokens.objection(address.project, given, deadline) if given else "it sent no bearer token"
        except SecretsUnavailable as error:
            log.warning("a call for the project %s was answered 503: %s", address.project, error, extra=whose)
            return _told(503, "the bearer token cannot be checked now; call again", close=True)
        if why is not None:
            self._refused.unproved("rest", peer, f"project {address.project}: {why}", whose)
            return _told(401, UNPROVED, close=True)
        proved(request)
        asked = self._clock.monotonic()
        refusal: Response | None = None
        try:
            config = await _config(request, self._execution.reply_within, place)
        except BodyRefused as error:
            self._refused.refused(peer, error, whose)
            refusal = _told(error.status, str(error), close=True)
        except ValueError as error:
            refusal = self._failed(address, whose, str(error))
        if refusal is not None:
            await place.put_off()
            return refusal
        deadline += self._clock.monotonic() - asked
        uid = ""
        if self._promotions is not None and address.kind in RECORDED:
            try:
                uid = await self._uid(self._promotions, address, deadline)
            except NoPromotion as error:
                return self._failed(address, whose, f"nothing was dispatched or cancelled: {error}")
            except Unavailable as error:
                log.warning("a call was answered 503: %s", error, extra=whose)
                return _told(503, f"{error}: call again")
        whose_token = subject_of(given or "", f"the Secret {SECRET} of {address.project}")
        asked_by = Asked(request.headers.get(ACTOR, ""), f"REST from {peer}", whose_token)
        call = StepRequest(address.caller(uid, asked_by), Step(kind=address.kind, config=config))
        result = await self._execution.execute(call, deadline, worked=place.worked)
        if result.waits_for is not None:
            self._waits(result.waits_for, address.project, address.promotion)
        return _result(result)

    def _failed(self, address: Address, whose: dict[str, Any], message: str) -> Response:
        """The result of a step that was not executed; counted and logged like the others."""
        self._telemetry.step(address.kind, Status.FAILED, 0.0)
        log.warning("%s: %s %s", address.kind, Status.FAILED, message, extra=whose)
        return _result(StepResult.failed(message))

    async def _uid(self, promotions: Promotions, address: Address, deadline: float) -> str:
        whose = f"{address.project}/{address.promotion}"
        asked = self._clock.monotonic()
        begun, uid = self._late.pop(whose, (0.0, ""))
        if uid and asked - begun < LATE_UID:
            return str(uid)
        job = self._workers.spawn(lambda: promotions.uid(address.project, address.promotion), address.project)
        answered = asyncio.ensure_future(asyncio.wrap_future(job))
        done, _ = await asyncio.wait([answered], timeout=max(0.0, deadline - self._clock.monotonic()))
        if done:
            return answered.result()

        def keep(late: "asyncio.Future[str]") -> None:
            if not late.cancelled() and late.exception() is None:
                self._late[whose] = asked, late.result()

        answered.add_done_callback(keep)
        if job.cancel():
            raise Unavailable("busy: no worker is free at the moment")
        # The read goes on; the next call may use its UID, once.
        raise Unavailable(f"project {address.project}: reading the Promotion {address.promotion} takes too long")


async def _config(request: Request, within: float, place: Place) -> dict[str, Any]:
    """:raises BodyRefused: see `read_body`. :raises ValueError: it is no config; the words are for the caller."""
    body = await read_body(request, within, MAX_CONFIG, place=place)
    try:
        async with making(place, within):
            config = parse_json(body, unique=True, most=MAX_VALUES)
    except ValueError as error:
        raise ValueError(f"the body must be the step's config as JSON: {error}") from None
    if not isinstance(config, dict):
        raise ValueError("the body must be the step's config: a JSON object")  # noqa: TRY004  as all it can be told
    return config


def _told(status: int, message: str, *, close: bool = False) -> Response:
    return json_answer(status, {"message": message}, close=close)


def _result(result: StepResult) -> Response:
    """Flat, as expressions read it: ``response.body.runID``. An ID is text: a template may do arithmetic in floats."""
    content: dict[str, Any] = result.output_to_wire()
    if "status" in content:  # GitHub's of a run, beside the step's own
        content["runStatus"] = content.pop("status")
    if "runID" in content:
        content["runID"] = str(content["runID"])
    return json_answer(200, {"status": result.status, "message": result.message or "", **content})
