"""One request and its answer over one connection, framed by h11. It never sends anything twice.

Reading can be resumed: an answer that arrives after minutes of silence still counts.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import h11

from gha_step.github.connection import Connection, cause_of
from gha_step.github.errors import TooLarge, Unclear
from gha_step.github.messages import Answer, Request
from gha_step.runtime import Clock

MAX_HEAD: Final = 1 << 16  # GitHub's headers take about 5 kB
MAX_BODY: Final = 1 << 20  # a dispatch's answer is a few hundred bytes
MAX_KEPT: Final = 1 << 16  # bytes of the body of a dispatch's answer, and of any error: more is no JSON of GitHub's
MAX_EVENTS: Final = 20_000  # parts, however small: 4 MiB over a network take some 3,000
MAX_INFORMATIONAL: Final = 20  # at once, and two a second: some servers say 102 while they are at work
Grow: TypeAlias = Callable[[int, float], None]


class Exchange:
    """One request on one connection, which carries nothing else meanwhile.

    :param max_kept: bytes of the body of a 200 that are kept; of more than `MAX_KEPT` ``grow`` is asked first.
    :param grow: from the bytes that may come and the seconds that are left; may wait, or raise `Unclear`.
    """

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        *,
        max_body: int = MAX_BODY,
        max_kept: int = MAX_KEPT,
        grow: Grow | None = None,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._max_body = max_body
        self._max_kept = max_kept
        self._grow = grow
        self._size = 0
        self._sent = clock.monotonic()
        self._events = self._informational = 0
        self._framing = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._response: h11.Response | None = None
        self._body = bytearray()

    def send(self, request: Request) -> None:
        """Hand the request to the socket.

        :raises Unclear: the connection broke; GitHub may have received the request or not.
        """
        framing = self._framing
        parts = (
            framing.send(h11.Request(method=request.method, target=request.target, headers=request.headers)),
            framing.send(h11.Data(data=request.body)) if request.body else b"",
            framing.send(h11.EndOfMessage()),
        )
        try:
            self._connection.send(b"".join(part or b"" for part in parts))
        except OSError as error:
            raise Unclear(f"the connection broke while the request was being sent ({cause_of(error)})") from None

    def receive(self, seconds: float) -> Answer | None:
        """The answer, or ``None`` if it is not complete within ``seconds``; call again to read on.

        :raises Unclear: there will be no answer that can be read.
        """
        deadline = self._clock.monotonic() + seconds
        while True:
            try:
                event = self._framing.next_event()
            except h11.RemoteProtocolError:
                raise Unclear("the answer is not HTTP, or is incomplete") from None
            self._events += 1
            if self._events > MAX_EVENTS:
                raise Unclear("the answer comes in too many parts")
            if event is h11.NEED_DATA:
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    return None
                try:
                    data = self._connection.receive(left)
                except OSError as error:
                    raise Unclear(f"the connection broke before the answer ({cause_of(error)})") from None
                if data is None:
                    return None
                self._framing.receive_data(data)
            elif isinstance(event, h11.Response):
                self._response = event
            elif isinstance(event, h11.InformationalResponse):
                self._informational += 1
                if self._informational > MAX_INFORMATIONAL + 2 * (self._clock.monotonic() - self._sent):
                    raise Unclear("the server says that an answer is to come, again and again, and gives none")
            elif isinstance(event, h11.Data):
                self._take(event.data, deadline)
            elif isinstance(event, h11.EndOfMessage) and self._response is not None:
                headers = {name.decode(): value.decode("latin-1") for name, value in self._response.headers}
                return Answer(self._response.status_code, headers, bytes(self._body))
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                raise Unclear("the connection was closed without an answer")

    def _take(self, data: bytes, deadline: float) -> None:
        self._size += len(data)
        if self._size > self._max_body:
            raise TooLarge(f"the answer is longer than {self._max_body / (1 << 20):g} MiB")
        most = self._max_kept if self._response is not None and self._response.status_code == 200 else MAX_KEPT
        if MAX_KEPT < self._size <= most and self._grow is not None:
            self._grow(self._max_body, max(deadline - self._clock.monotonic(), 0.0))
        self._body += data[: max(most - len(self._body), 0)]

    @property
    def may_go_on(self) -> bool:
        """Whether the connection may carry another request: both sides have ended this one, and nothing followed it."""
        framing = self._framing
        ended = framing.our_state is h11.DONE and framing.their_state is h11.DONE
        return ended and framing.trailing_data == (b"", False)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
