"""What goes into the emulated GitHub and what comes out: one request, one response, no sockets.

Nothing here knows GitHub; `github.GitHub.handle` turns one into the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import parse_qsl

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, received whole."""

    method: str
    path: str  # still percent-encoded: `a%2Fb` is one segment
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = b""
    scheme: str = "http"

    @classmethod
    def to(
        cls,
        method: str,
        target: str,
        *,
        token: str | None = None,
        body: Json | bytes = b"",
        headers: Mapping[str, str] | None = None,
        host: str = "api.github.com",
        scheme: str = "https",
    ) -> Request:
        """A request as a client would send it, for callers without sockets; a `body` that is no bytes becomes
        JSON, and `target` may carry a query."""
        path, _, query = target.partition("?")
        sent = {"host": host, "user-agent": "gha_step", "accept": "application/vnd.github+json"}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        sent |= {name.lower(): value for name, value in (headers or {}).items()}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return cls(method, path, dict(parse_qsl(query, keep_blank_values=True)), sent, data, scheme)


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response. `Content-Length` is the server's to add."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @classmethod
    def of(cls, status: int, body: Json, headers: Mapping[str, str] | None = None) -> Response:
        """A JSON response, spelled without spaces as GitHub spells it."""
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        kind = (("Content-Type", "application/json; charset=utf-8"),)
        return cls(status, kind + tuple((headers or {}).items()), text)

    def header(self, name: str) -> str | None:
        """The value of the header `name`, in whatever case, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def with_headers(self, headers: Mapping[str, str]) -> Response:
        """This response with `headers` added, except those that it has."""
        have = {name.lower() for name, _ in self.headers}
        new = tuple((name, value) for name, value in headers.items() if name.lower() not in have)
        return Response(self.status, self.headers + new, self.body)
