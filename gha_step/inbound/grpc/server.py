"""The gRPC server: gha_step.v1.StepService, health and reflection, in the event loop of the process.

Imported only where it listens: grpc costs start-up time and memory. What a message means is decided in
`gha_step.inbound.grpc.messages`.
"""

import asyncio
import os
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, Final

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read at import; grpc's core would write to stderr past our log

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gha_step.contract.memory import weight
from gha_step.contract.request import StepRequest
from gha_step.contract.secret import Token
from gha_step.contract.values import ConfigModel
from gha_step.inbound.bearer import HOSTS_BEARER, bearer, subject_of
from gha_step.inbound.body import CROWDED, MAX_BODY, MAX_VALUES
from gha_step.inbound.execution import Execution
from gha_step.inbound.grpc import accepting
from gha_step.inbound.grpc import messages as service
from gha_step.inbound.grpc.connections import Connections, address_of
from gha_step.inbound.grpc.outline import has_more_values
from gha_step.inbound.process import cannot_listen, socket_address
from gha_step.inbound.readiness import Readiness
from gha_step.inbound.receiving import GivenAway, Places
from gha_step.inbound.refused_callers import RefusedCallers
from gha_step.inbound.room import REFUSED_AFTER, NoRoom, Place, is_light
from gha_step.inbound.tls import TlsContent, TlsFileError, TlsFiles
from gha_step.pb.v1 import step_pb2 as pb
from gha_step.pb.v1 import step_pb2_grpc
from gha_step.runtime import Holdings, Shares
from gha_step.steps.follow import Following
from gha_step.steps.waking import Hint, Waking
from gha_step.telemetry import log

MAX_CALLS: Final = 4096  # at once; a waiting Run costs about 40 kB
MAX_RUNS: Final = 2560  # Runs among them, of which one project has at most three quarters: Execute always finds places
KEPT_BY_RUNS: Final = 24 << 20  # bytes of the configs of all Runs, which they keep for as long as they wait
MAX_PENDING: Final = MAX_RUNS * 3 // 4  # calls of a method not yet accepted: as many Runs as a project may have
MAX_WATCHES: Final = 256  # health streams at once: they need no bearer, and must not crowd out steps
MAX_CONVERSATIONS: Final = 16  # reflection streams at once, on which messages may come at any time
MAX_RPCS: Final = 2 * MAX_CALLS  # of all kinds, so that health probes are still answered when all of the above are open
TURN_WITHIN: Final = 60.0  # seconds for which a Run of a project that has many may wait before each look
MESSAGE_WITHIN: Final = 10.0  # seconds from the start of a call to its message
OPEN_MESSAGE_WITHIN: Final = 2.0  # the same, for methods that need no bearer
MAX_OPEN_MESSAGE: Final = 4096  # bytes, for methods that need no bearer: their messages name a service
# Messages being received at once; each may have reached 4 MiB without being complete.
READING: Final = 16
READING_OPEN: Final = 8
WITHHELD: Final = 128  # calls that wait for such a place: more come only where messages do not
GRACE: Final = 0.05  # seconds for which one of them is not given up for another caller's
MOST_LARGE: Final = 2 * MAX_BODY  # bytes of large messages that are being read, or wait for it
MAX_CONNECTIONS: Final = 4096  # an idle TLS connection costs about 25 kB
AGE_OF_PROOF: Final = 3_600_000  # ms: how long a client certificate counts for its connection, and then the grace
MAX_METADATA: Final = 8192  # bytes of a call
MAX_STREAMS: Final = 1024  # calls at once on one connection
STREAMS_GRACE: Final = 1.0  # seconds for final messages, after every call is answered
MANY_MESSAGES: Final = "too many messages are being received at once; call again later"
LARGE_RUNS: Final = "the configs of the Runs that wait are too large together; call again later"
NO_METHOD: Final = "this server does not have this method"
INTERNAL: Final = "internal error; see gha-step's log, and call again"

OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_BODY),
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    # Above this many calls of a method that are not yet accepted (1,000 by default), grpc cancels some at random and
    # gives the caller no reason. Each costs 15 kB.
    ("grpc.server.max_pending_requests", MAX_PENDING),
    ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING),
    # After so many seconds (30 by default) it cancels those too, without a word: callers have deadlines of their own.
    ("grpc.server_max_unrequested_time_in_server", 300),
    ("grpc.max_metadata_size", MAX_METADATA),  # of a call; with more it may be refused,
    ("grpc.absolute_max_metadata_size", MAX_METADATA),  # and it is
    ("grpc.so_reuseport", 0),  # fail if the address is in use, do not share it
    ("grpc.keepalive_time_ms", 60_000),  # notices callers that have vanished,
    ("grpc.keepalive_timeout_ms", 20_000),  # and ends their calls
    ("grpc.http2.min_ping_interval_without_data_ms", 9_000),  # Go's clients may ping every 10 s
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_connection_idle_ms", 120_000),
    ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.http2.bdp_probe", 0),  # otherwise a connection is trusted with more the faster it sends
    ("grpc.http2.lookahead_bytes", 1 << 12),  # of each call that is not read yet
    ("grpc.experimental.tcp_read_chunk_size", 8192),
    ("grpc.experimental.tcp_max_read_chunk_size", 1 << 16),  # by default 4 MiB for each connection
)
# Client certificates are checked once per connection: after a while clients have to show one of the current authority.
AGED: Final = (
    ("grpc.max_connection_age_ms", AGE_OF_PROOF),
    ("grpc.max_connection_age_grace_ms", AGE_OF_PROOF),
)

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Any  # its stubs know only handlers that are not asynchronous


class GrpcServer:
    """See `gha_step.inbound.process.Listener`.

    :param execution: ``None``: StepService is not served.
    :param configs: the step kinds, for ListKinds.
    :param token: the bearer that StepService asks for; ``None``: none.
    :param tls: ``None``: plaintext.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        execution: Execution | None,
        configs: Mapping[str, type[ConfigModel]],
        token: Token | None,
        readiness: Readiness,
        refused: RefusedCallers,
        tls: TlsFiles | None,
        waking: Waking,
    ) -> None:
        self._host = host
        self._port = port
        self._execution = execution
        self._configs = configs
        self._waking = waking
        self._connections = Connections()
        self._edge = _Edge(token, readiness, refused, self._connections)
        self._credentials = None if tls is None else _credentials(tls)
        self._aged = tls is not None and tls.client_ca is not None
        self._servicer: _Servicer | None = None
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None

    @property
    def url(self) -> str:
        scheme = "grpc" if self._credentials is None else "grpcs"
        return f"{scheme}://{self.target}"

    @property
    def target(self) -> str:
        """The address as gRPC clients write it."""
        return socket_address(self._host, self._port)

    async def bind(self) -> None:
        options = OPTIONS + AGED if self._aged else OPTIONS
        server = accepting.server([self._edge], options, MAX_RPCS, self._edge.pauses)
        names = [health.SERVICE_NAME, reflection.SERVICE_NAME]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._execution is not None:
            self._servicer = _Servicer(self._execution, service.kinds(self._configs), self._waking, self._edge.subject)
            step_pb2_grpc.add_StepServiceServicer_to_server(self._servicer, server)
            names.append(service.SERVICE)
        reflection.enable_server_reflection(names, server)
        try:
            if self._credentials is None:
                self._port = server.add_insecure_port(self.target)
            else:
                self._port = server.add_secure_port(self.target, self._credentials)
        except RuntimeError:
            raise cannot_listen(self._host, self._port) from None
        self._server = server

    async def start(self) -> None:
        assert self._server is not None
        if self._execution is not None:
            await self._health.set(service.SERVICE, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        self._connections.watch(self._port)

    async def drain(self) -> None:
        with suppress(TimeoutError):  # a watcher that does not read must not delay the shutdown
            await asyncio.wait_for(self._health.enter_graceful_shutdown(), STREAMS_GRACE)
        if self._servicer is not None:
            self._servicer.end_runs()

    async def stop(self) -> None:
        assert self._server is not None
        self._connections.leave()
        await self._server.stop(STREAMS_GRACE)


class _Servicer(step_pb2_grpc.StepServiceServicer):
    """The methods, around the one `execute`. ``subject``: whose bearer a call was let in by."""

    def __init__(
        self, execution: Execution, kinds: pb.ListKindsResponse, waking: Waking, subject: Callable[[Context], str]
    ) -> None:
        self._execution = execution
        self._kinds = kinds
        self._waking = waking
        self._subject = subject
        self._stopping = False
        self._large = 0  # bytes of large messages that are being read, or wait for that
        self._waiting: set[asyncio.Event] = set()  # one of each Run; set: it need not wait any longer
        self._runs = _Places(MAX_RUNS, "Runs")
        self._kept = Holdings(KEPT_BY_RUNS)

    async def Execute(self, request: pb.ExecuteRequest, context: Context) -> pb.ExecuteResponse:  # noqa: N802
        with self._execution.counted(), self._execution.room.place("") as place:
            step = await self._read(request, place, context)
            try:
                result = await self._execution.execute(step, worked=place.worked)
            except asyncio.CancelledError:  # it may not have had its turn, and has cost as much
                self._execution.pace.opened(step.caller.project)
                raise
            return service.fill(pb.ExecuteResponse(), result)

    async def Run(self, request: pb.RunRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802  it writes
        with self._execution.room.place("") as place:  # only for as long as it is read: it may wait for hours
            following = Following(await self._read(request, place, context))
        del request
        project = following.request.caller.project
        held = self._kept.take(project, weight((following.request.step.config, following.request.shared_state)))
        if held is None:
            raise service.Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, LARGE_RUNS, late=True)
        self._execution.pace.opened(project)
        with self._runs.one(project), self._woken(following) as woken:
            while following.wait is not None:
                await _pause(following.wait, woken)
                in_turn = await self._execution.pace.turn(project, TURN_WITHIN)
                if self._stopping:
                    raise service.Refused(grpc.StatusCode.UNAVAILABLE, service.STOPPING)
                woken.clear()  # what is hinted at from here on may be too late for the look
                with self._execution.counted():
                    result = await self._execution.execute(following.request, in_turn=in_turn)
                if following.hear(result):
                    await context.write(service.fill(pb.RunEvent(), result))

    def end_runs(self) -> None:
        """The server stops."""
        self._stopping = True
        self._execution.pace.open()  # no call waits for its turn any more
        for woken in self._waiting:
            woken.set()

    async def _read(self, request: Any, place: Place, context: Context) -> StepRequest:
        asked = f"gRPC from {address_of(context.peer())}", self._subject(context)
        if not isinstance(request, _Unread):
            return service.step_request(request, *asked)
        size = len(request.data)
        crowded = service.Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, CROWDED, late=True)
        if self._large + size > MOST_LARGE:  # it is here already: to wait would take no less than to be read
            raise crowded
        self._large += size
        try:
            await place.grow(size, MESSAGE_WITHIN)
            async with place.reading(MESSAGE_WITHIN):
                return service.step_request(request.read(), *asked)
        except NoRoom:
            raise crowded from None
        except service.Malformed as malformed:
            raise service.Malformed(malformed.violations, late=True) from None
        finally:
            self._large -= size
            request.data = b""  # the call may go on for hours

    async def ListKinds(self, request: pb.ListKindsRequest, context: Context) -> pb.ListKindsResponse:  # noqa: N802
        return self._kinds

    @contextmanager
    def _woken(self, following: Following) -> Iterator[asyncio.Event]:
        """Set by a hint at the run that a step waits for."""
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()

        def listener(hint: Hint) -> None:
            if hint.run_id == following.waits_for:
                loop.call_soon_threadsafe(woken.set)

        self._waking.listen(listener)
        self._waiting.add(woken)
        try:
            yield woken
        finally:
            self._waiting.discard(woken)
            self._waking.leave(listener)


async def _pause(seconds: float, woken: asyncio.Event) -> None:
    """So many seconds, unless it is woken. No task is made for it: thousands may wait."""
    if seconds:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await woken.wait()


# ---------------------------------------------------------------- what every call goes through


class _Unread:
    """A message that is large, or has many values, and so is to be read in turn; or one that cannot be read."""

    def __init__(self, data: bytes, parse: Any, *, light: bool) -> None:
        self.data = data
        self._parse = parse
        self.light = light

    def read(self) -> Any:
        """:raises Malformed: it is no such message."""
        name = self._parse.__self__.DESCRIPTOR.full_name
        why = f"the message is not a valid {name}: malformed, not UTF-8, or nested too deeply"
        if not self.light and has_more_values(self.data, MAX_VALUES):
            why = f"the message holds more than {MAX_VALUES:,} values, or is nested too deeply"
        else:
            with suppress(DecodeError):
                return self._parse(self.data)
        raise service.Malformed([service.Violation("", why)])


class _Edge(grpc.aio.ServerInterceptor):
    """Refuses callers without the bearer before any message is read; no call ends with UNKNOWN or INTERNAL.

    grpc itself answers INTERNAL to bytes that do not parse, without calling a handler, and UNKNOWN to exceptions.
    """

    def __init__(
        self, token: Token | None, readiness: Readiness, refused: RefusedCallers, connections: Connections
    ) -> None:
        self._connections = connections
        self._token = token
        self._readiness = readiness
        self._refused = refused
        self._steps = _Places(MAX_CALLS, "calls")
        self._watches = _Places(MAX_WATCHES, "calls")
        self._talks = _Places(MAX_CONVERSATIONS, "calls")
        self._proved = _Reading(READING, MAX_BODY, proved=True)
        self._open = _Reading(READING_OPEN, MAX_OPEN_MESSAGE, proved=False)
        self.pauses = accepting.Pauses(lambda: self._proved.waiting > WITHHELD)

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(details)
        if handler is None:
            return self._refusing(service.Refused(grpc.StatusCode.UNIMPLEMENTED, NO_METHOD))
        if not details.method.startswith(f"/{service.SERVICE}/"):  # health and reflection need no bearer
            places = self._talks if handler.request_streaming else self._watches
            place = places.one if handler.response_streaming else nullcontext
            return self._guarded(details, handler, place, self._open, self._connections.called)
        try:
            service.admit(details.invocation_metadata, self._token)
            if self._readiness.draining:
                raise service.Refused(grpc.StatusCode.UNAVAILABLE, service.STOPPING)
        except service.Refused as refused:
            return self._refusing(refused)
        return self._guarded(details, handler, self._steps.one, self._proved, self._connections.proved)

    def subject(self, context: Context) -> str:
        """Whose bearer a call was let in by; ``''``: none is asked for, so what it shows proves nothing."""
        given = None if self._token is None else dict(context.invocation_metadata() or ()).get("authorization")
        return "" if given is None else subject_of(bearer(str(given)) or "", HOSTS_BEARER)

    def _guarded(
        self,
        details: grpc.HandlerCallDetails,
        handler: Handler,
        place: Callable[[], AbstractContextManager[None]],
        reading: "_Reading",
        meet: Callable[[str], None],
    ) -> Handler:
        """``handler`` within its limits. ``meet``: told whose call it is, as soon as it comes."""

        def tell(context: Context, malformed: service.Malformed) -> None:
            self._refused.malformed(
                "grpc", address_of(context.peer()), f"{details.method.lstrip('/')}: {malformed.message}"
            )

        received = partial(self.pauses.received, details.method)
        serialize = handler.response_serializer
        if handler.stream_stream is not None:
            converse = handler.stream_stream

            async def streams(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
                meet(context.peer())
                async with _no_error_but_ours(context, tell):
                    with place():
                        async for response in converse(reading.each(requests), context):
                            yield response

            return grpc.stream_stream_rpc_method_handler(streams, _reader(handler, received), serialize)
        answer = handler.unary_unary or handler.unary_stream
        assert answer is not None

        async def one(requests: AsyncIterator[Any], context: Context) -> Any:
            peer = context.peer()
            meet(peer)
            async with _no_error_but_ours(context, tell):
                request = await reading.only(requests, peer)
                with place():
                    answering = answer(request, context)
                    del request  # which may be large, and the answer hours away
                    return await answering

        # Served as a stream of requests: grpc never answers a unary caller that sends no message.
        if handler.unary_unary is not None:
            return grpc.stream_unary_rpc_method_handler(one, _reader(handler, received), serialize)
        return grpc.stream_stream_rpc_method_handler(one, _reader(handler, received), serialize)

    def _refusing(self, refused: service.Refused) -> Handler:
        async def refuse(requests: AsyncIterator[bytes], context: Context) -> None:
            self._connections.called(context.peer())
            if refused.code is grpc.StatusCode.UNAUTHENTICATED:
                self._refused.unproved("grpc", address_of(context.peer()), refused.message)
            await self._connections.refusing(context.peer())
            await context.abort(refused.code, refused.message)

        return grpc.stream_stream_rpc_method_handler(refuse)  # without reading a message


class _Places:
    """How many calls of a kind may be open; no project has all of them, for they may last for hours."""

    def __init__(self, number: int, what: str) -> None:
        self._shares = Shares(number)
        self._what = what

    @contextmanager
    def one(self, project: str = "") -> Iterator[None]:
        if not self._shares.take(project):
            words = f"too many {self._what} at once; call again later"
            raise service.Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, words)
        try:
            yield
        finally:
            self._shares.give(project)


class _Reading:
    """Messages that are being received: so many at once, each within some seconds."""

    def __init__(self, at_once: int, most: int, *, proved: bool) -> None:
        self._places = Places(at_once, GRACE, MAX_RPCS)
        self._most = most
        self._proved = proved

    @property
    def waiting(self) -> int:
        """How many calls wait for their message to be received."""
        return self._places.waiting

    @property
    def within(self) -> float:
        """Seconds."""
        return MESSAGE_WITHIN if self._proved else OPEN_MESSAGE_WITHIN

    async def only(self, requests: AsyncIterator[Any], peer: str) -> Any:
        """The one message of a call of ``peer``, as grpc names it. :raises Refused: there is none."""
        words = "the call contains no message; send one"
        crowded = service.Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, MANY_MESSAGES)
        begun = False
        try:
            async with asyncio.timeout(self.within), self._places.one(peer if self._proved else address_of(peer)):
                begun = True
                messages: Any = aiter(requests)
                async for request in messages:
                    await messages.aclose()  # it would hold the message for as long as the call takes
                    return self.readable(request)
        except GivenAway:
            raise crowded from None
        except TimeoutError:
            if not begun:
                raise crowded from None
            words = f"no message arrived within {self.within:g} s; send one right away"
        raise service.Malformed([service.Violation("", words)])

    async def each(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The messages of a conversation, which ends when none has come for some seconds."""
        while True:
            try:
                async with asyncio.timeout(MESSAGE_WITHIN):
                    request = await anext(requests)
            except (StopAsyncIteration, TimeoutError):
                return
            yield self.readable(request)

    def readable(self, request: Any) -> Any:
        """``request``, if it is one. :raises Refused: it is none."""
        unread = isinstance(request, _Unread)
        if (len(request.data) if unread else request.ByteSize()) > self._most:
            raise service.Malformed([service.Violation("", f"the message has more than {self._most} bytes")])
        return request.read() if unread and request.light else request


def _reader(handler: Handler, received: Callable[[int], None]) -> Callable[[bytes], Any]:
    parse = handler.request_deserializer
    assert parse is not None

    def read(data: bytes) -> Any:
        received(len(data))
        light = is_light(data, has_more_values)
        with suppress(DecodeError):
            if light:
                return parse(data)
        return _Unread(data, parse, light=light)

    return read


def _forget(error: BaseException | None) -> None:
    """What the frames of an error hold: a large message."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


@asynccontextmanager
async def _no_error_but_ours(
    context: Context, tell: Callable[[Context, service.Malformed], None]
) -> AsyncIterator[None]:
    try:
        yield
    except service.Refused as refused:
        if isinstance(refused, service.Malformed):
            tell(context, refused)
        if refused.late:
            _forget(refused)
            await asyncio.sleep(REFUSED_AFTER)
        await context.abort(refused.code, refused.message, refused.details)
    except grpc.aio.AbortError:
        raise
    except NotImplementedError:  # raised by generated code for a method without an implementation: Health/List
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, NO_METHOD)
    except Exception:  # noqa: BLE001  grpc would send it to the caller as UNKNOWN
        if context.done() or context.cancelled():  # the caller is gone
            return
        log.exception("a gRPC call failed")
        await context.abort(grpc.StatusCode.UNAVAILABLE, INTERNAL)


# ---------------------------------------------------------------- TLS


def _credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that are reloaded when their files change; each new connection asks for them.

    :raises TlsFileError: they cannot be used.
    """
    state, known = files.state(), files.read()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal state, known
        if (found := files.state()) == state:
            return None
        state = found
        try:
            now = files.read()
        except TlsFileError as error:
            log.warning("the renewed certificate cannot be used; the old one stays in use: %s", error)
            return None
        if now == known:
            return None
        known = now
        return _configuration(now)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(known),
        renewed,  # type: ignore[arg-type]  # None: nothing new
        require_client_authentication=files.client_ca is not None,
    )


def _configuration(content: TlsContent) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(content.key, content.certificate)], content.client_ca)
