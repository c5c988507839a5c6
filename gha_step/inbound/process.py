"""One server process: its sockets, its start, and its orderly end.

On SIGTERM: not ready first; calls in flight are answered; new ones get 503; the listener stays open until the last
call is answered. uvicorn would close the listener at once, so its Server object is driven from here.
"""

import asyncio
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from uvicorn.config import Config
from uvicorn.server import Server

from gha_step.contract.errors import StepError
from gha_step.inbound.connections import HttpConnections
from gha_step.inbound.door import Door
from gha_step.inbound.execution import Execution
from gha_step.inbound.readiness import Readiness
from gha_step.inbound.web import ASGIApp
from gha_step.late_imports import catch_up
from gha_step.runtime import Clock
from gha_step.telemetry import log

KEEP_ALIVE: Final = 75  # seconds: longer than hosts keep idle connections, so that none dies under a request
CALLS_GRACE: Final = 5.0  # seconds besides the reply limit for calls in flight
WIRE_GRACE: Final = 25.0  # seconds while a POST to GitHub is on the wire; the pod's own grace is 30
BACKLOG: Final = 1024
_TICK: Final = 0.05
_FILES: Final = 65_536


class ListenError(StepError):
    """The address cannot be used."""


class Listener(Protocol):
    """Another server in the same event loop."""

    @property
    def url(self) -> str:
        """Where it answers."""

    async def bind(self) -> None:
        """Take the address: from here on callers wait, and are not refused. :raises ListenError: it cannot be had."""

    async def start(self) -> None:
        """Answer calls."""

    async def drain(self) -> None:
        """Tell those who ask that this server is not for new calls; clients that follow a step are sent away."""

    async def stop(self) -> None:
        """Close the listener: every call is answered."""


class _Server(Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `ServerProcess`: here they would close the listener at once."""
        yield


class ServerProcess:
    """A server that is bound, and runs until it is told to stop.

    :param app: ``None``: HTTP is off.

    :raises ListenError: the address is taken or not ours.
    """

    def __init__(
        self,
        *,
        app: ASGIApp | None,
        host: str = "",
        port: int = 0,
        readiness: Readiness,
        execution: Execution,
        on_the_wire: Callable[[], int],
        begin_no_more: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._readiness = readiness
        self._execution = execution
        self._on_the_wire = on_the_wire
        self._begin_no_more = begin_no_more
        self._clock = clock
        self._http = None if app is None else _Http(app, host, port)
        self._listeners: list[Listener] = []
        self._runner: asyncio.Runner | None = None
        self._stopping = asyncio.Event()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_wanted = False

    @property
    def url(self) -> str:
        """Where HTTP answers."""
        assert self._http is not None, "HTTP is off"
        return self._http.url

    @property
    def urls(self) -> tuple[str, ...]:
        """Where all of it answers."""
        return (*([self._http.url] if self._http else []), *(listener.url for listener in self._listeners))

    def listen(self, listener: Listener) -> None:
        """Another server besides HTTP, bound at once. :raises ListenError: its address is taken or not ours."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        self._runner.run(listener.bind())
        self._listeners.append(listener)

    def run(self, *, signals: bool = True) -> None:
        """Serve until SIGTERM, SIGINT or :meth:`stop`, and drain."""
        _allow_many_files()
        with self._runner or asyncio.Runner() as runner:
            runner.run(self._run(signals))

    def stop(self) -> None:
        """Begin to stop, from any thread."""
        with self._lock:
            self._stop_wanted = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._stopping.set)

    async def _run(self, signals: bool) -> None:
        loop = asyncio.get_running_loop()
        with self._lock:
            self._loop = loop
            if self._stop_wanted:
                self._stopping.set()
        if signals:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stopping.set)
        for listener in self._listeners:
            await listener.start()
        stopping = asyncio.create_task(self._stopping.wait())
        serving = None if self._http is None else asyncio.create_task(self._http.serve())
        self._readiness.ready = True
        for url in self.urls:
            log.info("listening on %s", url)
        threading.Thread(target=catch_up, name="catch-up", daemon=True).start()
        await asyncio.wait([stopping, *([serving] if serving else [])], return_when=asyncio.FIRST_COMPLETED)
        if not (serving and serving.done()):
            await self._drain()
            if self._http is not None:
                self._http.stop()
        stopping.cancel()
        await asyncio.gather(*(listener.stop() for listener in self._listeners))
        if serving is not None:
            await serving

    async def _drain(self) -> None:
        self._readiness.draining = True
        for listener in self._listeners:
            await listener.drain()
        self._begin_no_more()
        log.info("stopping; calls in flight are answered, new ones get 503")
        begun = self._clock.monotonic()
        while (waited := self._clock.monotonic() - begun) < WIRE_GRACE:
            calls = self._execution.calls
            posts = self._on_the_wire()
            if not posts and (not calls or waited >= self._execution.reply_within + CALLS_GRACE):
                return
            await asyncio.sleep(_TICK)
        log.warning("stopping while %d POSTs wait for GitHub's answer; their records say so", self._on_the_wire())


class _Http:
    """The HTTP listener: uvicorn's server, which closes only when it is told to."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        connections = HttpConnections()
        self._calls = connections.calls
        self._socket = Door(_bind(host, port), self._calls)
        self._address = self._socket.getsockname()[:2]
        self._server = _Server(
            Config(
                app,
                http=connections.protocol(),  # type: ignore[arg-type]  # as uvicorn calls it
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nobody here asks where a call came from
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=1,
                backlog=BACKLOG,
            )
        )

    @property
    def url(self) -> str:
        return f"http://{socket_address(*self._address)}"

    async def serve(self) -> None:
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        self._server.should_exit = True
        self._calls.release()


def socket_address(host: str, port: int) -> str:
    """``host:port``, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def cannot_listen(host: str, port: int) -> ListenError:
    """Why another library could not listen there, if it does not say so itself."""
    try:
        _bind(host, port).close()
    except ListenError as error:
        return error
    return ListenError(f"cannot listen on {host}:{port}")


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY: without it an answer waits 40 ms for an ACK.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)  # from here on callers wait, and are not refused
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {host}:{port} ({error.strerror})") from None
    return sock


def _allow_many_files() -> None:
    """A thousand promotions at once need more sockets than the usual soft limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(_FILES, hard) if hard != resource.RLIM_INFINITY else _FILES
    if soft < wanted:
        with suppress(ValueError, OSError):  # a container may forbid it: then the soft limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
