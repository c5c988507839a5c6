"""An emulated server on a socket: uvicorn's HTTP/1.1 protocol around `GitHub` or `Port`, and the faults carried out.

The listening loop is our own, because uvicorn's takes 0.2 s to stop and tests start many servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import parse_qsl

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from .faults import Answer, Close, Delay, Endless, Fault, Hold, Reset, Silence, Truncate
from .wire import Request, Response

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

TLS: TypeAlias = "ssl.SSLContext | tuple[Path | str, Path | str]"

_BACKLOG = 2048  # a thousand clients may connect at once
_KEEP_ALIVE = 60  # seconds that an idle connection stays open
_LINGER_ZERO = struct.pack("ii", 1, 0)  # close() then sends RST


class Emulated(Protocol):
    """A server without sockets."""

    def begin(self, request: Request) -> tuple[list[Fault], Callable[[], Response]]:
        """Enters the request in the log. Returns the faults that it meets, and what processes it: to be called once
        or never."""

    def plain_headers(self) -> dict[str, str]:
        """What even a proxy's answer carries."""

    def describe(self, url: str) -> str:
        """What somebody needs who wants to try things by hand."""


class _Protocol(H11Protocol):
    """Hands each request its transport, which the faults need."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        # asyncio does this only for sockets that were made with IPPROTO_TCP, which create_server's are not;
        # without it the body of an answer waits 40 ms for the client to acknowledge the headers.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {"transport": transport}


class _Shell:
    """The ASGI application: reads the request, carries out its faults, sends the answer."""

    def __init__(self, emulated: Emulated) -> None:
        self._emulated = emulated
        self.stopping = asyncio.Event()

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        assert scope["type"] == "http"  # lifespan and websockets are off
        body = await _body(receive)
        if body is None:  # the client left before its request was whole: it is ignored
            return
        faults, process = self._emulated.begin(_request(scope, body))
        exchange = _Exchange(scope["state"]["transport"], receive, send, self._emulated, self.stopping)
        if await exchange.suffer([fault for fault in faults if fault.when == "before"]):
            return
        response = process()
        if not await exchange.suffer([fault for fault in faults if fault.when == "after"], response):
            await exchange.answer(response)


class _Exchange:
    """One request's connection."""

    def __init__(
        self,
        transport: asyncio.Transport,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        emulated: Emulated,
        stopping: asyncio.Event,
    ) -> None:
        self._transport = transport
        self._receive = receive
        self._send = send
        self._emulated = emulated
        self._stopping = stopping

    async def suffer(self, faults: list[Fault], response: Response | None = None) -> bool:
        """Carries the faults out up to the first that replaces the answer; whether there was one."""
        for fault in faults:
            match fault:
                case Delay(seconds):
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._stopping.wait(), seconds)
                    if not self._stopping.is_set():
                        continue
                case Hold(released):
                    while not released.is_set() and not self._stopping.is_set():
                        await asyncio.sleep(0.005)
                    if released.is_set():
                        continue
                case Reset():
                    self._reset()
                case Close():
                    self._transport.close()
                case Silence():
                    pass
                case Answer(instead):
                    await self.answer(instead)
                    return True
                case Truncate(keep, reset):
                    await self._truncated(response or Response(200), keep, reset)
                case Endless(chunk, interval):
                    await self._endless(chunk, interval)
            await self._gone()
            return True
        return False

    async def answer(self, response: Response) -> None:
        """Sends the whole answer."""
        bodiless = response.status in (204, 304)
        if response.header("Date") is None:
            response = response.with_headers(self._emulated.plain_headers())
        await self._head(response, None if bodiless else len(response.body))
        await self._send({"type": "http.response.body", "body": b"" if bodiless else response.body, "more_body": False})

    async def _head(self, response: Response, length: int | None) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in response.headers]
        if length is not None and response.header("Content-Length") is None:
            headers.append((b"content-length", str(length).encode()))
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})

    async def _truncated(self, response: Response, keep: int, reset: bool) -> None:
        whole = response.body or b" " * (keep + 1)
        shown = Response(200 if response.status in (204, 304) else response.status, response.headers, whole)
        await self._head(shown, len(whole))
        await self._send({"type": "http.response.body", "body": whole[:keep], "more_body": True})
        if reset:
            await asyncio.sleep(0.05)  # RST overtakes what the client has not read yet
            self._reset()
        else:
            self._transport.close()

    async def _endless(self, chunk: bytes, interval: float) -> None:
        gone = asyncio.ensure_future(self._gone())
        await self._head(Response(200, (("Content-Type", "application/json; charset=utf-8"),)), None)
        while not gone.done():
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.wait([gone], timeout=interval)

    def _reset(self) -> None:
        peer: socket.socket = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # the client has left first
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()

    async def _gone(self) -> None:
        """Waits until the connection is."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def _body(receive: ASGIReceiveCallable) -> bytes | None:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _request(scope: HTTPScope, body: bytes) -> Request:
    return Request(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        body=body,
        scheme=scope["scheme"],
    )


async def _listen(shell: _Shell, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
    """Serves until `shell.stopping` is set, then ends every connection at once."""
    config = Config(
        shell,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
    )
    config.load()
    served = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Protocol(config, served, {}, _loop=loop), sock=listener, ssl=tls, backlog=_BACKLOG
    )
    await shell.stopping.wait()
    server.close()
    for _ in range(3):  # a connection that was accepted in this very round is not known yet
        await asyncio.sleep(0)
    for connection in list(served.connections):
        connection.transport.abort()
    if served.tasks:
        await asyncio.wait(served.tasks)
    while served.connections:  # each is told of its end by the loop's next rounds
        await asyncio.sleep(0)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def _url(listener: socket.socket, host: str, *, secure: bool) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if secure else 'http'}://{shown}:{listener.getsockname()[1]}"


def _context(tls: TLS | None) -> ssl.SSLContext | None:
    if tls is None or isinstance(tls, ssl.SSLContext):
        return tls
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    return context


@contextlib.contextmanager
def serve(emulated: Emulated, host: str = "127.0.0.1", port: int = 0, tls: TLS | None = None) -> Iterator[str]:
    """Serves it from a thread of its own while the block runs; gives its URL, without a slash at the end. Port
    0 takes a free one. `tls`: a context, or the paths of certificate chain and key. Leaving the block ends
    every connection at once."""
    context = _context(tls)
    listener = _bound(host, port)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        shell = _Shell(emulated)
        started.set_result((asyncio.get_running_loop(), shell.stopping))
        await _listen(shell, listener, context)

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="emulator", daemon=True)
    thread.start()
    loop, stopping = started.result()
    try:
        yield _url(listener, host, secure=context is not None)
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        listener.close()


def run(emulated: Emulated, listen: str = "127.0.0.1:0", tls: TLS | None = None) -> None:
    """Serves it until SIGINT or SIGTERM, from the main thread; prints what it says of itself as soon as it listens.
    ValueError if `listen` is no HOST:PORT, OSError if it cannot be listened on."""
    host, port = _address(listen)
    context = _context(tls)
    with _bound(host, port) as listener:
        asyncio.run(
            _run(emulated, listener, context, emulated.describe(_url(listener, host, secure=context is not None)))
        )


async def _run(emulated: Emulated, listener: socket.socket, tls: ssl.SSLContext | None, description: str) -> None:
    shell = _Shell(emulated)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, shell.stopping.set)
    sys.stdout.write(f"{description}\n")
    sys.stdout.flush()
    await _listen(shell, listener, tls)


def _address(listen: str) -> tuple[str, int]:
    """HOST and PORT of an address such as 127.0.0.1:8080, localhost:0 or [::1]:8080."""
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise ValueError(f"--listen is HOST:PORT, such as 127.0.0.1:8080, not {listen!r}")
    if host.startswith("[") and host.endswith("]"):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    return host, int(port)
