"""``POST /github/webhook``: deliveries of GitHub's webhook become hints at runs, and nothing else.

What a delivery says is not believed, so a replayed one costs a look at most, and a forged one nothing: its signature is
judged over the raw body, before that is read as JSON.

Source: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries and
https://docs.github.com/en/webhooks/webhook-events-and-payloads#workflow_run.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Final

from gha_step.contract.json_text import parse_json
from gha_step.contract.memory import Memory
from gha_step.contract.secret import Token
from gha_step.contract.values import as_segment
from gha_step.inbound.bearer import TokenFileError, only
from gha_step.inbound.body import BodyRefused, json_answer, peer_of, read_body
from gha_step.inbound.refused_callers import RefusedCallers
from gha_step.inbound.web import Request, Response
from gha_step.steps.waking import Hint
from gha_step.telemetry import Telemetry, log

PATH: Final = b"/github/webhook"
MAX_DELIVERY: Final = 1 << 20  # bytes; GitHub itself sends up to 25 MiB, but no workflow_run is nearly as long
WITHIN: Final = 10.0  # seconds for a delivery to arrive: GitHub gives up then
AT_ONCE: Final = 16  # deliveries that are being received: nobody has shown a signature yet
APART: Final = 1.0  # seconds between two hints at one run
MOST_RUNS: Final = 10_000  # of which it is known when they were hinted at last
MAX_VALUES: Final = 20_000  # in a delivery, and keys; GitHub's have some hundreds
MAX_RUN_ID: Final = 2**63 - 1


class Webhook:
    """See `gha_step.inbound.http.Resource`. It is used in one event loop.

    :param secret: reads the secret; it is asked for each delivery, because the secret may change.
    :param hint: is told which run is said to have changed, for one run at most once in `APART` seconds.
    """

    def __init__(
        self,
        *,
        secret: Callable[[], Token],
        hint: Callable[[Hint], None],
        telemetry: Telemetry,
        refused: RefusedCallers,
    ) -> None:
        self._secret = secret
        self._hint = hint
        self._telemetry = telemetry
        self._refused = refused
        self._receiving = 0
        self._hinted: Memory[int, float] = Memory(MOST_RUNS)  # when, by the loop's clock; it may be to come
        self._coming: dict[int, Hint] = {}  # what is said then

    def owns(self, raw_path: bytes) -> bool:
        """Whether a request is this resource's to answer."""
        return raw_path == PATH

    async def answer(self, request: Request) -> Response:
        """The answer to a delivery."""
        try:
            words = await self._take(request)
        except _Refused as refused:
            self._telemetry.deliveries.add(refused.result)
            self._refused.refused(peer_of(request), f"a webhook's delivery: {refused}")
            return json_answer(refused.status, {"error": str(refused)}, close=refused.status in (403, 413, 503))
        self._telemetry.deliveries.add("hint" if words is None else "ignored")
        return json_answer(202, {"message": words or "thank you"})

    async def _take(self, request: Request) -> str | None:
        """Pass on what a delivery hints at; or why there is nothing to pass on."""
        body = await self._signed_body(request)
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise _Refused(415, "refused", "set the webhook's content type to application/json")
        event = only(request.headers.getlist("x-github-event"))
        if event != "workflow_run":
            return "only workflow_run is of use here"
        try:
            hint = _read(parse_json(body, most=MAX_VALUES))
        except ValueError as error:
            raise _Refused(400, "refused", f"the delivery is not a workflow_run in JSON: {error}") from None
        self._pass_on(hint)
        return None

    async def _signed_body(self, request: Request) -> bytes:
        if request.method != "POST":
            raise _Refused(405, "refused", "a delivery is a POST")
        given = only(request.headers.getlist("x-hub-signature-256"))
        if given is None:
            raise _Refused(403, "forged", "the X-Hub-Signature-256 is missing: give the webhook its secret")
        if self._receiving >= AT_ONCE:
            raise _Refused(503, "refused", "too many deliveries at once")
        self._receiving += 1
        try:
            body = bytes(await read_body(request, WITHIN, MAX_DELIVERY))
        except BodyRefused as error:
            raise _Refused(error.status, "refused", str(error)) from None
        finally:
            self._receiving -= 1
        try:
            secret = self._secret()
        except TokenFileError as error:
            log.error("GHA_STEP_GITHUB_WEBHOOK_SECRET_FILE: %s", error)
            raise _Refused(503, "refused", "the webhook's secret cannot be read; see gha-step's log") from None
        if not hmac.compare_digest(given.encode(), signature(body, secret).encode()):
            raise _Refused(403, "forged", "the X-Hub-Signature-256 is wrong")
        return body

    def _pass_on(self, hint: Hint) -> None:
        """At once, or when the pause since the last hint at this run is over; once for all that come meanwhile."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        last = self._hinted.get(hint.run_id, float("-inf"))
        if last > now:  # one is about to be passed on
            coming = self._coming.get(hint.run_id, hint)
            self._coming[hint.run_id] = hint._replace(ended=hint.ended or coming.ended)
            return
        self._hinted[hint.run_id] = at = max(now, last + APART)
        if at > now:
            self._coming[hint.run_id] = hint
            loop.call_at(at, lambda: self._hint(self._coming.pop(hint.run_id, hint)))
        else:
            self._hint(hint)


class _Refused(Exception):
    """A delivery that is not taken; ``result``: what the metric calls it."""

    def __init__(self, status: int, result: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.result = result


def signature(body: bytes, secret: Token) -> str:
    """What X-Hub-Signature-256 holds for a body."""
    return "sha256=" + hmac.new(secret.reveal().encode(), body, hashlib.sha256).hexdigest()


def _read(delivery: Any) -> Hint:
    """:raises ValueError: it names no run."""
    repository, run = _object(delivery, "repository"), _object(delivery, "workflow_run")
    run_id = run.get("id")
    if not isinstance(run_id, int) or isinstance(run_id, bool) or not 0 < run_id <= MAX_RUN_ID:
        raise ValueError("workflow_run.id is not a run ID")
    return Hint(
        _segment(_object(repository, "owner"), "login"),
        _segment(repository, "name"),
        run_id,
        ended=delivery.get("action") == "completed",
        dispatched=run.get("event") == "workflow_dispatch",
    )


def _object(value: Any, name: str) -> dict[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"{name} is not an object")  # noqa: TRY004  the delivery is odd, not a caller's type
    return found


def _segment(value: dict[str, Any], name: str) -> str:
    text = value.get(name)
    if not isinstance(text, str):
        raise ValueError(f"{name} is not a string")  # noqa: TRY004  as above
    return as_segment(text)
