"""One server process: its socket, its start, and its orderly end.

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
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from gha_step.contract.errors import StepError
from gha_step.runtime import Clock
from gha_step.servers.http import Readiness
from gha_step.servers.waiting import Execution
from gha_step.telemetry import log

KEEP_ALIVE: Final = 75  # seconds: longer than hosts keep idle connections, so that none dies under a request
CALLS_GRACE: Final = 5.0  # seconds besides the reply limit for calls in flight
WIRE_GRACE: Final = 25.0  # seconds while a POST to GitHub is on the wire; the pod's own grace is 30
BACKLOG: Final = 1024
_TICK: Final = 0.05
_FILES: Final = 65_536


class ListenError(StepError):
    """The address cannot be listened on."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `ServerProcess`: here they would close the listener at once."""
        yield


class ServerProcess:
    """A server that is bound, and runs until it is told to stop.

    :raises ListenError: the address is taken or not ours.
    """

    def __init__(
        self,
        *,
        app: ASGIApp,
        host: str,
        port: int,
        readiness: Readiness,
        execution: Execution | None,
        on_the_wire: Callable[[], int],
        begin_no_more: Callable[[], None],
        clock: Clock,
        reply_within: float,
    ) -> None:
        self._readiness = readiness
        self._execution = execution
        self._on_the_wire = on_the_wire
        self._begin_no_more = begin_no_more
        self._clock = clock
        self._reply_within = reply_within
        self._socket = _bind(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        self._server = _Server(
            uvicorn.Config(
                app,
                http="h11",
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
        self._stopping = asyncio.Event()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_wanted = False

    @property
    def url(self) -> str:
        """Where it answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def run(self, *, signals: bool = True) -> None:
        """Serve until SIGTERM, SIGINT or :meth:`stop`, and drain."""
        _allow_many_files()
        asyncio.run(self._run(signals))

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
        serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        self._readiness.ready = True
        log.info("listening on %s", self.url)
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            await self._drain()
            self._server.should_exit = True
        stopping.cancel()
        await serving

    async def _drain(self) -> None:
        self._readiness.draining = True
        self._begin_no_more()
        log.info("stopping: calls in flight are answered, new ones get 503")
        begun = self._clock.monotonic()
        while (waited := self._clock.monotonic() - begun) < WIRE_GRACE:
            calls = self._execution.calls if self._execution is not None else 0
            posts = self._on_the_wire()
            if not posts and (not calls or waited >= self._reply_within + CALLS_GRACE):
                return
            await asyncio.sleep(_TICK)
        log.warning("stopping although %d POSTs have no answer: their records say so", self._on_the_wire())


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
        raise ListenError(f"{host}:{port} cannot be listened on ({error.strerror})") from None
    return sock


def _allow_many_files() -> None:
    """A thousand promotions at once need more sockets than the usual soft limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(_FILES, hard) if hard != resource.RLIM_INFINITY else _FILES
    if soft < wanted:
        with suppress(ValueError, OSError):  # a container may forbid it: then the soft limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
