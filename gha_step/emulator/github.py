"""A GitHub without sockets: `GitHub.handle` takes a request and gives the response.

What holds for every request is here: the request log, API versions, tokens, rate limits, headers, ETags. With
the clock and the run IDs given, everything it answers is determined by what it was asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import NamedTuple

from . import refusal, storage
from .api import BY_APP, Call, Operation, OperationName, RateLimit, route
from .bodies import Links, user_id
from .generation import API_2022, Generation
from .receiver import Logged, Receiver
from .refusal import Refusal
from .state import Lag, State, Token
from .wire import Json, Request, Response

EXAMPLE_REPOSITORY = "myorg/my-app"
EXAMPLE_WORKFLOW = "deploy.yml"
EXAMPLE_TOKEN = "emulator-token"  # noqa: S105 - it opens nothing but this emulator
EXAMPLE_WORKFLOW_TEXT = """\
name: Deploy
run-name: "Deploy ${{ inputs.image_tag }} to ${{ inputs.environment }}"
on:
  workflow_dispatch:
    inputs:
      environment:
        description: Where to deploy
        required: true
        type: string
      image_tag:
        description: What to deploy
        required: true
        type: string
jobs:
  deploy:
    runs-on: ubuntu-latest
    steps:
      - run: echo "deploying ${{ inputs.image_tag }} to ${{ inputs.environment }}"
"""

_RATE_WINDOW = 3600  # seconds
_DEFAULT_LIMIT = 5000  # requests in that window
_LOG_LENGTH = 20_000  # requests; a benchmark sends more than are worth remembering


class _Block(NamedTuple):
    """A rate limit that a test imposed."""

    until: float
    secondary: bool
    status: int
    retry_after: bool
    operation: OperationName | None


@dataclass(slots=True)
class _Window:
    """One token's use of the primary limit."""

    reset: float
    used: int = 0


class GitHub(State, Receiver[OperationName]):
    """A GitHub of one generation: its state (see `State`), its answers, its log and its fault plan."""

    def __init__(
        self,
        generation: str | Generation = "github.com",
        *,
        example: bool = True,
        rate_limit: int | None = None,
        now: Callable[[], float] | None = None,
        skew: float = 0.0,
        creation_lag: Lag = 0.0,
        lookup_lag: Lag = 0.0,
        listing_lag: Lag = 0.0,
        filtered_lag: Lag = 0.0,
        first_run_id: int = 17_000_000_001,
        run_id_step: int = 1,
        storage_url: str | None = None,
        lost_headers: frozenset[str] = frozenset(),
    ) -> None:
        """`example`: begin with EXAMPLE_REPOSITORY, its EXAMPLE_WORKFLOW and EXAMPLE_TOKEN, else empty.
        `rate_limit`: requests per hour and token, enforced; None: shown on github.com but never reached, and
        switched off on an Enterprise Server, as it is there by default. `lost_headers`: those of requests that a
        proxy before it takes away, in lower case. The rest as in `State`. ValueError if
        there is no such generation."""
        time = {} if now is None else {"now": now}
        super().__init__(
            **time,
            skew=skew,
            creation_lag=creation_lag,
            lookup_lag=lookup_lag,
            listing_lag=listing_lag,
            filtered_lag=filtered_lag,
            first_run_id=first_run_id,
            run_id_step=run_id_step,
            storage_url=storage_url,
        )
        self.generation = Generation.named(generation) if isinstance(generation, str) else generation
        self.rate_limit = rate_limit
        self.lost_headers = lost_headers
        Receiver.__init__(self, _LOG_LENGTH)
        self._blocks: list[_Block] = []
        self._windows: dict[str, _Window] = {}
        self._answers = 0
        if example:
            self.add_token(EXAMPLE_TOKEN)
            self.add_repository(EXAMPLE_REPOSITORY).add_workflow(EXAMPLE_WORKFLOW, EXAMPLE_WORKFLOW_TEXT)

    def limit_rate(
        self,
        seconds: float,
        *,
        secondary: bool = False,
        status: int = 403,
        retry_after: bool = True,
        operation: OperationName | None = None,
    ) -> None:
        """For so long every request (of one operation) is refused: as over the primary limit, or over a
        secondary one, whose `Retry-After` may be missing."""
        with self.lock:
            until = self.clock() + seconds
            if not secondary:  # it ends in the very second that X-RateLimit-Reset tells
                until = float(int(until))
            self._blocks.append(_Block(until, secondary, status, retry_after, operation))

    def receive(self, request: Request) -> Logged[OperationName]:
        """Enters the request in the log; no more."""
        found = route(request.method, _below_root(request.path)[1])
        name: OperationName = "unknown" if found is None else found[0].name
        headers = dict(request.headers)
        if "authorization" in headers:
            token = self._authenticated(headers["authorization"])
            headers["authorization"] = token.label if token is not None else "not a token"
        operation: OperationName = "read-storage" if request.path.startswith(storage.PATH) else name
        return self._enter(request, operation, headers, request.body)

    def answer(self, request: Request, entry: Logged[OperationName]) -> Response:
        """Processes a received request."""
        with self.lock:
            self._answers += 1
            response = self._process(request)
            entry.status = response.status
            return response

    def describe(self, url: str) -> str:
        """As `server.Emulated` asks for it."""
        return (
            f"{self.generation.name} emulated at {url}\n"
            f"token: {EXAMPLE_TOKEN}\n"
            f"repository: {EXAMPLE_REPOSITORY}, workflow: {EXAMPLE_WORKFLOW}, inputs: environment, image_tag"
        )

    def _process(self, request: Request) -> Response:
        if request.path.startswith(storage.PATH):
            return storage.read(request, self)
        if not request.headers.get("user-agent"):
            return Response(
                403,
                (("Content-Type", "text/html; charset=utf-8"),),
                b"\r\nRequest forbidden by administrative rules. Please make sure your request has a "
                b"User-Agent header (https://docs.github.com/en/rest/overview/resources-in-the-rest-api#user-agent-required"
                b"). Check https://developer.github.com for other possible causes.\r\n",
            )
        prefix, path = _below_root(request.path)
        found = route(request.method, path)
        operation = found[0] if found is not None else None
        authorization = request.headers.get("authorization")
        token = None if authorization is None else self._authenticated(authorization)
        named = "x-github-api-version"
        version = API_2022 if named in self.lost_headers else request.headers.get(named, API_2022)
        rate = self._rate(token)
        try:
            if version not in self.generation.api_versions:
                raise refusal.unknown_version(version, self.generation.api_versions)
            by_app = operation is not None and operation.name in BY_APP
            if authorization is not None and token is None and not by_app:
                raise refusal.bad_credentials(self.generation.documentation)
            if found is None or operation is None:
                raise refusal.not_found()
            rate = self._spend(token, rate, operation)
            host = request.headers.get("host", "localhost")
            site = f"{request.scheme}://{host.removeprefix('api.')}"
            links = Links(f"{request.scheme}://{host}{prefix}", site)
            response = operation.answer(Call(self, self.generation, request, found[1], token, version, links, rate))
            if request.method == "GET" and response.status == 200:
                response, rate = self._conditional(request, response, token, rate)
        except Refusal as refused:
            response = self._refused(refused, operation)
        return response.with_headers(self._common_headers(token, version, rate, operation))

    def _authenticated(self, authorization: str) -> Token | None:
        scheme, _, value = authorization.partition(" ")
        return self.token(value.strip()) if scheme.lower() in ("bearer", "token") else None

    def _rate(self, token: Token | None) -> RateLimit | None:
        if self.rate_limit is None and self.generation.enterprise is not None:
            return None
        window = self._window(token)
        limit = self.rate_limit if self.rate_limit is not None else _DEFAULT_LIMIT
        least = 0 if self.rate_limit is not None else 1
        return RateLimit(limit, max(least, limit - window.used), int(window.reset), window.used)

    def _window(self, token: Token | None) -> _Window:
        label = "" if token is None else token.value
        window = self._windows.get(label)
        if window is None or self.clock() >= window.reset:
            window = self._windows[label] = _Window(float(int(self.clock()) + _RATE_WINDOW))
        return window

    def _spend(self, token: Token | None, rate: RateLimit | None, operation: Operation) -> RateLimit | None:
        """Counts the request against the primary limit; refuses it over that or over an imposed one."""
        now = self.clock()
        self._blocks = [block for block in self._blocks if block.until > now]
        for block in self._blocks:
            if block.operation not in (None, operation.name):
                continue
            if block.secondary:
                wait = {"Retry-After": str(max(1, round(block.until - now)))} if block.retry_after else {}
                raise refusal.secondarily_limited(block.status, wait)
            raise self._over_limit(token, block.status, block.until)
        if rate is None or operation.name == "get-rate-limit":
            return rate
        window = self._window(token)
        if rate.remaining == 0:
            raise self._over_limit(token, 403, window.reset)
        window.used += 1
        return self._rate(token)

    def _over_limit(self, token: Token | None, status: int, reset: float) -> Refusal:
        limit = self.rate_limit if self.rate_limit is not None else _DEFAULT_LIMIT
        who = "127.0.0.1" if token is None else f"user ID {user_id(token.login)}"
        return refusal.rate_limited(who, status, _rate_headers(RateLimit(limit, 0, int(reset), limit)))

    def _conditional(
        self, request: Request, response: Response, token: Token | None, rate: RateLimit | None
    ) -> tuple[Response, RateLimit | None]:
        """Adds the ETag, which is the token's own, and answers 304 to a request with it, which costs nothing."""
        secret = "" if token is None else token.value
        digest = hashlib.sha256(secret.encode() + b"\0" + response.body).hexdigest()
        etag = f'W/"{digest}"'
        tagged = response.with_headers({"ETag": etag, "Cache-Control": "private, max-age=60, s-maxage=60"})
        if etag not in [one.strip() for one in request.headers.get("if-none-match", "").split(",")]:
            return tagged, rate
        if rate is not None:
            self._window(token).used -= 1
        headers = tuple((name, value) for name, value in tagged.headers if name != "Content-Type")
        return Response(304, headers), self._rate(token)

    def _refused(self, refused: Refusal, operation: Operation | None) -> Response:
        documentation = self.generation.documentation + ("" if operation is None else operation.documentation)
        body: dict[str, Json] = {
            "message": refused.message,
            **refused.more,
            "documentation_url": refused.documentation_url or documentation,
            "status": str(refused.status),
        }
        return Response.of(refused.status, body, refused.headers)

    def _common_headers(
        self, token: Token | None, version: str, rate: RateLimit | None, operation: Operation | None
    ) -> dict[str, str]:
        headers = {
            "Date": formatdate(self.clock(), usegmt=True),
            "Server": "github.com" if self.generation.enterprise is None else "GitHub.com",
            "X-GitHub-Media-Type": "github.v3; format=json",
            "X-GitHub-Request-Id": f"E000:1A2B3C:{self._answers:07X}:{int(self.clock()):08X}",
        }
        if version in self.generation.api_versions:
            headers["X-GitHub-Api-Version-Selected"] = version
        if self.generation.enterprise is not None:
            headers["X-GitHub-Enterprise-Version"] = self.generation.enterprise
        if token is not None and token.kind == "classic":
            headers["X-OAuth-Scopes"] = ", ".join(token.scopes)
            in_repository = operation is not None and "repository_id" in operation.path.groupindex
            headers["X-Accepted-OAuth-Scopes"] = "repo" if in_repository else ""
        return headers | _rate_headers(rate)


def _rate_headers(rate: RateLimit | None) -> dict[str, str]:
    if rate is None:
        return {}
    return {
        "X-RateLimit-Limit": str(rate.limit),
        "X-RateLimit-Remaining": str(rate.remaining),
        "X-RateLimit-Reset": str(rate.reset),
        "X-RateLimit-Used": str(rate.used),
        "X-RateLimit-Resource": "core",
    }


def _below_root(path: str) -> tuple[str, str]:
    """(prefix, the rest): every generation answers under `/` and `/api/v3/`, because go-github's
    WithEnterpriseURLs rule adds the prefix for a loopback address too."""
    return ("/api/v3", path[len("/api/v3") :]) if path.startswith("/api/v3/") else ("", path)
