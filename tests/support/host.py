"""A Kargo host, as far as a step can see it: how it calls, what it understands, what it forgets.

Source: facts/kargo-host.md A. It knows nothing of gha_step; time and its pace are arguments.
"""

import copy
import http.client
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

TIMEOUT: Final = 30.0  # seconds for each attempt
ATTEMPTS: Final = 3
FIRST_BACKOFF: Final = 0.25  # seconds, doubling
AGAIN_AFTER_TROUBLE: Final = 2.0  # seconds, when no attempt reached the plugin
AGAIN_BY_DEFAULT: Final = 300.0  # seconds, without retryAfter
STATUSES: Final = ("Running", "Succeeded", "Failed", "Errored", "Aborted", "Skipped")

Output = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One step of a promotion, its config as expressions leave it."""

    alias: str
    config: Any
    kind: str = "gha-dispatch-workflow"


@dataclass
class Promotion:
    """One promotion, and what the host remembers of it while its pod lives."""

    project: str
    name: str = "test.01abc.def5678"
    uid: str = "11111111-2222-4333-8444-555555555555"
    stage: str = "test"
    shared_state: dict[str, Output | None] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    never_again: bool = False

    def lose_pod(self) -> None:
        """A new pod: empty /workspace, all steps again from step 0, with the same UID and aliases."""
        self.shared_state.clear()
        self.errors.clear()


@dataclass(frozen=True)
class Heard:
    """What became of one call: the host's own view. ``retry_after``: seconds, ``None`` for never again."""

    status: str  # Running, Succeeded, Failed, Errored, Aborted or Skipped
    final: bool
    message: str
    output: Output | None
    retry_after: float | None
    answer: dict[str, Any] | None  # as it came, if one came

    @property
    def run_id(self) -> object:
        return (self.output or {}).get("runID")


class Unreached(Exception):
    """No attempt reached the plugin."""


class Terminal(Exception):
    """The call ended the step."""


class KargoHost:
    """Calls one plugin. :param pace: how much of each wait is really waited."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        pace: float = 1.0,
        timeout: float = TIMEOUT,
        poll: float | None = None,
        error_threshold: int = 1,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = urlsplit(url).netloc
        self.token = token
        self._pace = pace
        self._timeout = timeout
        self._poll = poll
        self._error_threshold = error_threshold
        self._sleep = sleep
        self._monotonic = monotonic
        self.received: list[bytes] = []  # every answer's head and body: to be searched for what must not be there

    # ---------------------------------------------------------------- one promotion

    def promote(self, promotion: Promotion, steps: Sequence[Step], within: float = 240.0) -> list[Heard]:
        """All steps in order; the last call of each. Ends with the first that does not succeed."""
        ends = []
        for step in steps:
            ends.append(self.run(promotion, step, within))
            if ends[-1].status != "Succeeded":
                break
        return ends

    def run(self, promotion: Promotion, step: Step, within: float = 240.0) -> Heard:
        """Call until the step is over. :raises AssertionError: it is not, in ``within`` seconds."""
        deadline = self._monotonic() + within
        while True:
            heard = self.call(promotion, step)
            if heard.final or heard.retry_after is None:
                return heard
            assert self._monotonic() < deadline, f"the step did not end: {heard}"
            wait = heard.retry_after if self._poll is None else min(self._poll, heard.retry_after)
            self._sleep(wait * self._pace)

    def call(self, promotion: Promotion, step: Step) -> Heard:
        """One reconciliation: up to three attempts, and what the host makes of the answer."""
        request = self.request(promotion, step)
        try:
            answer = self._post(request)
            heard = self._understand(promotion, step, answer)
        except Unreached:
            promotion.shared_state[step.alias] = None
            return Heard("Running", final=False, message="", output=None, retry_after=AGAIN_AFTER_TROUBLE, answer=None)
        except Terminal as error:
            return Heard("Errored", final=True, message=str(error), output=None, retry_after=None, answer=None)
        promotion.shared_state[step.alias] = heard.output
        return heard

    def request(self, promotion: Promotion, step: Step) -> dict[str, Any]:
        """The body of one call. What is empty is left out; what a call lost is null once, and then absent."""
        state = copy.deepcopy(promotion.shared_state)
        for alias in [alias for alias, output in promotion.shared_state.items() if output is None]:
            del promotion.shared_state[alias]
        strings = {
            "uiBaseURL": "https://kargo.example.com",
            "workDir": "/workspace",
            "alias": step.alias,
            "project": promotion.project,
            "stage": promotion.stage,
            "promotion": promotion.name,
            "promotionUID": promotion.uid,
            "promotionActor": "",
        }
        objects = {"sharedState": state, "config": step.config, "freightRequests": []}
        context = {name: value for name, value in (strings | objects).items() if value}
        context |= {"freight": {"name": "", "origin": {}}, "targetFreightRef": {}}
        return {"context": context, "step": {"kind": step.kind, "alias": step.alias, "config": step.config}}

    # ---------------------------------------------------------------- the wire

    def _post(self, request: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps(request).encode()
        backoff = FIRST_BACKOFF
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(backoff * self._pace)
                backoff *= 2
            try:
                status, answer = self._once(body)
            except (TimeoutError, ConnectionRefusedError):
                continue
            except (OSError, http.client.HTTPException) as error:
                raise Terminal(f"error calling the plugin: {type(error).__name__}") from None
            if status == 503:
                continue
            if status == 404:
                raise Terminal("plugin does not implement step.execute")
            if status != 200:
                raise Terminal(f"the plugin answered {status}: {answer[:500].decode(errors='replace')}")
            try:
                decoded = json.loads(answer)
            except ValueError:
                raise Terminal("the answer is no JSON") from None
            if not isinstance(decoded, dict):
                raise Terminal("the answer is no object")
            return decoded
        raise Unreached

    def _once(self, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.address, timeout=self._timeout)
        try:
            connection.connect()
            connection.auto_open = 0
            headers = {"Content-Type": "application/json"}
            if self.token is not None:
                headers["Authorization"] = f"Bearer {self.token}"
            connection.request("POST", "/api/v1/step.execute", body, headers)
            response = connection.getresponse()
            answer = response.read()
            self.received.append(str(response.headers).encode() + answer)
            return response.status, answer
        finally:
            connection.close()

    # ---------------------------------------------------------------- what it means

    def _understand(self, promotion: Promotion, step: Step, answer: dict[str, Any]) -> Heard:
        """The table "plugin returns → effect" of the facts."""
        status, message, error = answer.get("status"), answer.get("message") or "", answer.get("error") or ""
        output = answer.get("output")
        if status not in STATUSES:
            raise Terminal(f"the plugin returned an invalid status {status!r}")
        if not isinstance(output, dict | None):
            raise Terminal("output is no object")
        wait = _duration(answer.get("retryAfter"))

        def heard(status: str, *, final: bool) -> Heard:
            again = None if final or wait == 0 else AGAIN_BY_DEFAULT if wait is None else wait
            return Heard(status, final, message or error, output, again, answer)

        if status == "Failed" and (message or error):
            if not error or answer.get("terminal") is True:
                return heard("Failed", final=True)
            return self._counted(promotion, step, heard("Failed", final=False))
        if status == "Failed":
            return heard("Running", final=False)
        if status == "Errored" or error:
            if answer.get("terminal") is True:
                return heard("Errored", final=True)
            return self._counted(promotion, step, heard("Errored", final=False))
        return heard(status, final=status != "Running")

    def _counted(self, promotion: Promotion, step: Step, heard: Heard) -> Heard:
        """An error that counts; below the threshold the call is repeated almost at once."""
        promotion.errors[step.alias] = promotion.errors.get(step.alias, 0) + 1
        over = promotion.errors[step.alias] >= self._error_threshold
        return Heard(heard.status, over, heard.message, heard.output, None if over else 0.1, heard.answer)


_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")


def _duration(value: object) -> float | None:
    """A Go duration string, as Go's JSON decoder wants it: a number is an error, and that is terminal."""
    if value is None:
        return None
    parts = _PART.findall(value) if isinstance(value, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise Terminal(f"retryAfter is no duration: {value!r}")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
