"""Every request to GitHub but the dispatch: one request per call through PyGithub's requester.

PyGithub is imported with the first such call: on github.com an ordinary dispatch needs none. Its own transport
is not used: it repeats requests, and settles CAs and proxies by other rules than the dispatch's connection.
So the requester gets a connection that opens anew through the same `Connector`; nothing is retried here.
"""

from collections.abc import ItemsView, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import h11

from gha_step.contract.secret import Token
from gha_step.github.connection import Connector
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import Unclear
from gha_step.github.exchange import Exchange
from gha_step.github.messages import API_VERSION, USER_AGENT, VERSION_HEADER, Answer, Request
from gha_step.runtime import Clock

if TYPE_CHECKING:
    from github.Requester import Requester

ANSWER_WITHIN: Final = 10.0  # seconds
MAX_BODY: Final = 32 << 20


class Client(Protocol):
    """Asks GitHub."""

    def get(
        self,
        endpoint: Endpoint,
        path: str,
        token: Token,
        parameters: Mapping[str, str] | None = None,
        *,
        without: frozenset[str] = frozenset(),
        etag: str | None = None,
    ) -> Answer:
        """The answer to ``GET path`` below the API base, whatever its status. Redirects are not followed.

        Where it repeats the token, that is taken out.

        :param without: request headers that this server is known to refuse.
        :param etag: of an earlier answer to this very request: 304 says that nothing has changed since.
        :raises Unreachable: no connection.
        :raises Untrusted: the certificate.
        :raises Unclear: no answer that can be read within ten seconds.
        """

    def post(
        self,
        endpoint: Endpoint,
        path: str,
        token: Token,
        body: Mapping[str, Any],
        *,
        without: frozenset[str] = frozenset(),
    ) -> Answer:
        """The answer to ``POST path`` with ``body`` as JSON, sent once. For what may be done twice: a dispatch may not.

        Parameters and errors as for `get`; after `Unclear` it may have been done. ``token`` may be an App's JWT.
        """


class PyGithubClient:
    """See `Client`."""

    def __init__(self, connector: Connector, clock: Clock) -> None:
        self._connector = connector
        self._clock = clock

    def get(
        self,
        endpoint: Endpoint,
        path: str,
        token: Token,
        parameters: Mapping[str, str] | None = None,
        *,
        without: frozenset[str] = frozenset(),
        etag: str | None = None,
    ) -> Answer:
        headers = None if etag is None else {"If-None-Match": etag}
        return self._ask(endpoint, token, without, "GET", path, parameters=dict(parameters or {}), headers=headers)

    def post(
        self,
        endpoint: Endpoint,
        path: str,
        token: Token,
        body: Mapping[str, Any],
        *,
        without: frozenset[str] = frozenset(),
    ) -> Answer:
        return self._ask(endpoint, token, without, "POST", path, input=dict(body))

    def _ask(
        self, endpoint: Endpoint, token: Token, without: frozenset[str], verb: str, path: str, **content: Any
    ) -> Answer:
        """:param content: as ``Requester.requestJson`` names it."""
        wire = _Wire(self._connector, self._clock, endpoint)
        _requester(endpoint, token, without).requestJson(verb, path, cnx=wire, **content)  # type: ignore[arg-type]
        assert wire.answer is not None
        return wire.answer.without(token)


def _requester(endpoint: Endpoint, token: Token, without: frozenset[str]) -> "Requester":
    from github.Auth import AppAuthToken  # 140 ms, and only those pay who need it
    from github.Requester import Requester

    return Requester(
        auth=AppAuthToken(token.reveal()),  # the scheme Bearer, which is right for every token; a JWT needs it
        base_url=endpoint.base,
        timeout=int(ANSWER_WITHIN),
        user_agent=USER_AGENT,
        per_page=100,
        verify=True,
        retry=None,
        pool_size=None,
        api_version=None if VERSION_HEADER in without else API_VERSION,
    )


@dataclass(frozen=True)
class _Response:
    """What the requester reads of a response."""

    status: int
    headers: Mapping[str, str]
    text: str

    def getheaders(self) -> ItemsView[str, str]:
        return self.headers.items()

    def read(self) -> str:
        return self.text


class _Wire:
    """A connection as the requester uses one: each request goes over a connection of its own, once."""

    def __init__(self, connector: Connector, clock: Clock, endpoint: Endpoint) -> None:
        self._connector = connector
        self._clock = clock
        self._endpoint = endpoint
        self.answer: Answer | None = None

    def request(self, verb: str, url: str, body: str | None, headers: dict[str, Any], stream: bool = False) -> None:
        del stream
        content = (body or "").encode()
        request = Request(
            method=verb,
            target=url,
            headers=[
                ("Host", self._endpoint.authority),
                *((name, str(value)) for name, value in headers.items()),
                ("Accept", "application/vnd.github+json"),
                *([("Content-Length", str(len(content)))] if content else []),
                ("Connection", "close"),
            ],
            body=content,
        )
        exchange = Exchange(self._connector.connect(self._endpoint), self._clock, max_body=MAX_BODY)
        try:
            try:
                exchange.send(request)
            except h11.LocalProtocolError:
                raise Unclear(f"{verb} {url[:80]!r} is no request that HTTP can carry") from None
            self.answer = exchange.receive(ANSWER_WITHIN)
        finally:
            exchange.close()
        if self.answer is None:
            raise Unclear(f"{self._endpoint.host} did not answer within {ANSWER_WITHIN:.0f} s")

    def getresponse(self) -> _Response:
        assert self.answer is not None
        # The requester waits and repeats by itself on 202, and follows a 301: neither may happen here, so it
        # is told of a success and the caller reads the real answer.
        return _Response(200, {}, "")
