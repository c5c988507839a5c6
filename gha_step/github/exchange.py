"""One request and its answer over one connection, which httptools reads. It never sends anything twice.

Reading can be resumed: an answer that arrives after minutes of silence still counts.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from httptools import HttpParserError, HttpResponseParser

from gha_step.github.connection import Connection, cause_of
from gha_step.github.errors import TooLarge, Unclear
from gha_step.github.messages import Answer, Request
from gha_step.runtime import Clock

MAX_HEAD: Final = 1 << 16  # GitHub's headers take about 5 kB
MAX_BODY: Final = 1 << 20  # a dispatch's answer is a few hundred bytes
MAX_KEPT: Final = 1 << 16  # bytes of the body of anything but a 200: more is no JSON of GitHub's
MAX_EVENTS: Final = 20_000  # parts, however small: 4 MiB over a network take some 3,000
MAX_FIELDS: Final = 256  # of one head, or after the last chunk; GitHub sends some 30
MAX_FRAMING: Final = 1 << 19  # bytes besides the body: `MAX_EVENTS` chunks need some 200 kB
MAX_INFORMATIONAL: Final = 20  # at once, and two a second: some servers say 102 while they are at work
Grow: TypeAlias = Callable[[int, float], bool]


class Unfit(Exception):
    """The request cannot be sent by HTTP; nothing was sent. Its text names the part."""


class Exchange:
    """One request on one connection, which carries nothing else meanwhile.

    :param max_kept: bytes of the body of a 200 that are kept; of more than `MAX_KEPT` ``grow`` is asked first.
    :param errors_whole: an error is read to its end; else only as much of it as is kept.
    :param grow: from the bytes that may come and the seconds that are left, whether there is room; it may wait.
    """

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        *,
        max_body: int = MAX_BODY,
        max_kept: int = MAX_KEPT,
        grow: Grow | None = None,
        errors_whole: bool = True,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._max_body = max_body
        self._max_kept = max_kept
        self._grow = grow
        self._errors_whole = errors_whole
        self._size = 0
        self._received = 0
        self._sent = clock.monotonic()
        self._events = 0
        self._reading = _Reading()
        self._body = bytearray()

    def send(self, request: Request) -> None:
        """Hand the request to the socket.

        :raises Unfit: it cannot be sent.
        :raises Unclear: the connection broke; GitHub may have received the request or not.
        """
        self.hand_over(framed(request))

    def hand_over(self, data: bytes) -> None:
        """Hand a framed request to the socket. :raises Unclear: as `send`."""
        try:
            self._connection.send(data)
        except OSError as error:
            raise Unclear(f"the connection broke while the request was being sent ({cause_of(error)})") from None

    def receive(self, seconds: float) -> Answer | None:
        """The answer, or ``None`` if it is not complete within ``seconds``; call again to read on.

        :raises Unclear: there will be no answer that can be read.
        """
        deadline = self._clock.monotonic() + seconds
        reading = self._reading
        while not (reading.ended or self._has_enough):
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return None
            try:
                data = self._connection.receive(left)
            except OSError as error:
                raise Unclear(f"the connection broke before the response ({cause_of(error)})") from None
            if data is None:
                return None
            self._read(data, deadline)
        return Answer(reading.status, reading.headers, bytes(self._body))

    def _read(self, data: bytes, deadline: float) -> None:
        reading = self._reading
        most = MAX_INFORMATIONAL + int(2 * (self._clock.monotonic() - self._sent))
        try:
            reading.feed(data, most)
        except HttpParserError:
            if reading.informational <= most:
                raise Unclear("the answer is not HTTP, or is incomplete") from None
        parts = reading.take_parts()
        self._events += 1 + len(parts)
        if self._events > MAX_EVENTS:
            raise Unclear("the answer comes in too many parts")
        if reading.informational > most:
            raise Unclear("the server announces a response again and again, but sends none")
        for part in parts:
            self._take(part, deadline)
        self._received += len(data)
        if self._received - self._size > MAX_FRAMING:
            raise Unclear("the response has too much around its body")

    @property
    def _has_enough(self) -> bool:
        return not self._errors_whole and self._reading.status >= 400 and len(self._body) >= MAX_KEPT

    def _take(self, data: bytes, deadline: float) -> None:
        self._size += len(data)
        if self._size > self._max_body:
            raise TooLarge(f"the answer is longer than {self._max_body / (1 << 20):g} MiB")
        most = self._max_kept if self._reading.status == 200 else MAX_KEPT
        if MAX_KEPT < self._size <= most and self._grow is not None:
            left = max(deadline - self._clock.monotonic(), 0.0)
            if not self._grow(self._max_body, left):
                raise Unclear("the answer is large, and there is no memory for it now")
        self._body += data[: max(most - len(self._body), 0)]

    @property
    def may_go_on(self) -> bool:
        """Whether the connection may carry another request: both sides have ended this one, and nothing followed it."""
        return self._reading.ended and self._reading.keeps and not self._reading.followed

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def framed(request: Request) -> bytes:
    """The request as it is sent. :raises Unfit: it would not be one request, or not the one that is meant."""
    fields = [f"{name}: {value}" for name, value in request.headers]
    lines = "\r\n".join([f"{request.method} {request.target} HTTP/1.1", *fields])
    shown = "".join([request.target, *fields])
    if " " in request.target or not (shown.isascii() and shown.isprintable()):
        odd = (name for name, value in request.headers if not (value.isascii() and value.isprintable()))
        raise Unfit(f"its {next(odd, 'path')} contains characters that HTTP cannot carry")
    return f"{lines}\r\n\r\n".encode() + request.body


class _Reading:
    """One answer, noted down as httptools finds it in the bytes: it calls the methods ``on_…``.

    Any number of answers with 1xx may come before; nothing is read after it.
    """

    def __init__(self) -> None:
        self.status = 0  # of the answer, once its head is there
        self.headers: dict[str, str] = {}
        self.informational = 0
        self._fields = 0
        self._most = 0
        self.ended = False
        self.keeps = False  # whether the server keeps the connection
        self.followed = False  # whether something came after the answer
        self._parts: list[bytes] = []
        self._advanced = False  # whether what was read last held the end of a head, or some of a body
        self._in_vain = 0  # bytes since then
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    def feed(self, data: bytes, most: int) -> None:
        """What comes next; ``b""``: the end.

        :param most: answers with 1xx: with more it reads no further.
        :raises HttpParserError: it is not HTTP, or has no end, or there are more.
        """
        assert self._parser is not None
        self._most = most
        if not data:
            self._end()
            return
        self._advanced = False
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            if not self.ended:
                raise
            self.followed = True
        if self.ended:
            self._parser = None  # which refers to us
        self._in_vain = 0 if self._advanced else self._in_vain + len(data)
        if self._in_vain > MAX_HEAD:
            raise HttpParserError

    def _end(self) -> None:
        """An answer without a length ends with its connection."""
        if not self.status or "content-length" in self.headers or "transfer-encoding" in self.headers:
            raise HttpParserError
        self.ended = True

    def take_parts(self) -> list[bytes]:
        """The parts of the body that have come since this was last asked."""
        parts, self._parts = self._parts, []
        return parts

    def on_message_begin(self) -> None:
        if self.ended or self.informational > self._most:
            raise ValueError  # to the parser, which stops
        self.headers, self._fields = {}, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise ValueError
        if not self.status:  # else it follows the last chunk, and nobody reads it
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1").rstrip()

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self._advanced, self._fields = True, 0
        status = self._parser.get_status_code()
        if status < 100 or self.headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise ValueError
        if status >= 200:
            self.status = status

    def on_body(self, part: bytes) -> None:
        self._advanced = True
        self._parts.append(part)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        self.ended = self.status > 0
        self.informational += not self.ended
        self.keeps = self.ended and self._parser.should_keep_alive()
