"""Connections of callers that have proved nothing yet: how many there may be, and how long an HTTP head may take.

Who has shown a valid bearer on a connection no longer counts here: one controller is one address for all projects. Of
the others, the oldest of the address that has most of them is closed for the newest; of those with a bearer, which have
a limit of their own, the one whose last call is the oldest.
"""

import asyncio
import json
import logging
import re
import resource
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from httptools import HttpParserInvalidMethodError
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gha_step.inbound.body import MAX_BODY, ONE_READ, give
from gha_step.inbound.dropping import Dropping
from gha_step.inbound.room import SMALL
from gha_step.inbound.unproved_calls import UnprovedCalls
from gha_step.inbound.web import (
    AT_ONCE,
    INCOMING,
    WHOLE,
    ASGIApp,
    AtOnce,
    Message,
    Receive,
    Request,
    Response,
    Scope,
    Send,
)
from gha_step.telemetry import log

HEAD_WITHIN: Final = 10.0  # seconds from the connection, or from a head's first byte, to its end
LONGEST_HEAD: Final = 1 << 14  # bytes of a head, of a chunk's extensions or of what follows the last chunk
MOST_FIELDS: Final = 256  # of a head
MOST_PARTS: Final = 128  # of a body, besides one for each `PART` bytes
PART: Final = 256
UNREAD: Final = 64  # connections at once that do not take their answer …
UNREAD_WITHIN: Final = 30.0  # … and seconds until it is given up
ANSWERED_AT_ONCE: Final = 100  # calls of one address without a valid bearer in a second
HELD: Final = 256  # connections at once that sent further ahead: they are ended …
HELD_FOR: Final = 1.0  # … after so many seconds, because whoever is ended at once comes again at once
WIDE_READ: Final = 1 << 16  # bytes at once of a body for which there is room
AHEAD: Final = 4  # requests that a connection may send before the one before them is answered
UNPROVED: Final = 4096  # connections at once …
PROVED: Final = 4096  # … and after a valid bearer: each costs nine KiB
TOLD_EACH: Final = 1.0  # seconds
_PROVE: Final = "gha_step.prove"
_REQUEST: Final = re.compile(rb"([!#-'*+.^-`|~\w-]+ [^\s]{1,200})[^\s]* HTTP/1\.[01]\r\n")  # by any method


def proved(request: Request) -> None:
    """Whoever sends this has shown a valid bearer."""
    prove: Callable[[], None] | None = request.scope.get(_PROVE)
    if prove is not None:
        prove()


class Line(Protocol):
    """One connection."""

    def abort(self) -> None:
        """Close it at once."""


class ConnectionLimit:
    """Connections of one kind: where there are too many, the oldest of the address that has most of them goes.

    :param most: how many, unless the process's own limit of file descriptors allows fewer.
    :param which: for the log.
    :param part: of those file descriptors.
    """

    def __init__(self, most: int = UNPROVED, which: str = "without a valid bearer", part: float = 0.25) -> None:
        self._most = most
        self._which = which
        self._part = part
        self._by_peer: dict[str, OrderedDict[Line, None]] = {}
        self._count = 0
        self._told = float("-inf")
        self._closed = 0

    def enter(self, line: Line, peer: str) -> None:
        """One more; another one may have to go."""
        self._by_peer.setdefault(peer, OrderedDict())[line] = None
        self._count += 1
        if self._count > min(self._most, _allowed(self._part)):
            crowd = max(self._by_peer, key=lambda one: len(self._by_peer[one]))
            oldest = next(iter(self._by_peer[crowd]))
            self.leave(oldest, crowd)
            oldest.abort()
            self._tell(crowd)

    def renew(self, line: Line, peer: str) -> None:
        """It is the newest now, if it is still counted."""
        of_peer = self._by_peer.get(peer, OrderedDict())
        if line in of_peer:
            of_peer.move_to_end(line)

    def leave(self, line: Line, peer: str) -> None:
        """It is gone, or has proved something."""
        of_peer = self._by_peer.get(peer, OrderedDict())
        if line in of_peer:
            del of_peer[line]
            self._count -= 1
            if not of_peer:
                del self._by_peer[peer]

    def _tell(self, peer: str) -> None:
        self._closed += 1
        now = asyncio.get_running_loop().time()
        if now - self._told >= TOLD_EACH:
            words = "%d connections %s were closed for newer ones; most are from %s"
            log.warning(words, self._closed, self._which, peer)
            self._told, self._closed = now, 0


class HttpConnections:
    """Those of one listener."""

    def __init__(self) -> None:
        self.calls = UnprovedCalls("HTTP", ANSWERED_AT_ONCE)
        self.unproved = ConnectionLimit()
        self.proved = ConnectionLimit(PROVED, "with a valid bearer", 0.5)
        self.unread = ConnectionLimit(UNREAD, "whose answers are not read")
        self.dropping = Dropping()
        self._held: deque[asyncio.Transport] = deque()

    def hold(self, connection: asyncio.Transport) -> None:
        """End it in a moment."""
        self._held.append(connection)
        if len(self._held) > HELD:
            self._end_oldest()
        else:
            asyncio.get_running_loop().call_later(HELD_FOR, self._end_oldest)

    def _end_oldest(self) -> None:
        self._held.popleft().abort()

    def protocol(self) -> Callable[..., HttpToolsProtocol]:
        """What makes uvicorn's protocol for each connection."""
        logging.getLogger("uvicorn.error").addFilter(_SELDOM)
        return partial(_Protocol, self)


class _Seldom(logging.Filter):
    """Of each warning a line per second: anybody may send what is no HTTP, as fast as they like."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}  # by the words in uvicorn's code, of which there are few

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        now = time.monotonic()
        if now - self._told.get(record.msg, float("-inf")) < TOLD_EACH:
            return False
        self._told[record.msg] = now
        return True


_SELDOM: Final = _Seldom()


class _Protocol(HttpToolsProtocol):
    """The parser knows no bounds: what has no end is refused here. More than one read of it is never kept."""

    def __init__(self, others: HttpConnections, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._others = others
        self._peer = ""
        self._proved = self._counted = False
        self._refused = False  # what came is no HTTP: that will be told, and nothing more is read
        self._head: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._in_head = False
        self._advanced = False  # whether what was read held the end of a head, or some of a body
        self._in_vain = 0  # bytes since then
        self._parts = self._size = 0  # of the body
        self._reading = b""
        self._receiving = False
        self._begun: tuple[RequestResponseCycle, ASGIApp] | None = None  # by what is being read
        self._at_once: AtOnce | None = getattr(self.app, "at_once", None)
        self._serve, self.app = self.app, self._provable

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        if self._receiving:  # what is being read may hold the whole body
            self._begun = cycle, app
        else:
            self._start(cycle, app)

    def _start(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:
        """Without a task, where the application can begin at once: that takes a tenth off a dispatch."""
        if self._at_once is not None and not cycle.more_body and len(cycle.body) <= SMALL:
            cycle.scope[_PROVE] = self._prove  # type: ignore[typeddict-unknown-key]
            if self._at_once(cycle.scope, bytes(cycle.body), partial(self._give, cycle)):  # type: ignore[arg-type]
                return
        super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]

    def _give(self, cycle: RequestResponseCycle, response: Response) -> None:
        closes = "connection" in response.headers
        if cycle.disconnected or (not closes and self._answer(cycle, response.start(), response.body)):
            cycle.on_response = _nothing  # as uvicorn does at a task's end, so that nothing refers to itself
        else:
            super()._start_asgi_task(cycle, partial(give, response))

    async def _provable(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[_PROVE] = self._prove
        scope[WHOLE] = not (self.pipeline or self.cycle.more_body) and len(self.cycle.body) <= SMALL
        scope[AT_ONCE] = partial(self._answer_now, send.__self__)  # type: ignore[attr-defined]  # uvicorn's bound method
        scope[INCOMING] = self
        self._counted = not self._proved
        if self._counted:
            self._others.calls.came(self._peer)
        await self._serve(scope, receive, partial(self._send, send))

    def widen(self) -> None:
        """See `Incoming`."""
        self.transport.max_size = WIDE_READ  # type: ignore[attr-defined]

    def forget(self) -> None:
        """See `Incoming`."""
        self.cycle.body.clear()

    async def drop(self) -> None:
        """See `Incoming`."""
        if self.cycle.more_body and not self.transport.is_closing():
            left = self._announced() - self._size
            await self._others.dropping.drop(self.transport, min(left, MAX_BODY))

    def _announced(self) -> int:
        return next((int(value) for name, value in self.headers if name == b"content-length"), MAX_BODY + self._size)

    async def _send(self, send: Send, message: Message) -> None:
        if not self._proved and message["type"] == "http.response.start":
            await self._turn()
        await send(message)

    async def _turn(self) -> None:
        """Until whoever shows no bearer may hear; who asks very much hears nothing."""
        await self._others.calls.turn(self._peer)
        if self._others.calls.too_many(self._peer):
            self.transport.abort()

    def _answer_now(self, cycle: RequestResponseCycle, start: Message, body: bytes) -> bool:
        return (self._proved or self._others.calls.at_once(self._peer)) and self._answer(cycle, start, body)

    def _answer(self, cycle: RequestResponseCycle, start: Message, body: bytes) -> bool:
        """Send an answer in one segment: uvicorn would send two, each of which wakes the client. Whether it was sent.

        What is unusual is left to uvicorn.
        """
        waits = self.flow.write_paused or cycle.waiting_for_100_continue
        if waits or cycle.disconnected or not cycle.keep_alive or cycle.scope["method"] == "HEAD":
            return False
        fields = b"".join([b"%b: %b\r\n" % field for field in (*cycle.default_headers, *start["headers"])])
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[start["status"]], fields, body))
        cycle.message_event.set()  # to whoever still waits for the request's body
        cycle.on_response()
        return True

    def _prove(self) -> None:
        if not self._proved:
            self._proved = True
            self._others.calls.proved(self._peer, counted=self._counted)
            self._others.unproved.leave(self, self._peer)
            self._others.proved.enter(self, self._peer)
        else:
            self._others.proved.renew(self, self._peer)

    def abort(self) -> None:
        """See `Line`."""
        self._others.calls.misused(self._peer)
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else ""
        transport.max_size = ONE_READ  # type: ignore[attr-defined]  # asyncio's is 256 KiB
        transport.set_write_buffer_limits(0)  # so that it says whenever an answer is not taken whole
        self._await_head()
        self._others.unproved.enter(self, self._peer)

    def shutdown(self) -> None:
        if self._refused:  # what it still waits for would hold up the stop
            self.transport.abort()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._read()
        for limit in (self._others.unproved, self._others.proved):
            limit.leave(self, self._peer)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_WITHIN, self.abort)
            self._others.unread.enter(self, self._peer)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read()

    def _read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
            self._others.unread.leave(self, self._peer)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._advanced, self._reading, self._receiving = False, data, True
        super().data_received(data)
        self._reading, self._receiving = b"", False
        begun, self._begun = self._begun, None
        if begun is not None and not self.transport.is_closing():
            self._start(*begun)
            if self.cycle.more_body:
                self.flow.pause_reading()  # until somebody asks for it, who knows whether there is room
        self._in_vain = 0 if self._advanced else self._in_vain + len(data)
        if self._in_vain > LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("Invalid HTTP request received.")
        # Empty lines between two requests are no head, and would keep the connection for ever.
        if self._in_head or self._answered:
            self._await_head()
        else:
            self._stop_waiting()

    @property
    def _answered(self) -> bool:
        newest: RequestResponseCycle | None = self.cycle
        return newest is None or newest.response_complete

    def send_400_response(self, msg: str) -> None:
        if self._refused:
            return
        if self.pipeline or not (self._answered or self.cycle.more_body):
            self._hold()  # a whole request waits for its answer, which this one is not
            return
        asked = _REQUEST.match(self._reading) if isinstance(sys.exception(), HttpParserInvalidMethodError) else None
        refuse = partial(self._refuse, msg, None if asked is None else asked[1])
        self._others.calls.came(self._peer)
        if self._others.calls.at_once(self._peer):
            refuse()
            return
        self._read_no_more()
        task = self.loop.create_task(self._refuse_in_turn(refuse))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _hold(self) -> None:
        self._read_no_more()
        self.pipeline.clear()
        self._others.calls.misused(self._peer)
        self._others.hold(self.transport)

    def _read_no_more(self) -> None:
        self._refused, self._begun = True, None
        self.transport.pause_reading()
        self.flow.read_paused = False  # an answer under way must not have it read again
        if self.cycle is not None:  # nobody need wait for the rest of its body, or answer it
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    async def _refuse_in_turn(self, refuse: Callable[[], None]) -> None:
        await self._turn()
        if not self.transport.is_closing():
            refuse()

    def _refuse(self, msg: str, asked: bytes | None) -> None:
        if asked is None:
            super().send_400_response(msg)
            return
        error = json.dumps({"error": f"there is no {asked.decode('latin-1')} here"})
        head = f"Content-Type: application/json\r\nContent-Length: {len(error)}\r\nConnection: close"
        self.transport.write(f"HTTP/1.1 404 Not Found\r\n{head}\r\n\r\n{error}".encode())
        self.transport.close()

    def on_message_begin(self) -> None:
        self._in_head = True
        self._parts = self._size = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it follows the last chunk, and nobody reads it
            if len(self.headers) >= MOST_FIELDS:
                raise ValueError  # to the parser, which refuses all
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head, self._advanced = False, True
        hosts = [name for name, _ in self.headers].count(b"host")
        if len(self.pipeline) >= AHEAD or hosts > 1 or (hosts < 1 and self.parser.get_http_version() == "1.1"):
            raise ValueError  # to the parser, which refuses all
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.transport.max_size = ONE_READ  # type: ignore[attr-defined]
        super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._advanced = True
        self._parts += 1
        self._size += len(body)
        if self._parts > MOST_PARTS + self._size // PART:
            raise ValueError
        super().on_body(body)

    def _await_head(self) -> None:
        if self._head is None and not self.transport.is_closing():
            self._head = self.loop.call_later(HEAD_WITHIN, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


def _nothing() -> None:
    pass


def _allowed(part: float) -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(int(soft * part), 16)
