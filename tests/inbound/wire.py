"""HTTP by hand: bytes out, bytes in, so that what clients get wrong can be sent too."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.support.calls import BEARER
from tests.support.clock import LONG

PROJECT_TOKEN = "token-of-the-project-demo"
EXECUTE = "/api/v1/step.execute"


@dataclass(frozen=True)
class Reply:
    """An answer. ``closed``: the server ended the connection after it."""

    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool

    @property
    def json(self) -> dict[str, Any]:
        decoded = json.loads(self.body)
        assert isinstance(decoded, dict)
        return decoded

    @property
    def message(self) -> str:
        """What a refusal of the REST resource says."""
        assert self.headers["content-type"] == "application/json"
        assert set(self.json) == {"message"}
        return str(self.json["message"])

    @property
    def error(self) -> str:
        """What an error says."""
        assert self.headers["content-type"] == "application/json"
        assert set(self.json) == {"error"}
        return str(self.json["error"])


@contextmanager
def connected(url: str, timeout: float = LONG) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=timeout) as sock:
        yield sock


def read_reply(sock: socket.socket, method: str = "POST") -> Reply:
    """One answer from the connection, to a request with this method."""
    response = http.client.HTTPResponse(sock, method=method)
    try:
        response.begin()
        body = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        status = response.status
    finally:
        response.close()
    sock.settimeout(LONG if headers.get("connection") == "close" else 0.02)
    try:
        closed = sock.recv(1) == b""
    except TimeoutError:
        closed = False
    except ConnectionResetError:
        closed = True
    return Reply(status, headers, body, closed)


def head(method: str = "POST", path: str = EXECUTE, token: str | None = BEARER, **headers: str) -> bytes:
    """A request's head; ``_`` in a header's name a dash."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def raw(url: str, *pieces: bytes) -> Reply:
    """Send these bytes, read one answer."""
    with connected(url) as sock:
        for piece in pieces:
            sock.sendall(piece)
        return read_reply(sock, pieces[0].split(b" ")[0].decode("latin-1"))


def post(
    url: str, content: Any, *, token: str | None = BEARER, path: str = EXECUTE, method: str = "POST", **headers: str
) -> Reply:
    """One call; content that is no bytes becomes JSON. ``headers``: as for `head`."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers |= {"Content_Length": str(len(data)), "Content_Type": "application/json"}
    return raw(url, head(method, path, token, **headers) + data)


def put(
    url: str,
    content: Any,
    *,
    resource: str = "dispatches",
    project: str = "demo",
    promotion: str = "test.01abc.def5678",
    alias: str = "dispatch::call",
    token: str | None = PROJECT_TOKEN,
    **headers: str,
) -> Reply:
    """One call to the REST resource, the names in its path as they are."""
    path = f"/api/v1/projects/{project}/{resource}/{promotion}/{alias}"
    return post(url, content, token=token, path=path, method="PUT", **headers)


def put_to_the_end(url: str, content: Any, **names: Any) -> Any:
    """As a host does: PUT until it is told an end. A first answer within a second may be too early, if one is busy."""
    while (reply := put(url, content, **names)).json.get("status") == "Running":
        time.sleep(0.05)
    return reply.json


def get(url: str, path: str, method: str = "GET") -> Reply:
    """A request without body and bearer."""
    return raw(url, head(method, path, None))
