"""One request and its answer over one connection, framed by h11. It sends nothing by itself and nothing twice.

Reading may stop and go on: an answer that comes after minutes of silence still counts.
"""

from typing import Final

import h11

from gha_step.github.connection import Connection, cause_of
from gha_step.github.errors import TooLarge, Unclear
from gha_step.github.messages import Answer, Request
from gha_step.runtime import Clock

MAX_HEAD: Final = 1 << 16  # GitHub's headers take about 5 kB
MAX_BODY: Final = 1 << 20  # a dispatch's answer is a few hundred bytes


class Exchange:
    """One request on one fresh connection."""

    def __init__(self, connection: Connection, clock: Clock, *, max_body: int = MAX_BODY) -> None:
        self._connection = connection
        self._clock = clock
        self._max_body = max_body
        self._framing = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._response: h11.Response | None = None
        self._body = bytearray()

    def send(self, request: Request) -> None:
        """Hand the request to the socket.

        :raises Unclear: the connection broke meanwhile; what arrived is not known.
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
            raise Unclear(f"the connection broke while the request was sent ({cause_of(error)})") from None

    def receive(self, seconds: float) -> Answer | None:
        """The answer, or ``None`` if it is not complete within ``seconds``; a later call reads on.

        :raises Unclear: there will be no answer that can be read.
        """
        deadline = self._clock.monotonic() + seconds
        while True:
            try:
                event = self._framing.next_event()
            except h11.RemoteProtocolError:
                raise Unclear("the answer is no HTTP, or broke off") from None
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
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > self._max_body:
                    raise TooLarge(f"the answer is longer than {self._max_body / (1 << 20):g} MiB")
            elif isinstance(event, h11.EndOfMessage) and self._response is not None:
                headers = {name.decode(): value.decode("latin-1") for name, value in self._response.headers}
                return Answer(self._response.status_code, headers, bytes(self._body))
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                raise Unclear("the connection was closed without an answer")

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()
