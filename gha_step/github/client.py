"""Every request to GitHub except the dispatch: sent once over a fresh connection, metered, and within rate limits.

What applies to all of them is here and nowhere else: the API version that the server supports, rate limits, metrics,
and removing the token from responses. It follows no redirect. It repeats a request only if the server refused its
version, or a token that the server does not know yet.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode

from gha_step.contract.json_text import compact_json
from gha_step.contract.secret import Token
from gha_step.github.connection import Connector
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import RateLimited, TooLarge, Unclear
from gha_step.github.exchange import Exchange, Unfit
from gha_step.github.messages import (
    USER_AGENT,
    VERSION_HEADER,
    Answer,
    Request,
    error_body,
    headers,
    retry_after,
    time_of_day,
)
from gha_step.github.rate_limits import RateLimits
from gha_step.github.refusals import Asked, may_pass, pause, rate_limit, read_refusal, refuses_version
from gha_step.github.server_capabilities import ServerCapabilities
from gha_step.large_answers import LargeAnswers, Place, is_too_much
from gha_step.runtime import Clock, share_of_this_thread
from gha_step.telemetry import Telemetry

if TYPE_CHECKING:
    from gha_step.github.artifacts import Stored

ANSWER_WITHIN: Final = 10.0  # seconds
MAX_BODY: Final = {  # bytes, by the name of the request: a run takes some 20 kB with its repository, a job 5 kB
    "runs": 4 << 20,
    "jobs": 4 << 20,
    "workflow_file": 2 << 20,  # 1 MiB in base64
}
MAX_BODY_ELSEWHERE: Final = 1 << 20
PAGES: Final = (100, 50, 25, 12)  # sizes: the first is the most that GitHub gives
T = TypeVar("T")


def in_smaller_pages(read: Callable[[int], T]) -> T:
    """What ``read`` finds with the largest pages that the server can serve; each time it begins again at page 1.

    GitHub answers 502 to 100 jobs of a large run, where 30 work.
    """
    for size in PAGES[:-1]:
        try:
            return read(size)
        except TooLarge:
            continue
    return read(PAGES[-1])


class Client:
    """Asks GitHub. Every answer is without the token. What it learns of servers and limits is for dispatches, too."""

    def __init__(self, connector: Connector, clock: Clock, telemetry: Telemetry) -> None:
        self._connector = connector
        self._clock = clock
        self.servers = ServerCapabilities(clock)
        self.rate_limits = RateLimits()
        self._telemetry = telemetry
        self._large = LargeAnswers(clock)

    def place(self, endpoint: Endpoint) -> Place:
        """For one answer of that server that may be large, to be left. It is the project's that it is asked for: one
        project may name any number of servers."""
        return self._large.place(share_of_this_thread() or endpoint.authority)

    def get(self, name: str, asked: Asked, path: str, token: Token, *, etag: str | None = None) -> Answer:
        """The answer to ``GET path`` below the API base, whatever its status but a rate limit.

        :param name: of the request, for metrics and bounds.
        :param asked: what it is for, for messages.
        :param etag: of an earlier answer to this very request: 304 says that nothing has changed since.
        :raises RateLimited: for now; or nothing was asked, because GitHub asked to wait before.
        :raises Unreachable: no connection.
        :raises Untrusted: the certificate.
        :raises TooLarge: the answer is longer than such an answer can be.
        :raises Unclear: no answer that can be read within ten seconds.
        """
        return self.read(name, asked, path, token, lambda answer: answer, etag=etag, any_status=True)

    def read(
        self,
        name: str,
        asked: Asked,
        path: str,
        token: Token,
        parse: Callable[[Answer], T],
        parameters: Mapping[str, str] | None = None,
        *,
        etag: str | None = None,
        any_status: bool = False,
    ) -> T:
        """What ``parse`` finds in a 200, or with ``etag`` in a 304: of a large answer, nothing else is kept.

        Parameters and errors as for `get`.

        :param parse: it asks for nothing.
        :param any_status: or in an answer of any other status.
        :raises GitHubError: what `read_refusal` makes of any other answer.
        """
        query = f"?{urlencode(parameters)}" if parameters else ""
        given = [] if etag is None else [("If-None-Match", etag)]
        tries = 0
        while True:
            begun = self._clock.monotonic()
            with self.place(asked.endpoint) as place:
                answer = self._ask(name, asked, "GET", path + query, token, token, given, b"", place)
                refused = answer.status in (401, 403)
                if not refused or not may_pass(answer.status, error_body(answer).message, asked, token, begun):
                    if not (any_status or answer.status == 200 or (answer.status == 304 and etag is not None)):
                        raise read_refusal(answer, asked, token)
                    return parse(answer)
            tries += 1
            self._clock.sleep(pause(tries))

    def post(
        self,
        name: str,
        asked: Asked,
        path: str,
        token: Token,
        body: Mapping[str, Any],
        *,
        owner: Token | tuple[str, ...],
    ) -> Answer:
        """The answer to ``POST path`` with ``body`` as JSON. For what may be done twice: a dispatch may not.

        Parameters and errors as for `get`; after `Unclear` it may have been done.

        :param token: may be an App's JWT, which is new each time: so limits are kept by ``owner``.
        """
        with self.place(asked.endpoint) as place:
            return self._ask(name, asked, "POST", path, token, owner, [], compact_json(body).encode(), place)

    def fetch(
        self,
        name: str,
        asked: Asked,
        stored: "Stored",
        secrets: tuple[Token, ...],
        most: int,
        parse: Callable[[Answer], T],
    ) -> T:
        """What ``parse`` finds in the answer to a GET of what GitHub's redirect leads to: without token and headers.

        Errors as for `get`, but no rate limits: it is no request to GitHub.

        :param secrets: what nothing that is read in the answer shows.
        :param most: bytes.
        """
        endpoint = stored.endpoint
        given = {"Host": endpoint.authority, "Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}
        request = Request("GET", stored.target.reveal(), [*given.items(), ("Connection", "close")], b"")
        with self.place(endpoint) as place:
            answer = self._metered(name, asked, endpoint, request, place, most)
            place.read()
            return parse(Answer(answer.status, {}, answer.body, secrets))

    def _ask(
        self,
        name: str,
        asked: Asked,
        method: str,
        target: str,
        token: Token,
        owner: Token | tuple[str, ...],
        given: list[tuple[str, str]],
        content: bytes,
        place: Place,
    ) -> Answer:
        endpoint = asked.endpoint
        self._check_hold(asked, owner)
        if content:
            given = [*given, ("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        while True:
            dialect = self.servers.dialect_to_read(endpoint)
            request = Request(
                method=method,
                target=f"{endpoint.path}{target}",
                headers=[
                    ("Host", endpoint.authority),
                    *headers(token, dialect).items(),
                    *given,
                    ("Connection", "close"),
                ],
                body=content,
            )
            place.leave()
            answer = self._metered(name, asked, endpoint, request, place, MAX_BODY.get(name, MAX_BODY_ELSEWHERE))
            self._telemetry.github_budget(endpoint.host, answer.headers)
            place.read()
            answer = answer.hiding(token)
            self.servers.saw(endpoint, answer.headers, dialect)
            if dialect.version is None or not refuses_version(answer, asked):
                break
            self.servers.refused(endpoint, dialect, VERSION_HEADER)
        return self._within_limits(answer, asked, owner)

    def _check_hold(self, asked: Asked, owner: Token | tuple[str, ...]) -> None:
        """:raises RateLimited: GitHub has asked to wait, and that is not over."""
        hold = self.rate_limits.hold(asked.endpoint, owner)
        now = self._clock.monotonic()
        if (left := hold.until - now) > 0:
            until = time_of_day(self._clock.now() + left)
            message = f"{asked.subject}: rate limited by {asked.endpoint.host}; no requests until {until}"
            raise RateLimited(message, hold.asked(now), pause=left)

    def _within_limits(self, answer: Answer, asked: Asked, owner: Token | tuple[str, ...]) -> Answer:
        """``answer``, if it is none of a rate limit. :raises RateLimited: it is."""
        endpoint, now = asked.endpoint, self._clock.monotonic()
        body = error_body(answer) if answer.status >= 400 else None
        if body is not None and (limited := rate_limit(answer, body, asked)):
            limited.retry_after = self.rate_limits.limited(endpoint, owner, limited.wait, now).until - now
            raise limited
        after = retry_after(answer)
        if answer.status >= 500 and after is not None:  # a 503 may ask to wait as a limit does
            self.rate_limits.limited(endpoint, owner, after, now)
        else:
            self.rate_limits.answered(endpoint, owner)
        return answer

    def _metered(
        self, name: str, asked: Asked, endpoint: Endpoint, request: Request, place: Place, most: int
    ) -> Answer:
        begun = self._clock.monotonic()
        status = "error"
        try:
            answer = self._send(asked, endpoint, request, place, most)
            status = str(answer.status)
        finally:
            self._telemetry.github_request(name, status, self._clock.monotonic() - begun)
        return answer

    def _send(self, asked: Asked, endpoint: Endpoint, request: Request, place: Place, most: int) -> Answer:
        connection = self._connector.connect(endpoint)
        exchange = Exchange(connection, self._clock, max_body=most, max_kept=most, grow=place.grow, errors_whole=False)
        try:
            try:
                exchange.send(request)
            except Unfit:
                raise Unclear(f"the request to {asked.verb} {asked.subject} cannot be sent by HTTP") from None
            answer = exchange.receive(ANSWER_WITHIN)
        finally:
            exchange.close()
        if answer is None:
            raise Unclear(f"{endpoint.host} did not answer within {ANSWER_WITHIN:.0f} s")
        if is_too_much(answer.body):
            raise TooLarge(f"{endpoint.host} sends more values than such a response has")
        return answer
