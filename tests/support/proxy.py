"""An HTTP proxy that opens tunnels, and can lead any name anywhere."""

import base64
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.support.certificates import Issued
from tests.support.clock import LONG


@dataclass(frozen=True)
class Asked:
    """One CONNECT."""

    target: str
    login: str | None


class Proxy:
    """What it was asked, and how it behaves. ``leads``: from "host:port" to another port on loopback."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self.leads: dict[str, int] = {}
        self.login: str | None = None  # "user:password" that it wants
        self.refuses_with: int | None = None

    def serve(self, client: socket.socket) -> None:
        """One connection, to its end."""
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(4096)
            if not data:
                return
            head += data
        lines = head.decode("latin-1").split("\r\n")
        target = lines[0].split(" ")[1]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        given = headers.get("proxy-authorization")
        self.asked.append(Asked(target, given))
        wanted = None if self.login is None else "Basic " + base64.b64encode(self.login.encode()).decode()
        status = self.refuses_with or (407 if wanted not in (None, given) else 200)
        if status != 200:
            client.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
            return
        host, _, port = target.rpartition(":")
        address = ("127.0.0.1", self.leads[target]) if target in self.leads else (host, int(port))
        with socket.create_connection(address, timeout=LONG) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _relay(client, server)


def _relay(client: socket.socket, server: socket.socket) -> None:
    """Both ways until both have ended, by one thread: two must not read and write one TLS connection at once."""
    sinks = {client: server, server: client}
    while sinks:
        for source in select.select(list(sinks), [], [])[0]:
            sink, more = sinks[source], True
            while more:
                try:
                    data = source.recv(65_536)
                    sink.sendall(data)
                except OSError:
                    data = b""
                more = bool(data) and isinstance(source, ssl.SSLSocket) and source.pending() > 0
            if not data:
                del sinks[source]
                with suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)


@contextmanager
def proxy(issued: Issued | None = None) -> Iterator[Proxy]:
    """A running one on loopback, spoken to over TLS if it has a certificate."""
    tls = None
    if issued is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(issued.certificate, issued.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        running = Proxy(f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}")
        stop = threading.Event()
        threads: list[threading.Thread] = []

        def one(client: socket.socket) -> None:
            client.settimeout(LONG)
            with suppress(OSError), tls.wrap_socket(client, server_side=True) if tls else client as spoken:
                running.serve(spoken)

        def loop() -> None:
            while not stop.is_set():
                with suppress(TimeoutError):
                    client, _ = listener.accept()
                    threads.append(threading.Thread(target=one, args=(client,)))
                    threads[-1].start()

        threads.append(threading.Thread(target=loop))
        threads[0].start()
        try:
            yield running
        finally:
            stop.set()
            threads[0].join()
            for thread in threads[1:]:
                thread.join()
