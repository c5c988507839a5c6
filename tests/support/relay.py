"""A wire between a client and a server that can lose answers, or bring requests late: byte by byte, TLS or not."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from tests.support.clock import LONG

LATE: Final = 1.0  # seconds for which a late request may take to be processed


class _Wire:
    """One connection. A held one keeps what the client sends, and brings it even after the client has left."""

    def __init__(self) -> None:
        self.mute = False
        self.held = False
        self.open = threading.Event()
        self.open.set()


class Relay:
    """Connections as they stand; faults touch those, and none that is opened later."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._wires: list[_Wire] = []

    def mute(self) -> None:
        """Requests on the open connections still arrive; no answer comes back."""
        for wire in self._wires:
            wire.mute = True

    def hold(self) -> None:
        """Requests on the open connections wait until :meth:`release`."""
        for wire in self._wires:
            wire.held = True
            wire.open.clear()

    def release(self) -> None:
        """What was held arrives now."""
        for wire in self._wires:
            wire.open.set()

    def carry(self, client: socket.socket, server: socket.socket) -> None:
        """One connection, to its end."""
        wire = _Wire()
        self._wires.append(wire)
        back = threading.Thread(target=self._answers, args=(wire, server, client), daemon=True)
        back.start()
        with suppress(OSError):
            while data := client.recv(65_536):
                wire.open.wait(LONG)
                server.sendall(data)
        if wire.held:
            back.join(LATE)  # a server that sees the client leave gives up its request
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)
        back.join(LONG)
        self._wires.remove(wire)

    def _answers(self, wire: _Wire, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                if not wire.mute:
                    with suppress(OSError):  # a client that has left does not keep the server from being read
                        client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_WR)


@contextmanager
def relay(to: int) -> Iterator[Relay]:
    """A running one on loopback, to a port there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        running = Relay(listener.getsockname()[1])
        stop = threading.Event()

        def one(client: socket.socket) -> None:
            with client, socket.create_connection(("127.0.0.1", to)) as server:
                running.carry(client, server)

        def loop() -> None:
            while not stop.is_set():
                with suppress(TimeoutError):
                    client, _ = listener.accept()
                    client.settimeout(None)
                    threading.Thread(target=one, args=(client,), daemon=True).start()

        accepting = threading.Thread(target=loop)
        accepting.start()
        try:
            yield running
        finally:
            running.release()
            stop.set()
            accepting.join()
