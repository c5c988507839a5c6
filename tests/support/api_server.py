"""A stand-in for a kube-apiserver on a real socket: objects by path, and any answer that a test scripts.

What it says on its own (401, 403, 404, 409) is what a real one says; the tests of the readers hold it to that.
"""

import base64
import json
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

from tests.support.certificates import Issued
from tests.support.clock import LONG

Scripted: TypeAlias = Callable[["_Handler"], None]


@dataclass(frozen=True)
class Request:
    """As it came over the wire."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes


def answer(status: int, body: object = None, headers: Mapping[str, str] | None = None) -> Scripted:
    """``body`` as JSON, or as it is if it is bytes."""

    def send(handler: "_Handler") -> None:
        handler.reply(status, body if isinstance(body, bytes) else json.dumps(body).encode(), headers or {})

    send.__name__ = f"answer {status}"  # which pytest shows
    return send


def stores(version: int) -> Scripted:
    """What is written is stored, as this version."""

    def send(handler: "_Handler") -> None:
        written = json.loads(handler.server.requests[-1].body)
        written["metadata"] |= {"uid": "u", "resourceVersion": str(version)}
        handler.reply(201 if handler.command == "POST" else 200, json.dumps(written).encode(), {})

    return send


def status(code: int, reason: str, message: str, name: str = "") -> dict[str, Any]:
    """A ``Status``: what an API server answers in place of an object."""
    details = {"details": {"name": name}} if name else {}
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message} | details


def as_secret(name: str, data: Mapping[str, bytes]) -> Mapping[str, object]:
    """As an API server answers: a Secret without data has no ``data``."""
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque"}
    return secret | ({"data": encoded} if encoded else {})


def reset(handler: "_Handler") -> None:
    """The request is taken whole, and the connection reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def closed(handler: "_Handler") -> None:
    """The request is taken whole, and the connection closed in good order."""
    handler.close_connection = True


def then_closed(first: Scripted) -> Scripted:
    """``first``, and then the connection is closed without a word, as an idle time-out does."""

    def send(handler: "_Handler") -> None:
        first(handler)
        handler.close_connection = True

    return send


def cut_short(handler: "_Handler") -> None:
    """The answer ends before the length that it promised."""
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"kind": ')
    handler.close_connection = True


def dripping(seconds: float) -> Scripted:
    """Headers at once, then one byte of the body every so often, without end."""

    def send(handler: "_Handler") -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not handler.server.ending.wait(seconds):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    send.__name__ = "dripping"
    return send


def silent(handler: "_Handler") -> None:
    """The request is taken whole, and nothing comes back."""
    handler.server.ending.wait(30)
    handler.close_connection = True


def patience(trouble: Scripted) -> float:
    """For a client whose request ends by time alone, or not by time: a busy machine answers late."""
    return 1.0 if trouble.__name__ in ("silent", "dripping") else LONG


class ApiServer(ThreadingHTTPServer):
    """Counts connections, keeps requests; ``scripted`` answers come first, then what lies in ``objects``."""

    daemon_threads = True

    def __init__(self, issued: Issued | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.ended = 0  # of them
        self.scripted: deque[Scripted] = deque()
        self.objects: dict[str, Mapping[str, Any]] = {}
        self.users: dict[str, str] = {}  # token → user; nobody known: no token is asked
        self.forbidden: Callable[[str, str], bool] = lambda user, path: False
        self.starting = False  # then it denies everything to everybody
        self.ending = threading.Event()
        self._tls: ssl.SSLContext | None = None
        super().__init__(("127.0.0.1", 0), _Handler)
        if issued:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(issued.certificate, issued.key)
        self.port = int(self.server_address[1])
        self.url = f"{'https' if issued else 'http'}://127.0.0.1:{self.port}"

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        if self._tls:
            request.settimeout(5)
            request = self._tls.wrap_socket(request, server_side=True)
        try:
            super().finish_request(request, client_address)
        finally:
            if self._tls:
                request.close()

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.ended += 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or trusts nobody, is what many a test is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ApiServer
    close_connection: bool
    connection: socket.socket

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        request = Request(self.command, self.path, dict(self.headers), self.rfile.read(length))
        self.server.requests.append(request)
        if self.server.scripted:
            self.server.scripted.popleft()(self)
            return
        user: str | None = "system:anonymous"
        if self.server.users:
            user = self.server.users.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        path = self.path.partition("?")[0]
        if path == "/version":
            code = 403 if self.server.starting else 200
            body: object = {"major": "1"}
            if self.server.starting:
                body = status(403, "Forbidden", f'forbidden: User "{user}" cannot get path "/version"')
            answer(code, body)(self)
            return
        *_, namespace, resource, name = path.split("/")
        if user is None:
            answer(401, status(401, "Unauthorized", "Unauthorized"))(self)
        elif self.server.starting or self.server.forbidden(user, path):
            words = (
                f'{resource} "{name}" is forbidden: User "{user}" cannot get resource "{resource}" in '
                f'API group "" in the namespace "{namespace}"'
            )
            answer(403, status(403, "Forbidden", words, name))(self)
        elif path in self.server.objects:
            answer(200, self.server.objects[path])(self)
        else:
            answer(404, status(404, "NotFound", f'{resource} "{name}" not found', name))(self)

    do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815

    def reply(self, code: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Tests are quiet."""


@contextmanager
def serving(issued: Issued | None = None) -> Iterator[ApiServer]:
    """A stand-in, over TLS if a certificate is ``issued``, until the block ends."""
    with ApiServer(issued) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.002})
        thread.start()
        try:
            yield server
        finally:
            server.ending.set()
            server.shutdown()
            thread.join()
