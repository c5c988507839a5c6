"""Connections that a test can make fail, and that tell what was sent."""

from collections.abc import Callable

from gha_step.github.connection import Connection, Connector, SocketConnector
from gha_step.github.endpoint import Endpoint
from tests.support.clock import VirtualClock


class FaultyConnector:
    """A connector that can be told to fail, and that tells what it is asked: see `Connector`."""

    def __init__(self, real: Connector | None = None) -> None:
        self._real = real or SocketConnector()
        self.connects = 0
        self.sent: list[bytes] = []
        self.on_connect: Callable[[Endpoint], Connection | None] = lambda endpoint: None
        self.on_send: Callable[[bytes], None] = lambda data: None

    @property
    def posts(self) -> int:
        """How many POSTs were handed to a socket."""
        return sum(data.startswith(b"POST") for data in self.sent)

    def connect(self, endpoint: Endpoint) -> Connection:
        self.connects += 1
        return _FaultyConnection(self, self.on_connect(endpoint) or self._real.connect(endpoint))


class _FaultyConnection:
    def __init__(self, connector: FaultyConnector, real: Connection) -> None:
        self._connector = connector
        self._real = real

    def send(self, data: bytes) -> None:
        self._connector.sent.append(data)
        self._connector.on_send(data)
        self._real.send(data)

    def receive(self, seconds: float) -> bytes | None:
        return self._real.receive(seconds)

    def close(self) -> None:
        self._real.close()


class ScriptedConnection:
    """A connection to nobody: it gives ``chunks`` one by one; ``None`` is silence, an exception is raised."""

    def __init__(self, *chunks: bytes | OSError | None, clock: VirtualClock | None = None) -> None:
        self._chunks = list(chunks)
        self._clock = clock
        self.sent = b""
        self.closed = False

    def send(self, data: bytes) -> None:
        self.sent += data

    def receive(self, seconds: float) -> bytes | None:
        chunk = self._chunks.pop(0) if self._chunks else b""
        if isinstance(chunk, OSError):
            raise chunk
        if chunk is None and self._clock is not None:
            self._clock.forward(seconds)
        return chunk

    def close(self) -> None:
        self.closed = True
