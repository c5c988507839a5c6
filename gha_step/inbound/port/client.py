"""The client of Port's REST API: one request per call, with the process's only token, over kept-alive connections.

It keeps the token and Port's rate limits, bounds every response and removes secrets from it. It repeats a request at
most once: if Port refused its token, or if it is a GET and a kept connection broke. Callers interpret the response.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from gha_step.contract.json_text import compact_json
from gha_step.contract.secret import Token
from gha_step.github.connection import Connector
from gha_step.github.endpoint import Endpoint, is_loopback, resolve_endpoint
from gha_step.github.errors import BadEndpoint, TooLarge, Unclear, Unreachable, Untrusted
from gha_step.github.exchange import Exchange, Unfit
from gha_step.github.messages import USER_AGENT, Answer, Request, shown
from gha_step.inbound.port.connections import Connections, Kept
from gha_step.inbound.port.errors import Limited, LoginRefused, Lost, NotSent
from gha_step.inbound.port.flights import Flights
from gha_step.inbound.port.limits import wait_of
from gha_step.inbound.port.tokens import Grant, TokenKeeper, read_grant
from gha_step.large_answers import SMALL, LargeAnswers, Place
from gha_step.runtime import Clock, Workers

ANSWER_WITHIN: Final = 30.0  # seconds
TOKEN_WITHIN: Final = 45.0  # seconds: to connect, and for the answer
MAX_BODY: Final = 2 << 20  # a run with its payload; Port takes no body over 1 MiB
MAX_LISTING: Final = 8 << 20  # claims and listings hold up to a thousand runs
NO_WORDS: Final = "no words"
TOKEN: Final = "token"  # noqa: S105  the name of a route
US_API: Final = "https://api.us.port.io"
DEFAULT_API: Final = "https://api.port.io"
_PORT: Final = "Port"  # under this name its large answers are read: one at a time, with a pause after each
T = TypeVar("T")
_RESERVED: Final = ("x-port-reserved-usage", "true")  # what Port's own integration sends with claims and acks


@dataclass(frozen=True)
class PortCredentials:
    """A client ID and its secret, as the Secret has them now. ``source``: that Secret, in messages."""

    client_id: str
    client_secret: Token
    source: str = "the Secret of GHA_STEP_PORTIO_SECRET"


def port_endpoint(url: str) -> Endpoint:
    """Where Port's API is: scheme and host. :raises BadEndpoint: saying what is wrong."""
    endpoint = resolve_endpoint(url, allow_http=True)
    if not endpoint.tls and not is_loopback(endpoint.host):  # whatever GHA_STEP_ALLOW_HTTP says of GitHub
        raise BadEndpoint(f"must start with https:// (plain http to {endpoint.host} would expose the client secret)")
    if urlsplit(url.strip()).path.strip("/"):
        raise BadEndpoint(f"must be scheme and host only, such as {DEFAULT_API}")
    base = f"{'https' if endpoint.tls else 'http'}://{endpoint.authority}"
    return replace(endpoint, path="", base=base, named_by="GHA_STEP_PORTIO_API")


class PortClient:
    """See the module.

    :param credentials: reads them anew; what it raises is raised.
    :param workers: to wait with for a token that another thread asks for; none is started.
    :param observe: hears of each request: the route's name, and its status or `unreachable`, `lost`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Callable[[], PortCredentials],
        *,
        connector: Connector,
        clock: Clock,
        workers: Workers,
        observe: Callable[[str, str], None] = lambda route, result: None,
    ) -> None:
        self.endpoint = endpoint
        self._credentials = credentials
        self._connector = connector
        self._clock = clock
        self._observe = observe
        self._connections = Connections(clock)
        self._large = LargeAnswers(clock)
        self._lock = threading.Lock()
        self._keeper = TokenKeeper()
        self._kept_for: PortCredentials | None = None
        self._no_token: tuple[type[NotSent], str] | None = None
        self._flights: Flights[PortCredentials, Token] = Flights(workers)
        self._held_until = {False: float("-inf"), True: float("-inf")}  # by whether it is for a token

    @property
    def grant(self) -> Grant | None:
        """The token's own words about itself, once there was one."""
        return self._keeper.grant

    def ask(self, route: str, method: str, target: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Port's answer, of whatever status but 401, 408, 429 and 5xx. Parameters and errors as for `read`."""
        return self.read(lambda answer: answer, route, method, target, body)

    def read(
        self,
        parse: Callable[[Answer], T],
        route: str,
        method: str,
        target: str,
        body: Mapping[str, Any] | None = None,
        *,
        reserved: bool = False,
        max_body: int = MAX_BODY,
    ) -> T:
        """What ``parse`` finds in the answer that `ask` gives: of a large one, nothing else is kept.

        :param parse: it asks for nothing.
        :param route: its name, for metrics and messages.
        :raises NotSent: it has not happened (`Limited`, `LoginRefused` among them).
        :raises Lost: it may have happened.
        """
        token = self._token()
        with self._large.place(_PORT) as place:

            def send(token: Token) -> Answer:
                headers = [("Authorization", f"Bearer {token.reveal()}"), *([_RESERVED] if reserved else [])]
                answer = self._send(route, method, target, headers, body, max_body, place)
                place.read()
                return answer.hiding(token)

            answer = send(token)
            if answer.status == 401:
                refusal = f"the token is refused ({words(answer)})"
                place.leave()
                token = self._token(token, refusal)
                answer = send(token)
                if answer.status == 401:
                    with self._lock:
                        self._keeper.refused(token)
                    raise LoginRefused(f"{self._host}: the token is refused ({words(answer)})", 60.0)
            with self._lock:
                self._keeper.accepted(token)
            if answer.status >= 500 or answer.status < 200 or answer.status == 408:
                raise Lost(f"{self._host} answered {answer.status} to {route} ({words(answer)})")
            return parse(answer)

    def _token(self, instead_of: Token | None = None, why: str = "no token") -> Token:
        """The token that holds, or a new one: who comes meanwhile waits for it. :raises NotSent: there is none now."""
        credentials = self._credentials()
        if (token := self._kept_token(credentials, instead_of)) is not None:
            return token
        try:
            return self._flights.share(credentials, lambda: self._new_token(credentials, why), TOKEN_WITHIN)
        except TimeoutError:
            raise NotSent(f"{self._host}: the token is being asked for", 1.0) from None

    def _kept_token(self, credentials: PortCredentials, instead_of: Token | None) -> Token | None:
        with self._lock:
            if credentials != self._kept_for:
                self._keeper = TokenKeeper()  # all that is known is of other credentials
                self._kept_for, self._no_token = credentials, None
            if instead_of is not None:
                self._keeper.refused(instead_of)
            return self._keeper.current(self._clock.monotonic())

    def _new_token(self, credentials: PortCredentials, why: str) -> Token:
        if (token := self._kept_token(credentials, None)) is not None:
            return token  # it has come just now
        with self._lock:
            now = self._clock.monotonic()
            if (wait := self._keeper.wait(now)) > 0:
                kind, why = self._no_token or (LoginRefused, f"{self._host}: {why}")
                raise kind(f"{why}; a token is asked for again in {wait:.0f} s", wait)
            self._keeper.asks(now)
        try:
            grant = self._ask_for_token(credentials)
            self._no_token = None
        except NotSent as error:  # until it is asked for again, this is why there is none
            self._no_token = type(error), str(error)
            raise
        with self._lock:
            if credentials == self._kept_for:
                self._keeper.given(grant, self._clock.monotonic())
        return grant.token

    def _ask_for_token(self, credentials: PortCredentials) -> Grant:
        body = {"clientId": credentials.client_id, "clientSecret": credentials.client_secret.reveal()}
        try:
            answer = self._send(TOKEN, "POST", "/v1/auth/access_token", [], body, SMALL)
        except Lost as error:  # what the token was wanted for was not sent
            raise NotSent(f"no token: {error}", 60.0) from None
        if answer.status != 200:
            answer = answer.hiding(credentials.client_secret)
        if answer.status != 200 and not _refuses_login(answer):
            raise NotSent(f"{self._host} answered {answer.status} to a request for a token ({words(answer)})", 60.0)
        if answer.status != 200:
            hint = "; organisations in the US use GHA_STEP_PORTIO_API=" + US_API
            raise LoginRefused(
                f"{self._host} refuses the client ID and secret: {answer.status} ({words(answer)}): correct clientId "
                f"and clientSecret in {credentials.source}" + (hint if self.endpoint.base == DEFAULT_API else ""),
                60.0,
            )
        try:
            return read_grant(answer.body)
        except ValueError as error:
            raise NotSent(
                f"{self._host} answered 200 to a request for a token, but the answer cannot be used: {error}", 60.0
            ) from None

    def _send(
        self,
        route: str,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: Mapping[str, Any] | None,
        max_body: int,
        place: Place | None = None,
    ) -> Answer:
        self._check_hold(route)
        # Half of a surrogate pair, which a workflow's output may hold, goes as it came: as an escape.
        content = b"" if body is None else compact_json(body).encode(errors="backslashreplace")
        sent = [] if body is None else [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        request = Request(
            method=method,
            target=target,
            headers=[
                ("Host", self.endpoint.authority),
                ("User-Agent", USER_AGENT),
                ("Accept", "application/json"),
                *headers,
                *sent,
            ],
            body=content,
        )
        try:
            answer = self._exchange(route, request, max_body, place)
        except Lost:
            self._observe(route, "lost")
            raise
        except NotSent:
            self._observe(route, "unreachable")
            raise
        self._observe(route, str(answer.status))
        if (wait := wait_of(answer)) is not None:
            with self._lock:
                self._held_until[route == TOKEN] = self._clock.monotonic() + wait
            if answer.status == 429:
                raise Limited(f"rate limited by {self._host}", wait)
        return answer

    def _check_hold(self, route: str) -> None:
        with self._lock:
            left = self._held_until[route == TOKEN] - self._clock.monotonic()
        if left > 0:
            raise Limited(f"rate limited by {self._host}; no requests for {left:.0f} s", left)

    def _exchange(self, route: str, request: Request, max_body: int, place: Place | None) -> Answer:
        try:
            answer = self._answer(route, request, max_body, place)
        except (Unreachable, Untrusted) as error:
            raise NotSent(str(error)) from None
        except Unfit:
            raise NotSent(f"{route}: a request that HTTP cannot carry") from None
        except Unclear as error:
            raise Lost(f"{self._host}, {route}: {error}") from None
        if answer is None:
            raise Lost(f"{self._host} did not answer {route} within {ANSWER_WITHIN:.0f} s")
        return answer

    def _answer(self, route: str, request: Request, max_body: int, place: Place | None) -> Answer | None:
        # A token that is lost is asked for again after a minute: it is not risked.
        kept = self._connections.take() if route != TOKEN else None
        if kept is not None:
            try:
                return self._answer_over(kept, request, max_body, place)
            except TooLarge:
                raise
            except Unclear:  # Port may have closed it before it saw the request, or have done what was asked
                self._connections.broke(kept)
                if request.method != "GET":
                    raise
        fresh = Kept(self._connector.connect(self.endpoint), self._clock.boottime())
        return self._answer_over(fresh, request, max_body, place)

    def _answer_over(self, kept: Kept, request: Request, max_body: int, place: Place | None) -> Answer | None:
        grow = None if place is None else place.grow
        exchange = Exchange(kept.connection, self._clock, max_body=max_body, max_kept=max_body, grow=grow)
        may_go_on = False
        try:
            exchange.send(request)
            answer = exchange.receive(ANSWER_WITHIN)
            may_go_on = answer is not None and exchange.may_go_on
        finally:
            if may_go_on:
                self._connections.give(kept)
            else:
                exchange.close()
        return answer

    def close(self) -> None:
        """Close the connections that wait for their next request."""
        self._connections.close()

    @property
    def _host(self) -> str:
        return self.endpoint.host


def _refuses_login(answer: Answer) -> bool:
    """Whether Port itself refuses: a redirect, or a page without Port's words, comes from something before it."""
    return answer.status in (401, 404, 422) or (400 <= answer.status < 500 and words(answer) != NO_WORDS)


def words(answer: Answer) -> str:
    """Port's own words of a refusal, for a message: bounded, on one line."""
    try:
        body = answer.json()
    except ValueError:
        return NO_WORDS
    if not isinstance(body, dict):
        return NO_WORDS
    parts = [value for name in ("error", "message") if isinstance(value := body.get(name), str) and value]
    return shown(": ".join(parts), 500) if parts else NO_WORDS
